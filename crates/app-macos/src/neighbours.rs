//! Who else stands in the path of connections: other system extensions, and VPNs.
//!
//! No public programming interface lists them: an app sees its own filter only. Two public tools
//! do, `systemextensionsctl list` and `scutil --nc list`. Their output is written for people and
//! promised to nobody, so that lines of another shape are passed over and counted. Built and
//! tested off-Mac, on output as people publish it.

use crate::child::{self, ChildError};
use std::time::Duration;

/// The tool that lists system extensions.
pub const EXTENSIONS_TOOL: (&str, &[&str]) = ("/usr/bin/systemextensionsctl", &["list"]);

/// The tool that lists VPN services of the current network location. It does not show every kind:
/// IKEv2 services are reported to be missing.
pub const VPN_TOOL: (&str, &[&str]) = ("/usr/sbin/scutil", &["--nc", "list"]);

/// What was found beside us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// System extensions of others, or why they are not known.
    pub extensions: Option<Listing<ListedExtension>>,
    /// VPN services, or why they are not known.
    pub vpns: Option<Listing<ListedVpn>>,
    /// What could not be asked, a sentence each.
    pub troubles: Vec<String>,
}

/// What a tool listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// What could be read.
    pub entries: Vec<T>,
    /// Lines that had the place of an entry but not its shape.
    pub unread_lines: usize,
}

/// A system extension as the tool lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedExtension {
    /// What the section above it is named, such as `network_extension`.
    pub category: String,
    /// Whether it may run.
    pub enabled: bool,
    /// Whether it is installed as the current one.
    pub active: bool,
    /// Who signed it.
    pub team: String,
    /// Its bundle identifier.
    pub identifier: String,
    /// Short version and build, as the tool writes them: `4.3.1/4.3.1`.
    pub version: String,
    /// Its name for people.
    pub name: String,
    /// What the tool says of it, such as `activated enabled`.
    pub state: String,
}

impl ListedExtension {
    /// Whether it can stand in the path of connections: a filter, a proxy or a VPN. The list does
    /// not say which of them.
    pub fn is_in_the_path(&self) -> bool {
        self.category == "network_extension" && self.enabled && self.active
    }
}

/// A VPN service as the tool lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVpn {
    /// Whether it may be used.
    pub enabled: bool,
    /// As the tool says: `Connected`, `Disconnected`, `Connecting` and so on.
    pub status: String,
    /// Its name for people.
    pub name: String,
    /// Which kind, such as `VPN:com.example.tunnel` or `IPSec`.
    pub kind: String,
}

impl ListedVpn {
    /// Whether traffic may go through it now.
    pub fn is_connected(&self) -> bool {
        self.status == "Connected"
    }
}

/// Asks both tools and leaves out what has our own identifier. Takes at most twice `timeout`.
pub fn look_around(own_identifier: &str, timeout: Duration) -> Neighbours {
    look_around_with(EXTENSIONS_TOOL, VPN_TOOL, own_identifier, timeout)
}

/// As [`look_around`], with other tools in their place.
pub fn look_around_with(
    extensions_tool: (&str, &[&str]),
    vpn_tool: (&str, &[&str]),
    own_identifier: &str,
    timeout: Duration,
) -> Neighbours {
    let mut found = Neighbours::default();
    match ask(extensions_tool, timeout) {
        Ok(text) => {
            let mut listing = parse_extensions(&text);
            listing.entries.retain(|it| it.identifier != own_identifier);
            found.extensions = Some(listing);
        }
        Err(error) => found.troubles.push(error.to_string()),
    }
    match ask(vpn_tool, timeout) {
        Ok(text) => found.vpns = Some(parse_vpns(&text)),
        Err(error) => found.troubles.push(error.to_string()),
    }
    found
}

fn ask((program, arguments): (&str, &[&str]), timeout: Duration) -> Result<String, ChildError> {
    child::output(program, arguments, timeout)
}

/// Reads what `systemextensionsctl list` prints: sections that begin with `---` and a category,
/// and in them one line an extension, its columns apart by tabs.
pub fn parse_extensions(text: &str) -> Listing<ListedExtension> {
    let mut listing = Listing {
        entries: Vec::new(),
        unread_lines: 0,
    };
    let mut category = None;
    for line in text.lines() {
        if let Some(title) = line.trim_start().strip_prefix("---") {
            category = Some(category_of(title));
            continue;
        }
        let Some(category) = &category else { continue };
        if line.trim().is_empty() || is_heading(line) {
            continue;
        }
        match extension(category, line) {
            Some(entry) => listing.entries.push(entry),
            None => listing.unread_lines += 1,
        }
    }
    listing
}

/// Newer systems add after the category where its settings are.
fn category_of(title: &str) -> String {
    let name = title.split_whitespace().next().unwrap_or_default();
    let short = name.strip_prefix("com.apple.system_extension.");
    short.unwrap_or(name).to_owned()
}

fn is_heading(line: &str) -> bool {
    line.trim_start().starts_with("enabled")
}

fn extension(category: &str, line: &str) -> Option<ListedExtension> {
    let mut columns = line.split('\t');
    let mut is_marked = || columns.next().map(|it| it.trim() == "*");
    let (enabled, active) = (is_marked()?, is_marked()?);
    let team = columns.next()?.trim().to_owned();
    let (identifier, version) = columns.next()?.trim().split_once(" (")?;
    let name = columns.next()?.trim().to_owned();
    let state = columns.next()?.trim();
    Some(ListedExtension {
        category: category.to_owned(),
        enabled,
        active,
        team,
        identifier: identifier.to_owned(),
        version: version.strip_suffix(')')?.to_owned(),
        name,
        state: state.strip_prefix('[')?.strip_suffix(']')?.to_owned(),
    })
}

/// Reads what `scutil --nc list` prints: a heading, then a line a service with its status in
/// round, its name in quotation marks and its kind in square brackets.
pub fn parse_vpns(text: &str) -> Listing<ListedVpn> {
    let mut listing = Listing {
        entries: Vec::new(),
        unread_lines: 0,
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    for line in lines.filter(|line| !line.starts_with("Available")) {
        match vpn(line) {
            Some(entry) => listing.entries.push(entry),
            None => listing.unread_lines += 1,
        }
    }
    listing
}

fn vpn(line: &str) -> Option<ListedVpn> {
    let marked = line.trim_start().strip_prefix('*');
    let rest = marked.unwrap_or(line).trim_start().strip_prefix('(')?;
    let (status, rest) = rest.split_once(')')?;
    let (before_kind, kind) = rest.trim_end().strip_suffix(']')?.rsplit_once('[')?;
    let (_, quoted) = before_kind.split_once('"')?;
    let (name, _) = quoted.rsplit_once('"')?;
    Some(ListedVpn {
        enabled: marked.is_some(),
        status: status.to_owned(),
        name: name.to_owned(),
        kind: kind.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENSIONS: &str = "3 extension(s)\n\
        --- com.apple.system_extension.network_extension (Go to 'System Settings > General')\n\
        enabled\tactive\tteamID\tbundleID (version)\tname\t[state]\n\
        *\t*\tTEAMONE123\tcom.example.edr.filter (6.1.1/1281)\tFilter\t[activated enabled]\n\
        \t\tTEAMTWO456\tcom.example.tunnel (1.0/8)\tTunnel\t\
        [terminated waiting to uninstall on reboot]\n\
        \n\
        --- com.apple.system_extension.endpoint_security\n\
        enabled\tactive\tteamID\tbundleID (version)\tname\t[state]\n\
        \t*\tTEAMONE123\tcom.example.edr.watch (2.0/2)\tWatch\t[activated waiting for user]\n";

    // facts: two-filters-no-network
    #[test]
    fn extensions_are_read_with_their_category_and_state() {
        let listing = parse_extensions(EXTENSIONS);
        assert_eq!(listing.unread_lines, 0);
        let told: Vec<_> = listing
            .entries
            .iter()
            .map(|it| (&*it.category, &*it.identifier, &*it.version, &*it.state))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "network_extension",
                    "com.example.edr.filter",
                    "6.1.1/1281",
                    "activated enabled"
                ),
                (
                    "network_extension",
                    "com.example.tunnel",
                    "1.0/8",
                    "terminated waiting to uninstall on reboot"
                ),
                (
                    "endpoint_security",
                    "com.example.edr.watch",
                    "2.0/2",
                    "activated waiting for user"
                ),
            ]
        );
        let in_the_path: Vec<_> = listing
            .entries
            .iter()
            .map(|it| it.is_in_the_path())
            .collect();
        assert_eq!(in_the_path, [true, false, false]);
    }

    #[test]
    fn lines_of_another_shape_are_counted_and_passed_over() {
        let text = format!("{EXTENSIONS}something new entirely\n*\t*\tTEAM\tno version\tX\t[y]\n");
        let listing = parse_extensions(&text);
        assert_eq!((listing.entries.len(), listing.unread_lines), (3, 2));
        assert_eq!(parse_extensions("0 extension(s)\n").entries, []);
        assert_eq!(parse_extensions("").unread_lines, 0);
        let vpns = parse_vpns("Available things\n(Connected) nameless [VPN]\nnothing\n");
        assert_eq!((vpns.entries.len(), vpns.unread_lines), (0, 2));
    }

    // facts: vpn-twice
    #[test]
    fn vpn_services_are_read_whatever_their_names() {
        let text = "Available network connection services in the current set (*=enabled):\n\
            * (Connected)      2EE97DCA-F635-4B99-88E9-A5805B1D56C5 VPN (com.example.tunnel) \
            \"Work \"east\" [1]\"   [VPN:com.example.tunnel]\n  \
              (Disconnected)   940C2D07-8CF4-492C-A7DE-DD50C337149F PPP --> L2TP       \
            \"Home\"      [PPP:L2TP]\n";
        let listing = parse_vpns(text);
        assert_eq!(listing.unread_lines, 0);
        let [work, home] = &listing.entries[..] else {
            panic!("{listing:?}")
        };
        assert_eq!(
            (&*work.name, &*work.kind),
            ("Work \"east\" [1]", "VPN:com.example.tunnel")
        );
        assert!(work.enabled && work.is_connected());
        assert_eq!((&*home.name, &*home.status), ("Home", "Disconnected"));
        assert!(!home.enabled && !home.is_connected());
    }

    #[test]
    fn no_cut_of_the_output_is_a_reason_to_fail() {
        for end in (0..EXTENSIONS.len()).filter(|it| EXTENSIONS.is_char_boundary(*it)) {
            let listing = parse_extensions(&EXTENSIONS[..end]);
            assert!(listing.entries.len() + listing.unread_lines <= 3);
        }
    }

    // facts: two-filters-no-network, vpn-twice
    #[test]
    fn what_cannot_be_asked_is_said_and_the_rest_still_told() {
        let tools = ("/nowhere/tool", &[][..]);
        let script = "printf '* (Connected) X VPN (y) \"Work\" [VPN:y]\\n'";
        let found = look_around_with(
            tools,
            ("/bin/sh", &["-c", script]),
            "org.example.own",
            Duration::from_secs(60),
        );
        assert_eq!(found.extensions, None);
        assert_eq!(found.vpns.unwrap().entries[0].name, "Work");
        assert!(
            found.troubles[0].contains("/nowhere/tool"),
            "{:?}",
            found.troubles
        );
    }

    #[test]
    fn where_the_systems_tools_are_missing_that_is_said() {
        let found = look_around("our.own", Duration::from_secs(60));
        let asked = usize::from(found.extensions.is_some()) + usize::from(found.vpns.is_some());
        assert_eq!(asked + found.troubles.len(), 2);
    }

    #[test]
    fn we_are_not_our_own_neighbour() {
        let script = "printf -- '--- network\\n*\\t*\\tT\\tour.own (1/1)\\tN\\t[s]\\n'; \
                      printf '*\\t*\\tT\\tnot.ours (1/1)\\tN\\t[s]\\n'";
        let found = look_around_with(
            ("/bin/sh", &["-c", script]),
            ("/bin/sh", &["-c", "exit 3"]),
            "our.own",
            Duration::from_secs(60),
        );
        let identifiers: Vec<_> = found.extensions.unwrap().entries;
        assert_eq!(identifiers.len(), 1);
        assert_eq!(identifiers[0].identifier, "not.ours");
        assert!(
            found.troubles[0].contains("exit status: 3"),
            "{:?}",
            found.troubles
        );
    }
}
