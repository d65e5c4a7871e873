//! Why the system refuses a request about a system extension, and what to do about it.

use crate::codes::codes;

/// The domain of these codes.
pub(super) const DOMAIN: &str = "OSSystemExtensionErrorDomain";

codes! {
    /// Why the system refuses a request, by the codes of its header.
    other: "The system's log may say more: \
        `log show --last 10m --predicate 'process == \"sysextd\"'`.";
    /// The system does not say.
    Unknown = 1, "the system does not say why",
        "Its log may say more: `log show --last 10m --predicate 'process == \"sysextd\"'`. \
         Restarting the machine has helped others.";
    /// The app may not install extensions.
    MissingEntitlement = 2, "the app is not entitled to install system extensions",
        "Sign it with com.apple.developer.system-extension.install and embed a provisioning \
         profile that grants it; for Developer ID the networking entitlement must be \
         content-filter-provider-systemextension.";
    /// The app is in the wrong folder.
    UnsupportedParentBundleLocation = 3, "the app is not in /Applications",
        "Move it to /Applications and start it from there. If it is there, check that app and \
         extension are signed with Developer ID and notarized: the system then says the same.";
    /// There is no such extension in the app.
    ExtensionNotFound = 4, "the app does not hold this extension",
        "It must be in Contents/Library/SystemExtensions of the app that asks, in a folder named \
         after its bundle identifier; only the app's own main program may ask. Install the app \
         again.";
    /// The extension has no name.
    ExtensionMissingIdentifier = 5, "the extension has no bundle identifier",
        "Its Info.plist must have CFBundleIdentifier. Install the app again.";
    /// Two extensions have one name.
    DuplicateExtensionIdentifer = 6, "two extensions in the app have the same bundle identifier",
        "Remove the app altogether and install it again, so that nothing of an older one is left.";
    /// The system does not know what the extension is for.
    UnknownExtensionCategory = 7, "the system does not know what kind of extension this is",
        "Its Info.plist must have NetworkExtension with NEProviderClasses, and CFBundlePackageType \
         SYSX. Install the app again.";
    /// A signature does not match.
    CodeSignatureInvalid = 8, "a code signature is not valid",
        "Something in the app was changed after it was signed, or app and extension are not of \
         the same team. `codesign --verify --deep --strict -vv /Applications/Conntrail.app` \
         names the place; install the app again.";
    /// The extension is not as it must be.
    ValidationFailed = 9, "the extension did not pass the system's validation",
        "Its Info.plist needs NSSystemExtensionUsageDescription and a NEMachServiceName that \
         begins with one of its application groups, and its entitlements must be in its \
         provisioning profile. The log of sysextd says which.";
    /// Device management forbids it.
    ForbiddenBySystemPolicy = 10, "the policy of this machine forbids it",
        "In the device management's payload com.apple.system-extension-policy, name this extension \
         under AllowedSystemExtensions, or its team under AllowedTeamIdentifiers; where \
         AllowedSystemExtensionTypes has an entry for the team, NetworkExtension must be in it. \
         While AllowUserOverrides is false, nobody can approve it by hand.";
    /// It was called off.
    RequestCanceled = 11, "the request was called off",
        "Ask again.";
    /// A newer request took its place.
    RequestSuperseded = 12, "a newer request for the same extension took its place",
        "Another conntrail is at work: wait until it is done.";
    /// An administrator is needed.
    AuthorizationRequired = 13, "an administrator must agree",
        "Run it in a session with a screen, where the system can ask for the password. On a \
         managed machine name the extension under RemovableSystemExtensions in the payload \
         com.apple.system-extension-policy; or move the app to the bin in the Finder, which \
         removes its extension too.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_number_meaning_and_advice() {
        assert_eq!(Code::ALL.len(), 13);
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
        assert_eq!(Code::from_number(14), Code::Other(14));
        assert_eq!(Code::Other(99).number(), 99);
        assert!(Code::Other(99).to_string().contains("(code 99)"));
        assert!(Code::Other(99).advice().contains("sysextd"));
    }

    #[test]
    fn advice_names_what_must_be_changed() {
        for (code, word) in [
            (2, "com.apple.developer.system-extension.install"),
            (3, "/Applications"),
            (4, "Contents/Library/SystemExtensions"),
            (8, "codesign"),
            (9, "NEMachServiceName"),
            (10, "AllowedSystemExtensions"),
            (13, "RemovableSystemExtensions"),
        ] {
            let advice = Code::from_number(code).advice();
            assert!(advice.contains(word), "{code}: {advice}");
        }
    }
}
