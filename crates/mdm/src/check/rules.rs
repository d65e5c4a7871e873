//! Every rule by its name, with its grade and what it is about.

/// A rule that profiles can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which stays.
    pub name: &'static str,
    /// How grave it is.
    pub grade: Grade,
    /// What it asks for or tells, in a sentence.
    pub about: &'static str,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It will not work, or not as it is meant.
    Error,
    /// It may not work, or not everywhere.
    Warning,
    /// Good to know.
    Remark,
}

impl Grade {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Grade::Error => "error",
            Grade::Warning => "warning",
            Grade::Remark => "remark",
        }
    }
}

/// Defines the rules, and the list of all of them.
macro_rules! rules {
    ($($constant:ident $grade:ident $name:literal $about:literal;)*) => {
        $(#[doc = $about] pub const $constant: Rule = Rule {
            name: $name,
            grade: Grade::$grade,
            about: $about,
        };)*

        /// Every rule.
        pub const ALL: &[Rule] = &[$($constant),*];
    };
}

rules! {
    NOT_READ Error "file-not-read" "A file can be read.";
    NOT_A_PROFILE Error "not-a-profile" "A file is a configuration profile.";
    FILE_TWICE Remark "file-twice" "A file is named once.";
    SIGNATURE Remark "signature-not-verified" "A signature around a profile is not verified here.";
    ENCRYPTED Warning "encrypted" "The payloads of a profile can be looked at.";
    KEY_TWICE Warning "key-twice" "A dictionary has each key once.";

    KEY_MISSING Error "key-missing" "A required key is there.";
    KEY_UNKNOWN Warning "key-unknown" "A payload has no key that its type does not know.";
    KEY_TYPE Error "key-type" "A value is of the type that the key takes.";
    KEY_VALUE Error "key-value" "A value is one of those that the key takes.";
    KEY_FORM Warning "key-form" "A text has the form that the key asks for.";
    KEY_NOT_MACOS Remark "key-not-for-macos" "A key has a meaning on macOS.";
    KEY_TOO_NEW Warning "key-too-new" "The macOS that is named knows a key.";
    PAYLOAD_TOO_NEW Error "payload-too-new" "The macOS that is named knows a type of payload.";
    SCOPE Error "scope" "What is for the machine is not in a profile for users.";
    UUID_TWICE Error "uuid-twice" "A PayloadUUID stands once in the whole set.";
    IDENTIFIER_TWICE Error "identifier-twice"
        "A PayloadIdentifier stands once in a profile, and no two profiles have the same.";
    CONFLICT Warning "conflict" "Two payloads do not say different things about the same.";

    FILTER_TYPE Error "filter-type"
        "FilterType is Plugin: macOS has no other, and it is not the default.";
    FILTER_NAME Error "filter-name" "A plug-in filter has a UserDefinedName.";
    FILTER_PLUGIN Error "filter-plugin" "A plug-in filter has a PluginBundleID.";
    FILTER_NOTHING Error "filter-nothing" "FilterSockets or FilterPackets is true.";
    SOCKETS_PROVIDER Error "filter-sockets-provider"
        "With FilterSockets there is a FilterDataProviderBundleIdentifier.";
    SOCKETS_REQUIREMENT Error "filter-sockets-requirement"
        "With FilterSockets there is a FilterDataProviderDesignatedRequirement.";
    PACKETS_PROVIDER Error "filter-packets-provider"
        "With FilterPackets there is a FilterPacketProviderBundleIdentifier.";
    PACKETS_REQUIREMENT Error "filter-packets-requirement"
        "With FilterPackets there is a FilterPacketProviderDesignatedRequirement.";
    SECRET Warning "secret"
        "A filter's configuration holds no secrets: it can be read on the machine.";
    TEAM_TWICE Error "policy-team-twice"
        "A team is not both in AllowedTeamIdentifiers and in AllowedSystemExtensions.";
    TEAM_FORM Warning "policy-team-form" "A team is ten capital letters and digits.";
    EXTENSION_TYPE Error "policy-extension-type"
        "A type of system extension is one of the three that exist.";
    REMOVABLE_AND_NOT Error "policy-removable-and-not"
        "No extension is in RemovableSystemExtensions and in NonRemovableSystemExtensions.";

    INFERRED Remark "inferred" "What is Conntrail's in the set was told, not inferred.";
    POLICY_MISSING Error "policy-missing" "A system extension policy allows the extension.";
    POLICY_CLOSED Error "policy-closed"
        "Where users cannot approve extensions, a profile allows ours.";
    POLICY_APP Error "policy-names-app" "The policy names the extension, not the app.";
    POLICY_TEAM Error "policy-team" "The policy names the extension under its own team.";
    POLICY_TYPE Error "policy-type"
        "Where types are limited for our team, network extensions are allowed.";
    FILTER_MISSING Error "filter-missing" "A content filter is configured for the app.";
    FILTER_TWICE Warning "filter-twice" "The filter is configured once.";
    FILTER_CONFLICT Error "filter-conflict" "The filter is not configured twice in different ways.";
    FILTER_APP Error "filter-app" "PluginBundleID is the app.";
    FILTER_PROVIDER Error "filter-provider" "FilterDataProviderBundleIdentifier is the extension.";
    FILTER_SOCKETS Error "filter-sockets" "Our filter filters sockets.";
    FILTER_PACKETS Warning "filter-packets" "Our filter does not filter packets.";
    FILTER_GRADE Remark "filter-grade" "Our filter is an inspector.";
    REQUIREMENT_UNREAD Warning "requirement-not-compared"
        "The requirement can be compared with ours.";
    REQUIREMENT_APP Error "requirement-app"
        "The requirement is that of the extension, not that of the app.";
    REQUIREMENT_IDENTIFIER Error "requirement-identifier" "The requirement names the extension.";
    REQUIREMENT_TEAM Error "requirement-team" "The requirement names our team.";
    REQUIREMENT_WEAK Warning "requirement-weak" "The requirement has every clause of ours.";
    REQUIREMENT_EXTRA Error "requirement-extra"
        "The requirement has no clause that our signature does not meet.";
    REQUIREMENT_DEVELOPMENT Remark "requirement-development"
        "The requirement is that of a release.";
    SERVICE_MISSING Warning "service-missing" "Every background job of ours is managed.";
    SERVICE_TEAM Error "service-team" "A rule for our job names our team.";
    SETTING Warning "setting" "A setting is one that the agent knows and takes.";

    OTHER_FILTER Remark "other-filter" "Other filters in the set.";
    OTHER_PROXY Remark "other-proxy" "Transparent proxies, app proxies and relays in the set.";
    OTHER_DNS_PROXY Remark "other-dns-proxy" "DNS proxies in the set.";
    OTHER_VPN Remark "other-vpn" "VPNs in the set.";
    OTHER_POLICY Remark "other-policy" "System extensions of others that the set allows.";
    GRADE_FULL Error "filters-of-grade" "At most four filters are of one grade.";
    FILTERS_FULL Error "filters-in-all" "At most eight filters are configured.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_explained() {
        for (position, rule) in ALL.iter().enumerate() {
            assert!(
                ALL[..position].iter().all(|it| it.name != rule.name),
                "{}",
                rule.name
            );
            assert!(rule.about.ends_with('.'), "{}", rule.name);
        }
    }
}
