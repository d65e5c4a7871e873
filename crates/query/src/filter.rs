//! Which records a question is about.

use ipnet::IpNet;
use record::{Connection, Outcome, Phase, Process, Record, Wall};

/// Which records a question is about; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Who.
    pub process: Option<ProcessPattern>,
    /// The other side is in this network.
    pub to: Option<IpNet>,
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
    }

    /// Whether some connections are asked for and others are not.
    pub fn asks_for_connections(&self) -> bool {
        self.process.is_some() || self.to.is_some() || self.port.is_some() || self.outcome.is_some()
    }

    fn wants_phase(&self, phase: Phase) -> bool {
        match phase {
            Phase::Close(ending) => self.outcome.is_none_or(|outcome| outcome == ending.outcome),
            Phase::Open | Phase::Update => self.all_phases && self.outcome.is_none(),
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
