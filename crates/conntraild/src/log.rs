//! The recorder's log: one line a happening, on standard error, and in the system's log where
//! nobody keeps standard error.

use host::config::Layers;
use std::io::Write;

/// Writes a line. When nobody can read it, recording goes on.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "conntraild: {line}");
    host::system_log::say(line);
}

/// An error and what is behind it, in one line, without what it said itself already.
#[cfg(any(target_os = "macos", test))]
pub(crate) fn in_words(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

/// Says what of the configuration does not apply.
pub(crate) fn say_problems(layers: &Layers) {
    for problem in layers.problems() {
        say(&format!("configuration: {problem}"));
    }
}

/// From now on faults are said like everything else, but only so many: one at each connection must
/// not flood the log.
#[cfg(target_os = "macos")]
pub(crate) fn say_faults() {
    use std::sync::atomic::{AtomicU32, Ordering};
    const SAID_MAX: u32 = 20;
    static SAID: AtomicU32 = AtomicU32::new(0);
    std::panic::set_hook(Box::new(|fault| {
        if SAID.load(Ordering::Relaxed) < SAID_MAX {
            SAID.fetch_add(1, Ordering::Relaxed);
            say(&format!("a fault of our own: {fault}"));
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn an_error_is_told_to_its_root_and_nothing_twice() {
        let error = anyhow!("full")
            .context("no space: full")
            .context("cannot begin");
        assert_eq!(in_words(&error), "cannot begin: no space: full");
    }
}
