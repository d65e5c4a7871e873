//! Does to a record what its plan says.

use crate::fields::FieldSet;
use crate::plan::{Effect, Plan};
use crate::pseudonym::{Kind, PseudonymKey};
use record::{
    Ancestor, Connection, Endpoint, PolicyField, Process, Traffic, Treated, User, pseudonym,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A plan and the key for its pseudonyms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Treatment<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) key: Option<&'a PseudonymKey>,
}

impl Treatment<'_> {
    /// Changes everything but the processes, and says what was changed.
    pub(crate) fn connection(&self, connection: &mut Connection) -> FieldSet {
        let mut changed = Changed::default();
        changed.note(PolicyField::Hostname, self.literal_hostname(connection));
        changed.note(PolicyField::Hostname, self.hostname(connection));
        changed.note(
            PolicyField::RemoteAddress,
            self.address(PolicyField::RemoteAddress, &mut connection.remote),
        );
        changed.note(
            PolicyField::LocalAddress,
            self.address(PolicyField::LocalAddress, &mut connection.local),
        );
        for (field, port) in [
            (PolicyField::RemotePort, &mut connection.remote.port),
            (PolicyField::LocalPort, &mut connection.local.port),
        ] {
            changed.note(field, self.drops(field) && port.take().is_some());
        }
        if self.drops(PolicyField::Container) {
            let namespace = connection.network_namespace.take();
            changed.note(PolicyField::Container, namespace.is_some());
        }
        changed.note(PolicyField::Traffic, self.traffic(connection));
        changed.0
    }

    /// A process as it is kept, and what was changed in it.
    pub(crate) fn process(&self, process: &Process) -> (Process, FieldSet) {
        let mut kept = process.clone();
        let mut changed = Changed::default();
        for (field, kind, text) in [
            (PolicyField::ProcessName, Kind::ProgramName, &mut kept.name),
            (PolicyField::ProcessPath, Kind::ProgramPath, &mut kept.path),
            (
                PolicyField::CommandLine,
                Kind::CommandLine,
                &mut kept.command_line,
            ),
        ] {
            changed.note(field, self.text(field, kind, text));
        }
        let drops = |field| self.drops(field);
        let file = drops(PolicyField::ProcessFile) && kept.file.take().is_some();
        changed.note(PolicyField::ProcessFile, file);
        let signature = drops(PolicyField::Signature) && kept.signature.take().is_some();
        changed.note(PolicyField::Signature, signature);
        let container = drops(PolicyField::Container) && kept.cgroup.take().is_some();
        changed.note(PolicyField::Container, container);
        if drops(PolicyField::Ancestors) {
            changed.note(PolicyField::Ancestors, !kept.ancestors.is_empty());
            kept.ancestors.clear();
        }
        for ancestor in &mut kept.ancestors {
            self.ancestor(ancestor, &mut changed);
        }
        if drops(PolicyField::ProcessHome) {
            let texts = [&mut kept.path, &mut kept.command_line];
            for text in texts.into_iter().flatten() {
                changed.note(PolicyField::ProcessHome, mask_homes(text));
            }
        }
        self.user(&mut kept, &mut changed);
        (kept, changed.0)
    }

    /// The marks of what was changed.
    pub(crate) fn marks(&self, changed: FieldSet) -> Option<Arc<[Treated]>> {
        let marks = changed.iter().filter_map(|field| {
            let own = self.plan.effect(field);
            // A name that is an address is treated as the address is.
            let as_address = || match field == PolicyField::Hostname {
                true => self.plan.effect(PolicyField::RemoteAddress),
                false => None,
            };
            let (rule, effect) = own.or_else(as_address)?;
            Some(Treated {
                field,
                action: effect.mark(),
                rule,
            })
        });
        let marks: Vec<Treated> = marks.collect();
        (!marks.is_empty()).then(|| marks.into())
    }

    fn effect(&self, field: PolicyField) -> Option<Effect> {
        self.plan.effect(field).map(|(_, effect)| effect)
    }

    pub(crate) fn drops(&self, field: PolicyField) -> bool {
        self.effect(field) == Some(Effect::Drop)
    }

    fn ancestor(&self, ancestor: &mut Ancestor, changed: &mut Changed) {
        let name = self.text(
            PolicyField::ProcessName,
            Kind::ProgramName,
            &mut ancestor.name,
        );
        changed.note(PolicyField::ProcessName, name);
        let path = self.text(
            PolicyField::ProcessPath,
            Kind::ProgramPath,
            &mut ancestor.path,
        );
        changed.note(PolicyField::ProcessPath, path);
        if self.drops(PolicyField::ProcessHome)
            && let Some(path) = &mut ancestor.path
        {
            changed.note(PolicyField::ProcessHome, mask_homes(path));
        }
    }

    fn text(&self, field: PolicyField, kind: Kind, text: &mut Option<Arc<str>>) -> bool {
        let Some((before, effect)) = text.as_ref().zip(self.effect(field)) else {
            return false;
        };
        let after: Option<Arc<str>> = match effect {
            Effect::Drop => None,
            Effect::Truncate(_) => Some(shortened(field, before).into()),
            Effect::Pseudonymise => self.key.map(|key| key.text(kind, before).into()),
        };
        let is_other = after.as_deref() != Some(&**before);
        *text = after;
        is_other
    }

    /// The user as a whole, or the name alone.
    fn user(&self, process: &mut Process, changed: &mut Changed) {
        let whole = self.plan.effect(PolicyField::User);
        let name = self.plan.effect(PolicyField::UserName);
        let is_one = name.map(|(rule, _)| rule) == whole.map(|(rule, _)| rule);
        if name.is_some() && !is_one || whole.is_none() {
            let text = process.user.as_mut().map(|user| &mut user.name);
            let is_changed =
                text.is_some_and(|name| self.text(PolicyField::UserName, Kind::UserName, name));
            changed.note(PolicyField::UserName, is_changed);
        }
        let Some((_, effect)) = whole else {
            return;
        };
        let user = process.user.take();
        let others = [
            process.effective_uid.take(),
            process.login_uid.take(),
            process.audit_session.take(),
        ];
        let was_known = user.is_some() || others.iter().any(Option::is_some);
        changed.note(PolicyField::User, was_known);
        process.user = user.and_then(|user| {
            let name = match effect {
                Effect::Pseudonymise if is_one => {
                    let key = self.key?;
                    Some(key.text(Kind::UserId, &user.uid.to_string()).into())
                }
                Effect::Drop | Effect::Truncate(_) if is_one => None,
                Effect::Drop | Effect::Truncate(_) | Effect::Pseudonymise => user.name,
            };
            // What is left of a user who has no id any more is the name, if anything.
            name.map(|name| User {
                uid: pseudonym::UID,
                name: Some(name),
            })
        });
    }

    fn address(&self, field: PolicyField, endpoint: &mut Endpoint) -> bool {
        let Some((before, effect)) = endpoint.address.zip(self.effect(field)) else {
            return false;
        };
        endpoint.address = self.other_address(before, effect);
        endpoint.address != Some(before)
    }

    fn other_address(&self, before: IpAddr, effect: Effect) -> Option<IpAddr> {
        match effect {
            Effect::Drop => None,
            Effect::Truncate(to) => Some(prefix(before, to.ipv4_bits, to.ipv6_bits)),
            Effect::Pseudonymise => self.key.map(|key| key.address(before)),
        }
    }

    /// A name that is an address is treated as that address too, or it would tell it.
    fn literal_hostname(&self, connection: &mut Connection) -> bool {
        let Some(hostname) = &mut connection.hostname else {
            return false;
        };
        let Some(address) = literal(&hostname.name) else {
            return false;
        };
        let fields = [PolicyField::RemoteAddress, PolicyField::Hostname];
        let Some(effect) = fields.into_iter().find_map(|field| self.effect(field)) else {
            return false;
        };
        let after = self.other_address(address, effect);
        let is_other = after != Some(address);
        match after {
            Some(after) => hostname.name = after.to_string().into(),
            None => connection.hostname = None,
        }
        is_other
    }

    fn hostname(&self, connection: &mut Connection) -> bool {
        let effect = self.effect(PolicyField::Hostname);
        let Some((hostname, effect)) = connection.hostname.as_mut().zip(effect) else {
            return false;
        };
        let after = match effect {
            Effect::Drop => None,
            Effect::Truncate(_) if literal(&hostname.name).is_some() => return false,
            Effect::Truncate(to) => Some(last_labels(&hostname.name, to.labels).to_owned()),
            Effect::Pseudonymise if literal(&hostname.name).is_some() => return false,
            Effect::Pseudonymise => self.key.map(|it| it.text(Kind::Hostname, &hostname.name)),
        };
        let is_other = after.as_deref() != Some(&*hostname.name);
        match after {
            Some(after) => hostname.name = after.into(),
            None => connection.hostname = None,
        }
        is_other
    }

    fn traffic(&self, connection: &mut Connection) -> bool {
        if !self.drops(PolicyField::Traffic) {
            return false;
        }
        let traffic = std::mem::take(&mut connection.traffic);
        let others = [connection.rtt_us.take(), connection.retransmits.take()];
        traffic != Traffic::default() || others.iter().any(Option::is_some)
    }
}

#[derive(Default)]
struct Changed(FieldSet);

impl Changed {
    fn note(&mut self, field: PolicyField, is_changed: bool) {
        if is_changed {
            self.0 = self.0.with(FieldSet::of(field));
        }
    }
}

fn shortened(field: PolicyField, text: &str) -> &str {
    let path = match field == PolicyField::CommandLine {
        true => text.split_whitespace().next().unwrap_or_default(),
        false => text,
    };
    path.rsplit('/').next().unwrap_or(path)
}

/// The first bits of an address; the others become zero.
fn prefix(address: IpAddr, ipv4_bits: u8, ipv6_bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(ipv4_bits)).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(ipv6_bits))
                .unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & mask).into()
        }
    }
}

/// The address that a name is, in brackets or not, with a zone or without.
pub(crate) fn literal(name: &str) -> Option<IpAddr> {
    let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let address = bare.unwrap_or(name).split('%').next();
    address?.parse().ok()
}

/// The end of a name, from its last labels on.
fn last_labels(name: &str, labels: u8) -> &str {
    let name = name.trim_end_matches('.');
    let mut dots = name.rmatch_indices('.').map(|(at, _)| at);
    match dots.nth(usize::from(labels).saturating_sub(1)) {
        Some(dot) => &name[dot + 1..],
        None => name,
    }
}

/// Folders whose entries are people.
const HOMES: [&str; 2] = ["/home", "/Users"];

/// The first person that a path or command line names.
pub(crate) fn home_in(text: &str) -> Option<&str> {
    let person = &text[next_person(text)?..];
    Some(&person[..person_end(person)]).filter(|it| !it.is_empty())
}

/// Puts a `*` for every person whose folder is named; says whether it did anything.
fn mask_homes(text: &mut Arc<str>) -> bool {
    if !HOMES.iter().any(|home| text.contains(home)) {
        return false;
    }
    let mut masked = String::with_capacity(text.len());
    let mut rest: &str = text;
    while let Some(after) = next_person(rest) {
        masked.push_str(&rest[..after]);
        let end = after + person_end(&rest[after..]);
        masked.push_str(if end > after { "*" } else { "" });
        rest = &rest[end..];
    }
    masked.push_str(rest);
    let is_other = masked != **text;
    *text = masked.into();
    is_other
}

/// Where the next person's name begins: behind the slash after a folder of people, or behind
/// several, which mean the same.
fn next_person(text: &str) -> Option<usize> {
    let after = |home: &&str| {
        let mut folders = text.match_indices(*home).map(|(at, _)| at + home.len());
        folders.find(|end| text[*end..].starts_with('/'))
    };
    let end = HOMES.iter().filter_map(after).min()?;
    let slashes = text[end..].len() - text[end..].trim_start_matches('/').len();
    Some(end + slashes)
}

/// A name ends with its folder, or with the argument it stands in.
fn person_end(text: &str) -> usize {
    let ends = |letter: char| letter == '/' || letter == ':' || letter.is_whitespace();
    text.find(ends).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_masked_wherever_their_folder_is_named() {
        for (text, expected) in [
            ("/home/ana/bin/x", concat!("/home", "/*/bin/x")),
            ("/Users/ana", "/Users/*"),
            (
                "x --to=/Users/ana/y /Users/ben:/home",
                "x --to=/Users/*/y /Users/*:/home",
            ),
            ("/export/Users/ana/Users/ben", "/export/Users/*/Users/*"),
            ("/homes/ana /Users", "/homes/ana /Users"),
            ("/Users//ana/x", "/Users//*/x"),
            ("/Users/ /Users/ana", "/Users/ /Users/*"),
        ] {
            let mut masked: Arc<str> = text.into();
            assert_eq!(mask_homes(&mut masked), text != expected);
            assert_eq!(&*masked, expected);
            assert!(!mask_homes(&mut masked), "twice is once");
        }
        assert_eq!(home_in("x /Users/ana/y"), Some("ana"));
        assert_eq!(home_in("/homes"), None);
    }

    #[test]
    fn addresses_and_names_keep_what_they_should() {
        let prefix = |text: &str, ipv4, ipv6| prefix(text.parse().unwrap(), ipv4, ipv6).to_string();
        assert_eq!(prefix("192.0.2.77", 24, 48), "192.0.2.0");
        assert_eq!(prefix("192.0.2.77", 0, 48), "0.0.0.0");
        assert_eq!(prefix("2001:db8:1:2::3", 24, 48), "2001:db8:1::");
        assert_eq!(prefix("2001:db8::3", 24, 0), "::");
        assert_eq!(last_labels("a.b.example.com", 2), "example.com");
        assert_eq!(last_labels("example.com.", 2), "example.com");
        assert_eq!(last_labels("localhost", 2), "localhost");
        assert_eq!(last_labels("a.b", 1), "b");
        assert_eq!(shortened(PolicyField::ProcessPath, "/usr/bin/curl"), "curl");
        assert_eq!(
            shortened(PolicyField::CommandLine, "/usr/bin/curl -u me"),
            "curl"
        );
        assert_eq!(shortened(PolicyField::CommandLine, ""), "");
        assert_eq!(literal("[::1]"), Some("::1".parse().unwrap()));
        assert_eq!(literal("fe80::1%en0"), Some("fe80::1".parse().unwrap()));
    }
}
