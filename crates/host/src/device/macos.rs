//! System controls, and the id of the hardware.
//!
//! The registry of devices would know more, but takes a framework of its own: what it calls
//! `IOPlatformUUID` is what gethostuuid(2) gives.

#![cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "elsewhere only tests call it")
)]

use super::System;
use crate::darwin;
use record::parse_uuid;
use std::fs::File;
use std::io::{self, Read};

/// The version is that of `sw_vers -productVersion`.
pub(super) fn system() -> System {
    System {
        name: Some("macOS".to_owned()),
        version: darwin::control_text(c"kern.osproductversion"),
    }
}

/// New with every start of the machine.
pub(super) fn boot_id() -> Option<[u8; 16]> {
    parse_uuid(&darwin::control_text(c"kern.bootsessionuuid")?)
}

/// Written as macOS writes it.
pub(super) fn machine_id() -> Option<String> {
    let id = u128::from_be_bytes(darwin::host_uuid()?);
    Some(format!(
        "{:08X}-{:04X}-{:04X}-{:04X}-{:012X}",
        id >> 96,
        (id >> 80) & 0xffff,
        (id >> 64) & 0xffff,
        (id >> 48) & 0xffff,
        id & 0xffff_ffff_ffff
    ))
}

/// Random bytes in the form of RFC 9562, version 4.
pub(super) fn random_uuid() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(bytes)
}
