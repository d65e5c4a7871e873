//! `CoreFoundation/CFBase.h`: what all objects have in common.

use super::object::{Body, Kind, Object, Ref};
use crate::machine::note;

static NULL: Object = Object::fixed(Body::Null);
static SYSTEM_ALLOCATOR: Object = Object::fixed(Body::Allocator);
static NULL_ALLOCATOR: Object = Object::fixed(Body::Allocator);

/// `CFBase.h`: no object, where one is asked for.
#[unsafe(no_mangle)]
static kCFNull: Ref = NULL.reference();
/// `CFBase.h`: memory as everybody gets it. NULL on macOS too.
#[unsafe(no_mangle)]
static kCFAllocatorDefault: Ref = Ref::NONE;
/// `CFBase.h`: the allocator behind the default.
#[unsafe(no_mangle)]
static kCFAllocatorSystemDefault: Ref = SYSTEM_ALLOCATOR.reference();
/// `CFBase.h`: memory from `malloc`.
#[unsafe(no_mangle)]
static kCFAllocatorMalloc: Ref = SYSTEM_ALLOCATOR.reference();
/// `CFBase.h`: for bytes that are not to be freed.
#[unsafe(no_mangle)]
static kCFAllocatorNull: Ref = NULL_ALLOCATOR.reference();

/// `CFBase.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFRetain(object: Ref) -> Ref {
    note("CFRetain");
    object.retain()
}

/// `CFBase.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFRelease(object: Ref) {
    note("CFRelease");
    object.release();
}

/// `CFBase.h`: `LONG_MAX` for what is not counted.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFGetRetainCount(object: Ref) -> isize {
    note("CFGetRetainCount");
    object
        .count()
        .and_then(|count| isize::try_from(count).ok())
        .unwrap_or(isize::MAX)
}

/// `CFBase.h`: the number of its class.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFGetTypeID(object: Ref) -> usize {
    note("CFGetTypeID");
    object.kind() as usize
}

/// `CFBase.h`: the name of a class, which the caller releases.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFCopyTypeIDDescription(class: usize) -> Ref {
    note("CFCopyTypeIDDescription");
    super::string::new(name_of(class))
}

/// `CFBase.h`: something to print, which the caller releases.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFCopyDescription(object: Ref) -> Ref {
    note("CFCopyDescription");
    let description = if let Body::Text(text) = object.body() {
        text.to_text()
    } else {
        format!("<{} {:p}>", object.kind().name(), object.address())
    };
    super::string::new(&description)
}

/// `CFBase.h`: whether two objects are equal by the measure of their class.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFEqual(one: Ref, other: Ref) -> u8 {
    note("CFEqual");
    u8::from(equal(one, other))
}

/// `CFBase.h`: the same for equal objects.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFHash(object: Ref) -> usize {
    note("CFHash");
    hash(object)
}

/// `CFBase.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFGetAllocator(object: Ref) -> Ref {
    note("CFGetAllocator");
    object.body();
    kCFAllocatorSystemDefault
}

/// `CFBase.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFNullGetTypeID() -> usize {
    Kind::Null as usize
}

/// `CFBase.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFAllocatorGetTypeID() -> usize {
    Kind::Allocator as usize
}

/// `CFBase.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFAllocatorGetDefault() -> Ref {
    note("CFAllocatorGetDefault");
    kCFAllocatorSystemDefault
}

/// Whether two objects are equal: by what they hold, or by being the same.
pub(super) fn equal(one: Ref, other: Ref) -> bool {
    if one == other {
        return true;
    }
    match (one.body(), other.body()) {
        (Body::Text(one), Body::Text(other)) => one.same_as(other),
        (Body::Number(one), Body::Number(other)) => one.compare(other).is_eq(),
        (Body::Boolean(one), Body::Boolean(other)) => one == other,
        (Body::Date(one), Body::Date(other)) => one == other,
        (Body::Data(_), Body::Data(_)) => super::data::copy(one) == super::data::copy(other),
        (Body::Array(one), Body::Array(other)) => one.same_as(other),
        (Body::Dictionary(one), Body::Dictionary(other)) => one.same_as(other),
        (Body::Url(one), Body::Url(other)) => one == other,
        _ => false,
    }
}

fn hash(object: Ref) -> usize {
    match object.body() {
        Body::Text(text) => text.hash(),
        Body::Number(number) => number.hash(),
        Body::Boolean(value) => usize::from(*value) + 1,
        Body::Data(_) => super::data::copy(object).len(),
        Body::Array(items) => items.count(),
        Body::Dictionary(entries) => entries.count(),
        Body::Url(_) | Body::Date(_) => object.kind() as usize,
        Body::Null | Body::Allocator | Body::Bundle(_) | Body::RunLoop(_) => {
            object.address().addr()
        }
        Body::Code(_) | Body::Requirement(_) | Body::Dead(_) => object.address().addr(),
    }
}

fn name_of(class: usize) -> &'static str {
    let mut all = Kind::ALL.into_iter();
    all.find(|kind| *kind as usize == class)
        .map_or("CFType", Kind::name)
}
