//! The programs as they are for macOS, one promise after the other; and programs with planted
//! mistakes, which show that the promises are looked after.

use super::allowed::{Allowed, COMPILER, Library, Source, write_if_new};
use super::build::{Built, KIT, PROGRAMS_DIRECTORY};
use super::image::Image;
use super::judge::{self, RULES, Subject};
use super::kit::{Kit, SYSTEM_STUB};
use super::{Architecture, DEPLOYMENT_TARGET, PROGRAMS, SYSTEM_LIBRARY};
use crate::process;
use crate::workspace::Workspace;
use object::{Object, ObjectSymbol};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn allowed() -> Allowed {
    Allowed::load(&Workspace::load().unwrap().root).unwrap()
}

fn built() -> Built {
    let directory = env::var_os(PROGRAMS_DIRECTORY);
    Built::load(Path::new(&directory.expect("cargo xtask test sets it"))).unwrap()
}

fn kit() -> Kit {
    Kit::in_directory(env::var_os(KIT).expect("cargo xtask test sets it").into())
}

/// Holds the programs to one rule.
fn assert_rule(name: &str) {
    let (built, allowed) = (built(), allowed());
    let (_, find) = RULES.iter().find(|(rule, _)| *rule == name).unwrap();
    for program in &built.programs {
        let found = find(&program.subject(), &allowed);
        assert_eq!(found, [""; 0], "{}", program.place());
    }
}

#[test]
#[ignore = "needs macos: reads the linked programs"]
fn both_programs_are_linked_for_both_architectures_and_for_macos_13() {
    assert_eq!(built().programs.len(), PROGRAMS.len() * 2);
    assert_rule("shape");
}

#[test]
#[ignore = "needs macos: reads the linked programs"]
fn every_imported_symbol_is_listed_with_the_header_that_declares_it() {
    assert_rule("imports");
}

#[test]
#[ignore = "needs macos: reads the linked programs"]
fn no_private_framework_and_no_library_that_is_not_listed_is_loaded() {
    assert_rule("libraries");
}

#[test]
#[ignore = "needs macos: reads the linked programs"]
fn every_selector_and_every_class_that_is_named_is_listed() {
    assert_rule("names");
}

#[test]
#[ignore = "needs macos: reads the linked programs"]
fn no_selector_reads_pauses_or_drops_what_is_transferred() {
    assert_rule("traffic");
}

#[test]
#[ignore = "needs macos: reads the linked programs"]
fn no_private_interface_of_the_system_is_named() {
    assert_rule("private calls");
}

#[test]
#[ignore = "needs macos: reads the linked programs"]
fn no_program_but_the_shipper_asks_for_what_connections_are_made_with() {
    assert_rule("connections");
}

#[test]
#[ignore = "needs macos: reads the linked programs"]
fn the_provider_that_the_system_starts_is_in_the_recorder_alone() {
    assert_rule("provider");
}

#[test]
#[ignore = "needs macos: reads the linked programs"]
fn nothing_is_listed_that_no_program_uses() {
    let (built, allowed) = (built(), allowed());
    let found = judge::unused(&built.images(), &allowed, SYSTEM_LIBRARY);
    assert_eq!(found, [""; 0]);
}

#[test]
#[ignore = "needs macos: compiles against the C headers of macOS"]
fn the_c_headers_declare_what_is_listed_from_them_for_macos_13() {
    let (kit, scratch) = (kit(), Scratch::new("headers"));
    for (name, library) in c_libraries(&allowed()) {
        for source in library.from.iter().filter(|it| it.header != COMPILER) {
            for architecture in Architecture::ALL {
                let here = source.only.as_deref();
                if here.is_none_or(|only| only == architecture.name()) {
                    let found = scratch.declared(&kit, source, architecture);
                    let missing: Vec<_> = source.symbols.difference(&found).collect();
                    assert!(missing.is_empty(), "{name}, {}: {missing:?}", source.header);
                }
            }
        }
    }
}

#[test]
#[ignore = "needs macos: reads the stub that zig brings"]
fn the_real_libsystem_exports_what_is_listed() {
    let zig = fs::read_link(kit().directory.join("zig")).unwrap();
    let path = zig.with_file_name("lib").join(SYSTEM_STUB);
    let whole = fs::read_to_string(path).unwrap();
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
    let exported: BTreeSet<&str> = whole.split(|c| !is_part(c)).collect();
    for source in &allowed().libraries[SYSTEM_LIBRARY].from {
        for symbol in &source.symbols {
            // The loader's own helper is in no stub: every linker adds it by itself.
            let is_there = exported.contains(symbol.as_str()) || symbol == "dyld_stub_binder";
            assert!(is_there, "{symbol} ({})", source.header);
        }
    }
}

/// The libraries whose headers come with the kit.
fn c_libraries(allowed: &Allowed) -> impl Iterator<Item = (&str, &Library)> {
    let all = allowed.libraries.iter();
    all.filter(|(name, _)| [SYSTEM_LIBRARY, "libobjc"].contains(&name.as_str()))
        .map(|(name, library)| (name.as_str(), library))
}

#[test]
#[ignore = "needs macos: links a program"]
fn the_linker_refuses_a_symbol_that_is_not_listed() {
    let scratch = Scratch::new("refused");
    let linked = scratch.link(&kit(), Planted::new(TRACES));
    let error = linked.expect_err("the symbol is on no list");
    assert!(error.contains("undefined symbol: _ptrace"), "{error}");
}

#[test]
#[ignore = "needs macos: links a program"]
fn a_small_program_without_a_mistake_breaks_no_rule() {
    for architecture in Architecture::ALL {
        let mut planted = Planted::new("");
        planted.architecture = architecture;
        assert_eq!(broken("clean", planted), [""; 0]);
    }
}

#[test]
#[ignore = "needs macos: links a program with a mistake"]
fn a_planted_import_is_found_when_the_linker_lets_it_through() {
    let mut planted = Planted::new(TRACES);
    planted.has_all_of_libsystem = true;
    assert_eq!(broken("import", planted), ["imports"]);
}

#[test]
#[ignore = "needs macos: links a program with a mistake"]
fn a_planted_call_that_only_the_shipper_may_make_is_found_in_the_recorder() {
    let calls = [
        "extern int connect(int, const void *, unsigned);\n\
         int (*use)(int, const void *, unsigned) = connect;",
        "extern long send(int, const void *, unsigned long, int);\n\
         long (*use)(int, const void *, unsigned long, int) = send;",
        "extern int socket(int, int, int);\nint (*use)(int, int, int) = socket;",
    ];
    // The linker lets it through: what one of the programs may, is in the stubs for all of them.
    for code in calls {
        let found = broken("shippers", Planted::new(code));
        assert_eq!(found, ["imports", "connections"], "{code}");
    }
}

#[test]
#[ignore = "needs macos: links a program with a mistake"]
fn a_planted_private_framework_is_found() {
    let mut planted = Planted::new("extern int planted(void);\nint (*use)(void) = planted;");
    planted.framework = Some("/System/Library/PrivateFrameworks/Planted.framework/Planted");
    let found = broken("framework", planted);
    assert_eq!(found, ["libraries", "imports", "private calls"]);
}

#[test]
#[ignore = "needs macos: links a program with a mistake"]
fn a_planted_selector_that_is_not_listed_is_found() {
    let sent = "const char *use = \"sourceAppVersion\";";
    assert_eq!(broken("sent", Planted::new(sent)), ["names"]);
    // As Apple's own compilers put them.
    let in_its_section = "__attribute__((section(\"__TEXT,__objc_methname,cstring_literals\")))\n\
        const char use[] = \"sourceAppVersion\";";
    assert_eq!(broken("methname", Planted::new(in_its_section)), ["names"]);
    let in_data = "char use[] = \"setSourceAppVersion:\";";
    assert_eq!(broken("data", Planted::new(in_data)), ["names"]);
}

#[test]
#[ignore = "needs macos: links a program with a mistake"]
fn a_planted_selector_that_reads_what_is_transferred_is_found() {
    let reads = "const char *use = \"handleInboundDataFromFlow:readBytesStartOffset:readBytes:\";";
    assert_eq!(broken("reads", Planted::new(reads)), ["names", "traffic"]);
    let drops = "char use[] = \"a text with dropVerdict in it\";";
    assert_eq!(broken("drops", Planted::new(drops)), ["traffic"]);
}

#[test]
#[ignore = "needs macos: links a program with a mistake"]
fn a_planted_private_call_is_found_by_its_name() {
    let named = "const char *use = \"csops\";";
    assert_eq!(
        broken("csops", Planted::new(named)),
        ["names", "private calls"]
    );
    let text = "const char *use = \"net.inet.tcp.pcblist_n\";";
    assert_eq!(broken("pcblist", Planted::new(text)), ["private calls"]);
}

#[test]
#[ignore = "needs macos: links a program with a mistake"]
fn a_planted_program_for_another_macos_is_found() {
    for deployment in ["12.0", "14.0"] {
        let mut planted = Planted::new("");
        planted.deployment = deployment;
        assert_eq!(broken("older", planted), ["shape"], "{deployment}");
    }
}

#[test]
#[ignore = "needs macos: links a program with a mistake"]
fn a_planted_search_path_is_found() {
    let mut planted = Planted::new("");
    planted.arguments = &["-Wl,-rpath,/tmp"];
    assert_eq!(broken("search", planted), ["shape"]);
}

#[test]
#[ignore = "needs macos: links a program with a mistake"]
fn a_program_without_the_provider_is_found() {
    let mut planted = Planted::new("");
    planted.provider = "Nobody knows this class";
    assert_eq!(broken("provider", planted), ["provider"]);
}

const TRACES: &str = "extern int ptrace(int, int, char *, int);\n\
    int (*use)(int, int, char *, int) = ptrace;";

/// A program with a mistake.
struct Planted {
    /// C, with something called `use` in it that the program uses.
    code: &'static str,
    provider: &'static str,
    architecture: Architecture,
    deployment: &'static str,
    arguments: &'static [&'static str],
    framework: Option<&'static str>,
    has_all_of_libsystem: bool,
}

impl Planted {
    fn new(code: &'static str) -> Planted {
        Planted {
            code: if code.is_empty() { "int use;" } else { code },
            provider: "",
            architecture: Architecture::Arm64,
            deployment: DEPLOYMENT_TARGET,
            arguments: &[],
            framework: None,
            has_all_of_libsystem: false,
        }
    }
}

/// Links a program as if it were the recorder, and says which rules it breaks.
fn broken(directory: &str, planted: Planted) -> Vec<&'static str> {
    let scratch = Scratch::new(directory);
    let architecture = planted.architecture;
    let file = scratch.link(&kit(), planted).unwrap();
    let image = Image::parse(&fs::read(file).unwrap()).unwrap();
    let (allowed, subject) = (
        allowed(),
        Subject {
            program: "conntraild",
            architecture,
            image: &image,
        },
    );
    let found = RULES
        .iter()
        .map(|(name, find)| (*name, find(&subject, &allowed)));
    let found: Vec<_> = found.filter(|(_, findings)| !findings.is_empty()).collect();
    println!("{found:#?}");
    found.into_iter().map(|(name, _)| name).collect()
}

/// A directory that is gone with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let directory = format!("xtask-macos-{name}-{}", std::process::id());
        let directory = env::temp_dir().join(directory);
        fs::create_dir_all(&directory).unwrap();
        Scratch(directory)
    }

    /// Where the program is, or the complaint of the linker.
    fn link(&self, kit: &Kit, planted: Planted) -> Result<PathBuf, String> {
        let [source, program] = ["planted.c", "planted"].map(|name| self.0.join(name));
        let provider = match planted.provider {
            "" => allowed().names.provider.class,
            other => other.to_owned(),
        };
        let code = format!(
            "{}\nextern int open(const char *, int, ...);\n\
             const char *volatile provider = \"{provider}\";\n\
             int main(void) {{ return open(provider, (int)(long)&use); }}\n",
            planted.code
        );
        fs::write(&source, code).unwrap();
        let mut link = kit.compiler(planted.architecture, planted.deployment);
        // Without warnings about pointers that nobody reads.
        link.args(["-O1", "-w"]).args(planted.arguments);
        link.arg(&source).arg("-o").arg(&program);
        if planted.has_all_of_libsystem {
            link.env_remove("ZIG_LIB_DIR");
        }
        if let Some(install_name) = planted.framework {
            self.frame(&mut link, install_name);
        }
        match process::read(&mut link) {
            Ok(_) => Ok(program),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// A framework that has one function.
    fn frame(&self, link: &mut Command, install_name: &str) {
        let mut allowed = Allowed::default();
        let library = Library {
            install_name: install_name.to_owned(),
            from: vec![Source {
                symbols: BTreeSet::from(["_planted".to_owned()]),
                ..Source::default()
            }],
            ..Library::default()
        };
        allowed.libraries.insert("Planted".to_owned(), library);
        allowed.write_stubs(&self.0, "").unwrap();
        link.arg("-F").arg(&self.0).args(["-framework", "Planted"]);
    }

    /// Of the symbols that are listed from a header, those that a program gets that includes it.
    fn declared(&self, kit: &Kit, source: &Source, architecture: Architecture) -> BTreeSet<String> {
        let [code, object] = ["declared.c", "declared.o"].map(|name| self.0.join(name));
        let mut text = format!("#include <{}>\n", source.header);
        for (number, symbol) in source.symbols.iter().enumerate() {
            let name = symbol.strip_prefix('_').unwrap_or(symbol);
            let name = name.split('$').next().unwrap_or(name);
            text += &format!("const void *use{number} = (const void *)&{name};\n");
        }
        write_if_new(&code, &text).unwrap();
        let mut compile = kit.compiler(architecture, DEPLOYMENT_TARGET);
        compile.args(["-w", "-Werror=unguarded-availability", "-c"]);
        process::read(compile.arg(&code).arg("-o").arg(&object)).unwrap();
        let bytes = fs::read(object).unwrap();
        let object = object::read::macho::MachOFile64::<object::LittleEndian>::parse(&*bytes);
        let object = object.unwrap();
        let undefined = object.symbols().filter(ObjectSymbol::is_undefined);
        undefined.map(|it| it.name().unwrap().to_owned()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whoever finds it later in the system's temporary directory may remove it.
        let _ = fs::remove_dir_all(&self.0);
    }
}
