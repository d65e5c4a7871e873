//! Why the system refuses to load, save or remove the filter's configuration.

use crate::codes::codes;

codes! {
    /// Why the filter manager refuses, by the codes of its header. The header has names only; what
    /// they mean in practice is read from them, and from where others met them.
    other: "The system's log may say more: `log show --last 10m --predicate 'subsystem == \
        \"com.apple.networkextension\"'`.";
    /// The configuration is not one that could work.
    Invalid = 1, "the configuration is not valid",
        "Check that the extension is active (`conntrail status`): a configuration can only name \
         an extension that is. Up to four filters of one grade can be on at once.";
    /// It is switched off.
    Disabled = 2, "the configuration is switched off",
        "Switch it on in System Settings, Network, VPN & Filters, or run `conntrail activate`.";
    /// It was changed by somebody else since it was loaded.
    Stale = 3, "the configuration was changed by somebody else meanwhile",
        "Run the command again.";
    /// It may not be removed.
    CannotBeRemoved = 4, "the configuration may not be removed",
        "A configuration profile holds it: remove the profile by device management.";
    /// It is not ours to change.
    PermissionDenied = 5, "the configuration is not ours to change",
        "Either a configuration profile holds it, and then only device management can change it; \
         or the app is not entitled: its com.apple.developer.networking.networkextension must \
         have content-filter-provider-systemextension (Developer ID) or content-filter-provider.";
    /// The system's own fault.
    Internal = 6, "the system's own service failed",
        "Try again; if it stays so, restart the machine.";
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
