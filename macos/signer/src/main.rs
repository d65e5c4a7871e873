//! apple-codesign's program, and one question more: which certificate is in a PKCS#12 file.

#![forbid(unsafe_code)]

use apple_codesign::cryptography::parse_pfx_data;
use std::env;
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match arguments.as_slice() {
        ["certificate-of-p12", file, password_file] => certificate(file, password_file),
        _ => apple_codesign::cli::main_impl().map_err(|error| error.to_string()),
    };
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the certificate and never the key that is beside it.
fn certificate(file: &str, password_file: &str) -> Result<(), String> {
    let data = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let password = fs::read_to_string(password_file)
        .map_err(|error| format!("{password_file}: {error}"))?;
    let (certificate, _key) = parse_pfx_data(&data, password.trim_end_matches(['\r', '\n']))
        .map_err(|error| format!("{file}: {error}"))?;
    print!("{}", certificate.encode_pem());
    Ok(())
}
