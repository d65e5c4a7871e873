//! `NSURL`: as much of it as code needs that keeps nothing but the host.

use std::ptr::{self, null_mut};

use objc2::runtime::{AnyObject, Bool, NSZone};

use super::{hash_of, string, text};
use crate::objects::release;
use crate::{Id, NS_OBJECT, Strong, class, raise};

class! {
    /// Addresses of resources.
    pub static NS_URL: Box<str> = "NSURL": NS_OBJECT;

    + "URLWithString:" (_class, written: Option<&AnyObject>) -> Id {
        match accepted(written) {
            Some(text) => url(text).returned(),
            None => null_mut(),
        }
    }
    - "initWithString:" (this, written: Option<&AnyObject>) -> Id {
        match accepted(written) {
            Some(text) => {
                NS_URL.fill(this, text.into());
                ptr::from_ref(this).cast_mut()
            }
            None => {
                release(this);
                null_mut()
            }
        }
    }
    - "absoluteString" (this) -> Id { string(NS_URL.of(this)).returned() }
    - "scheme" (this) -> Id {
        let scheme = NS_URL.of(this).split_once(':').map(|(scheme, _)| scheme);
        scheme.map_or(null_mut(), |scheme| string(scheme).returned())
    }
    - "host" (this) -> Id {
        host(NS_URL.of(this)).map_or(null_mut(), |host| string(host).returned())
    }
    - "description" (this) -> Id { string(NS_URL.of(this)).returned() }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
    - "hash" (this) -> usize { hash_of(NS_URL.of(this)) }
    - "isEqual:" (this, other: Option<&AnyObject>) -> Bool {
        let other = other.filter(|other| NS_URL.is_class_of(other));
        Bool::new(other.is_some_and(|other| NS_URL.of(this) == NS_URL.of(other)))
    }
}

/// A URL of this text, whatever it is.
pub fn url(text: &str) -> Strong {
    NS_URL.create(text.into())
}

/// Foundation gives nil for what is no URL; here that is what has spaces or nothing.
fn accepted(written: Option<&AnyObject>) -> Option<&str> {
    match written {
        Some(written) => Some(text(written))
            .filter(|text| !text.is_empty() && !text.contains(char::is_whitespace)),
        None => raise("NSInvalidArgumentException", "a URL of nil"),
    }
}

/// Between `//` and the path, without user and port; a literal in brackets without them.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("//")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(literal) => literal.split_once(']')?.0,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}
