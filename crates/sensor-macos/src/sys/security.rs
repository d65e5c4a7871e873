//! `Security/SecCode.h`: who vouches for running code.
//!
//! Running code is looked up by its audit token and validated as it runs: nothing on disk is
//! hashed but what the signature itself needs, and nothing is asked of the network.

use objc2::rc::autoreleasepool;
use objc2_core_foundation::{CFData, CFDictionary, CFNumber, CFRetained, CFString, CFType, Type};
use record::{CodeSignature, SignatureValidity};
use std::ptr::{self, NonNull};
use std::sync::Arc;

// SAFETY: the declarations are those of `Security/SecCode.h`; `SecCodeRef` is a CoreFoundation
// object, `OSStatus` is `int32_t` and `SecCSFlags` is `uint32_t`.
#[cfg_attr(target_vendor = "apple", link(name = "Security", kind = "framework"))]
unsafe extern "C-unwind" {
    /// Finds running code. The caller owns `guest`. `Security/SecCode.h`, macOS 10.6.
    fn SecCodeCopyGuestWithAttributes(
        host: *const CFType,
        attributes: *const CFDictionary<CFString, CFType>,
        flags: u32,
        guest: *mut *mut CFType,
    ) -> i32;
    /// Tells of a signature. The caller owns `information`. `Security/SecCode.h`, macOS 10.6.
    fn SecCodeCopySigningInformation(
        code: *const CFType,
        flags: u32,
        information: *mut *mut CFDictionary<CFString, CFType>,
    ) -> i32;
    /// Validates running code. `Security/SecCode.h`, macOS 10.6.
    fn SecCodeCheckValidity(code: *const CFType, flags: u32, requirement: *const CFType) -> i32;

    /// Names an audit token. `Security/SecCode.h`, macOS 10.8.
    safe static kSecGuestAttributeAudit: &'static CFString;
    /// Names a process id. `Security/SecCode.h`, macOS 10.6.
    safe static kSecGuestAttributePid: &'static CFString;
    /// Names the signing identifier. `Security/SecCode.h`, macOS 10.6.
    safe static kSecCodeInfoIdentifier: &'static CFString;
    /// Names the team. `Security/SecCode.h`, macOS 10.9.
    safe static kSecCodeInfoTeamIdentifier: &'static CFString;
    /// Names the hash of the code directory. `Security/SecCode.h`, macOS 10.6.
    safe static kSecCodeInfoUnique: &'static CFString;
    /// Names the platform, not zero for what came with macOS. `Security/SecCode.h`, macOS 10.11.
    safe static kSecCodeInfoPlatformIdentifier: &'static CFString;
}

/// The signature of the program that the process of a token runs.
///
/// # Errors
/// The status with which no running code was found.
pub(crate) fn signature_of_token(token: &[u8; 32]) -> Result<CodeSignature, i32> {
    // What the framework hands out for a while only is released when this is left: nobody else
    // does it on a thread of ours.
    autoreleasepool(|_| signature(kSecGuestAttributeAudit, &CFData::from_bytes(token)))
}

/// The signature of the program that whatever process has this id runs.
///
/// # Errors
/// The status with which no running code was found.
pub(crate) fn signature_of_pid(pid: u32) -> Result<CodeSignature, i32> {
    let pid = CFNumber::new_i32(pid.cast_signed());
    autoreleasepool(|_| signature(kSecGuestAttributePid, &pid))
}

fn signature(attribute: &CFString, value: &CFType) -> Result<CodeSignature, i32> {
    let code = guest(attribute, value)?;
    let validity = check(&code);
    let information = information(&code);
    let text = |key| text(information.as_deref(), key);
    Ok(CodeSignature {
        signing_id: text(kSecCodeInfoIdentifier),
        team_id: text(kSecCodeInfoTeamIdentifier),
        cdhash: hash(information.as_deref()),
        platform: information.as_deref().map(is_platform),
        ..unnamed(validity)
    })
}

/// A signature of which only a status is known.
pub(crate) fn unnamed(status: i32) -> CodeSignature {
    let validity = match status {
        0 => SignatureValidity::Valid,
        UNSIGNED => SignatureValidity::Unsigned,
        status if NOT_GOOD.contains(&status) => SignatureValidity::Invalid,
        _ => SignatureValidity::Unknown,
    };
    CodeSignature {
        validity,
        status: Some(status).filter(|status| *status != 0),
        signing_id: None,
        team_id: None,
        cdhash: None,
        platform: None,
    }
}

fn guest(attribute: &CFString, value: &CFType) -> Result<CFRetained<CFType>, i32> {
    let attributes = CFDictionary::from_slices(&[attribute], &[value]);
    let mut code = ptr::null_mut();
    // SAFETY: no host means the kernel; the dictionary lives longer than the call, holds the kind
    // of value that its key asks for, and `code` is a place for one pointer.
    let status = unsafe {
        SecCodeCopyGuestWithAttributes(ptr::null(), &*attributes, DEFAULT_FLAGS, &raw mut code)
    };
    // SAFETY: what the function gave, it gave to us to release.
    unsafe { owned(code) }.filter(|_| status == 0).ok_or(status)
}

fn check(code: &CFType) -> i32 {
    // SAFETY: `code` is the running code that `guest` found; there is no further requirement.
    unsafe { SecCodeCheckValidity(code, NO_NETWORK_ACCESS, ptr::null()) }
}

fn information(code: &CFType) -> Option<CFRetained<CFDictionary<CFString, CFType>>> {
    let mut information = ptr::null_mut();
    // SAFETY: `code` is the running code that `guest` found, which stands wherever code on disk
    // may, and `information` is a place for one pointer.
    let status =
        unsafe { SecCodeCopySigningInformation(code, SIGNING_INFORMATION, &raw mut information) };
    // SAFETY: what the function gave, it gave to us to release.
    unsafe { owned(information) }.filter(|_| status == 0)
}

/// Takes over what a function that copies or creates has given, if it gave something.
///
/// # Safety
/// The object must be the caller's to release.
unsafe fn owned<T: Type>(object: *mut T) -> Option<CFRetained<T>> {
    // SAFETY: the caller owns the object, as it promised.
    NonNull::new(object).map(|object| unsafe { CFRetained::from_raw(object) })
}

fn text(information: Option<&CFDictionary<CFString, CFType>>, key: &CFString) -> Option<Arc<str>> {
    let value = information?.get(key)?;
    let mut text = value.downcast_ref::<CFString>()?.to_string();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    Some(text).filter(|text| !text.is_empty()).map(Arc::from)
}

fn hash(information: Option<&CFDictionary<CFString, CFType>>) -> Option<[u8; 20]> {
    let value = information?.get(kSecCodeInfoUnique)?;
    value.downcast_ref::<CFData>()?.to_vec().try_into().ok()
}

/// The key is only there for what came with macOS.
fn is_platform(information: &CFDictionary<CFString, CFType>) -> bool {
    let number = information.get(kSecCodeInfoPlatformIdentifier);
    let number = number
        .as_deref()
        .and_then(|it| it.downcast_ref::<CFNumber>()?.as_i32());
    number.is_some_and(|number| number != 0)
}

/// Identifiers are what signers like; more of one tells nobody more.
const TEXT_BYTES_MAX: usize = 256;

// `kSecCSSigningInformation` of `Security/SecCode.h`; `kSecCSDefaultFlags` and
// `kSecCSNoNetworkAccess` of `Security/CSCommon.h`, the latter because the connections of this
// machine wait for us, and so might the answer.
const DEFAULT_FLAGS: u32 = 0;
const SIGNING_INFORMATION: u32 = 1 << 1;
const NO_NETWORK_ACCESS: u32 = 1 << 29;

/// `errSecCSUnsigned` of `Security/CSCommon.h`.
const UNSIGNED: i32 = -67_062;

/// What says that the code was looked at and is not good: `errSecCSGuestInvalid`,
/// `errSecCSSignatureFailed`, `errSecCSBadDictionaryFormat`, `errSecCSResourcesNotSealed`,
/// `errSecCSResourcesNotFound`, `errSecCSResourcesInvalid`, `errSecCSBadResource`,
/// `errSecCSReqFailed`, `errSecCSSignatureInvalid` and `errSecCSInfoPlistFailed` of
/// `Security/CSCommon.h`, and `CSSMERR_TP_CERT_REVOKED` of `Security/cssmerr.h`.
///
/// `errSecCSStaticCodeChanged` is not among them: the file on disk was replaced while the program
/// runs, as by every update, so what runs cannot be checked.
const NOT_GOOD: [i32; 11] = [
    -67_063,
    -67_061,
    -67_058,
    -67_057,
    -67_056,
    -67_055,
    -67_054,
    -67_050,
    -67_045,
    -67_030,
    -2_147_409_652,
];

#[cfg(test)]
mod tests {
    use super::*;

    // facts: unsigned-is-not-invalid
    #[test]
    fn no_signature_a_bad_one_and_an_unchecked_one_are_three_answers() {
        let validity = |status| unnamed(status).validity;
        assert_eq!(validity(0), SignatureValidity::Valid);
        assert_eq!(validity(-67_062), SignatureValidity::Unsigned);
        assert_eq!(validity(-67_061), SignatureValidity::Invalid);
        assert_eq!(validity(100_001), SignatureValidity::Unknown);
        assert_eq!(validity(-67_034), SignatureValidity::Unknown);
        assert_eq!(
            (unnamed(0).status, unnamed(-67_061).status),
            (None, Some(-67_061))
        );
    }
}
