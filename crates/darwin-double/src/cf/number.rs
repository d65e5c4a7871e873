//! `CoreFoundation/CFNumber.h`: numbers and the two booleans.

use super::object::{Body, Kind, Object, Ref};
use crate::machine::note;
use crate::raw;
use std::cmp::Ordering;
use std::ffi::c_void;

static TRUE: Object = Object::fixed(Body::Boolean(true));
static FALSE: Object = Object::fixed(Body::Boolean(false));

/// `CFNumber.h`.
#[unsafe(no_mangle)]
static kCFBooleanTrue: Ref = TRUE.reference();
/// `CFNumber.h`.
#[unsafe(no_mangle)]
static kCFBooleanFalse: Ref = FALSE.reference();

/// A number as it is stored.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Integer(i64),
    Real(f64),
}

/// How a C caller writes or wants a number: `CFNumberType`.
#[derive(Clone, Copy)]
enum Form {
    Signed(u32),
    Single,
    Double,
}

/// The boolean, which the caller does not hold.
pub(crate) fn boolean(value: bool) -> Ref {
    if value {
        kCFBooleanTrue
    } else {
        kCFBooleanFalse
    }
}

/// A new number, which the caller holds.
pub(crate) fn new(number: Number) -> Ref {
    Ref::new(Body::Number(number))
}

/// The whole number an object is, if it is one.
pub(crate) fn integer(object: Ref) -> Option<i64> {
    let Body::Number(Number::Integer(value)) = object.body() else {
        return None;
    };
    Some(*value)
}

fn number_of(number: &Ref) -> Number {
    let Body::Number(number) = number.body() else {
        number.is_not("CFNumber")
    };
    *number
}

impl Number {
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => one.cmp(other),
            _ => self.real().total_cmp(&other.real()),
        }
    }

    pub(super) fn hash(&self) -> usize {
        self.real().to_bits() as usize
    }

    fn real(&self) -> f64 {
        match self {
            Self::Integer(value) => *value as f64,
            Self::Real(value) => *value,
        }
    }

    fn integer(&self) -> i64 {
        match self {
            Self::Integer(value) => *value,
            Self::Real(value) => *value as i64,
        }
    }
}

fn form_of(class: isize) -> Form {
    match class {
        1 | 7 => Form::Signed(1),
        2 | 8 => Form::Signed(2),
        3 | 9 => Form::Signed(4),
        4 | 10 | 11 | 14 | 15 => Form::Signed(8),
        5 | 12 => Form::Single,
        6 | 13 | 16 => Form::Double,
        _ => panic!("{class} is not a CFNumberType"),
    }
}

/// `CFNumber.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFNumberGetTypeID() -> usize {
    Kind::Number as usize
}

/// `CFNumber.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFBooleanGetTypeID() -> usize {
    Kind::Boolean as usize
}

/// `CFNumber.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFBooleanGetValue(boolean: Ref) -> u8 {
    note("CFBooleanGetValue");
    let Body::Boolean(value) = boolean.body() else {
        boolean.is_not("CFBoolean")
    };
    u8::from(*value)
}

/// `CFNumber.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFNumberCreate(_allocator: Ref, class: isize, value: *const c_void) -> Ref {
    note("CFNumberCreate");
    let number = match form_of(class) {
        Form::Signed(1) => raw::get(value.cast::<i8>()).map(|value| Number::Integer(value.into())),
        Form::Signed(2) => raw::get(value.cast::<i16>()).map(|value| Number::Integer(value.into())),
        Form::Signed(4) => raw::get(value.cast::<i32>()).map(|value| Number::Integer(value.into())),
        Form::Signed(_) => raw::get(value.cast::<i64>()).map(Number::Integer),
        Form::Single => raw::get(value.cast::<f32>()).map(|value| Number::Real(value.into())),
        Form::Double => raw::get(value.cast::<f64>()).map(Number::Real),
    };
    number.map_or(Ref::NONE, new)
}

/// `CFNumber.h`: false if the value does not fit the form asked for; it is written all the same.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFNumberGetValue(number: Ref, class: isize, place: *mut c_void) -> u8 {
    note("CFNumberGetValue");
    let number = number_of(&number);
    let integer = number.integer();
    let back = match form_of(class) {
        Form::Signed(1) => {
            raw::put(place.cast(), integer as i8);
            Number::Integer(i64::from(integer as i8))
        }
        Form::Signed(2) => {
            raw::put(place.cast(), integer as i16);
            Number::Integer(i64::from(integer as i16))
        }
        Form::Signed(4) => {
            raw::put(place.cast(), integer as i32);
            Number::Integer(i64::from(integer as i32))
        }
        Form::Signed(_) => {
            raw::put(place.cast(), integer);
            Number::Integer(integer)
        }
        Form::Single => {
            raw::put(place.cast(), number.real() as f32);
            Number::Real(f64::from(number.real() as f32))
        }
        Form::Double => {
            raw::put(place.cast(), number.real());
            Number::Real(number.real())
        }
    };
    u8::from(back.compare(&number).is_eq())
}

/// `CFNumber.h`: `kCFNumberSInt64Type` or `kCFNumberFloat64Type`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFNumberGetType(number: Ref) -> isize {
    note("CFNumberGetType");
    match number_of(&number) {
        Number::Integer(_) => 4,
        Number::Real(_) => 6,
    }
}

/// `CFNumber.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFNumberGetByteSize(number: Ref) -> isize {
    note("CFNumberGetByteSize");
    number_of(&number);
    8
}

/// `CFNumber.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFNumberIsFloatType(number: Ref) -> u8 {
    note("CFNumberIsFloatType");
    u8::from(matches!(number_of(&number), Number::Real(_)))
}

/// `CFNumber.h`: less -1, equal 0, greater 1.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFNumberCompare(one: Ref, other: Ref, _context: *mut c_void) -> isize {
    note("CFNumberCompare");
    number_of(&one).compare(&number_of(&other)) as isize
}
