//! The archive: a compressed tape archive whose first file says what is in it.

use super::{Gathered, Order};
use flate2::{Compression, GzBuilder};
use std::fmt::Write as _;
use std::fs::File;
use std::io;

/// What is not in any archive of this command, in sentences.
const LEFT_OUT: &[&str] = &[
    "Names of users in paths are replaced by \"~\"; values after words such as password, token or \
     secret, and private keys, by \"(not shown)\".",
    "Of settings only those with a meaning are shown, and no values that were refused.",
    "Of configuration profiles only the payloads that concern filters and extensions are shown, \
     without passwords and without the configuration of other vendors.",
];

/// What is in it that says something about this machine and its people.
const STILL_IN: &str = "The host name, other filters, VPNs and system extensions by name, and the \
                        names of apps that had connections when the extension was replaced.";

/// What is in the archive, why, and what is not.
pub(super) fn manifest(order: &Order, gathered: &[Gathered]) -> String {
    let mut text = format!(
        "{}\nmade {} by conntrail {}; logs and notices of the last {} minutes\n\nIn this archive\n",
        order.title(),
        order.now,
        env!("CARGO_PKG_VERSION"),
        order.since.as_secs() / 60
    );
    let mut line = |name: &str, size: usize, why: &str| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  {name:<40} {size:>9} bytes  {why}");
    };
    for one in gathered {
        if let Ok(content) = &one.text {
            line(&one.name, content.len(), one.why);
        }
    }
    text.push_str("\nNot to be had\n");
    let mut failed = 0;
    for one in gathered {
        if let Err(trouble) = &one.text {
            failed += 1;
            let _ = writeln!(text, "  {:<40} {}", one.name, trouble.trim_end());
        }
    }
    if failed == 0 {
        text.push_str("  (nothing)\n");
    }
    text.push_str("\nLeft out on purpose\n");
    text.push_str(match order.with_records {
        None => "  The recorded connections: who connected where is nowhere in here.\n",
        Some(_) => "  Nothing of RECORDS.ndjson: WHO CONNECTED WHERE IS IN IT, AS WAS ASKED FOR.\n",
    });
    for sentence in LEFT_OUT {
        let _ = writeln!(text, "  {sentence}");
    }
    let _ = writeln!(text, "\nIn it, and not for everybody\n  {STILL_IN}");
    text
}

/// Writes it all. Every file belongs to root and can be read by its owner only; `seconds` is when
/// they were made, since 1970.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(
    file: File,
    title: &str,
    manifest: &str,
    gathered: &[Gathered],
    seconds: u64,
) -> io::Result<()> {
    let packed = GzBuilder::new().write(file, Compression::default());
    let mut archive = tar::Builder::new(packed);
    append(&mut archive, title, "MANIFEST.txt", manifest, seconds)?;
    for one in gathered {
        if let Ok(content) = &one.text {
            append(&mut archive, title, &one.name, content, seconds)?;
        }
    }
    archive.into_inner()?.finish()?.sync_all()
}

fn append<W: io::Write>(
    archive: &mut tar::Builder<W>,
    title: &str,
    name: &str,
    content: &str,
    seconds: u64,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(seconds);
    archive.append_data(&mut header, format!("{title}/{name}"), content.as_bytes())
}
