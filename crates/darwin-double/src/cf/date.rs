//! `CoreFoundation/CFDate.h`: here only so that a date can stand where something else is expected.

use super::object::{Body, Kind, Ref};
use crate::machine::note;

/// `CFDate.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDateGetTypeID() -> usize {
    Kind::Date as usize
}

/// `CFDate.h`: seconds since 2001.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDateGetAbsoluteTime(date: Ref) -> f64 {
    note("CFDateGetAbsoluteTime");
    let Body::Date(seconds) = date.body() else {
        date.is_not("CFDate")
    };
    *seconds
}
