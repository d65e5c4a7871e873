//! The identity of a linked program, made of its content.
//!
//! A linker may put anything into `LC_UUID`, and ours puts something else there every time; of the
//! same content the same identity should follow, wherever it is linked.

use object::macho::{LC_CODE_SIGNATURE, LC_UUID, MH_MAGIC_64};
use sha2::{Digest, Sha256};

const HEAD_BYTES: usize = 32;
const UUID_BYTES: usize = 16;

/// `CSMAGIC_CODEDIRECTORY` of `cs_blobs.h`.
const CODE_DIRECTORY: u32 = 0xfade_0c02;
/// `CS_HASHTYPE_SHA256` of the same.
const HASH_SHA256: u8 = 2;

/// The program is not what a linker for macOS writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the linked program has no {0} where one belongs: build it again")]
pub struct Error(&'static str);

/// Makes the identity of a program follow from everything else in it, and mends the signature that
/// the linker has put there, so that the program still runs.
///
/// # Errors
/// When it is no program with an identity.
pub fn settle(program: &mut [u8]) -> Result<(), Error> {
    if little(program, 0) != Some(MH_MAGIC_64) {
        return Err(Error("head"));
    }
    let identity = command(program, LC_UUID).ok_or(Error("identity"))? + 8;
    let signature = command(program, LC_CODE_SIGNATURE)
        .and_then(|at| usize::try_from(little(program, at + 8)?).ok())
        .filter(|at| *at <= program.len());
    let end = identity + UUID_BYTES;
    let uuid = program.get_mut(identity..end).ok_or(Error("identity"))?;
    uuid.fill(0);
    let digest = Sha256::digest(&program[..signature.unwrap_or(program.len())]);
    let uuid = &mut program[identity..end];
    uuid.copy_from_slice(&digest[..UUID_BYTES]);
    // Version 8 of RFC 9562: whoever made it knows how.
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    match signature {
        Some(signature) => mend(program, signature, identity).ok_or(Error("signature")),
        None => Ok(()),
    }
}

/// Where a load command begins.
fn command(program: &[u8], wanted: u32) -> Option<usize> {
    let count = little(program, 16)?;
    let mut at = HEAD_BYTES;
    for _ in 0..count {
        if little(program, at)? == wanted {
            return Some(at);
        }
        at = at.checked_add(usize::try_from(little(program, at + 4)?).ok()?)?;
    }
    None
}

/// Hashes the page again in which something changed. The linker's signature has nothing but hashes
/// of pages in it, in one directory that comes first.
fn mend(program: &mut [u8], signature: usize, changed: usize) -> Option<()> {
    let at = |offset: usize| signature.checked_add(offset);
    let directory = at(big(program, at(16)?)?)?;
    let is_known = big(program, directory)? == usize::try_from(CODE_DIRECTORY).ok()?
        && program.get(directory + 37) == Some(&HASH_SHA256);
    if !is_known {
        return None;
    }
    let page_bytes = 1_usize.checked_shl(u32::from(*program.get(directory + 39)?))?;
    let page = changed / page_bytes;
    let limit = big(program, directory + 32)?.min(program.len());
    let begin = page * page_bytes;
    let hashed = program.get(begin..limit.min(begin + page_bytes))?;
    let digest = Sha256::digest(hashed);
    let slot = directory + big(program, directory + 16)? + page * digest.len();
    let slot = program.get_mut(slot..slot + digest.len())?;
    slot.copy_from_slice(&digest);
    Some(())
}

fn little(program: &[u8], at: usize) -> Option<u32> {
    let bytes = program.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn big(program: &[u8], at: usize) -> Option<usize> {
    let bytes = program.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head and one command, the identity.
    fn program(uuid: u8, content: u8) -> Vec<u8> {
        let mut program = vec![0; HEAD_BYTES];
        program[..4].copy_from_slice(&MH_MAGIC_64.to_le_bytes());
        program[16] = 1;
        program.extend(LC_UUID.to_le_bytes());
        program.extend(24_u32.to_le_bytes());
        program.extend([uuid; UUID_BYTES]);
        program.extend([content; 100]);
        program
    }

    #[test]
    fn the_identity_follows_from_the_content_alone() {
        let settled = |uuid, content| {
            let mut program = program(uuid, content);
            settle(&mut program).unwrap();
            program
        };
        assert_eq!(settled(1, 7), settled(2, 7));
        assert_ne!(settled(1, 7)[40..56], settled(1, 8)[40..56]);
        assert_eq!(settled(1, 7)[46] >> 4, 8);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let whole = program(1, 1);
        for cut in 0..56 {
            assert!(settle(&mut whole[..cut].to_vec()).is_err(), "{cut}");
        }
        let mut signed = whole.clone();
        signed[32..36].copy_from_slice(&LC_CODE_SIGNATURE.to_le_bytes());
        assert_eq!(settle(&mut signed), Err(Error("identity")));
    }
}
