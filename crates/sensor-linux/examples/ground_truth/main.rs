//! Ground truth: makes connections whose every fact is known, and writes the facts down.
//!
//! Real-kernel tests and benchmarks run it beside the sensor and compare what the sensor recorded
//! with what this program says happened. `ground_truth --help` tells how to use it.
//!
//! Both ends of every connection are processes of the run, on addresses of this machine; no
//! packet leaves it. A table in shared memory holds the plan of every connection and takes its
//! result, so that even a child that lives for a fraction of a millisecond leaves its word.

mod cast;
mod client;
mod crew;
mod hold;
mod mixed;
mod office;
mod open;
mod options;
mod plan;
mod random;
mod report;
mod roles;
mod run;
mod scenario;
mod server;
mod sys;
mod table;
mod wire;

use std::process::ExitCode;

use options::{HELP, Options};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(result) = roles::play_asked(&arguments) {
        return match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error.to_string(), 1),
        };
    }
    let options = match Options::parse(&arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return complain(&error, 2),
    };
    match run::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => complain(&error.to_string(), 1),
    }
}

/// Says what is wrong and makes it the exit status.
fn complain(text: &str, status: u8) -> ExitCode {
    eprintln!("ground_truth: {text}");
    ExitCode::from(status)
}
