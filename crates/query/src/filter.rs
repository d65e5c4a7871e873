//! Which records a question is about.

use ipnet::IpNet;
use record::{CodeSignature, Connection, Outcome, Phase, Process, Record, SignatureValidity, Wall};

/// Which records a question is about; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Who.
    pub process: Option<ProcessPattern>,
    /// The other side is in this network.
    pub to: Option<IpNet>,
    /// The other side was asked for by this name.
    pub host: Option<HostPattern>,
    /// This team signed the process, or the app on whose behalf it acts.
    pub team: Option<String>,
    /// The process, or the app on whose behalf it acts, was signed with this identifier.
    pub signing_id: Option<String>,
    /// Either side has this port.
    pub port: Option<u16>,
    /// Not recorded before.
    pub since: Option<Wall>,
    /// Not recorded after.
    pub until: Option<Wall>,
    /// How it ended. Opens and updates have not ended.
    pub outcome: Option<Outcome>,
    /// Opens and updates too, not only closes.
    pub all_phases: bool,
}

impl Filter {
    /// Whether the record is an answer. Notices are, unless the question is about connections.
    pub fn lets_through(&self, record: &Record) -> bool {
        let wall = record.at().wall;
        let in_time = self.since.is_none_or(|since| since <= wall)
            && self.until.is_none_or(|until| wall <= until);
        in_time
            && match record {
                Record::Connection(connection) => {
                    self.wants_phase(connection.phase) && self.is_about(connection)
                }
                Record::Notice(_) => !self.asks_for_connections(),
            }
    }

    /// Whether the connection is one of those that the question is about, whatever its phase.
    pub fn is_about(&self, connection: &Connection) -> bool {
        let process = connection.process.as_deref();
        self.process
            .as_ref()
            .is_none_or(|it| process.is_some_and(|process| it.matches(process)))
            && self.to.is_none_or(|to| {
                connection
                    .remote
                    .address
                    .is_some_and(|address| to.contains(&address))
            })
            && self.port.is_none_or(|port| {
                [connection.local.port, connection.remote.port].contains(&Some(port))
            })
            && self.host.as_ref().is_none_or(|host| {
                let name = connection.hostname.as_ref();
                name.is_some_and(|it| host.matches(&it.name))
            })
            && is_signed(connection, self.team.as_deref(), |it| it.team_id.as_deref())
            && is_signed(connection, self.signing_id.as_deref(), |it| {
                it.signing_id.as_deref()
            })
    }

    /// Whether some connections are asked for and others are not.
    pub fn asks_for_connections(&self) -> bool {
        let Filter {
            process,
            to,
            host,
            team,
            signing_id,
            port,
            since: _,
            until: _,
            outcome,
            all_phases: _,
        } = self;
        process.is_some()
            || to.is_some()
            || host.is_some()
            || team.is_some()
            || signing_id.is_some()
            || port.is_some()
            || outcome.is_some()
    }

    fn wants_phase(&self, phase: Phase) -> bool {
        match phase {
            Phase::Close(ending) => self.outcome.is_none_or(|outcome| outcome == ending.outcome),
            Phase::Open | Phase::Update => self.all_phases && self.outcome.is_none(),
        }
    }
}

/// Whether a signature of the process, or of the app on whose behalf it acts, says what is wanted,
/// and the system does not find it bad: anybody can write anything into a signature of their own.
fn is_signed(
    connection: &Connection,
    wanted: Option<&str>,
    part: impl Fn(&CodeSignature) -> Option<&str>,
) -> bool {
    let parties = [&connection.process, &connection.responsible];
    let mut signatures = parties
        .into_iter()
        .flatten()
        .filter_map(|process| process.signature.as_ref());
    wanted.is_none_or(|wanted| {
        signatures.any(|it| it.validity == SignatureValidity::Valid && part(it) == Some(wanted))
    })
}

/// Which names of the other side: one name, or with a dot in front everything below a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(pub String);

impl HostPattern {
    /// Whether the name is meant. Capitals do not matter, nor does a dot at the end.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_lowercase();
        let pattern = self.0.trim_end_matches('.').to_lowercase();
        match pattern.strip_prefix('.') {
            Some(parent) => name == parent || name.ends_with(&pattern),
            None => name == pattern,
        }
    }
}

/// Which processes: by path when it has a slash, by pid when it is a number, else by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessPattern(pub String);

impl ProcessPattern {
    /// Whether the process is meant.
    pub fn matches(&self, process: &Process) -> bool {
        let ProcessPattern(pattern) = self;
        if pattern.contains('/') {
            return process.path.as_deref() == Some(pattern);
        }
        process.name.as_deref() == Some(pattern)
            || pattern.parse().is_ok_and(|pid: u32| process.key.pid == pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    fn closes() -> Vec<Record> {
        sample::closes(3, 2_000)
    }

    fn count(filter: &Filter) -> usize {
        closes()
            .iter()
            .filter(|record| filter.lets_through(record))
            .count()
    }

    fn connections() -> impl Iterator<Item = Connection> {
        closes().into_iter().filter_map(|record| match record {
            Record::Connection(connection) => Some(connection),
            Record::Notice(_) => None,
        })
    }

    #[test]
    fn each_part_narrows_to_exactly_what_it_says() {
        let to: IpNet = "192.0.2.0/24".parse().unwrap();
        let filter = Filter {
            to: Some(to),
            ..Filter::default()
        };
        let expected = connections()
            .filter(|it| to.contains(&it.remote.address.unwrap()))
            .count();
        assert_eq!(count(&filter), expected);
        let filter = Filter {
            port: Some(22),
            ..filter
        };
        let both = connections()
            .filter(|it| to.contains(&it.remote.address.unwrap()) && it.remote.port == Some(22));
        assert_eq!(count(&filter), both.count());
        assert!(count(&filter) > 0);
    }

    #[test]
    fn a_process_is_named_by_name_path_or_pid() {
        let process = connections().find_map(|it| it.process).unwrap();
        let pid = process.key.pid.to_string();
        for pattern in [
            process.name.as_deref().unwrap(),
            process.path.as_deref().unwrap(),
            &pid,
        ] {
            assert!(
                ProcessPattern(pattern.to_owned()).matches(&process),
                "{pattern}"
            );
        }
        assert!(!ProcessPattern("/bin/other".to_owned()).matches(&process));
    }

    fn mac_connections() -> impl Iterator<Item = Connection> {
        sample::records(3, 4_000)
            .into_iter()
            .filter_map(|record| match record {
                Record::Connection(connection) => Some(connection),
                Record::Notice(_) => None,
            })
    }

    #[test]
    fn a_host_is_one_name_or_all_below_it() {
        let matches = |pattern: &str, name: &str| HostPattern(pattern.to_owned()).matches(name);
        assert!(matches("www.example.com", "WWW.Example.com."));
        assert!(!matches("example.com", "www.example.com"));
        assert!(matches(".example.com", "www.example.com"));
        assert!(matches(".example.com", "example.com"));
        assert!(!matches(".example.com", "www.notexample.com"));
    }

    #[test]
    fn a_name_and_a_signer_narrow_to_exactly_what_they_say() {
        let host = Filter {
            host: Some(HostPattern(".example.com".to_owned())),
            ..Filter::default()
        };
        let named = |it: &Connection| {
            let name = it.hostname.as_ref().map(|it| &*it.name);
            name == Some("www.example.com")
        };
        let team = Filter {
            team: Some("ABCDE12345".to_owned()),
            ..Filter::default()
        };
        let of_team = |it: &Connection| {
            let parties = [&it.process, &it.responsible].into_iter().flatten();
            let mut signatures = parties.filter_map(|it| it.signature.as_ref());
            signatures.any(|it| {
                it.validity == SignatureValidity::Valid
                    && it.team_id.as_deref() == Some("ABCDE12345")
            })
        };
        let (mut hosts, mut teams) = (0, 0);
        for connection in mac_connections() {
            assert_eq!(host.is_about(&connection), named(&connection));
            assert_eq!(team.is_about(&connection), of_team(&connection));
            hosts += usize::from(named(&connection));
            teams += usize::from(of_team(&connection));
        }
        assert!(hosts > 0 && teams > 0);
        assert!(host.asks_for_connections() && team.asks_for_connections());
    }

    #[test]
    fn a_signature_that_is_not_good_is_nobodys() {
        let mut connection = mac_connections().next().unwrap();
        let mut process = Process::bare(record::ProcessKey {
            pid: 1,
            start_ns: 0,
            exec_id: 1,
        });
        let mut signature = CodeSignature {
            validity: SignatureValidity::Valid,
            status: None,
            signing_id: Some("com.example.chat".into()),
            team_id: None,
            cdhash: None,
            platform: None,
        };
        let filter = Filter {
            signing_id: Some("com.example.chat".to_owned()),
            ..Filter::default()
        };
        connection.responsible = None;
        for validity in SignatureValidity::ALL {
            signature.validity = *validity;
            process.signature = Some(signature.clone());
            connection.process = Some(process.clone().into());
            let is_good = *validity == SignatureValidity::Valid;
            assert_eq!(filter.is_about(&connection), is_good, "{validity:?}");
        }
    }

    #[test]
    fn time_bounds_are_inclusive() {
        let wall = closes()[100].at().wall;
        let filter = Filter {
            since: Some(wall),
            until: Some(wall),
            ..Filter::default()
        };
        assert_eq!(count(&filter), 1);
    }

    #[test]
    fn notices_answer_only_questions_that_are_not_about_connections() {
        let notices = |filter: &Filter| {
            let records = sample::records(4, 500);
            let passed = records.iter().filter(|record| filter.lets_through(record));
            passed
                .filter(|record| matches!(record, Record::Notice(_)))
                .count()
        };
        assert!(notices(&Filter::default()) > 0);
        assert_eq!(
            notices(&Filter {
                port: Some(443),
                ..Filter::default()
            }),
            0
        );
    }

    #[test]
    fn opens_are_answers_only_when_asked_for() {
        let records = sample::records(4, 500);
        let opens = |filter: &Filter| {
            let passed = records.iter().filter(|record| filter.lets_through(record));
            passed
                .filter(|it| matches!(it, Record::Connection(it) if it.phase == Phase::Open))
                .count()
        };
        assert_eq!(opens(&Filter::default()), 0);
        assert!(
            opens(&Filter {
                all_phases: true,
                ..Filter::default()
            }) > 0
        );
    }
}
