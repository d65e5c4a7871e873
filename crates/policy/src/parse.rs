//! From the text of a policy to its rules, or to every mistake in it.

use crate::criteria::{self, Criteria, UserIs, quoted};
use crate::fields::{self, FieldSet};
use crate::{Action, RULES_MAX, Rule, TEXT_BYTES_MAX, Truncation};
use record::{Direction, PolicyField, Protocol};
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A mistake in the text of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// Letters from the beginning of the line, from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: {}",
            self.line, self.column, self.message
        )
    }
}

/// What stands in a text.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) rules: Vec<Rule>,
    pub(crate) rotate_s: u64,
}

/// Thirty days.
pub(crate) const ROTATE_S_DEFAULT: u64 = 30 * 86_400;

const PROBLEMS_MAX: usize = 20;
const NAME_CHARS_MAX: usize = 80;
const PATTERN_BYTES_MAX: usize = 1_024;
const TRUNCATION_DEFAULT: Truncation = Truncation {
    ipv4_bits: 24,
    ipv6_bits: 48,
    labels: 2,
};

/// Reads a text.
///
/// # Errors
/// All mistakes in it.
pub(crate) fn parse(text: &str) -> Result<Parsed, Vec<Problem>> {
    let mut reader = Reader {
        text,
        problems: Vec::new(),
    };
    let parsed = reader.policy();
    reader.problems.sort();
    reader.problems.truncate(PROBLEMS_MAX);
    if reader.problems.is_empty() {
        Ok(parsed)
    } else {
        Err(reader.problems)
    }
}

struct Reader<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

type Span = Range<usize>;
type Value<'t> = Spanned<DeValue<'t>>;

const TOP_KEYS: &[&str] = &["version", "pseudonyms", "rule"];
const PSEUDONYM_KEYS: &[&str] = &["rotate"];
const RULE_KEYS: &[&str] = &["name", "action", "fields", "when", "to"];
const TO_KEYS: &[&str] = &["ipv4", "ipv6", "labels"];
const WHEN_KEYS: &[&str] = &[
    "process",
    "team",
    "signing_id",
    "platform",
    "user",
    "destination",
    "port",
    "direction",
    "protocol",
];

impl<'t> Reader<'t> {
    fn problem(&mut self, span: Span, message: impl Into<String>) {
        let at = span.start.min(self.text.len());
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |it| it + 1);
        self.problems.push(Problem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
        });
    }

    fn line(&self, span: &Span) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    fn policy(&mut self) -> Parsed {
        let mut parsed = Parsed {
            rules: Vec::new(),
            rotate_s: ROTATE_S_DEFAULT,
        };
        if self.text.len() > TEXT_BYTES_MAX {
            self.problem(0..0, "the text is larger than 1 MiB");
            return parsed;
        }
        let table = match DeTable::parse(self.text) {
            Ok(table) => table,
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                self.problem(span, format!("this is not TOML: {}", error.message()));
                return parsed;
            }
        };
        let table = table.get_ref();
        self.known_keys(table, TOP_KEYS, "a policy");
        self.version(table);
        if let Some(value) = table.get("pseudonyms") {
            parsed.rotate_s = self.rotation(value);
        }
        match table.get("rule") {
            None => self.problem(
                0..0,
                "there is no rule; a rule begins with [[rule]], and no policy is no file",
            ),
            Some(value) => parsed.rules = self.rules(value),
        }
        parsed
    }

    fn version(&mut self, table: &DeTable<'t>) {
        match table.get("version") {
            None => self.problem(0..0, "the first line must be version = 1"),
            Some(value) if integer(value) == Some(1) => {}
            Some(value) => self.problem(value.span(), "this conntrail knows version = 1 only"),
        }
    }

    fn rotation(&mut self, value: &Value<'t>) -> u64 {
        let wrong = "must be a time from 1h to 366d, such as rotate = \"30d\"";
        let Some(table) = value.get_ref().as_table() else {
            self.problem(value.span(), "must be a section: [pseudonyms]");
            return ROTATE_S_DEFAULT;
        };
        self.known_keys(table, PSEUDONYM_KEYS, "[pseudonyms]");
        let Some(value) = table.get("rotate") else {
            return ROTATE_S_DEFAULT;
        };
        let seconds = value.get_ref().as_str().and_then(seconds);
        match seconds.filter(|it| (3_600..=366 * 86_400).contains(it)) {
            Some(seconds) => seconds,
            None => {
                self.problem(value.span(), wrong);
                ROTATE_S_DEFAULT
            }
        }
    }

    fn rules(&mut self, value: &Value<'t>) -> Vec<Rule> {
        let Some(tables) = value.get_ref().as_array() else {
            self.problem(value.span(), "a rule begins with [[rule]], in two brackets");
            return Vec::new();
        };
        if tables.len() > RULES_MAX {
            let message = format!(
                "there are {} rules, and {RULES_MAX} are the most; rules that do the same can be \
                 one, as lists may be of any length",
                tables.len()
            );
            self.problem(value.span(), message);
            return Vec::new();
        }
        let rules = tables.iter().filter_map(|value| {
            let Some(table) = value.get_ref().as_table() else {
                self.problem(value.span(), "a rule begins with [[rule]], in two brackets");
                return None;
            };
            self.rule(table, value.span())
        });
        rules.collect()
    }

    fn rule(&mut self, table: &DeTable<'t>, span: Span) -> Option<Rule> {
        self.known_keys(table, RULE_KEYS, "a rule");
        let name = self.name(table, &span);
        let action = self.action(table, &span);
        let fields = match action {
            Some(action) => self.fields(table, &span, action),
            None => None,
        };
        let criteria = match table.get("when") {
            None => Criteria::default(),
            Some(value) => self.criteria(value),
        };
        Some(Rule {
            line: self.line(&span),
            name: name?,
            action: action?,
            fields: fields?,
            criteria,
        })
    }

    fn name(&mut self, table: &DeTable<'t>, span: &Span) -> Option<String> {
        let Some(value) = table.get("name") else {
            self.problem(span.clone(), "the rule has no name, by which it is counted");
            return None;
        };
        let name = value.get_ref().as_str().unwrap_or_default();
        let is_name = !name.trim().is_empty()
            && name.chars().count() <= NAME_CHARS_MAX
            && !name.chars().any(char::is_control);
        if !is_name {
            let message = format!("must be a text of 1 to {NAME_CHARS_MAX} letters");
            self.problem(value.span(), message);
        }
        is_name.then(|| name.to_owned())
    }

    fn action(&mut self, table: &DeTable<'t>, span: &Span) -> Option<Action> {
        let Some(value) = table.get("action") else {
            let message = "the rule has no action: drop, truncate, pseudonymise or keep";
            self.problem(span.clone(), message);
            return None;
        };
        let action = match value.get_ref().as_str() {
            Some("drop") => Action::Drop,
            Some("truncate") => Action::Truncate(TRUNCATION_DEFAULT),
            Some("pseudonymise") => Action::Pseudonymise,
            Some("keep") => Action::Keep,
            Some(_) | None => {
                let message = "must be one of \"drop\", \"truncate\", \"pseudonymise\", \"keep\"";
                self.problem(value.span(), message);
                return None;
            }
        };
        match (action, table.get("to")) {
            (action, None) => Some(action),
            (Action::Truncate(default), Some(to)) => {
                Some(Action::Truncate(self.truncation(to, default)))
            }
            (Action::Drop | Action::Pseudonymise | Action::Keep, Some(to)) => {
                self.problem(to.span(), "only an action = \"truncate\" has a \"to\"");
                None
            }
        }
    }

    fn truncation(&mut self, value: &Value<'t>, mut truncation: Truncation) -> Truncation {
        let Some(table) = value.get_ref().as_table() else {
            let message = "must be a table such as { ipv4 = 24, ipv6 = 48, labels = 2 }";
            self.problem(value.span(), message);
            return truncation;
        };
        self.known_keys(table, TO_KEYS, "\"to\"");
        let places: [(&str, &mut u8, i64, i64); 3] = [
            ("ipv4", &mut truncation.ipv4_bits, 0, 31),
            ("ipv6", &mut truncation.ipv6_bits, 0, 127),
            ("labels", &mut truncation.labels, 1, 20),
        ];
        for (key, place, min, max) in places {
            let Some(value) = table.get(key) else {
                continue;
            };
            match integer(value).filter(|it| (min..=max).contains(it)) {
                Some(number) => *place = number as u8,
                None => {
                    let message = format!("must be a whole number from {min} to {max}");
                    self.problem(value.span(), message);
                }
            }
        }
        truncation
    }

    fn fields(&mut self, table: &DeTable<'t>, span: &Span, action: Action) -> Option<FieldSet> {
        let Some(value) = table.get("fields") else {
            let message = "the rule has no fields; [\"record\"] stands for the record as a whole";
            self.problem(span.clone(), message);
            return None;
        };
        let before = self.problems.len();
        let mut named = FieldSet::EMPTY;
        for value in self.list(value) {
            let name = value.get_ref().as_str().unwrap_or_default();
            let Some(fields) = fields::named(name) else {
                let nearest = nearest(name, fields::names());
                let message = format!(
                    "there is no field {}; the nearest is {nearest}",
                    quoted(name)
                );
                self.problem(value.span(), message);
                continue;
            };
            for field in fields {
                self.allow(field, action, value.span());
                named = named.with(fields::whole(field));
            }
        }
        (self.problems.len() == before).then_some(named)
    }

    fn allow(&mut self, field: PolicyField, action: Action, span: Span) {
        if fields::allows(field, action) {
            return;
        }
        let what = match action {
            Action::Truncate(_) => "truncate",
            Action::Pseudonymise => "pseudonymise",
            Action::Drop | Action::Keep => return,
        };
        let can = PolicyField::ALL
            .iter()
            .filter(|it| fields::allows(**it, action));
        let can: Vec<&str> = can.map(|it| it.name()).collect();
        let name = field.name();
        let message = format!(
            "{name} can be dropped or kept; what can be {what}d is {}",
            can.join(", ")
        );
        self.problem(span, message);
    }

    fn criteria(&mut self, value: &Value<'t>) -> Criteria {
        let mut criteria = Criteria::default();
        let Some(table) = value.get_ref().as_table() else {
            let message = "must be a table such as { process = \"/opt/vpn/**\" }";
            self.problem(value.span(), message);
            return criteria;
        };
        self.known_keys(table, WHEN_KEYS, "\"when\"");
        criteria.process = self.each(table, "process", pattern);
        criteria.team = self.each(table, "team", pattern);
        criteria.signing_id = self.each(table, "signing_id", pattern);
        criteria.user = self.each(table, "user", user);
        criteria.port = self.each(table, "port", port);
        criteria.direction = self.each(table, "direction", direction);
        criteria.protocol = self.each(table, "protocol", protocol);
        let places = self.each(table, "destination", |value| {
            criteria::places(value.as_str().unwrap_or_default())
        });
        criteria.destination = places.into_iter().flatten().collect();
        if let Some(value) = table.get("platform") {
            criteria.platform = value.get_ref().as_bool();
            if criteria.platform.is_none() {
                self.problem(value.span(), "must be true or false");
            }
        }
        criteria
    }

    /// Every value of a key, read by `read`; a mistake is named and left out.
    fn each<T>(
        &mut self,
        table: &DeTable<'t>,
        key: &str,
        read: impl Fn(&DeValue<'t>) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = table.get(key) else {
            return Vec::new();
        };
        let mut values = Vec::new();
        for value in self.list(value) {
            match read(value.get_ref()) {
                Ok(value) => values.push(value),
                Err(message) => self.problem(value.span(), message),
            }
        }
        values
    }

    /// A list, or one value in place of a list of one. A list of nothing would match everything or
    /// nothing, so it is a mistake.
    fn list<'v>(&mut self, value: &'v Value<'t>) -> Vec<&'v Value<'t>> {
        let Some(values) = value.get_ref().as_array() else {
            return vec![value];
        };
        if values.is_empty() {
            self.problem(
                value.span(),
                "the list is empty; leave the line out or name something",
            );
        }
        values.iter().collect()
    }

    fn known_keys(&mut self, table: &DeTable<'t>, known: &[&'static str], of: &str) {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let nearest = nearest(name, known.iter().copied());
                let message = format!("{of} has no key {}; the nearest is {nearest}", quoted(name));
                self.problem(key.span(), message);
            }
        }
    }
}

fn integer(value: &Value<'_>) -> Option<i64> {
    match value.get_ref() {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    }
}

fn number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A whole number and `h` or `d`.
fn seconds(text: &str) -> Option<u64> {
    let (digits, each) = match text.strip_suffix('h') {
        Some(digits) => (digits, 3_600),
        None => (text.strip_suffix('d')?, 86_400),
    };
    let is_number = digits.bytes().all(|it| it.is_ascii_digit());
    digits
        .parse::<u64>()
        .ok()
        .filter(|_| is_number)?
        .checked_mul(each)
}

fn pattern(value: &DeValue<'_>) -> Result<String, String> {
    let text = value.as_str().unwrap_or_default();
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
        return Err(format!("must be a text of 1 to {PATTERN_BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
}

fn user(value: &DeValue<'_>) -> Result<UserIs, String> {
    let id = number(value).and_then(|id| u32::try_from(id).ok());
    match (value.as_str(), id) {
        (Some(name), _) if !name.is_empty() => Ok(UserIs::Name(name.to_owned())),
        (_, Some(id)) => Ok(UserIs::Id(id)),
        (_, None) => Err("must be the name of a user, or the id as a number".to_owned()),
    }
}

fn port(value: &DeValue<'_>) -> Result<(u16, u16), String> {
    let wrong = || "must be a port such as 443, or ports such as \"8000-8999\"".to_owned();
    if let Some(port) = number(value) {
        let port = u16::try_from(port).map_err(|_| wrong())?;
        return Ok((port, port));
    }
    let (first, last) = value
        .as_str()
        .and_then(|it| it.split_once('-'))
        .ok_or_else(wrong)?;
    let port = |text: &str| {
        let is_number = text.bytes().all(|it| it.is_ascii_digit());
        text.parse::<u16>()
            .ok()
            .filter(|_| is_number)
            .ok_or_else(wrong)
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(format!("{first} is above {last}; write \"{last}-{first}\""));
    }
    Ok((first, last))
}

fn direction(value: &DeValue<'_>) -> Result<Direction, String> {
    let text = value.as_str().unwrap_or_default();
    let found = Direction::ALL.iter().find(|it| it.name() == text);
    found
        .copied()
        .ok_or_else(|| "must be one of \"outbound\", \"inbound\", \"unknown\"".to_owned())
}

fn protocol(value: &DeValue<'_>) -> Result<Protocol, String> {
    let by_number = number(value).and_then(|it| u8::try_from(it).ok());
    match (value.as_str(), by_number) {
        (Some("tcp"), _) => Ok(Protocol::Tcp),
        (Some("udp"), _) => Ok(Protocol::Udp),
        (_, Some(number)) => Ok(Protocol::from_number(number)),
        (_, None) => Err("must be \"tcp\", \"udp\", or a number from 0 to 255".to_owned()),
    }
}

/// The known name that differs least.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> &'static str {
    let short: String = name.chars().take(60).collect();
    let nearest = known.min_by_key(|it| strsim::levenshtein(it, &short));
    nearest.expect("there is at least one name")
}
