//! Common Process ID: the same name for a process from every tool that computes it.
//!
//! A UUID made from what the operating system says about the boot and the process.
//! Specification: <https://github.com/ocsf/common-process-id/blob/main/specification.md>.

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

    #[test]
    fn the_example_of_the_specification_comes_out() {
        let boot_id = 0x2899dae4_4fa4_4eef_95b6_6bc95325f61a_u128.to_be_bytes();
        let expected = 0xb770a0ed_8463_822c_b5f6_30d9081ddbd9_u128.to_be_bytes();
        assert_eq!(linux(boot_id, 4_026_532_263, 55_558, 29), expected);
    }
}
