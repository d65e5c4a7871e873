//! The two versions that a bundle has.
//!
//! The first is for people and stands in the workspace's manifest; the second is the number of the
//! build, which rises with every commit. The system compares both and asks about a replacement
//! only when one differs, so no two builds may have the same.

use std::fmt;
use std::str::FromStr;

/// What an installed bundle says of its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// `CFBundleShortVersionString`, from the workspace's manifest.
    pub short: Short,
    /// `CFBundleVersion`, at least 1.
    pub build: u32,
}

/// Three numbers, the only form that the system's documentation of `CFBundleShortVersionString`
/// has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Short(pub u32, pub u32, pub u32);

/// Why a version cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not three numbers.
    #[error(
        "the version \"{0}\" is not three numbers with dots between: bundles for macOS can have \
         no other"
    )]
    Short(String),
    /// It does not rise.
    #[error(
        "version {new} must be higher than {old}, which exists: the system tells versions apart \
         by these numbers only. Commit, or give a higher --build-number"
    )]
    NotHigher {
        /// The one that exists.
        old: Version,
        /// The one that was to follow it.
        new: Version,
    },
}

impl FromStr for Short {
    type Err = Error;

    fn from_str(text: &str) -> Result<Short, Error> {
        let number = |part: &str| {
            let is_plain = part.bytes().all(|it| it.is_ascii_digit());
            let has_no_zero_before = part == "0" || !part.starts_with('0');
            (is_plain && has_no_zero_before).then(|| part.parse().ok())?
        };
        let numbers: Option<Vec<u32>> = text.split('.').map(number).collect();
        match numbers.as_deref() {
            Some(&[major, minor, patch]) => Ok(Short(major, minor, patch)),
            Some(_) | None => Err(Error::Short(text.to_owned())),
        }
    }
}

impl Version {
    /// Whether this can come after a version that exists.
    ///
    /// # Errors
    /// When it is not higher: the number of the build must rise whatever the first version does,
    /// because rolling back takes a build with a higher number too.
    pub fn must_follow(self, old: Version) -> Result<(), Error> {
        match self.build > old.build && self.short >= old.short {
            true => Ok(()),
            false => Err(Error::NotHigher { old, new: self }),
        }
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.short, self.build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_three_numbers() {
        assert_eq!("1.20.3".parse(), Ok(Short(1, 20, 3)));
        for wrong in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.3-rc1",
            "1.02.3",
            "1..3",
            "+1.2.3",
        ] {
            let refused = wrong.parse::<Short>();
            assert_eq!(refused, Err(Error::Short(wrong.to_owned())));
        }
    }

    #[test]
    fn a_build_follows_only_a_lower_one() {
        let version = |minor, build| Version {
            short: Short(0, minor, 0),
            build,
        };
        assert_eq!(version(1, 8).must_follow(version(1, 7)), Ok(()));
        assert_eq!(version(2, 8).must_follow(version(1, 7)), Ok(()));
        for wrong in [version(1, 7), version(1, 6), version(2, 7), version(0, 8)] {
            let refused = wrong.must_follow(version(1, 7));
            assert!(refused.is_err(), "{wrong}");
        }
    }
}
