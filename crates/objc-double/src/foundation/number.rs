//! `NSNumber`, which is also how booleans travel.

use std::ffi::{
    CStr, c_char, c_double, c_float, c_int, c_longlong, c_short, c_uchar, c_uint, c_ulonglong,
    c_ushort,
};

use objc2::runtime::{AnyObject, Bool, NSZone};

use super::{hash_of, string};
use crate::{Id, NS_OBJECT, Strong, class};

/// The value of a number object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Made from a boolean; on a Mac an object of a class of its own.
    Bool(bool),
    /// Made from a signed integer.
    Signed(i64),
    /// Made from an unsigned integer.
    Unsigned(u64),
    /// Made from a floating-point number.
    Float(f64),
}

impl Number {
    fn signed(self) -> i64 {
        match self {
            Number::Bool(value) => value.into(),
            Number::Signed(value) => value,
            Number::Unsigned(value) => value as i64,
            Number::Float(value) => value as i64,
        }
    }

    fn float(self) -> f64 {
        match self {
            Number::Bool(value) => f64::from(u8::from(value)),
            Number::Signed(value) => value as f64,
            Number::Unsigned(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    fn is_same(self, other: Number) -> bool {
        self.float() == other.float() && self.signed() == other.signed()
    }

    fn written(self) -> String {
        match self {
            Number::Bool(value) => u8::from(value).to_string(),
            Number::Signed(value) => value.to_string(),
            Number::Unsigned(value) => value.to_string(),
            Number::Float(value) => value.to_string(),
        }
    }

    /// What `objCType` says; a boolean calls itself a `char`.
    fn encoding(self) -> &'static CStr {
        match self {
            Number::Bool(_) => c"c",
            Number::Signed(_) => c"q",
            Number::Unsigned(_) => c"Q",
            Number::Float(_) => c"d",
        }
    }
}

class! {
    /// Values of any type; only numbers are doubled.
    pub static NS_VALUE: () = "NSValue": NS_OBJECT;
}

class! {
    /// Numbers.
    pub static NS_NUMBER: Number = "NSNumber": NS_VALUE;

    + "numberWithBool:" (_class, value: Bool) -> Id { made(Number::Bool(value.as_bool())) }
    + "numberWithChar:" (_class, value: c_char) -> Id { made(Number::Signed(value.into())) }
    + "numberWithUnsignedChar:" (_class, value: c_uchar) -> Id {
        made(Number::Unsigned(value.into()))
    }
    + "numberWithShort:" (_class, value: c_short) -> Id { made(Number::Signed(value.into())) }
    + "numberWithUnsignedShort:" (_class, value: c_ushort) -> Id {
        made(Number::Unsigned(value.into()))
    }
    + "numberWithInt:" (_class, value: c_int) -> Id { made(Number::Signed(value.into())) }
    + "numberWithUnsignedInt:" (_class, value: c_uint) -> Id {
        made(Number::Unsigned(value.into()))
    }
    + "numberWithInteger:" (_class, value: isize) -> Id { made(Number::Signed(value as i64)) }
    + "numberWithUnsignedInteger:" (_class, value: usize) -> Id {
        made(Number::Unsigned(value as u64))
    }
    + "numberWithLongLong:" (_class, value: c_longlong) -> Id { made(Number::Signed(value)) }
    + "numberWithUnsignedLongLong:" (_class, value: c_ulonglong) -> Id {
        made(Number::Unsigned(value))
    }
    + "numberWithFloat:" (_class, value: c_float) -> Id { made(Number::Float(value.into())) }
    + "numberWithDouble:" (_class, value: c_double) -> Id { made(Number::Float(value)) }

    - "boolValue" (this) -> Bool { Bool::new(value(this).float() != 0.0) }
    - "charValue" (this) -> c_char { value(this).signed() as c_char }
    - "unsignedCharValue" (this) -> c_uchar { value(this).signed() as c_uchar }
    - "shortValue" (this) -> c_short { value(this).signed() as c_short }
    - "unsignedShortValue" (this) -> c_ushort { value(this).signed() as c_ushort }
    - "intValue" (this) -> c_int { value(this).signed() as c_int }
    - "unsignedIntValue" (this) -> c_uint { value(this).signed() as c_uint }
    - "integerValue" (this) -> isize { value(this).signed() as isize }
    - "unsignedIntegerValue" (this) -> usize { value(this).signed() as usize }
    - "longLongValue" (this) -> c_longlong { value(this).signed() }
    - "unsignedLongLongValue" (this) -> c_ulonglong { value(this).signed() as u64 }
    - "floatValue" (this) -> c_float { value(this).float() as c_float }
    - "doubleValue" (this) -> c_double { value(this).float() }
    - "objCType" (this) -> *const c_char { value(this).encoding().as_ptr() }
    - "stringValue" (this) -> Id { string(&value(this).written()).returned() }
    - "description" (this) -> Id { string(&value(this).written()).returned() }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
    - "hash" (this) -> usize { hash_of(value(this).signed()) }
    - "isEqualToNumber:" (this, other: &AnyObject) -> Bool {
        Bool::new(value(this).is_same(value(other)))
    }
    - "isEqual:" (this, other: Option<&AnyObject>) -> Bool {
        let other = other.filter(|other| NS_NUMBER.is_class_of(other));
        Bool::new(other.is_some_and(|other| value(this).is_same(value(other))))
    }
}

class! {
    /// The class of numbers that were made from booleans.
    static BOOLEAN: () = "__NSCFBoolean": NS_NUMBER;
}

/// A number object.
pub fn number(value: Number) -> Strong {
    let object = match value {
        Number::Bool(_) => BOOLEAN.class().allocate(),
        Number::Signed(_) | Number::Unsigned(_) | Number::Float(_) => NS_NUMBER.class().allocate(),
    };
    NS_NUMBER.fill(&object, value);
    object
}

fn made(value: Number) -> Id {
    number(value).returned()
}

fn value(object: &AnyObject) -> Number {
    *NS_NUMBER.of(object)
}
