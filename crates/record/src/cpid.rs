//! Common Process ID: the same name for a process from every tool that computes it.
//!
//! A UUID made from what the operating system says about the boot and the process.
//! Specification: <https://github.com/ocsf/common-process-id/blob/main/specification.md>.

use crate::Wall;
use sha2::{Digest, Sha256};

/// The id of a process on Linux.
///
/// - `boot_id`: the bytes of `/proc/sys/kernel/random/boot_id`.
/// - `pid_namespace`: inode of the deepest pid namespace that the process lives in.
/// - `start_ticks`: when it was forked, in hundredths of a second since boot.
/// - `tgid`: its process id in that namespace.
///
/// The specification feeds the numbers to the digest as they stand in memory. They are
/// little-endian here always, as on every machine we build for.
pub fn linux(boot_id: [u8; 16], pid_namespace: u64, start_ticks: u64, tgid: i64) -> [u8; 16] {
    let mut input = [0; 40];
    input[..16].copy_from_slice(&boot_id);
    input[16..24].copy_from_slice(&pid_namespace.to_le_bytes());
    input[24..32].copy_from_slice(&start_ticks.to_le_bytes());
    input[32..].copy_from_slice(&tgid.to_le_bytes());
    uuid_from_digest(&input)
}

/// What tells one boot of one Mac from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacBoot {
    /// The serial number in ASCII, filled up with zeros; see [`serial_number`].
    pub serial_number: [u8; 16],
    /// The bytes of the hardware UUID, in the order in which they are written.
    pub hardware: [u8; 16],
    /// When the kernel's own process, 0, was created.
    pub kernel_task: Wall,
    /// When `launchd`, process 1, was created.
    pub launchd: Wall,
}

/// A serial number in the form that the digest takes; `None` when it is longer or not ASCII.
pub fn serial_number(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let room = bytes.get_mut(..text.len()).filter(|_| text.is_ascii())?;
    room.copy_from_slice(text.as_bytes());
    Some(bytes)
}

/// The id of a process on macOS.
///
/// - `created`: when it was forked, by the wall clock of that moment, as `proc_bsdinfo` and
///   `kinfo_proc` have it: in whole microseconds.
/// - `pid`: its process id.
///
/// A Mac tells no boot id, so [`MacBoot`] takes its place.
pub fn macos(boot: &MacBoot, created: Wall, pid: u32) -> [u8; 16] {
    let mut input = Vec::with_capacity(88);
    input.extend_from_slice(&boot.serial_number);
    input.extend_from_slice(&boot.hardware);
    for Wall(moment_ns) in [boot.kernel_task, boot.launchd, created] {
        let seconds = moment_ns.div_euclid(1_000_000_000);
        let micros = moment_ns.rem_euclid(1_000_000_000) / 1_000;
        input.extend_from_slice(&seconds.to_le_bytes());
        input.extend_from_slice(&micros.to_le_bytes());
    }
    input.extend_from_slice(&u64::from(pid).to_le_bytes());
    uuid_from_digest(&input)
}

/// The first half of the digest as a UUID of version 8.
fn uuid_from_digest(input: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(input);
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest[..16]);
    uuid[6] = (uuid[6] & 0x0f) | 0x80;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    uuid
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification prints `e6d6d95b-5d2b-8bb5-8296-02908ea24c8f` for these values. Neither
    /// the layout that it defines nor its reference implementation in C gives that, though both
    /// agree with each other and with its examples for the other systems. So its inputs stand here
    /// with what comes of its C structure.
    #[test]
    fn the_layout_of_the_specification_comes_out_on_macos() {
        let moment = |seconds: i64, micros: i64| Wall((seconds * 1_000_000 + micros) * 1_000);
        let boot = MacBoot {
            serial_number: serial_number("T2T3GKP272").unwrap(),
            hardware: 0x8e923375_9510_5729_a6cc_2f66444573c9_u128.to_be_bytes(),
            kernel_task: moment(1_703_173_115, 212_514),
            launchd: moment(1_703_173_115, 282_857),
        };
        let expected = 0x6082233e_8eed_8457_a287_daa46ebdbdf7_u128.to_be_bytes();
        assert_eq!(
            macos(&boot, moment(1_703_174_125, 741_886), 1_330),
            expected
        );
    }

    #[test]
    fn a_serial_number_fits_or_is_none() {
        let full = "0123456789ABCDEF";
        assert_eq!(serial_number(full).unwrap(), full.as_bytes());
        assert_eq!(serial_number(""), Some([0; 16]));
        assert_eq!(serial_number("0123456789ABCDEF0"), None);
        assert_eq!(serial_number("numéro"), None);
    }

    #[test]
    fn the_example_of_the_specification_comes_out() {
        let boot_id = 0x2899dae4_4fa4_4eef_95b6_6bc95325f61a_u128.to_be_bytes();
        let expected = 0xb770a0ed_8463_822c_b5f6_30d9081ddbd9_u128.to_be_bytes();
        assert_eq!(linux(boot_id, 4_026_532_263, 55_558, 29), expected);
    }
}
