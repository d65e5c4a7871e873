//! Off Apple, objc2 and dispatch2 still ask the linker for their libraries by name.
//!
//! Empty archives of those names satisfy it; the symbols come from this crate and its siblings.

use std::path::Path;
use std::{env, fs};

/// An archive without members: nothing but the magic number.
const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_CFG_TARGET_VENDOR").is_some_and(|vendor| vendor == "apple") {
        return;
    }
    let directory = env::var_os("OUT_DIR").expect("cargo sets it for build scripts");
    let directory = Path::new(&directory);
    for library in ["libobjc.a", "libgnustep-base.a", "libdispatch.a"] {
        fs::write(directory.join(library), EMPTY_ARCHIVE).expect("cargo made the directory");
    }
    println!("cargo::rustc-link-search=native={}", directory.display());
}
