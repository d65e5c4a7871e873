//! `NSString`.

use std::borrow::Cow;
use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;
use std::ptr::{self, null_mut};

use objc2::runtime::{AnyObject, Bool, NSZone};
use objc2_foundation::NSString;

use super::{bytes_at, hash_of};
use crate::classes::Class;
use crate::objects::{Header, Slot, release};
use crate::{Id, NS_OBJECT, Strong, class};

/// `NSUTF8StringEncoding`. With the GNUstep ABI objc2 passes it as an `int`.
const UTF8: c_int = 4;

/// A string with a zero byte after it, because `UTF8String` must end with one.
pub struct Text(Cow<'static, str>);

impl Text {
    fn new(text: &str) -> Text {
        let mut owned = String::with_capacity(text.len() + 1);
        owned.push_str(text);
        owned.push('\0');
        Text(Cow::Owned(owned))
    }

    fn as_str(&self) -> &str {
        &self.0[..self.0.len() - 1]
    }
}

class! {
    /// Strings.
    pub static NS_STRING: Text = "NSString": NS_OBJECT;

    + "string" (_class) -> Id { string("").returned() }
    - "init" (this) -> Id {
        NS_STRING.fill(this, Text::new(""));
        ptr::from_ref(this).cast_mut()
    }
    - "initWithBytes:length:encoding:"
        (this, address: *const c_void, length: usize, encoding: c_int) -> Id
    {
        assert_eq!(encoding, UTF8, "only UTF-8 is doubled");
        // SAFETY: the sender passes so many bytes.
        let bytes = unsafe { bytes_at(address, length) };
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                NS_STRING.fill(this, Text::new(text));
                ptr::from_ref(this).cast_mut()
            }
            Err(_) => {
                release(this);
                null_mut()
            }
        }
    }
    - "lengthOfBytesUsingEncoding:" (this, encoding: c_int) -> usize {
        assert_eq!(encoding, UTF8, "only UTF-8 is doubled");
        text(this).len()
    }
    - "UTF8String" (this) -> *const c_char { NS_STRING.of(this).0.as_ptr().cast() }
    - "length" (this) -> usize { text(this).encode_utf16().count() }
    - "hasPrefix:" (this, other: &AnyObject) -> Bool {
        Bool::new(text(this).starts_with(text(other)))
    }
    - "hasSuffix:" (this, other: &AnyObject) -> Bool {
        Bool::new(text(this).ends_with(text(other)))
    }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
    - "hash" (this) -> usize { hash_of(text(this)) }
    - "isEqual:" (this, other: Option<&AnyObject>) -> Bool { Bool::new(is_same(this, other)) }
    - "isEqualToString:" (this, other: Option<&AnyObject>) -> Bool {
        Bool::new(is_same(this, other))
    }
    - "description" (this) -> Id { Strong::to(this).returned() }
}

/// A new string.
pub fn string(text: &str) -> Strong {
    NS_STRING.create(Text::new(text))
}

/// What a string says.
///
/// # Panics
///
/// When the object is no string.
pub fn text(object: &AnyObject) -> &str {
    NS_STRING.of(object).as_str()
}

fn is_same(this: &AnyObject, other: Option<&AnyObject>) -> bool {
    let other = other.filter(|other| NS_STRING.is_class_of(other));
    other.is_some_and(|other| text(this) == text(other))
}

/// The memory of a constant string object.
#[repr(C)]
pub struct StringObject {
    header: Header,
    isa: &'static Class,
    slot: Slot<Text>,
}

impl StringObject {
    /// The object of a text that ends with a zero byte.
    pub const fn new(text: &'static str) -> StringObject {
        StringObject {
            header: Header::of_constant(),
            isa: NS_STRING.class(),
            slot: Slot::filled(Text(Cow::Borrowed(text))),
        }
    }
}

/// An exported constant: a pointer to where a string object begins for those who send messages.
#[repr(transparent)]
pub struct ConstantString(*const AnyObject);

// SAFETY: constants are never changed, and strings are `Sync`.
unsafe impl Sync for ConstantString {}

impl ConstantString {
    /// A constant for the object.
    pub const fn new(object: &'static StringObject) -> ConstantString {
        let start = ptr::from_ref(object).cast::<u8>();
        // SAFETY: the offset lies within the object.
        ConstantString(unsafe { start.add(offset_of!(StringObject, isa)).cast() })
    }

    /// The string.
    pub fn get(&self) -> &'static NSString {
        // SAFETY: the object is a string and lives forever.
        unsafe { &*self.0.cast::<NSString>() }
    }
}
