//! Which rules match a record: one bit a rule, one look-up a criterion.
//!
//! For each criterion the rules that it lets through are found at once, those that do not ask for
//! it among them; the rules that every criterion lets through match. So the cost does not grow with
//! the number of rules.

use crate::Rule;
use crate::criteria::{Place, UserIs};
use crate::glob::Glob;
use crate::intervals::{Intervals, Range};
use crate::treat::literal;
use record::{Connection, Direction, Process, Protocol, SignatureValidity};
use rustc_hash::FxHashMap;
use std::net::IpAddr;

/// The rules of a policy, by what they ask for.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    process: Texts,
    team: Texts,
    signing_id: Texts,
    /// Rules that take code of the system, code of others, code of which neither is known.
    platform: [u128; 3],
    user_names: FxHashMap<Box<str>, u128>,
    user_ids: FxHashMap<u32, u128>,
    user_any: u128,
    ipv4: Intervals,
    ipv6: Intervals,
    hosts: FxHashMap<Box<str>, u128>,
    below: FxHashMap<Box<str>, u128>,
    destination_any: u128,
    ports: Intervals,
    port_any: u128,
    /// By the place in [`Direction::ALL`].
    directions: [u128; 3],
    protocols: FxHashMap<u8, u128>,
    protocol_any: u128,
}

/// Rules by a text that they ask for.
#[derive(Debug, Default)]
struct Texts {
    plain: FxHashMap<Box<str>, u128>,
    globs: Vec<(Glob, u128)>,
    /// Rules that ask for none.
    any: u128,
}

/// What each criterion lets through, in the order of [`CRITERIA`].
pub(crate) type ByCriterion = [u128; 9];

/// The criteria by name. The first five are about a process.
pub(crate) const CRITERIA: [&str; 9] = [
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

impl Matcher {
    pub(crate) fn new(rules: &[Rule]) -> Matcher {
        let mut matcher = Matcher::default();
        let (mut ipv4, mut ipv6, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for (index, rule) in rules.iter().enumerate() {
            let bit = 1u128 << index;
            let criteria = &rule.criteria;
            matcher.process.add(&criteria.process, bit);
            matcher.team.add(&criteria.team, bit);
            matcher.signing_id.add(&criteria.signing_id, bit);
            matcher.add_platform(criteria.platform, bit);
            matcher.add_users(&criteria.user, bit);
            matcher.add_places(&criteria.destination, index, &mut ipv4, &mut ipv6);
            matcher.add_directions(&criteria.direction, bit);
            matcher.add_protocols(&criteria.protocol, bit);
            let range = |(first, last): &(u16, u16)| ((*first).into(), (*last).into(), index);
            ports.extend(criteria.port.iter().map(range));
            matcher.port_any |= if criteria.port.is_empty() { bit } else { 0 };
        }
        matcher.ipv4 = Intervals::new(&ipv4);
        matcher.ipv6 = Intervals::new(&ipv6);
        matcher.ports = Intervals::new(&ports);
        matcher
    }

    fn add_platform(&mut self, wanted: Option<bool>, bit: u128) {
        let takes = match wanted {
            Some(true) => [true, false, false],
            Some(false) => [false, true, false],
            None => [true; 3],
        };
        for (rules, takes) in self.platform.iter_mut().zip(takes) {
            *rules |= if takes { bit } else { 0 };
        }
    }

    fn add_users(&mut self, users: &[UserIs], bit: u128) {
        self.user_any |= if users.is_empty() { bit } else { 0 };
        for user in users {
            match user {
                UserIs::Name(name) => {
                    *self.user_names.entry(name.as_str().into()).or_default() |= bit
                }
                UserIs::Id(id) => *self.user_ids.entry(*id).or_default() |= bit,
            }
        }
    }

    fn add_places(
        &mut self,
        places: &[Place],
        rule: usize,
        ipv4: &mut Vec<Range>,
        ipv6: &mut Vec<Range>,
    ) {
        let bit = 1u128 << rule;
        self.destination_any |= if places.is_empty() { bit } else { 0 };
        for place in places {
            match place {
                Place::Net(net) => {
                    let ranges = if net.addr().is_ipv4() {
                        &mut *ipv4
                    } else {
                        &mut *ipv6
                    };
                    ranges.push((number(net.network()), number(net.broadcast()), rule));
                }
                Place::Host(name) => *self.hosts.entry(name.as_str().into()).or_default() |= bit,
                Place::Below(name) => *self.below.entry(name.as_str().into()).or_default() |= bit,
            }
        }
    }

    fn add_directions(&mut self, wanted: &[Direction], bit: u128) {
        for (rules, direction) in self.directions.iter_mut().zip(Direction::ALL) {
            let takes = wanted.is_empty() || wanted.contains(direction);
            *rules |= if takes { bit } else { 0 };
        }
    }

    fn add_protocols(&mut self, wanted: &[Protocol], bit: u128) {
        self.protocol_any |= if wanted.is_empty() { bit } else { 0 };
        for protocol in wanted {
            *self.protocols.entry(protocol.number()).or_default() |= bit;
        }
    }

    /// The rules that what is asked of a process lets through.
    pub(crate) fn process(&self, process: Option<&Process>) -> u128 {
        let by_criterion = self.process_by_criterion(process);
        by_criterion
            .into_iter()
            .fold(u128::MAX, |all, rules| all & rules)
    }

    /// The rules that what is asked of everything else lets through.
    pub(crate) fn rest(&self, connection: &Connection) -> u128 {
        self.destination(connection)
            & self.port(connection)
            & self.direction(connection)
            & self.protocol(connection)
    }

    /// What each criterion lets through, the process being that of whoever makes the most rules
    /// match.
    pub(crate) fn by_criterion(
        &self,
        process: Option<&Process>,
        connection: &Connection,
    ) -> ByCriterion {
        let [program, team, signing_id, platform, user] = self.process_by_criterion(process);
        [
            program,
            team,
            signing_id,
            platform,
            user,
            self.destination(connection),
            self.port(connection),
            self.direction(connection),
            self.protocol(connection),
        ]
    }

    fn process_by_criterion(&self, process: Option<&Process>) -> [u128; 5] {
        let signature = process.and_then(|it| it.signature.as_ref());
        // Whoever wants to pass for another can sign as anybody, but not so that it is found good.
        let good = signature.filter(|it| it.validity == SignatureValidity::Valid);
        let texts = [
            process.and_then(|it| it.path.as_deref()),
            process.and_then(|it| it.name.as_deref()),
        ];
        [
            self.process.find(&texts),
            self.team.find(&[good.and_then(|it| it.team_id.as_deref())]),
            self.signing_id
                .find(&[good.and_then(|it| it.signing_id.as_deref())]),
            match good.and_then(|it| it.platform) {
                Some(true) => self.platform[0],
                Some(false) => self.platform[1],
                None => self.platform[2],
            },
            self.user(process),
        ]
    }

    fn user(&self, process: Option<&Process>) -> u128 {
        let Some(user) = process.and_then(|it| it.user.as_ref()) else {
            return self.user_any;
        };
        let by_id = self.user_ids.get(&user.uid);
        let by_name = user
            .name
            .as_ref()
            .and_then(|name| self.user_names.get(&**name));
        self.user_any | by_id.copied().unwrap_or(0) | by_name.copied().unwrap_or(0)
    }

    fn destination(&self, connection: &Connection) -> u128 {
        // A name may be an address, and then it may be all that is known.
        let by_literal = || literal(&connection.hostname.as_ref()?.name);
        let by_address = match connection.remote.address.or_else(by_literal) {
            Some(IpAddr::V4(address)) => self.ipv4.find(u32::from(address).into()),
            Some(IpAddr::V6(address)) => self.ipv6.find(address.into()),
            None => 0,
        };
        let by_name = match &connection.hostname {
            Some(hostname) if !(self.hosts.is_empty() && self.below.is_empty()) => {
                self.hostname(&hostname.name)
            }
            Some(_) | None => 0,
        };
        self.destination_any | by_address | by_name
    }

    fn hostname(&self, name: &str) -> u128 {
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.chars().any(char::is_uppercase) {
            return self.lower_hostname(&name.to_lowercase());
        }
        self.lower_hostname(name)
    }

    fn lower_hostname(&self, name: &str) -> u128 {
        let mut rules = self.hosts.get(name).copied().unwrap_or(0);
        let mut rest = name;
        while let Some((_, behind)) = rest.split_once('.') {
            rules |= self.below.get(behind).copied().unwrap_or(0);
            rest = behind;
        }
        rules
    }

    fn port(&self, connection: &Connection) -> u128 {
        let port = connection.remote.port;
        self.port_any | port.map_or(0, |port| self.ports.find(port.into()))
    }

    fn direction(&self, connection: &Connection) -> u128 {
        match connection.direction {
            Direction::Outbound => self.directions[0],
            Direction::Inbound => self.directions[1],
            Direction::Unknown => self.directions[2],
        }
    }

    fn protocol(&self, connection: &Connection) -> u128 {
        let number = connection.protocol.number();
        self.protocol_any | self.protocols.get(&number).copied().unwrap_or(0)
    }
}

impl Texts {
    fn add(&mut self, wanted: &[String], bit: u128) {
        self.any |= if wanted.is_empty() { bit } else { 0 };
        for text in wanted {
            match Glob::is_plain(text) {
                true => *self.plain.entry(text.as_str().into()).or_default() |= bit,
                false => self.globs.push((Glob::new(text), bit)),
            }
        }
    }

    /// The rules that one of `texts` fits, and those that ask for none.
    ///
    /// A path has a `/` and a name has none, so that patterns with and without one find their own;
    /// only `**` alone fits both.
    fn find(&self, texts: &[Option<&str>]) -> u128 {
        let mut rules = self.any;
        for text in texts.iter().flatten() {
            rules |= self.plain.get(*text).copied().unwrap_or(0);
            for (glob, bit) in &self.globs {
                if rules & bit == 0 && glob.matches(text) {
                    rules |= bit;
                }
            }
        }
        rules
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}
