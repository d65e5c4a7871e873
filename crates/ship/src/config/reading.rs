//! From a text to destinations, or to what is wrong in it.

use super::{Config, Destination, Kind};
use std::fmt;
use std::ops::RangeInclusive;

/// Bytes of a destination's name at most.
pub const NAME_BYTES_MAX: usize = 64;

/// A mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line it is in, from 1; `None` where it is about the whole.
    pub line: Option<usize>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Reads what is written down. A text with any mistake is no configuration at all.
///
/// # Errors
/// What is wrong, where, and what would be right. Of mistakes in the form of the text only the
/// first is known.
pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let config: Config = toml::from_str(text).map_err(|error| vec![of_form(text, &error)])?;
    let mut problems = Vec::new();
    for (name, destination) in &config.destination {
        let line = line_of(text, name);
        let messages = name_problem(name).into_iter();
        for message in messages.chain(destination_problems(destination)) {
            let message = format!("destination {name:?}: {message}");
            problems.push(Problem { line, message });
        }
    }
    if let Some(message) = bounds("ledger_interval_s", config.ledger_interval_s, 1..=86_400) {
        let line = None;
        problems.push(Problem { line, message });
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems)
    }
}

fn name_problem(name: &str) -> Option<String> {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits);
    (!fits).then(|| {
        format!("a name is of a to z, digits, - and _, and has 1 to {NAME_BYTES_MAX} of them")
    })
}

fn destination_problems(destination: &Destination) -> Vec<String> {
    let mut problems = Vec::new();
    let kinds: Vec<&str> = destination.kinds().map(Kind::name).collect();
    match kinds[..] {
        [_] => {}
        [] => problems.push(format!(
            "it says nowhere where to; give it one of the tables {}",
            KINDS.join(", ")
        )),
        [..] => problems.push(format!(
            "it is of several kinds, {}; make a destination of each",
            kinds.join(" and ")
        )),
    }
    let records = destination.batch_records_max.map(u64::from);
    let bytes = destination.batch_bytes_max.map(u64::from);
    let in_flight = destination.in_flight_max.map(u64::from);
    let retry_min = destination.retry_min_ms;
    let retry_max = destination.retry_max_ms;
    problems.extend(bounds("batch_records_max", records, 1..=100_000));
    problems.extend(bounds("batch_bytes_max", bytes, 4_096..=64 << 20));
    let age = destination.batch_age_max_ms;
    problems.extend(bounds("batch_age_max_ms", age, 10..=3_600_000));
    problems.extend(bounds("in_flight_max", in_flight, 1..=64));
    problems.extend(bounds("retry_min_ms", retry_min, 10..=3_600_000));
    problems.extend(bounds("retry_max_ms", retry_max, 10..=86_400_000));
    if retry_min.unwrap_or(500) > retry_max.unwrap_or(60_000) {
        problems.push("retry_min_ms is more than retry_max_ms; make it less".to_owned());
    }
    let servers = destination.jetstream.as_ref().map(|it| &it.servers);
    if servers.into_iter().flatten().any(|it| it.contains('@')) {
        let message = "jetstream.servers: user and password do not belong into the address; put \
                       them into files, as password_file, token_file or credentials_file";
        problems.push(message.to_owned());
    }
    if destination.policy.is_some() && destination.policy_file.is_some() {
        problems.push("it has both policy and policy_file; keep one of them".to_owned());
    }
    let policy = destination.policy.as_deref().map(policy::Policy::parse);
    for problem in policy.and_then(Result::err).into_iter().flatten() {
        problems.push(format!("in its policy, {problem}"));
    }
    problems
}

const KINDS: [&str; 7] = [
    "otlp",
    "jetstream",
    "hec",
    "elastic",
    "syslog",
    "s3",
    "file",
];

fn bounds(key: &str, value: Option<u64>, range: RangeInclusive<u64>) -> Option<String> {
    let value = value.filter(|value| !range.contains(value))?;
    let (least, most) = range.into_inner();
    Some(format!("{key} is {value}, and may be {least} to {most}"))
}

/// The reader of TOML says what it expected, in a sentence of its own; where it is a wrong key, the
/// nearest right one is what was meant.
fn of_form(text: &str, error: &toml::de::Error) -> Problem {
    let line = error.span().map(|span| {
        let before = text.get(..span.start).unwrap_or(text);
        1 + before.bytes().filter(|byte| *byte == b'\n').count()
    });
    let told = error.message();
    let mut quoted = told.split('`').skip(1).step_by(2);
    let message = match (told.starts_with("unknown field"), quoted.next()) {
        (true, Some(key)) => unknown_key(key, &quoted.collect::<Vec<&str>>()),
        (_, _) => told.to_owned(),
    };
    Problem { line, message }
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|it| (strsim::damerau_levenshtein(key, it), *it))
        .min();
    match near {
        Some((distance, meant)) if distance <= 3.min(key.len() / 2) => {
            format!("there is no key {key:?}; did you mean {meant:?}?")
        }
        Some(_) | None => format!("there is no key {key:?}; there are {}", known.join(", ")),
    }
}

fn line_of(text: &str, destination: &str) -> Option<usize> {
    let table = format!("[destination.{destination}");
    let found = text
        .lines()
        .position(|line| line.trim_start().starts_with(&table));
    found.map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compression, Format};

    fn problems(text: &str) -> Vec<String> {
        let problems = parse(text).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_destination_is_read_with_the_defaults_of_its_kind() {
        let config = parse("[destination.lake.file]\nfolder = \"/var/lib/lake\"\n").unwrap();
        let lake = &config.destination["lake"];
        assert_eq!(lake.format(), Format::Ocsf);
        assert_eq!(lake.compression(), Compression::None);
        assert_eq!(lake.kind().map(Kind::name), Some("file"));
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_what_was_meant() {
        let text = "[destination.lake]\nbatch_record_max = 4\n[destination.lake.file]\n";
        assert_eq!(
            problems(text),
            ["line 2: there is no key \"batch_record_max\"; did you mean \"batch_records_max\"?"]
        );
    }

    #[test]
    fn every_mistake_in_the_values_is_told() {
        let text = "[destination.Lake]\nin_flight_max = 0\nretry_min_ms = 90000\n\
                    policy = \"x = 1\"\n";
        let problems = problems(text);
        assert!(problems.len() >= 5, "{problems:#?}");
        for (problem, part) in problems.iter().zip([
            "a name is of a to z",
            "give it one of the tables otlp",
            "in_flight_max is 0, and may be 1 to 64",
            "retry_min_ms is more than retry_max_ms",
            "in its policy, line 1",
        ]) {
            assert!(problem.starts_with("line 1: "), "{problem}");
            assert!(problem.contains(part), "{problem}");
        }
        let two = "[destination.a.file]\n[destination.a.otlp]\nurl = \"http://x\"\n";
        assert!(problems_of_one(two).contains("several kinds, otlp and file"));
    }

    fn problems_of_one(text: &str) -> String {
        problems(text).remove(0)
    }

    #[test]
    fn what_decides_the_bytes_changes_the_view_and_nothing_else_does() {
        let view = |common: &str| {
            let text = format!("[destination.a]\n{common}\n[destination.a.file]\n");
            parse(&text).unwrap().destination["a"].view(None)
        };
        let plain = view("");
        assert_eq!(view("batch_records_max = 5\nretry_min_ms = 10"), plain);
        for other in [
            "format = \"ecs\"",
            "filter.opens = true",
            "compression = \"gzip\"",
        ] {
            assert_ne!(view(other), plain, "{other}");
        }
        let destination = &parse("[destination.a.file]\n").unwrap().destination["a"];
        assert_ne!(destination.view(Some([1; 32])), plain);
    }

    #[test]
    fn where_it_goes_and_who_we_are_there_is_not_in_the_view() {
        let view = |text: &str| {
            let text = format!("[destination.a]\n{text}");
            parse(&text).unwrap().destination["a"].view(None)
        };
        let hec = |more: &str| view(&format!("hec = {{ {more} }}"));
        let plain = hec("url = 'https://a', token_file = '/a'");
        let other = "url = 'https://b', token_file = '/b', acknowledge_timeout_s = 7";
        assert_eq!(hec(other), plain);
        let sourcetype = "url = 'https://a', token_file = '/a', sourcetype = 'net'";
        assert_ne!(hec(sourcetype), plain);
        let elastic = |more: &str| view(&format!("elastic = {{ {more} }}"));
        let plain = elastic("url = 'https://a'");
        assert_eq!(elastic("url = 'https://b', index = 'b', user = 'b'"), plain);
        let syslog = |more: &str| view(&format!("syslog = {{ {more} }}"));
        let plain = syslog("address = 'a'");
        assert_eq!(syslog("address = 'b'"), plain);
        assert_ne!(syslog("address = 'a', message_bytes_max = 2048"), plain);
    }

    #[test]
    fn a_password_in_the_address_of_a_server_is_refused_and_not_shown() {
        let text = "[destination.a.jetstream]\nservers = [\"nats://me:hunter2@nats\"]\n";
        let problem = problems_of_one(text);
        assert!(problem.contains("put them into files"), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}
