//! Where the engines are: `cargo xtask test` installs them and says so in variables.

use std::env;
use std::path::PathBuf;

/// The value of a variable that `cargo xtask test` sets for tests with this need.
///
/// # Panics
///
/// When it is not set, with the command that sets it.
pub(crate) fn required(variable: &str, need: &str) -> PathBuf {
    match env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!(
            "{variable} is not set: `cargo xtask test --need {need}` installs what this test needs \
             and says in this variable where it is"
        ),
    }
}
