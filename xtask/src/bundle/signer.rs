//! Signing, with other people's tools: apple-codesign on any machine, or on a Mac those of Xcode.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The package of which the tool is built.
const MANIFEST: &str = "macos/signer/Cargo.toml";

/// Apple's service that says when something was signed.
const TIMESTAMP: &str = "http://timestamp.apple.com/ts01";
const TIMESTAMP_HOST: (&str, u16) = ("timestamp.apple.com", 80);
const TIMESTAMP_PATIENCE: Duration = Duration::from_secs(5);

/// What a signature is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Key and certificates, in PEM files.
    Pem(Vec<PathBuf>),
    /// Both in a PKCS #12 file, beside a file with its password.
    Pkcs12 { file: PathBuf, password: PathBuf },
    /// Words for the tool: a remote signer, a smart card, or whatever else it can use.
    Words(Vec<String>),
    /// An identity in the keychain of a Mac, by its common name.
    Keychain(String),
}

/// Whether signatures say when they were made, and who vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timestamps {
    /// Apple does. Notarizing takes that.
    Apple,
    /// Nobody.
    None,
}

/// What goes into the signature of one bundle, or of a program that is the main one of none.
pub(crate) struct Contents<'a> {
    /// The bundle, or the program.
    pub(crate) path: &'a Path,
    /// What a program is called; a bundle says it itself.
    pub(crate) identifier: Option<&'a str>,
    /// Its entitlements, as a property list; a program without a bundle has none.
    pub(crate) entitlements: Option<&'a Path>,
    /// Its designated requirement, a file in the binary form.
    pub(crate) requirement: &'a Path,
    /// The same as text.
    pub(crate) requirement_text: &'a str,
    /// Of whoever signs.
    pub(crate) team: &'a str,
}

/// The tool that is there.
pub(crate) struct Signer {
    program: PathBuf,
}

impl Signer {
    /// Builds the tool, which takes a few minutes the first time.
    pub(crate) fn install(workspace: &Workspace, features: &[&str]) -> Result<Signer> {
        println!("building the signing tool ({MANIFEST})");
        let target = workspace.tools("signer")?;
        let mut build = process::cargo();
        build
            .args(["build", "--release", "--locked", "--quiet"])
            .arg("--manifest-path")
            .arg(workspace.root.join(MANIFEST))
            .arg("--target-dir")
            .arg(&target)
            .args(["--features", &features.join(",")])
            // It is for this machine, whatever else is built at the moment.
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        process::run(&mut build).context("the signing tool does not build")?;
        let program = target.join("release/signer");
        Ok(Signer { program })
    }

    /// The certificate in a PKCS #12 file, as PEM.
    pub(crate) fn certificate_of(&self, file: &Path, password: &Path) -> Result<String> {
        let mut ask = Command::new(&self.program);
        ask.arg("certificate-of-p12").arg(file).arg(password);
        process::read(&mut ask).with_context(|| {
            format!(
                "{} cannot be opened with the password in {}; where the password is right, the \
                 file is encrypted in a newer way than the signing tool knows: export it with \
                 `openssl pkcs12 -export -legacy`, or give PEM files",
                file.display(),
                password.display()
            )
        })
    }

    /// Signs one bundle or program in place, and nothing that is nested in it: whatever is nested
    /// must have been signed before, because the outer signature seals the inner one.
    pub(crate) fn sign_code(
        &self,
        key: &Key,
        timestamps: Timestamps,
        contents: &Contents<'_>,
    ) -> Result<()> {
        if let Key::Keychain(identity) = key {
            return process::run(&mut codesign(identity, timestamps, contents));
        }
        let mut sign = self.command("sign", key, timestamps);
        sign.args(["--team-name", contents.team])
            .args(["--code-signature-flags", "runtime", "--exclude", "**"])
            .arg("--code-requirements-file")
            .arg(contents.requirement);
        if let Some(identifier) = contents.identifier {
            sign.args(["--binary-identifier", identifier]);
        }
        if let Some(entitlements) = contents.entitlements {
            sign.arg("--entitlements-xml-file").arg(entitlements);
        }
        sign.arg(contents.path);
        quietly(&mut sign)
    }

    /// Signs an installer's package in place.
    pub(crate) fn sign_package(
        &self,
        key: &Key,
        timestamps: Timestamps,
        package: &Path,
    ) -> Result<()> {
        if let Key::Keychain(identity) = key {
            let signed = package.with_extension("signed.pkg");
            process::run(&mut productsign(identity, timestamps, package, &signed))?;
            return fs::rename(&signed, package).context("cannot replace the unsigned package");
        }
        quietly(self.command("sign", key, timestamps).arg(package))
    }

    /// Sends a package to Apple, waits for the answer, and fastens it to the package.
    pub(crate) fn notarize(&self, package: &Path, api_key: &Path) -> Result<()> {
        let mut submit = Command::new(&self.program);
        submit
            .args(["notary-submit", "--staple", "--max-wait-seconds", "3600"])
            .arg("--api-key-file")
            .arg(api_key)
            .arg(package);
        process::run(&mut submit).context(
            "Apple did not notarize the package; its answer is above. The package is signed and \
             complete otherwise: run `cargo xtask bundle --notarize` again when it is mended",
        )
    }

    fn command(&self, verb: &str, key: &Key, timestamps: Timestamps) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb);
        let url = match timestamps {
            Timestamps::Apple => TIMESTAMP,
            Timestamps::None => "none",
        };
        command.args(["--timestamp-url", url]);
        match key {
            Key::Pem(files) => {
                for file in files {
                    command.arg("--pem-file").arg(file);
                }
            }
            Key::Pkcs12 { file, password } => {
                command.arg("--p12-file").arg(file);
                command.arg("--p12-password-file").arg(password);
            }
            Key::Words(words) => drop(command.args(words)),
            Key::Keychain(_) => unreachable!("the keychain is for the tools of Xcode"),
        }
        command
    }
}

/// Whether Apple's service for timestamps can be reached from here.
pub(crate) fn apple_can_be_reached() -> bool {
    let addresses = TIMESTAMP_HOST.to_socket_addrs();
    addresses.is_ok_and(|mut found| {
        found.any(|it| TcpStream::connect_timeout(&it, TIMESTAMP_PATIENCE).is_ok())
    })
}

/// The tool says a lot; nobody has to read it unless it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let shown = process::describe(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if output.status.success() {
        return Ok(());
    }
    std::io::stderr().write_all(&output.stderr)?;
    bail!("`{shown}` failed: {}", output.status)
}

fn codesign(identity: &str, timestamps: Timestamps, contents: &Contents<'_>) -> Command {
    let mut command = Command::new("codesign");
    command.args(["--sign", identity, "--force", "--options", "runtime"]);
    command.arg(match timestamps {
        Timestamps::Apple => "--timestamp",
        Timestamps::None => "--timestamp=none",
    });
    if let Some(identifier) = contents.identifier {
        command.args(["--identifier", identifier]);
    }
    if let Some(entitlements) = contents.entitlements {
        command.arg("--entitlements").arg(entitlements);
    }
    command
        .arg("--requirements")
        .arg(format!("=designated => {}", contents.requirement_text))
        .arg(contents.path);
    command
}

fn productsign(identity: &str, timestamps: Timestamps, package: &Path, signed: &Path) -> Command {
    let mut command = Command::new("productsign");
    command.args(["--sign", identity]);
    command.arg(match timestamps {
        Timestamps::Apple => "--timestamp",
        Timestamps::None => "--timestamp=none",
    });
    command.arg(package).arg(signed);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents<'a>() -> Contents<'a> {
        Contents {
            path: Path::new("Conntrail.app"),
            identifier: None,
            entitlements: Some(Path::new("app.plist")),
            requirement: Path::new("app.bin"),
            requirement_text: "anchor apple generic",
            team: "AB12CD34EF",
        }
    }

    #[test]
    fn xcode_is_asked_for_the_same_signature() {
        let identity = "Developer ID Application: Example (AB12CD34EF)";
        let asked = process::describe(&codesign(identity, Timestamps::Apple, &contents()));
        assert_eq!(
            asked,
            "codesign --sign Developer ID Application: Example (AB12CD34EF) --force \
             --options runtime --timestamp --entitlements app.plist \
             --requirements =designated => anchor apple generic Conntrail.app"
        );
    }

    #[test]
    fn a_program_without_a_bundle_is_named_and_may_do_nothing_more() {
        let program = Contents {
            path: Path::new("conntrail-ship"),
            identifier: Some("com.conntrail.agent.ship"),
            entitlements: None,
            ..contents()
        };
        let asked = process::describe(&codesign("Example", Timestamps::None, &program));
        assert_eq!(
            asked,
            "codesign --sign Example --force --options runtime --timestamp=none \
             --identifier com.conntrail.agent.ship \
             --requirements =designated => anchor apple generic conntrail-ship"
        );
    }

    #[test]
    fn each_kind_of_key_has_its_words() {
        let signer = Signer {
            program: PathBuf::from("signer"),
        };
        let said = |key: Key| process::describe(&signer.command("sign", &key, Timestamps::None));
        let pem = Key::Pem(vec!["key.pem".into(), "certificate.pem".into()]);
        let head = "signer sign --timestamp-url none";
        assert_eq!(
            said(pem),
            format!("{head} --pem-file key.pem --pem-file certificate.pem")
        );
        let pkcs12 = Key::Pkcs12 {
            file: "identity.p12".into(),
            password: "password.txt".into(),
        };
        assert_eq!(
            said(pkcs12),
            format!("{head} --p12-file identity.p12 --p12-password-file password.txt")
        );
        let words = Key::Words(vec!["--remote-signing-url".into(), "wss://signer".into()]);
        assert_eq!(
            said(words),
            format!("{head} --remote-signing-url wss://signer")
        );
    }
}
