//! `NSError`, and the names of its domains and keys.

use std::ptr;

use objc2::runtime::{AnyObject, NSZone};

use super::{dictionary, lookup, returned, string, text};
use crate::{Id, NS_OBJECT, Strong, class, constant_string, raise};

/// What an error tells.
pub struct Error {
    domain: Strong,
    code: isize,
    info: Option<Strong>,
}

class! {
    /// Errors.
    pub static NS_ERROR: Error = "NSError": NS_OBJECT;

    + "errorWithDomain:code:userInfo:"
        (_class, domain: Option<&AnyObject>, code: isize, info: Option<&AnyObject>) -> Id
    {
        NS_ERROR.create(Error::new(domain, code, info)).returned()
    }
    - "initWithDomain:code:userInfo:"
        (this, domain: Option<&AnyObject>, code: isize, info: Option<&AnyObject>) -> Id
    {
        NS_ERROR.fill(this, Error::new(domain, code, info));
        ptr::from_ref(this).cast_mut()
    }
    - "domain" (this) -> Id { NS_ERROR.of(this).domain.clone().returned() }
    - "code" (this) -> isize { NS_ERROR.of(this).code }
    - "userInfo" (this) -> Id {
        let info = NS_ERROR.of(this).info.clone();
        info.unwrap_or_else(|| dictionary(Vec::new())).returned()
    }
    - "localizedDescription" (this) -> Id { NS_ERROR.of(this).description().returned() }
    - "localizedFailureReason" (this) -> Id {
        returned(NS_ERROR.of(this).of_info(NSLocalizedFailureReasonErrorKey.get()).as_ref())
    }
    - "description" (this) -> Id { NS_ERROR.of(this).description().returned() }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
}

/// An error of a domain, with a description of its own or the one the system makes up.
pub fn error(domain: &str, code: isize, description: Option<&str>) -> Strong {
    let info = description.map(|description| {
        let key = Strong::to(NSLocalizedDescriptionKey.get());
        dictionary(vec![(key, string(description))])
    });
    let domain = string(domain);
    NS_ERROR.create(Error { domain, code, info })
}

impl Error {
    fn new(domain: Option<&AnyObject>, code: isize, info: Option<&AnyObject>) -> Error {
        let Some(domain) = domain else {
            raise("NSInvalidArgumentException", "an error without a domain")
        };
        Error {
            domain: Strong::to(domain),
            code,
            info: info.map(Strong::to),
        }
    }

    fn of_info(&self, key: &AnyObject) -> Option<Strong> {
        let info = self.info.as_ref()?;
        lookup(info, key).cloned()
    }

    /// The text of the user info, or what Foundation says when there is none.
    fn description(&self) -> Strong {
        self.of_info(NSLocalizedDescriptionKey.get())
            .unwrap_or_else(|| {
                let (domain, code) = (text(&self.domain), self.code);
                string(&format!(
                    "The operation couldn’t be completed. ({domain} error {code}.)"
                ))
            })
    }
}

constant_string! {
    /// The key of the text for people.
    pub static NSLocalizedDescriptionKey = "NSLocalizedDescription";
}
constant_string! {
    /// The key of the reason for people.
    pub static NSLocalizedFailureReasonErrorKey = "NSLocalizedFailureReason";
}
constant_string! {
    /// The key of the advice for people.
    pub static NSLocalizedRecoverySuggestionErrorKey = "NSLocalizedRecoverySuggestion";
}
constant_string! {
    /// The key of the error behind an error.
    pub static NSUnderlyingErrorKey = "NSUnderlyingError";
}
constant_string! {
    /// The domain of Foundation's own errors.
    pub static NSCocoaErrorDomain = "NSCocoaErrorDomain";
}
constant_string! {
    /// The domain of `errno` values.
    pub static NSPOSIXErrorDomain = "NSPOSIXErrorDomain";
}
constant_string! {
    /// The domain of `OSStatus` values.
    pub static NSOSStatusErrorDomain = "NSOSStatusErrorDomain";
}
