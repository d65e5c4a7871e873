//! Why the system refuses to load, save or remove the filter's configuration.

use std::fmt;

/// Why the filter manager refuses, by the codes of its header. The header has names only; what
/// they mean in practice is read from them, and from where others met them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The configuration is not one that could work.
    Invalid,
    /// It is switched off.
    Disabled,
    /// It was changed by somebody else since it was loaded.
    Stale,
    /// It may not be removed.
    CannotBeRemoved,
    /// It is not ours to change.
    PermissionDenied,
    /// The system's own fault.
    Internal,
    /// One that this version does not know.
    Other(isize),
}

impl Code {
    /// Every code that is known.
    pub const ALL: &[Code] = &[
        Code::Invalid,
        Code::Disabled,
        Code::Stale,
        Code::CannotBeRemoved,
        Code::PermissionDenied,
        Code::Internal,
    ];

    /// The code of a number.
    pub fn from_number(number: isize) -> Code {
        let known = Code::ALL.iter().find(|code| code.number() == number);
        known.copied().unwrap_or(Code::Other(number))
    }

    /// Its number.
    pub fn number(self) -> isize {
        match self {
            Code::Invalid => 1,
            Code::Disabled => 2,
            Code::Stale => 3,
            Code::CannotBeRemoved => 4,
            Code::PermissionDenied => 5,
            Code::Internal => 6,
            Code::Other(number) => number,
        }
    }

    /// What it means, in half a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Code::Invalid => "the configuration is not valid",
            Code::Disabled => "the configuration is switched off",
            Code::Stale => "the configuration was changed by somebody else meanwhile",
            Code::CannotBeRemoved => "the configuration may not be removed",
            Code::PermissionDenied => "the configuration is not ours to change",
            Code::Internal => "the system's own service failed",
            Code::Other(_) => "a reason that this version does not know",
        }
    }

    /// What to do about it, in sentences.
    pub fn advice(self) -> &'static str {
        match self {
            Code::Invalid => {
                "Check that the extension is active (`conntrail status`): a configuration can \
                 only name an extension that is. Up to four filters of one grade can be on at \
                 once."
            }
            Code::Disabled => {
                "Switch it on in System Settings, Network, VPN & Filters, or run \
                 `conntrail activate`."
            }
            Code::Stale => "Run the command again.",
            Code::CannotBeRemoved => {
                "A configuration profile holds it: remove the profile by device management."
            }
            Code::PermissionDenied => {
                "Either a configuration profile holds it, and then only device management can \
                 change it; or the app is not entitled: its com.apple.developer.networking.\
                 networkextension must have content-filter-provider-systemextension (Developer \
                 ID) or content-filter-provider."
            }
            Code::Internal => "Try again; if it stays so, restart the machine.",
            Code::Other(_) => {
                "The system's log may say more: `log show --last 10m --predicate 'subsystem == \
                 \"com.apple.networkextension\"'`."
            }
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.meaning(), self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_number_meaning_and_advice() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.number(), index as isize + 1);
            assert_eq!(Code::from_number(code.number()), *code);
            assert!(
                code.to_string()
                    .contains(&format!("(code {})", code.number()))
            );
            assert!(code.advice().ends_with('.'), "{code:?}");
            let meanings = Code::ALL.iter().filter(|it| it.meaning() == code.meaning());
            assert_eq!(meanings.count(), 1);
        }
        assert_eq!(Code::from_number(7), Code::Other(7));
        assert_eq!(
            Code::Other(0).to_string(),
            "a reason that this version does not know (code 0)"
        );
        assert!(
            Code::Other(0)
                .advice()
                .contains("com.apple.networkextension")
        );
    }
}
