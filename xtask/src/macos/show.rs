//! What is in the programs, in two tables.

use super::allowed::Allowed;
use super::build::{Built, Program};
use std::collections::{BTreeMap, BTreeSet};

/// Prints the tables.
pub(super) fn print(built: &Built, allowed: &Allowed) {
    println!(
        "\n{:<12} {:<7} {:>10} {:>9} {:>8} {:>10} {:>7} {:>5}",
        "program", "for", "bytes", "libraries", "imports", "selectors", "classes", "from"
    );
    for program in &built.programs {
        println!("{}", row(program, allowed));
    }
    let symbols = symbols(built, allowed);
    let width = symbols.keys().map(|name| name.len()).max().unwrap_or(0);
    println!("\n{:<width$} {:>8}  programs", "library", "symbols");
    for (library, (symbols, programs)) in symbols {
        let programs: Vec<&str> = programs.into_iter().collect();
        println!(
            "{library:<width$} {:>8}  {}",
            symbols.len(),
            programs.join(", ")
        );
    }
}

fn row(program: &Program, allowed: &Allowed) -> String {
    let image = &program.image;
    let count = |listed: BTreeSet<&str>| {
        let texts = image.texts.iter();
        texts.filter(|text| listed.contains(text.as_str())).count()
    };
    let selectors = count(allowed.all_selectors());
    let classes = count(allowed.kinds().map(|kind| kind.name.as_str()).collect());
    let minimum = image.minimum.map(|it| it.to_string()).unwrap_or_default();
    format!(
        "{:<12} {:<7} {:>10} {:>9} {:>8} {:>10} {:>7} {:>5}",
        program.name,
        program.architecture.name(),
        image.file.len(),
        image.libraries.len(),
        image.imports.len(),
        selectors,
        classes,
        minimum
    )
}

type Symbols<'a> = BTreeMap<&'a str, (BTreeSet<&'a str>, BTreeSet<&'a str>)>;

/// By library: the symbols that are asked from it, and the programs that ask.
fn symbols<'a>(built: &'a Built, allowed: &'a Allowed) -> Symbols<'a> {
    let mut symbols = Symbols::new();
    for program in &built.programs {
        for import in &program.image.imports {
            let path = program.image.library_of(import).unwrap_or("nowhere");
            let name = allowed.library_at(path).map_or(path, |(name, _)| name);
            let (found, programs) = symbols.entry(name).or_default();
            found.insert(&import.symbol);
            programs.insert(program.name);
        }
    }
    symbols
}
