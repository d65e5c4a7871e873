//! The parts of a record: which contain and imply which, and how they are shown.

use crate::Action;
use record::{Connection, Endpoint, PolicyField, Process};
use std::net::IpAddr;

/// A set of parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet(u32);

impl FieldSet {
    pub(crate) const EMPTY: FieldSet = FieldSet(0);
    /// Every part: their numbers are 1 to 19.
    pub(crate) const ALL: FieldSet = FieldSet(0xf_fffe);

    pub(crate) fn of(field: PolicyField) -> FieldSet {
        FieldSet(1 << field.number())
    }

    pub(crate) fn many(fields: &[PolicyField]) -> FieldSet {
        let sets = fields.iter().map(|field| FieldSet::of(*field));
        sets.fold(FieldSet::EMPTY, FieldSet::with)
    }

    pub(crate) fn with(self, other: FieldSet) -> FieldSet {
        FieldSet(self.0 | other.0)
    }

    pub(crate) fn without(self, other: FieldSet) -> FieldSet {
        FieldSet(self.0 & !other.0)
    }

    pub(crate) fn has(self, field: PolicyField) -> bool {
        self.0 & FieldSet::of(field).0 != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its parts, in the order of their numbers.
    pub(crate) fn iter(self) -> impl Iterator<Item = PolicyField> {
        let all = PolicyField::ALL.iter().copied();
        all.filter(move |field| self.has(*field))
    }
}

/// What a name in a list of `fields` stands for.
pub(crate) fn named(name: &str) -> Option<Vec<PolicyField>> {
    if name == DESTINATION {
        return Some(vec![
            PolicyField::RemoteAddress,
            PolicyField::RemotePort,
            PolicyField::Hostname,
        ]);
    }
    let found = PolicyField::ALL.iter().find(|field| field.name() == name);
    found.map(|field| vec![*field])
}

/// A name for three parts.
const DESTINATION: &str = "destination";

/// Every name that a list of `fields` may have.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let fields = PolicyField::ALL.iter().map(|field| field.name());
    fields.chain([DESTINATION])
}

/// The part and what it is made of.
pub(crate) fn whole(field: PolicyField) -> FieldSet {
    let parts: &[PolicyField] = match field {
        PolicyField::Process => &[
            PolicyField::ProcessName,
            PolicyField::ProcessPath,
            PolicyField::ProcessHome,
            PolicyField::CommandLine,
            PolicyField::ProcessFile,
            PolicyField::Signature,
            PolicyField::Ancestors,
            PolicyField::Responsible,
            PolicyField::User,
            PolicyField::UserName,
        ],
        PolicyField::User => &[PolicyField::UserName],
        PolicyField::Record
        | PolicyField::RemoteAddress
        | PolicyField::RemotePort
        | PolicyField::LocalAddress
        | PolicyField::LocalPort
        | PolicyField::Hostname
        | PolicyField::ProcessName
        | PolicyField::ProcessPath
        | PolicyField::ProcessHome
        | PolicyField::CommandLine
        | PolicyField::ProcessFile
        | PolicyField::Signature
        | PolicyField::Ancestors
        | PolicyField::Responsible
        | PolicyField::UserName
        | PolicyField::Container
        | PolicyField::Traffic => &[],
    };
    FieldSet::of(field).with(FieldSet::many(parts))
}

/// Parts that would tell what was taken away, and so are treated with it.
pub(crate) fn implied(field: PolicyField) -> FieldSet {
    match field {
        PolicyField::ProcessName => FieldSet::many(&[
            PolicyField::ProcessPath,
            PolicyField::CommandLine,
            PolicyField::ProcessFile,
            PolicyField::Signature,
        ]),
        PolicyField::ProcessPath => FieldSet::of(PolicyField::CommandLine),
        PolicyField::User | PolicyField::UserName => FieldSet::of(PolicyField::ProcessHome),
        PolicyField::Record
        | PolicyField::RemoteAddress
        | PolicyField::RemotePort
        | PolicyField::LocalAddress
        | PolicyField::LocalPort
        | PolicyField::Hostname
        | PolicyField::Process
        | PolicyField::ProcessHome
        | PolicyField::CommandLine
        | PolicyField::ProcessFile
        | PolicyField::Signature
        | PolicyField::Ancestors
        | PolicyField::Responsible
        | PolicyField::Container
        | PolicyField::Traffic => FieldSet::EMPTY,
    }
}

/// Whether `action` can be done to `field`. Everything can be dropped and kept.
pub(crate) fn allows(field: PolicyField, action: Action) -> bool {
    let truncated = [
        PolicyField::RemoteAddress,
        PolicyField::LocalAddress,
        PolicyField::Hostname,
        PolicyField::ProcessPath,
        PolicyField::CommandLine,
    ];
    let pseudonymised = [
        PolicyField::RemoteAddress,
        PolicyField::LocalAddress,
        PolicyField::Hostname,
        PolicyField::ProcessName,
        PolicyField::ProcessPath,
        PolicyField::CommandLine,
        PolicyField::User,
        PolicyField::UserName,
    ];
    match action {
        Action::Drop | Action::Keep => true,
        Action::Truncate(_) => truncated.contains(&field),
        Action::Pseudonymise => pseudonymised.contains(&field),
    }
}

/// What a part is, in a few words.
pub fn describe(field: PolicyField) -> &'static str {
    match field {
        PolicyField::Record => "the record as a whole",
        PolicyField::RemoteAddress => "address of the other side",
        PolicyField::RemotePort => "port of the other side",
        PolicyField::LocalAddress => "address of this machine",
        PolicyField::LocalPort => "port of this machine",
        PolicyField::Hostname => "name that was asked for",
        PolicyField::Process => "everything about both processes",
        PolicyField::ProcessName => "names of programs",
        PolicyField::ProcessPath => "paths of programs",
        PolicyField::ProcessHome => "home folders in paths and command lines",
        PolicyField::CommandLine => "command line",
        PolicyField::ProcessFile => "device and inode of the executable",
        PolicyField::Signature => "code signature",
        PolicyField::Ancestors => "parents",
        PolicyField::Responsible => "process on whose behalf",
        PolicyField::User => "users: ids, names, logins",
        PolicyField::UserName => "user name",
        PolicyField::Container => "control group and network namespace",
        PolicyField::Traffic => "bytes, packets, round-trip time",
    }
}

/// A part as it stands in a connection, for people; `None` where there is nothing.
pub fn shown(connection: &Connection, field: PolicyField) -> Option<String> {
    let process = connection.process.as_deref();
    let text = |text: Option<&str>| text.map(str::to_owned);
    match field {
        PolicyField::Record => Some(format!(
            "connection {} of epoch {}",
            connection.id.ordinal, connection.id.epoch
        )),
        PolicyField::RemoteAddress => address(connection.remote),
        PolicyField::RemotePort => connection.remote.port.map(|it| it.to_string()),
        PolicyField::LocalAddress => address(connection.local),
        PolicyField::LocalPort => connection.local.port.map(|it| it.to_string()),
        PolicyField::Hostname => text(connection.hostname.as_ref().map(|it| &*it.name)),
        PolicyField::Process => process.map(|it| format!("pid {}", it.key.pid)),
        PolicyField::ProcessName => text(process.and_then(|it| it.name.as_deref())),
        PolicyField::ProcessPath => text(process.and_then(|it| it.path.as_deref())),
        PolicyField::ProcessHome => home_of(process?),
        PolicyField::CommandLine => text(process.and_then(|it| it.command_line.as_deref())),
        PolicyField::ProcessFile => {
            let file = process?.file?;
            Some(format!("device {}, inode {}", file.device, file.inode))
        }
        PolicyField::Signature => signature(process?),
        PolicyField::Ancestors => ancestors(process?),
        PolicyField::Responsible => responsible(connection),
        PolicyField::User => user(process?),
        PolicyField::UserName => text(process?.user.as_ref()?.name.as_deref()),
        PolicyField::Container => container(connection),
        PolicyField::Traffic => traffic(connection),
    }
}

fn address(endpoint: Endpoint) -> Option<String> {
    endpoint.address.as_ref().map(IpAddr::to_string)
}

fn home_of(process: &Process) -> Option<String> {
    let texts = [process.path.as_deref(), process.command_line.as_deref()];
    let mut texts = texts.into_iter().flatten();
    texts.find_map(crate::treat::home_in).map(str::to_owned)
}

fn signature(process: &Process) -> Option<String> {
    let signature = process.signature.as_ref()?;
    let parts = [
        signature.team_id.as_deref(),
        signature.signing_id.as_deref(),
    ];
    let known: Vec<&str> = parts.into_iter().flatten().collect();
    Some(
        format!("{} {}", signature.validity.name(), known.join(" "))
            .trim_end()
            .to_owned(),
    )
}

fn ancestors(process: &Process) -> Option<String> {
    let names = process.ancestors.iter().map(|it| {
        let name = it.name.as_deref().or(it.path.as_deref());
        name.map_or_else(|| format!("pid {}", it.key.pid), str::to_owned)
    });
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn responsible(connection: &Connection) -> Option<String> {
    let process = connection.responsible.as_deref()?;
    let name = process.name.as_deref().or(process.path.as_deref());
    Some(name.map_or_else(|| format!("pid {}", process.key.pid), str::to_owned))
}

fn user(process: &Process) -> Option<String> {
    let ids = [
        process.user.as_ref().map(|it| ("uid", it.uid)),
        process.effective_uid.map(|it| ("effective", it)),
        process.login_uid.map(|it| ("login", it)),
        process.audit_session.map(|it| ("session", it)),
    ];
    let ids = ids.into_iter().flatten();
    let ids: Vec<String> = ids.map(|(what, id)| format!("{what} {id}")).collect();
    (!ids.is_empty()).then(|| ids.join(", "))
}

fn container(connection: &Connection) -> Option<String> {
    let group = connection.process.as_ref().and_then(|it| it.cgroup);
    let parts = [
        group.map(|it| format!("control group {it}")),
        connection
            .network_namespace
            .map(|it| format!("network namespace {it}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn traffic(connection: &Connection) -> Option<String> {
    let traffic = connection.traffic;
    let parts = [
        traffic.bytes_out.map(|it| format!("{it} bytes out")),
        traffic.bytes_in.map(|it| format!("{it} bytes in")),
        connection.rtt_us.map(|it| format!("round trip {it} µs")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_name_that_is_read_back() {
        for field in PolicyField::ALL {
            assert_eq!(named(field.name()), Some(vec![*field]));
            assert!(FieldSet::ALL.has(*field));
        }
        assert_eq!(FieldSet::ALL.iter().count(), PolicyField::ALL.len());
        assert!(names().all(|name| named(name).is_some()));
        assert_eq!(named("user.nam"), None);
    }
}
