//! What is wrong with a linked program. Everything here is a function of plain data, so that every
//! rule has a test that breaks it.

use super::allowed::{Allowed, Source};
use super::binds::Bind;
use super::forbidden::{As, CONNECTIONS, Forbidden, PRIVATE, SPEAKER, TRAFFIC};
use super::image::{Image, Version};
use super::{Architecture, DEPLOYMENT_TARGET};
use anyhow::Result;
use std::collections::BTreeSet;

/// A program that is judged.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// Its name.
    pub(super) program: &'a str,
    /// The architecture it was built for.
    pub(super) architecture: Architecture,
    /// What is in it.
    pub(super) image: &'a Image,
}

/// One rule: what it is about, and what breaks it.
pub(super) type Rule = (&'static str, fn(&Subject, &Allowed) -> Vec<String>);

/// All rules.
pub(super) const RULES: &[Rule] = &[
    ("shape", |subject, _| shape(subject)),
    ("libraries", libraries),
    ("imports", imports),
    ("names", names),
    ("traffic", |subject, _| forbidden(subject, TRAFFIC)),
    ("private calls", |subject, _| forbidden(subject, PRIVATE)),
    ("connections", |subject, _| connections(subject)),
    ("provider", provider),
];

/// Rust's library says this before it tells where a panic was, and a zero can follow by chance.
const SENTENCE: &[u8] = b"tack backtrace:";

/// The library that sends selectors.
const RUNTIME: &str = "libobjc";

/// Where the system keeps the libraries that anybody may use.
const PUBLIC_PLACES: &[&str] = &["/usr/lib/", "/System/Library/Frameworks/"];

/// A text outside of the sections of texts that is at most this long is chance.
const CHANCE_LENGTH_MAX: usize = 3;

/// The program is of the right kind, for the right processor, for the right system, and loads
/// nothing from elsewhere.
pub(super) fn shape(subject: &Subject) -> Vec<String> {
    let image = subject.image;
    let mut findings = image.detours.clone();
    let mut expect = |is_so: bool, otherwise: &str| {
        if !is_so {
            findings.push(otherwise.to_owned());
        }
    };
    expect(
        image.architecture == Some(subject.architecture),
        "is for another processor",
    );
    expect(image.is_program, "is no program");
    expect(
        image.is_two_level,
        "does not say where its imports come from",
    );
    expect(image.is_relocatable, "has a fixed place in memory");
    // The system starts nothing on Apple's own processors that is not signed at all.
    let may_be_unsigned = subject.architecture == Architecture::X86_64;
    expect(image.is_signed || may_be_unsigned, "has no signature");
    let minimum = image.minimum.map(|version| version.to_string());
    if minimum.as_deref() != Some(DEPLOYMENT_TARGET) {
        let found = minimum.unwrap_or_else(|| "nothing".to_owned());
        findings.push(format!("runs from {found}, not from {DEPLOYMENT_TARGET}"));
    }
    findings
}

/// Only listed libraries are loaded, each only by a program that may, and none is private.
pub(super) fn libraries(subject: &Subject, allowed: &Allowed) -> Vec<String> {
    let judge = |path: &String| {
        if !PUBLIC_PLACES.iter().any(|place| path.starts_with(place)) {
            return Some(format!("loads {path}, which is not public"));
        }
        match allowed.library_at(path) {
            None => Some(format!("loads {path}, which is not listed")),
            Some((_, library)) if !library.programs.contains(subject.program) => {
                Some(format!("loads {path}, which is not for this program"))
            }
            Some(_) => None,
        }
    };
    subject.image.libraries.iter().filter_map(judge).collect()
}

/// Every import is on the list of the library that it is asked from.
pub(super) fn imports(subject: &Subject, allowed: &Allowed) -> Vec<String> {
    let judge = |import: &Bind| {
        let symbol = &import.symbol;
        let Some(path) = subject.image.library_of(import) else {
            let ordinal = import.ordinal;
            return Some(format!("asks for {symbol} from no library ({ordinal})"));
        };
        let library = allowed.library_at(path).map(|(_, library)| library);
        let sources = library.into_iter().flat_map(|it| &it.from);
        let sources: Vec<&Source> = sources
            .filter(|source| has(source, symbol, subject.architecture))
            .collect();
        if sources.is_empty() {
            return Some(format!("asks {path} for {symbol}, which is not listed"));
        }
        let is_its = sources.iter().any(|source| {
            let programs = source.programs.as_ref();
            programs.is_none_or(|programs| programs.contains(subject.program))
        });
        (!is_its).then(|| format!("asks {path} for {symbol}, which is not for this program"))
    };
    subject.image.imports.iter().filter_map(judge).collect()
}

/// Every text that may be a selector, a class or a name to look up is on a list.
///
/// A selector reaches the runtime as a text, and so does the name of a class. All such texts lie
/// in sections of their own, so that they can be counted without a gap: whatever there is written
/// like a name is listed as something. Elsewhere texts run into each other; there only what looks
/// like nothing but a selector is, and only in programs that may load the runtime: in others
/// nobody would take it for one, and in megabytes of tables it stands by chance.
pub(super) fn names(subject: &Subject, allowed: &Allowed) -> Vec<String> {
    let listed = allowed.all_names();
    let texts = subject.image.texts.iter().map(String::as_str);
    let mut found: BTreeSet<String> = texts
        .filter(|text| is_name(text) && !listed.contains(text))
        .map(str::to_owned)
        .collect();
    let runtime = allowed.libraries.get(RUNTIME);
    if runtime.is_none_or(|it| it.programs.contains(subject.program)) {
        let hidden = subject.image.data.iter().flat_map(|data| selectors(data));
        found.extend(hidden.filter(|text| !listed.contains(text.as_str())));
    }
    let finding = |text: &String| format!("has `{text}`, which is on no list of names");
    found.iter().map(finding).collect()
}

/// Nothing forbidden is in the program.
pub(super) fn forbidden(subject: &Subject, list: &[Forbidden]) -> Vec<String> {
    let image = subject.image;
    let is_there = |forbidden: &Forbidden| match forbidden.as_ {
        As::Part => contains(&image.file, forbidden.text.as_bytes()),
        As::Whole => {
            let mut imports = image.imports.iter();
            image.texts.contains(forbidden.text)
                || imports.any(|import| import.symbol == forbidden.text)
        }
    };
    let found = list.iter().filter(|forbidden| is_there(forbidden));
    found
        .map(|it| format!("has `{}`: {}", it.text, it.why))
        .collect()
}

/// Nobody but the shipper asks for what connections are made with.
pub(super) fn connections(subject: &Subject) -> Vec<String> {
    match subject.program {
        SPEAKER => Vec::new(),
        _ => forbidden(subject, CONNECTIONS),
    }
}

/// The class that the system is told to instantiate is in the program that it starts, and in no
/// other.
pub(super) fn provider(subject: &Subject, allowed: &Allowed) -> Vec<String> {
    let provider = &allowed.names.provider;
    let is_there = subject.image.texts.contains(&provider.class);
    match (is_there, provider.program == subject.program) {
        (false, true) => vec![format!("has no class {}", provider.class)],
        (true, false) => vec![format!(
            "has the class {}, which belongs to {}",
            provider.class, provider.program
        )],
        (true, true) | (false, false) => Vec::new(),
    }
}

/// What the lists allow and none of the programs has. The list of libSystem is left out: most of
/// it is Rust's own, and another version of Rust has other needs.
pub(super) fn unused(images: &[&Image], allowed: &Allowed, but: &str) -> Vec<String> {
    let imported: BTreeSet<&str> = images
        .iter()
        .flat_map(|image| image.imports.iter().map(|it| it.symbol.as_str()))
        .collect();
    let mut findings = Vec::new();
    for (name, library) in allowed.libraries.iter().filter(|(name, _)| *name != but) {
        let symbols = library.from.iter().flat_map(|source| &source.symbols);
        for symbol in symbols.filter(|symbol| !imported.contains(symbol.as_str())) {
            findings.push(format!(
                "{name}: {symbol} is listed, and nothing asks for it"
            ));
        }
    }
    let is_there = |name: &str| images.iter().any(|image| image.texts.contains(name));
    let plain = allowed.names.plain.keys().chain(allowed.names.ours.keys());
    let looked_up = allowed.names.looked_up.iter().map(|it| &it.name);
    let mut names: BTreeSet<&str> = allowed.all_selectors();
    names.extend(plain.chain(looked_up).map(String::as_str));
    for name in names.into_iter().filter(|name| !is_there(name)) {
        findings.push(format!("`{name}` is listed, and it is in no program"));
    }
    findings
}

/// What the lists allow although the oldest macOS that we run on does not have it.
pub(super) fn too_new(allowed: &Allowed) -> Result<Vec<String>> {
    let oldest = Version::parse(DEPLOYMENT_TARGET)?;
    let mut findings = Vec::new();
    for (name, library) in &allowed.libraries {
        for source in &library.from {
            let since = source.since.as_deref().map(Version::parse).transpose()?;
            if since.is_some_and(|since| since > oldest) {
                findings.push(format!("{name}: {:?} came later", source.symbols));
            }
        }
    }
    for kind in allowed.kinds() {
        if Version::parse(&kind.since)? > oldest {
            findings.push(format!("{} ({}) came later", kind.name, kind.since));
        }
    }
    Ok(findings)
}

fn has(source: &Source, symbol: &str, architecture: Architecture) -> bool {
    let only = source.only.as_deref();
    only.is_none_or(|only| only == architecture.name()) && source.symbols.contains(symbol)
}

/// Letters, digits, underscores and colons, and no digit first: a selector, a class, a function.
fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$');
    !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(is_part)
}

/// Whatever ends in a colon and a zero, back to where it stops being a name. Two colons in a row
/// are Rust's way of writing paths, in messages.
fn selectors(data: &[u8]) -> impl Iterator<Item = String> {
    let ends = data.windows(2).enumerate();
    let ends = ends.filter(|(_, pair)| *pair == b":\0").map(|(at, _)| at);
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    let before = move |end: usize| {
        if data[..=end].ends_with(SENTENCE) {
            return String::new();
        }
        let length = data[..=end]
            .iter()
            .rev()
            .take_while(|it| is_part(it))
            .count();
        String::from_utf8_lossy(&data[end + 1 - length..=end]).into_owned()
    };
    ends.map(before)
        .filter(|text| text.len() > CHANCE_LENGTH_MAX && !text.contains("::"))
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(hay, needle).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn a_sentence_that_a_zero_follows_is_no_selector() {
        let found = |data: &[u8]| selectors(data).collect::<Vec<_>>();
        assert_eq!(found(b"stack backtrace:\0"), [""; 0]);
        assert_eq!(found(b"a text and backtrace:\0"), ["backtrace:"]);
    }

    fn allowed() -> Allowed {
        let mut allowed = Allowed::default();
        let list = |text: &str| toml::from_str(text).unwrap();
        let system = list(
            "install-name = '/usr/lib/libSystem.B.dylib'\nprograms = ['conntraild', 'conntrail']\n\
             [[from]]\nheader = 'fcntl.h'\nsymbols = ['_open']\n\
             [[from]]\nheader = 'sys/stat.h'\nonly = 'x86_64'\nsymbols = ['_stat$INODE64']\n\
             [[from]]\nheader = 'sys/socket.h'\nprograms = ['conntrail']\n\
             symbols = ['_kqueue']",
        );
        let extension = list(
            "install-name = '/System/Library/Frameworks/NetworkExtension.framework/Versions/A/\
             NetworkExtension'\nprograms = ['conntraild']",
        );
        allowed.libraries.insert("libSystem".to_owned(), system);
        allowed
            .libraries
            .insert("NetworkExtension".to_owned(), extension);
        allowed.selectors = toml::from_str(
            "[[class]]\nname = 'NEFilterFlow'\nlibrary = 'NetworkExtension'\n\
             header = 'NetworkExtension/NEFilterFlow.h'\nsince = '10.15'\n\
             sends = { identifier = 'the id', 'a:b:' = 'an example' }",
        )
        .unwrap();
        allowed.names = toml::from_str(
            "ours = {}\nplain = { ivars = 'a name of ours' }\n\
             provider = { class = 'Filter', program = 'conntraild' }",
        )
        .unwrap();
        allowed
    }

    fn image() -> Image {
        let texts = ["Filter", "NEFilterFlow", "identifier", "a text", ""];
        Image {
            architecture: Some(Architecture::Arm64),
            is_program: true,
            is_two_level: true,
            is_relocatable: true,
            is_signed: true,
            minimum: Some(Version(13, 0)),
            libraries: vec!["/usr/lib/libSystem.B.dylib".to_owned()],
            imports: BTreeSet::from([import("_open", 1)]),
            texts: texts.map(str::to_owned).into(),
            data: vec![b"...a:b:\0b:\0".to_vec()],
            file: b"...a:b:\0".to_vec(),
            ..Image::default()
        }
    }

    fn import(symbol: &str, ordinal: i64) -> Bind {
        Bind {
            symbol: symbol.to_owned(),
            ordinal,
        }
    }

    fn insert(image: &mut Image, symbol: &str) {
        image.imports.insert(import(symbol, 1));
    }

    /// The rules that are broken once `change` has been made.
    fn broken(change: impl FnOnce(&mut Image)) -> Vec<&'static str> {
        let mut image = image();
        change(&mut image);
        let subject = Subject {
            program: "conntraild",
            architecture: Architecture::Arm64,
            image: &image,
        };
        let allowed = allowed();
        let broken = RULES
            .iter()
            .filter(|(_, find)| !find(&subject, &allowed).is_empty())
            .map(|(name, _)| *name);
        broken.collect()
    }

    #[test]
    fn a_program_that_is_as_it_should_be_breaks_no_rule() {
        assert_eq!(broken(|_| {}), [""; 0]);
    }

    #[test]
    fn a_program_of_another_kind_is_found() {
        let changes: [fn(&mut Image); 8] = [
            |image| image.architecture = Some(Architecture::X86_64),
            |image| image.is_program = false,
            |image| image.is_two_level = false,
            |image| image.is_relocatable = false,
            |image| image.is_signed = false,
            |image| image.minimum = Some(Version(12, 7)),
            |image| image.minimum = None,
            |image| image.detours = vec!["searches /tmp".to_owned()],
        ];
        for change in changes {
            assert_eq!(broken(change), ["shape"]);
        }
    }

    #[test]
    fn an_import_that_is_not_listed_is_found() {
        let found = broken(|image| insert(image, "_ptrace"));
        assert_eq!(found, ["imports"]);
    }

    #[test]
    fn an_import_that_another_program_alone_may_have_is_found() {
        let mut image = image();
        insert(&mut image, "_kqueue");
        let judge = |program| {
            let subject = Subject {
                program,
                architecture: Architecture::Arm64,
                image: &image,
            };
            imports(&subject, &allowed())
        };
        assert_eq!(judge("conntrail"), [""; 0]);
        let found = judge("conntraild");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("not for this program"), "{found:?}");
    }

    #[test]
    fn an_import_from_the_wrong_library_or_from_none_is_found() {
        for ordinal in [-3, -2, -1, 0, 2] {
            let found = broken(|image| image.imports = BTreeSet::from([import("_open", ordinal)]));
            assert_eq!(found, ["imports"], "{ordinal}");
        }
    }

    #[test]
    fn an_import_of_the_other_architecture_is_found() {
        let found = broken(|image| insert(image, "_stat$INODE64"));
        assert_eq!(found, ["imports"]);
    }

    #[test]
    fn a_library_that_is_not_listed_is_found() {
        for path in ["/usr/lib/libpcap.A.dylib", "@rpath/libmine.dylib"] {
            let found = broken(|image| image.libraries.push(path.to_owned()));
            assert_eq!(found, ["libraries"], "{path}");
        }
    }

    #[test]
    fn a_private_framework_is_found_even_where_it_is_listed() {
        let path = "/System/Library/PrivateFrameworks/NetworkStatistics.framework/X";
        let mut image = image();
        image.libraries.push(path.to_owned());
        let mut allowed = allowed();
        let mut library = allowed.libraries["libSystem"].clone();
        library.install_name = path.to_owned();
        allowed.libraries.insert("X".to_owned(), library);
        let subject = Subject {
            program: "conntraild",
            architecture: Architecture::Arm64,
            image: &image,
        };
        let found = libraries(&subject, &allowed);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("not public"), "{found:?}");
    }

    #[test]
    fn a_library_of_the_other_program_is_found() {
        let image = Image {
            libraries: vec![allowed().libraries["NetworkExtension"].install_name.clone()],
            ..image()
        };
        let judge = |program| {
            let subject = Subject {
                program,
                architecture: Architecture::Arm64,
                image: &image,
            };
            libraries(&subject, &allowed()).len()
        };
        assert_eq!((judge("conntraild"), judge("conntrail")), (0, 1));
    }

    #[test]
    fn a_selector_that_is_not_listed_is_found() {
        for text in [
            "sourceAppVersion",
            "terminate:",
            "open:with:",
            "NSTask",
            "x",
        ] {
            let found = broken(|image| image.texts.extend([text.to_owned()]));
            assert_eq!(found, ["names"], "{text}");
        }
    }

    #[test]
    fn a_selector_outside_of_the_texts_is_found() {
        let found = broken(|image| image.data.push(b"once upon a timesetX:andY:\0".to_vec()));
        assert_eq!(found, ["names"]);
        let found = broken(|image| image.data.push(b"it was Error::\0, or x:\0".to_vec()));
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn a_selector_by_chance_is_none_where_no_runtime_is() {
        let mut allowed = allowed();
        let runtime = "install-name = '/usr/lib/libobjc.A.dylib'\nprograms = ['conntraild']";
        let runtime = toml::from_str(runtime).unwrap();
        allowed.libraries.insert(RUNTIME.to_owned(), runtime);
        let mut image = image();
        image.data.push(b"a table with S4R:\0".to_vec());
        let found = |program, image: &Image| {
            let architecture = Architecture::Arm64;
            let subject = Subject {
                program,
                architecture,
                image,
            };
            names(&subject, &allowed).len()
        };
        let both = ["conntraild", "conntrail-ship"];
        assert_eq!(both.map(|it| found(it, &image)), [1, 0]);
        image.texts.insert("terminate:".to_owned());
        assert_eq!(both.map(|it| found(it, &image)), [2, 1]);
    }

    #[test]
    fn every_forbidden_text_is_found_wherever_it_stands() {
        for forbidden in TRAFFIC {
            let text = format!("before{}after", forbidden.text);
            let found = broken(|image| image.file.extend(text.as_bytes()));
            assert_eq!(found, ["traffic"], "{text}");
        }
        for forbidden in PRIVATE.iter().filter(|it| it.as_ == As::Part) {
            let text = format!("before{}after", forbidden.text);
            let found = broken(|image| image.file.extend(text.as_bytes()));
            assert_eq!(found, ["private calls"], "{text}");
        }
    }

    #[test]
    fn a_short_forbidden_name_is_found_as_a_whole_only() {
        for forbidden in PRIVATE.iter().filter(|it| it.as_ == As::Whole) {
            let name = forbidden.text;
            let found = broken(|image| image.texts.extend([name.to_owned()]));
            assert!(found.contains(&"private calls"), "{name}");
            let found = broken(|image| insert(image, name));
            assert!(found.contains(&"private calls"), "{name}");
            let found = broken(|image| image.file.extend(format!("x{name}x").as_bytes()));
            assert_eq!(found, [""; 0], "{name}");
        }
    }

    #[test]
    fn only_the_shipper_may_connect() {
        for forbidden in CONNECTIONS {
            let mut image = image();
            insert(&mut image, forbidden.text);
            let found = |program| {
                let subject = Subject {
                    program,
                    architecture: Architecture::Arm64,
                    image: &image,
                };
                connections(&subject).len()
            };
            let programs = ["conntraild", "conntrail", SPEAKER];
            assert_eq!(programs.map(found), [1, 1, 0], "{}", forbidden.text);
        }
    }

    #[test]
    fn a_program_without_the_provider_is_found() {
        let found = broken(|image| image.texts.retain(|text| text != "Filter"));
        assert_eq!(found, ["provider"]);
    }

    #[test]
    fn a_provider_in_the_wrong_program_is_found() {
        let image = image();
        let subject = Subject {
            program: "conntrail",
            architecture: Architecture::Arm64,
            image: &image,
        };
        assert_eq!(provider(&subject, &allowed()).len(), 1);
    }

    #[test]
    fn what_nobody_uses_is_found() {
        let image = image();
        let found = unused(&[&image], &allowed(), "libSystem");
        assert_eq!(found.len(), 2, "{found:?}");
        let found = unused(&[&image], &allowed(), "NetworkExtension");
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn what_came_after_the_oldest_macos_is_found() {
        let mut allowed = allowed();
        assert_eq!(too_new(&allowed).unwrap(), [""; 0]);
        allowed.selectors.classes[0].since = "15.0".to_owned();
        let system = allowed.libraries.get_mut("libSystem").unwrap();
        system.from[0].since = Some("14.0".to_owned());
        assert_eq!(too_new(&allowed).unwrap().len(), 2);
    }

    #[test]
    fn nothing_is_listed_that_came_after_the_oldest_macos() {
        let allowed = Allowed::load(&Workspace::load().unwrap().root).unwrap();
        assert_eq!(too_new(&allowed).unwrap(), [""; 0]);
    }
}
