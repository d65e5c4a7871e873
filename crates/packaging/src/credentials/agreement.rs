//! Whether certificates and profiles fit each other, the identifiers and the variant.
//!
//! Everything that is wrong is found at once: whoever has to ask a colleague for a new profile
//! wants to ask once.
//!
//! What a profile must say is that of TN3125 ("Inside Code Signing: Provisioning Profiles") and
//! TN3137; which entitlements a program needs for a content filter is that of Apple's Developer
//! Technical Support (forum threads 737894 and 795579).

use super::certificate::{Certificate, Kind};
use super::provisioning::{
    APPLICATION_IDENTIFIER, NETWORK_EXTENSION, Profile, SYSTEM_EXTENSION, TEAM_IDENTIFIER,
};
use super::{Credentials, Signing, Variant};
use mdm::identity::{BundleId, TeamId};
use plist::{Dictionary, Value};
use std::fmt;

/// What is to be built, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// For whom.
    pub variant: Variant,
    /// The app's identifier.
    pub app: &'a BundleId,
    /// The extension's identifier.
    pub extension: &'a BundleId,
    /// Who signs.
    pub team: &'a TeamId,
    /// With what.
    pub credentials: &'a Credentials,
    /// Seconds since 1970.
    pub now: i64,
}

/// One of the two programs that are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bundle {
    /// `Conntrail.app`.
    App,
    /// The system extension in it.
    Extension,
}

/// One of the two certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Signs programs.
    Application,
    /// Signs packages.
    Installer,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// App and extension have one name.
    #[error(
        "app and extension both have the identifier {identifier}: give the extension another, \
         such as {identifier}.filter, and a profile for it"
    )]
    SameIdentifier {
        /// Of both.
        identifier: BundleId,
    },
    /// A certificate is of no use any more.
    #[error(
        "the {role} certificate \"{name}\" expired on {}: make a new one in the developer \
         account{}",
        day(*.until),
        and_profiles(*.role)
    )]
    CertificateExpired {
        /// Which certificate.
        role: Role,
        /// Its common name.
        name: String,
        /// Seconds since 1970.
        until: i64,
    },
    /// A certificate is of no use yet.
    #[error(
        "the {role} certificate \"{name}\" is only valid from {}: look whether the clock of this \
         machine is right",
        day(*.from)
    )]
    CertificateNotYetValid {
        /// Which certificate.
        role: Role,
        /// Its common name.
        name: String,
        /// Seconds since 1970.
        from: i64,
    },
    /// A certificate for something else.
    #[error(
        "the {role} certificate \"{name}\" is of kind {found}, and a {variant} build needs one of \
         kind {wanted}: choose that one, or the other variant"
    )]
    CertificateKind {
        /// Which certificate.
        role: Role,
        /// Its common name.
        name: String,
        /// What it is for.
        found: Kind,
        /// What it must be for.
        wanted: Kind,
        /// For which build.
        variant: Variant,
    },
    /// A certificate of somebody else.
    #[error(
        "the {role} certificate \"{name}\" belongs to {}, not to team {wanted}: choose the \
         certificate of that team, or name the other team",
        of_team(.found.as_deref())
    )]
    CertificateTeam {
        /// Which certificate.
        role: Role,
        /// Its common name.
        name: String,
        /// The team in it.
        found: Option<String>,
        /// The team asked for.
        wanted: TeamId,
    },
    /// A key of another certificate.
    #[error(
        "the private key given with the {role} certificate \"{name}\" is that of another \
         certificate: give the key that the certificate was requested with"
    )]
    Key {
        /// Which certificate.
        role: Role,
        /// Its common name.
        name: String,
    },
    /// More than one key.
    #[error(
        "{count} private keys were given with the {role} certificate \"{name}\", and the signing \
         tool takes one: give only the files of this certificate"
    )]
    Keys {
        /// Which certificate.
        role: Role,
        /// Its common name.
        name: String,
        /// How many.
        count: usize,
    },
    /// Nothing to sign the package with.
    #[error(
        "there is no installer certificate, and macOS installs no unsigned package on machines in \
         the field: give one of kind {}",
        Kind::DeveloperIdInstaller
    )]
    InstallerMissing,
    /// A certificate that nothing uses. A warning.
    #[error(
        "an installer certificate was given, but a development build has no signed package: it \
         is not used"
    )]
    InstallerUnused,
    /// Each has the profile of the other.
    #[error(
        "the two profiles are swapped: that given for the app is for {extension}, and that given \
         for the extension is for {app}"
    )]
    ProfilesSwapped {
        /// The app's identifier.
        app: BundleId,
        /// The extension's.
        extension: BundleId,
    },
    /// A profile is of no use any more.
    #[error(
        "the profile \"{name}\" of the {bundle} expired on {}: renew it in the developer account",
        day(*.until)
    )]
    ProfileExpired {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// Seconds since 1970.
        until: i64,
    },
    /// A profile is of no use yet.
    #[error(
        "the profile \"{name}\" of the {bundle} was made on {}, which is to come: look whether \
         the clock of this machine is right",
        day(*.from)
    )]
    ProfileNotYetValid {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// Seconds since 1970.
        from: i64,
    },
    /// A profile of somebody else.
    #[error(
        "the profile \"{name}\" of the {bundle} belongs to {}, not to team {wanted}: choose one \
         of that team, or name the other team",
        of_team(.found.first().map(String::as_str))
    )]
    ProfileTeam {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// The teams in it.
        found: Vec<String>,
        /// The team asked for.
        wanted: TeamId,
    },
    /// A profile for something other than a Mac.
    #[error(
        "the profile \"{name}\" of the {bundle} is for {}, not for macOS (OSX): make one for \
         macOS",
        listed(.found)
    )]
    ProfilePlatform {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// The platforms in it.
        found: Vec<String>,
    },
    /// A profile for another program.
    #[error(
        "the profile \"{name}\" of the {bundle} is for {}, and the {bundle} is {wanted}: choose \
         the profile of that App ID, or the identifier that the profile has",
        .found.as_deref().unwrap_or("no program by name")
    )]
    ProfileIdentifier {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// The program in it, with the prefix.
        found: Option<String>,
        /// The program that is built.
        wanted: BundleId,
    },
    /// A profile for an identifier of before 2011.
    #[error(
        "the profile \"{name}\" of the {bundle} is for {found}, whose prefix is not the team \
         {wanted}: register an App ID that has the team as prefix, and make a profile for it"
    )]
    ProfilePrefix {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// The program in it, with the prefix.
        found: String,
        /// The prefix that it must have.
        wanted: TeamId,
    },
    /// A profile for many programs.
    #[error(
        "the profile \"{name}\" of the {bundle} is for every program that fits {found}, and such \
         a profile cannot allow network or system extensions: make one for {wanted} alone"
    )]
    ProfileWildcard {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// The pattern in it.
        found: String,
        /// The program that is built.
        wanted: BundleId,
    },
    /// A profile for the other variant, as the kind of network extension tells.
    #[error(
        "the profile \"{name}\" of the {bundle} allows {} under {NETWORK_EXTENSION}, and a \
         {variant} build needs exactly {}: {}",
        listed(.found),
        .variant.content_filter_value(),
        filter_advice(.found, *.variant)
    )]
    ContentFilterValue {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// The kinds in it.
        found: Vec<String>,
        /// For which build.
        variant: Variant,
    },
    /// The program claims what its profile does not allow.
    #[error(
        "the {bundle} claims {key} = {wanted}, and its profile \"{name}\" allows {}: switch the \
         capability on for this App ID and download the profile again",
        .found.as_deref().unwrap_or("nothing under that key")
    )]
    Entitlement {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// The entitlement.
        key: String,
        /// What is claimed.
        wanted: String,
        /// What is allowed.
        found: Option<String>,
    },
    /// A profile that does not know the certificate.
    #[error(
        "the profile \"{name}\" of the {bundle} does not list the certificate \"{certificate}\" \
         ({fingerprint}): edit the profile in the developer account, add the certificate, and \
         download it again"
    )]
    CertificateNotListed {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// The certificate's common name.
        certificate: String,
        /// The certificate's SHA-1.
        fingerprint: String,
    },
    /// A profile for a few machines.
    #[error(
        "the profile \"{name}\" of the {bundle} is for {machines} machines by name, and a \
         developer-id build must run on all: make a profile of type Developer ID"
    )]
    ProfileForSomeDevices {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
        /// How many it names.
        machines: usize,
    },
    /// A profile for all machines.
    #[error(
        "the profile \"{name}\" of the {bundle} is one of type Developer ID, for all machines, \
         and a development build needs one of type macOS App Development"
    )]
    ProfileForAllDevices {
        /// Whose profile.
        bundle: Bundle,
        /// Its name.
        name: String,
    },
    /// Something will soon be of no use. A warning.
    #[error(
        "{what} expires on {}, in {days} days: renew it before the next build",
        day(*.until)
    )]
    ExpiresSoon {
        /// Which certificate or profile.
        what: String,
        /// Seconds since 1970.
        until: i64,
        /// Whole days that are left.
        days: i64,
    },
}

/// From how many days before its end a certificate or profile is warned of.
///
/// Profiles for a Developer ID hold 18 years, its certificates 5, those for development 1.
pub const SOON_DAYS: i64 = 30;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Everything that does not fit, warnings included: see [`Mismatch::is_warning`].
pub fn check(request: &Request<'_>) -> Vec<Mismatch> {
    let Request { app, extension, .. } = *request;
    let mut found = Vec::new();
    if app == extension {
        found.push(Mismatch::SameIdentifier {
            identifier: app.clone(),
        });
    }
    let application = &request.credentials.application;
    certificate(&mut found, request, Role::Application, application);
    installer(&mut found, request);
    let mut of_app = &request.credentials.app_profile;
    let mut of_extension = &request.credentials.extension_profile;
    let is_for = |profile: &Profile, id: &BundleId| {
        identifier(profile).is_some_and(|it| it.1 == id.as_str())
    };
    if app != extension && is_for(of_app, extension) && is_for(of_extension, app) {
        found.push(Mismatch::ProfilesSwapped {
            app: app.clone(),
            extension: extension.clone(),
        });
        (of_app, of_extension) = (of_extension, of_app);
    }
    for (bundle, profile) in [(Bundle::App, of_app), (Bundle::Extension, of_extension)] {
        of_profile(&mut found, request, bundle, profile);
        program(&mut found, request, bundle, profile);
    }
    found
}

/// The entitlements of a program, as a property list whose bytes are always the same.
pub fn entitlements(
    bundle: Bundle,
    variant: Variant,
    identifier: &BundleId,
    team: &TeamId,
) -> Vec<u8> {
    let claims = Value::Dictionary(claims(bundle, variant, identifier, team));
    let mut bytes = Vec::new();
    let written = claims.to_writer_xml(&mut bytes);
    written.expect("memory takes every byte");
    bytes.push(b'\n');
    bytes
}

/// The entitlements of a program, in the order of their names.
pub fn claims(
    bundle: Bundle,
    variant: Variant,
    identifier: &BundleId,
    team: &TeamId,
) -> Dictionary {
    let filter = Value::String(variant.content_filter_value().to_owned());
    let mut claims = Dictionary::new();
    let mut claim = |key: &str, value: Value| claims.insert(key.to_owned(), value);
    claim(
        APPLICATION_IDENTIFIER,
        format!("{team}.{identifier}").into(),
    );
    claim(NETWORK_EXTENSION, Value::Array(vec![filter]));
    match bundle {
        Bundle::App => claim(SYSTEM_EXTENSION, Value::Boolean(true)),
        Bundle::Extension => None,
    };
    claim(TEAM_IDENTIFIER, team.to_string().into());
    claims
}

/// What of these entitlements the profile does not allow.
///
/// The system lets a program claim what is restricted only with the same value in its profile,
/// where a `*` at the end stands for anything; else it kills the program at its start (TN3125).
pub fn disallowed(bundle: Bundle, claims: &Dictionary, profile: &Profile) -> Vec<Mismatch> {
    let restricted = claims
        .iter()
        .filter(|(key, value)| is_restricted(key, value));
    restricted
        .filter_map(|(key, wanted)| {
            let allowed = profile.entitlements.get(key);
            let permitted = allowed.is_some_and(|it| permits(it, wanted));
            (!permitted).then(|| Mismatch::Entitlement {
                bundle,
                name: profile.name.clone(),
                key: key.clone(),
                wanted: shown(wanted),
                found: allowed.map(shown),
            })
        })
        .collect()
}

impl Mismatch {
    /// Whether the build can go on.
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Mismatch::ExpiresSoon { .. } | Mismatch::InstallerUnused
        )
    }
}

impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bundle::App => "app",
            Bundle::Extension => "extension",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Application => "application",
            Role::Installer => "installer",
        })
    }
}

fn installer(found: &mut Vec<Mismatch>, request: &Request<'_>) {
    match (request.variant, &request.credentials.installer) {
        (Variant::DeveloperId, Some(it)) => certificate(found, request, Role::Installer, it),
        (Variant::DeveloperId, None) => found.push(Mismatch::InstallerMissing),
        (Variant::Development, Some(_)) => found.push(Mismatch::InstallerUnused),
        (Variant::Development, None) => {}
    }
}

fn certificate(found: &mut Vec<Mismatch>, request: &Request<'_>, role: Role, of: &Signing) {
    let it = &of.certificate;
    let name = it.common_name.clone();
    let wanted = match role {
        Role::Application => request.variant.application_kind(),
        Role::Installer => Kind::DeveloperIdInstaller,
    };
    if it.kind != wanted {
        found.push(Mismatch::CertificateKind {
            role,
            name: name.clone(),
            found: it.kind,
            wanted,
            variant: request.variant,
        });
    }
    if it.team.as_deref() != Some(request.team.as_str()) {
        found.push(Mismatch::CertificateTeam {
            role,
            name: name.clone(),
            found: it.team.clone(),
            wanted: request.team.clone(),
        });
    }
    lifetime(found, request.now, role, it);
    match of.keys.as_slice() {
        [] => {}
        [key] if it.fits(key) == Some(false) => found.push(Mismatch::Key { role, name }),
        [_] => {}
        several => found.push(Mismatch::Keys {
            role,
            name,
            count: several.len(),
        }),
    }
}

fn lifetime(found: &mut Vec<Mismatch>, now: i64, role: Role, it: &Certificate) {
    let name = it.common_name.clone();
    if now > it.not_after {
        let until = it.not_after;
        found.push(Mismatch::CertificateExpired { role, name, until });
    } else if now < it.not_before {
        let from = it.not_before;
        found.push(Mismatch::CertificateNotYetValid { role, name, from });
    } else {
        let what = format!("the {role} certificate \"{name}\"");
        found.extend(soon(what, it.not_after, now));
    }
}

fn soon(what: String, until: i64, now: i64) -> Option<Mismatch> {
    let days = until.saturating_sub(now) / DAY_SECONDS;
    (days < SOON_DAYS).then_some(Mismatch::ExpiresSoon { what, until, days })
}

/// What holds for the profile of any program.
fn of_profile(found: &mut Vec<Mismatch>, request: &Request<'_>, bundle: Bundle, it: &Profile) {
    let name = it.name.clone();
    let certificate = &request.credentials.application.certificate;
    if !it.teams.iter().any(|team| team == request.team.as_str()) {
        found.push(Mismatch::ProfileTeam {
            bundle,
            name: name.clone(),
            found: it.teams.clone(),
            wanted: request.team.clone(),
        });
    }
    if !it.platforms.iter().any(|platform| platform == "OSX") {
        found.push(Mismatch::ProfilePlatform {
            bundle,
            name: name.clone(),
            found: it.platforms.clone(),
        });
    }
    profile_lifetime(found, request.now, bundle, it);
    if !it.lists(certificate) {
        found.push(Mismatch::CertificateNotListed {
            bundle,
            name: name.clone(),
            certificate: certificate.common_name.clone(),
            fingerprint: certificate.fingerprint(),
        });
    }
    match (request.variant, it.all_devices) {
        (Variant::DeveloperId, false) => found.push(Mismatch::ProfileForSomeDevices {
            bundle,
            name,
            machines: it.devices.len(),
        }),
        (Variant::Development, true) => {
            found.push(Mismatch::ProfileForAllDevices { bundle, name });
        }
        (Variant::DeveloperId, true) | (Variant::Development, false) => {}
    }
}

fn profile_lifetime(found: &mut Vec<Mismatch>, now: i64, bundle: Bundle, it: &Profile) {
    let name = it.name.clone();
    if now > it.expires {
        let until = it.expires;
        found.push(Mismatch::ProfileExpired {
            bundle,
            name,
            until,
        });
    } else if now < it.created {
        let from = it.created;
        found.push(Mismatch::ProfileNotYetValid { bundle, name, from });
    } else {
        let what = format!("the profile \"{name}\" of the {bundle}");
        found.extend(soon(what, it.expires, now));
    }
}

/// What the profile says of the program that it is for.
fn program(found: &mut Vec<Mismatch>, request: &Request<'_>, bundle: Bundle, profile: &Profile) {
    let wanted = match bundle {
        Bundle::App => request.app,
        Bundle::Extension => request.extension,
    };
    found.extend(wrong_identifier(request.team, wanted, bundle, profile));
    let kinds = profile.network_extensions();
    let value = request.variant.content_filter_value();
    if !kinds.iter().any(|it| it == value) {
        found.push(Mismatch::ContentFilterValue {
            bundle,
            name: profile.name.clone(),
            found: kinds,
            variant: request.variant,
        });
    }
    let mut others = claims(bundle, request.variant, wanted, request.team);
    let is_foreign = !profile.teams.iter().any(|it| it == request.team.as_str());
    others.retain(|key, _| match key.as_str() {
        APPLICATION_IDENTIFIER | NETWORK_EXTENSION => false,
        TEAM_IDENTIFIER => !is_foreign,
        _ => true,
    });
    found.extend(disallowed(bundle, &others, profile));
}

fn wrong_identifier(
    team: &TeamId,
    wanted: &BundleId,
    bundle: Bundle,
    profile: &Profile,
) -> Option<Mismatch> {
    let name = profile.name.clone();
    let whole = profile.application_identifier();
    let wanted = wanted.clone();
    let Some((prefix, program)) = identifier(profile) else {
        return Some(Mismatch::ProfileIdentifier {
            bundle,
            name,
            found: whole.map(str::to_owned),
            wanted,
        });
    };
    let found = format!("{prefix}.{program}");
    if program.ends_with('*') {
        return Some(Mismatch::ProfileWildcard {
            bundle,
            name,
            found,
            wanted,
        });
    }
    if program != wanted.as_str() {
        return Some(Mismatch::ProfileIdentifier {
            bundle,
            name,
            found: Some(found),
            wanted,
        });
    }
    let is_ours = profile.teams.iter().any(|it| it == team.as_str());
    (is_ours && prefix != team.as_str()).then(|| Mismatch::ProfilePrefix {
        bundle,
        name,
        found,
        wanted: team.clone(),
    })
}

/// The prefix and the bundle identifier in a profile.
fn identifier(profile: &Profile) -> Option<(&str, &str)> {
    profile.application_identifier()?.split_once('.')
}

/// Whether the system asks for a profile that allows this. It does not for the settings of
/// sandbox, hardened runtime and debugging, and for groups of apps that begin with the team;
/// what we do not know counts as restricted.
fn is_restricted(key: &str, value: &Value) -> bool {
    if key == "com.apple.security.application-groups" {
        let groups = value.as_array().into_iter().flatten();
        let mut groups = groups.filter_map(Value::as_string);
        return groups.any(|it| it.starts_with("group."));
    }
    !key.starts_with("com.apple.security.")
}

/// Whether a program may claim this where its profile says that.
fn permits(allowed: &Value, claimed: &Value) -> bool {
    if allowed.as_string() == Some("*") {
        return true;
    }
    if let Some(claimed) = claimed.as_array() {
        let allowed = allowed.as_array();
        let is_in = |it: &Value| allowed.into_iter().flatten().any(|one| permits(one, it));
        return claimed.iter().all(is_in);
    }
    match (allowed.as_string(), claimed.as_string()) {
        (Some(allowed), Some(claimed)) => match allowed.strip_suffix('*') {
            Some(beginning) => claimed.starts_with(beginning),
            None => claimed == allowed,
        },
        _ => allowed == claimed,
    }
}

fn day(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        Err(_) => format!("a day out of range ({seconds} s since 1970)"),
    }
}

fn and_profiles(role: Role) -> &'static str {
    match role {
        Role::Application => ", add it to both profiles, and download them again",
        Role::Installer => "",
    }
}

fn of_team(team: Option<&str>) -> String {
    team.map_or("no team".to_owned(), |it| format!("team {it}"))
}

fn listed(values: &[String]) -> String {
    match values.is_empty() {
        true => "nothing".to_owned(),
        false => values.join(", "),
    }
}

fn filter_advice(found: &[String], variant: Variant) -> &'static str {
    let is_other = |it: &String| {
        let others = Variant::ALL.into_iter().filter(|other| *other != variant);
        others
            .map(Variant::content_filter_value)
            .any(|value| it == value)
    };
    match (variant, found.iter().any(is_other)) {
        (Variant::DeveloperId, true) => {
            "it is a profile for development; choose the one of type Developer ID"
        }
        (Variant::Development, true) => {
            "it is a profile for a Developer ID; choose the one of type macOS App Development"
        }
        (_, false) => {
            "switch on the capability Network Extensions for this App ID and download the profile \
             again"
        }
    }
}

fn shown(value: &Value) -> String {
    if let Some(text) = value.as_string() {
        return text.to_owned();
    }
    if let Some(items) = value.as_array() {
        let items: Vec<_> = items.iter().filter_map(Value::as_string).collect();
        return format!("[{}]", items.join(", "));
    }
    match value.as_boolean() {
        Some(value) => value.to_string(),
        None => "a value of another type".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::self_signed::Plan;
    use super::super::self_signed::tests::{NOW, credentials, made, plan};
    use super::*;

    /// A request that owns what it is about, to plant mistakes in.
    #[derive(Clone)]
    struct Case {
        variant: Variant,
        app: BundleId,
        extension: BundleId,
        team: TeamId,
        credentials: Credentials,
        now: i64,
    }

    impl Case {
        fn right(variant: Variant) -> Case {
            Case {
                variant,
                app: mdm::identity::APP.parse().unwrap(),
                extension: mdm::identity::EXTENSION.parse().unwrap(),
                team: "AB12CD34EF".parse().unwrap(),
                credentials: credentials(variant).clone(),
                now: NOW,
            }
        }

        fn check(&self) -> Vec<Mismatch> {
            check(&Request {
                variant: self.variant,
                app: &self.app,
                extension: &self.extension,
                team: &self.team,
                credentials: &self.credentials,
                now: self.now,
            })
        }

        fn installer(&mut self) -> &mut Signing {
            self.credentials.installer.as_mut().unwrap()
        }

        fn app_claims(&mut self) -> &mut Dictionary {
            &mut self.credentials.app_profile.entitlements
        }

        fn extension_claims(&mut self) -> &mut Dictionary {
            &mut self.credentials.extension_profile.entitlements
        }
    }

    fn texts(values: &[&str]) -> Value {
        Value::Array(values.iter().map(|&it| it.into()).collect())
    }

    fn put(claims: &mut Dictionary, key: &str, value: impl Into<Value>) {
        claims.insert(key.to_owned(), value.into());
    }

    const FIELD: Variant = Variant::DeveloperId;
    const HOME: Variant = Variant::Development;

    type Planted = (
        Variant,
        fn(&mut Case),
        &'static [(&'static str, &'static str)],
    );

    type PlantedInFiles = (fn(&mut Plan), &'static [&'static str]);

    /// Each mistake, and what is found then: the name of the mismatch, and words of its sentence.
    const CERTIFICATES: &[Planted] = &[
        (
            FIELD,
            |it| it.credentials.application.certificate.not_after = 1_704_153_600,
            &[(
                "CertificateExpired",
                "application certificate \"Developer ID Application: \
                Example / Söhne + Co (AB12CD34EF)\" expired on 2024-01-02: make a new one in \
                the developer account, add it to both profiles",
            )],
        ),
        (
            FIELD,
            |it| it.installer().certificate.not_after = NOW - 1,
            &[("CertificateExpired", "installer certificate")],
        ),
        (
            HOME,
            |it| it.credentials.application.certificate.not_before = NOW + 1,
            &[("CertificateNotYetValid", "clock")],
        ),
        (
            FIELD,
            |it| it.credentials.application.certificate.kind = Kind::AppleDistribution,
            &[(
                "CertificateKind",
                "is of kind Apple Distribution, and a developer-id build needs \
                one of kind Developer ID Application",
            )],
        ),
        (
            HOME,
            |it| it.credentials.application.certificate.kind = Kind::DeveloperIdApplication,
            &[("CertificateKind", "needs one of kind Apple Development")],
        ),
        (
            FIELD,
            |it| it.installer().certificate.kind = Kind::DeveloperIdApplication,
            &[(
                "CertificateKind",
                "needs one of kind Developer ID Installer",
            )],
        ),
        (
            FIELD,
            |it| it.credentials.application.certificate.team = Some("ZZ12CD34EF".to_owned()),
            &[(
                "CertificateTeam",
                "belongs to team ZZ12CD34EF, not to team AB12CD34EF",
            )],
        ),
        (
            FIELD,
            |it| it.installer().certificate.team = None,
            &[(
                "CertificateTeam",
                "belongs to no team, not to team AB12CD34EF",
            )],
        ),
        (
            FIELD,
            |it| {
                let keys = it.installer().keys.clone();
                it.credentials.application.keys = keys;
            },
            &[("Key", "is that of another certificate")],
        ),
        (
            FIELD,
            |it| {
                let keys = it.installer().keys.clone();
                it.credentials.application.keys.extend(keys);
            },
            &[(
                "Keys",
                "2 private keys were given with the application certificate",
            )],
        ),
        (
            FIELD,
            |it| it.credentials.installer = None,
            &[("InstallerMissing", "Developer ID Installer")],
        ),
        (
            HOME,
            |it| it.credentials.installer = Some(it.credentials.application.clone()),
            &[("InstallerUnused", "it is not used")],
        ),
        (
            FIELD,
            |it| it.installer().certificate.not_after = NOW + 30 * DAY_SECONDS - 1,
            &[(
                "ExpiresSoon",
                "installer certificate \"Developer ID Installer: Example / Söhne + \
                Co (AB12CD34EF)\" expires on 2027-02-14, in 29 days",
            )],
        ),
    ];

    const PROFILES: &[Planted] = &[
        (
            FIELD,
            |it| it.credentials.app_profile.expires = NOW - 1,
            &[(
                "ProfileExpired",
                "of the app expired on 2027-01-15: renew it",
            )],
        ),
        (
            HOME,
            |it| it.credentials.extension_profile.created = NOW + 1,
            &[(
                "ProfileNotYetValid",
                "of the extension was made on 2027-01-15",
            )],
        ),
        (
            HOME,
            |it| it.credentials.extension_profile.expires = NOW,
            &[(
                "ExpiresSoon",
                "of the extension expires on 2027-01-15, in 0 days",
            )],
        ),
        (
            FIELD,
            |it| it.credentials.app_profile.teams = vec!["ZZ12CD34EF".to_owned()],
            &[(
                "ProfileTeam",
                "of the app belongs to team ZZ12CD34EF, not to team AB12CD34EF",
            )],
        ),
        (
            FIELD,
            |it| it.credentials.extension_profile.platforms = vec!["iOS".to_owned()],
            &[(
                "ProfilePlatform",
                "of the extension is for iOS, not for macOS (OSX)",
            )],
        ),
        (
            FIELD,
            |it| it.credentials.app_profile.platforms = vec![],
            &[("ProfilePlatform", "of the app is for nothing")],
        ),
        (
            FIELD,
            |it| it.credentials.extension_profile.certificates.clear(),
            &[(
                "CertificateNotListed",
                "does not list the certificate \"Developer ID \
                Application: Example / Söhne + Co (AB12CD34EF)\"",
            )],
        ),
        (
            FIELD,
            |it| {
                it.credentials.app_profile.all_devices = false;
                it.credentials.app_profile.devices = vec!["A".to_owned(), "B".to_owned()];
            },
            &[(
                "ProfileForSomeDevices",
                "of the app is for 2 machines by name",
            )],
        ),
        (
            HOME,
            |it| it.credentials.extension_profile.all_devices = true,
            &[(
                "ProfileForAllDevices",
                "needs one of type macOS App Development",
            )],
        ),
        (
            FIELD,
            |it| {
                let of = &mut it.credentials;
                std::mem::swap(&mut of.app_profile, &mut of.extension_profile);
            },
            &[(
                "ProfilesSwapped",
                "given for the app is for com.conntrail.agent.filter, and that \
                given for the extension is for com.conntrail.agent",
            )],
        ),
        (
            FIELD,
            |it| it.extension = it.app.clone(),
            &[
                ("SameIdentifier", "com.conntrail.agent.filter"),
                (
                    "ProfileIdentifier",
                    "of the extension is for AB12CD34EF.com.conntrail.agent.\
                    filter, and the extension is com.conntrail.agent:",
                ),
            ],
        ),
    ];

    const CLAIMS: &[Planted] = &[
        (
            FIELD,
            |it| it.app = "com.conntrail.other".parse().unwrap(),
            &[(
                "ProfileIdentifier",
                "of the app is for AB12CD34EF.com.conntrail.agent, and the \
                app is com.conntrail.other",
            )],
        ),
        (
            FIELD,
            |it| drop(it.app_claims().remove(APPLICATION_IDENTIFIER)),
            &[("ProfileIdentifier", "of the app is for no program by name")],
        ),
        (
            FIELD,
            |it| {
                put(
                    it.extension_claims(),
                    APPLICATION_IDENTIFIER,
                    "AB12CD34EF.*",
                )
            },
            &[("ProfileWildcard", "fits AB12CD34EF.*")],
        ),
        (
            HOME,
            |it| {
                put(
                    it.app_claims(),
                    APPLICATION_IDENTIFIER,
                    "AB12CD34EF.com.conntrail.*",
                )
            },
            &[("ProfileWildcard", "make one for com.conntrail.agent alone")],
        ),
        (
            FIELD,
            |it| {
                put(
                    it.app_claims(),
                    APPLICATION_IDENTIFIER,
                    "ZZ12CD34EF.com.conntrail.agent",
                )
            },
            &[("ProfilePrefix", "whose prefix is not the team AB12CD34EF")],
        ),
        (
            FIELD,
            |it| {
                put(
                    it.app_claims(),
                    NETWORK_EXTENSION,
                    texts(&["content-filter-provider"]),
                )
            },
            &[(
                "ContentFilterValue",
                "needs exactly content-filter-provider-systemextension: it is \
                a profile for development",
            )],
        ),
        (
            HOME,
            |it| {
                let value = texts(&["content-filter-provider-systemextension"]);
                put(it.extension_claims(), NETWORK_EXTENSION, value);
            },
            &[(
                "ContentFilterValue",
                "needs exactly content-filter-provider: it is a profile for a \
                Developer ID",
            )],
        ),
        (
            HOME,
            |it| put(it.app_claims(), NETWORK_EXTENSION, texts(&["dns-proxy"])),
            &[("ContentFilterValue", "allows dns-proxy under")],
        ),
        (
            FIELD,
            |it| drop(it.app_claims().remove(NETWORK_EXTENSION)),
            &[(
                "ContentFilterValue",
                "switch on the capability Network Extensions",
            )],
        ),
        (
            FIELD,
            |it| drop(it.app_claims().remove(SYSTEM_EXTENSION)),
            &[(
                "Entitlement",
                "claims com.apple.developer.system-extension.install = true, and \
                its profile",
            )],
        ),
        (
            FIELD,
            |it| put(it.app_claims(), SYSTEM_EXTENSION, false),
            &[("Entitlement", "allows false")],
        ),
        (
            FIELD,
            |it| put(it.extension_claims(), TEAM_IDENTIFIER, "ZZ12CD34EF"),
            &[(
                "Entitlement",
                "claims com.apple.developer.team-identifier = AB12CD34EF, and its \
                profile",
            )],
        ),
    ];

    fn all() -> impl Iterator<Item = &'static Planted> {
        CERTIFICATES.iter().chain(PROFILES).chain(CLAIMS)
    }

    fn assert_found(found: &[Mismatch], expected: &[(&str, &str)]) {
        let told = format!("found {found:#?}, expected {expected:#?}");
        assert_eq!(found.len(), expected.len(), "{told}");
        for (mismatch, (name, words)) in found.iter().zip(expected) {
            assert_eq!(variant_name(mismatch), *name, "{told}");
            let sentence = mismatch.to_string();
            assert!(sentence.contains(words), "{sentence} should say: {words}");
        }
    }

    fn variant_name(mismatch: &Mismatch) -> String {
        let debug = format!("{mismatch:?}");
        debug.split([' ', '{']).next().unwrap().to_owned()
    }

    #[test]
    fn what_fits_gives_no_finding() {
        for variant in Variant::ALL {
            assert_eq!(Case::right(variant).check(), vec![], "{variant}");
        }
    }

    #[test]
    fn each_planted_mistake_is_found_and_no_other() {
        for (variant, plant, expected) in all() {
            let mut case = Case::right(*variant);
            plant(&mut case);
            assert_found(&case.check(), expected);
        }
    }

    #[test]
    fn every_kind_of_mismatch_is_planted_at_least_once() {
        let planted = all().flat_map(|(_, _, expected)| expected.iter().map(|it| it.0));
        let planted: std::collections::BTreeSet<_> = planted.collect();
        let source = include_str!("agreement.rs");
        let start = source.find("pub enum Mismatch {").unwrap();
        let body = source[start..].split("\n}\n").next().unwrap();
        let names = body.lines().filter_map(|line| line.strip_prefix("    "));
        let names = names.filter(|it| it.starts_with(|it: char| it.is_ascii_uppercase()));
        let names = names.map(|it| it.trim_end_matches([' ', '{', ',']));
        assert_eq!(planted, names.collect());
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let mut case = Case::right(FIELD);
        case.credentials.application.certificate.not_after = 0;
        case.credentials.app_profile.expires = 0;
        put(case.extension_claims(), NETWORK_EXTENSION, texts(&[]));
        let names: Vec<_> = case.check().iter().map(variant_name).collect();
        let expected = ["CertificateExpired", "ProfileExpired", "ContentFilterValue"];
        assert_eq!(names, expected);
    }

    #[test]
    fn credentials_of_the_other_variant_are_refused() {
        let mut case = Case::right(FIELD);
        case.variant = HOME;
        let names: Vec<_> = case.check().iter().map(variant_name).collect();
        assert_eq!(
            names,
            [
                "CertificateKind",
                "InstallerUnused",
                "ProfileForAllDevices",
                "ContentFilterValue",
                "ProfileForAllDevices",
                "ContentFilterValue"
            ]
        );
    }

    #[test]
    fn only_what_a_build_survives_is_a_warning() {
        for (variant, plant, _) in all() {
            let mut case = Case::right(*variant);
            plant(&mut case);
            for it in case.check() {
                let is_warning =
                    ["ExpiresSoon", "InstallerUnused"].contains(&variant_name(&it).as_str());
                assert_eq!(it.is_warning(), is_warning, "{it}");
            }
        }
    }

    /// The same from files, so that what a plan makes wrong is wrong in what is read.
    #[test]
    fn mistakes_in_files_are_found() {
        let cases: &[PlantedInFiles] = &[
            (
                |it| it.application.not_after = NOW - 1,
                &["CertificateExpired"],
            ),
            (
                |it| it.application.kind = Kind::AppleDistribution,
                &["CertificateKind"],
            ),
            (
                |it| it.installer.as_mut().unwrap().kind = Kind::StoreInstaller,
                &["CertificateKind"],
            ),
            (
                |it| it.application.team = "ZZ12CD34EF".to_owned(),
                &["CertificateTeam"],
            ),
            (
                |it| it.lists_certificate = false,
                &["CertificateNotListed", "CertificateNotListed"],
            ),
            (
                |it| std::mem::swap(&mut it.app_profile, &mut it.extension_profile),
                &["ProfilesSwapped"],
            ),
            (
                |it| {
                    let value = texts(&["content-filter-provider"]);
                    put(&mut it.app_profile.entitlements, NETWORK_EXTENSION, value);
                },
                &["ContentFilterValue"],
            ),
            (|it| it.extension_profile.expires = 0, &["ProfileExpired"]),
        ];
        for (plant, expected) in cases {
            let mut plan = plan(FIELD);
            plant(&mut plan);
            let mut case = Case::right(FIELD);
            case.credentials = made(&plan).2;
            let names: Vec<_> = case.check().iter().map(variant_name).collect();
            assert_eq!(names, *expected);
        }
    }

    #[test]
    fn entitlements_have_these_bytes() {
        let case = Case::right(FIELD);
        let of_app = entitlements(Bundle::App, FIELD, &case.app, &case.team);
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
            \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
            <plist version=\"1.0\">\n<dict>\n\
            \t<key>com.apple.application-identifier</key>\n\
            \t<string>AB12CD34EF.com.conntrail.agent</string>\n\
            \t<key>com.apple.developer.networking.networkextension</key>\n\
            \t<array>\n\t\t<string>content-filter-provider-systemextension</string>\n\t</array>\n\
            \t<key>com.apple.developer.system-extension.install</key>\n\t<true/>\n\
            \t<key>com.apple.developer.team-identifier</key>\n\t<string>AB12CD34EF</string>\n\
            </dict>\n</plist>\n";
        assert_eq!(String::from_utf8(of_app).unwrap(), expected);
        let of_extension = claims(Bundle::Extension, HOME, &case.extension, &case.team);
        let keys: Vec<_> = of_extension.keys().map(String::as_str).collect();
        let expected = [APPLICATION_IDENTIFIER, NETWORK_EXTENSION, TEAM_IDENTIFIER];
        assert_eq!(keys, expected);
        assert_eq!(
            of_extension[NETWORK_EXTENSION],
            texts(&["content-filter-provider"])
        );
    }

    #[test]
    fn a_profile_allows_only_what_it_lists() {
        let mut profile = credentials(FIELD).app_profile.clone();
        put(
            &mut profile.entitlements,
            "com.apple.developer.some",
            texts(&["a", "b.*"]),
        );
        put(&mut profile.entitlements, "com.apple.developer.any", "*");
        let is_allowed = |key: &str, value: Value| {
            let mut claims = Dictionary::new();
            put(&mut claims, key, value);
            disallowed(Bundle::App, &claims, &profile).is_empty()
        };
        let groups = "keychain-access-groups";
        assert!(is_allowed(groups, texts(&["AB12CD34EF.com.conntrail"])));
        assert!(!is_allowed(groups, texts(&["ZZ12CD34EF.com.conntrail"])));
        assert!(is_allowed("com.apple.developer.some", texts(&["a", "b.c"])));
        assert!(!is_allowed("com.apple.developer.some", texts(&["a", "ab"])));
        assert!(!is_allowed("com.apple.developer.some", "a".into()));
        assert!(is_allowed("com.apple.developer.any", texts(&["a"])));
        assert!(!is_allowed(
            "com.apple.developer.endpoint-security.client",
            true.into()
        ));
        assert!(!is_allowed("com.apple.unheard-of", true.into()));
        assert!(is_allowed("com.apple.security.get-task-allow", true.into()));
        let groups = "com.apple.security.application-groups";
        assert!(is_allowed(groups, texts(&["AB12CD34EF.conntrail"])));
        assert!(!is_allowed(groups, texts(&["group.conntrail"])));
    }

    #[test]
    fn a_profile_of_another_team_is_told_once() {
        let mut case = Case::right(FIELD);
        let other = "ZZ12CD34EF.com.conntrail.agent";
        case.credentials.app_profile.teams = vec!["ZZ12CD34EF".to_owned()];
        put(case.app_claims(), APPLICATION_IDENTIFIER, other);
        put(case.app_claims(), TEAM_IDENTIFIER, "ZZ12CD34EF");
        assert_found(&case.check(), &[("ProfileTeam", "team ZZ12CD34EF")]);
    }

    #[test]
    fn the_last_thirty_days_are_warned_of() {
        let mut case = Case::right(FIELD);
        case.credentials.app_profile.expires = NOW + SOON_DAYS * DAY_SECONDS;
        assert_eq!(case.check(), vec![]);
        case.now += 1;
        assert_found(&case.check(), &[("ExpiresSoon", "in 29 days")]);
    }

    #[test]
    fn a_time_that_no_calendar_has_is_still_told() {
        assert_eq!(day(0), "1970-01-01");
        assert!(day(i64::MAX).contains("out of range"));
        let mut case = Case::right(FIELD);
        case.credentials.app_profile.expires = i64::MIN;
        assert_found(&case.check(), &[("ProfileExpired", "out of range")]);
    }
}
