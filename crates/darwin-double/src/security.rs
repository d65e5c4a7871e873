//! `Security/SecCode.h` and `Security/SecRequirement.h`: whose code a process runs.
//!
//! Which error comes when was seen in `Security-61901.0.87.0.1`,
//! `OSX/libsecurity_codesigning/lib`: `SecCode.cpp` (the functions), `Code.cpp` (`autoLocateGuest`,
//! `checkValidity`), `cskernel.cpp` (`locateGuest`, `identifyGuest`, `csops`) and `StaticCode.cpp`
//! (`signingInformation`).

use crate::bsm::AuditToken;
use crate::cf::object::{Body, Kind, Object, Ref};
use crate::cf::{data, dictionary, number, string, url};
use crate::machine::{self, Process, STATUS_VALID, enter, machine, status};
use crate::raw;
use std::ffi::c_void;

/// `kSecCSSigningInformation`: without it there is no team.
const SIGNING_INFORMATION: u32 = 1 << 1;
/// `kSecCSDynamicInformation`: without it there is no status.
const DYNAMIC_INFORMATION: u32 = 1 << 3;
/// All flags that `SecCodeCopySigningInformation` knows.
const INFORMATION_FLAGS: u32 = 0xFF;

static PID: Object = Object::constant("pid");
static AUDIT: Object = Object::constant("audit");
static IDENTIFIER: Object = Object::constant("identifier");
static TEAM: Object = Object::constant("teamid");
static UNIQUE: Object = Object::constant("unique");
static PLATFORM: Object = Object::constant("platform-identifier");
static FLAGS: Object = Object::constant("flags");
static STATUS: Object = Object::constant("status");
static MAIN_EXECUTABLE: Object = Object::constant("main-executable");

/// `SecCode.h`: the process id of a guest, a `CFNumber`: whatever process has it.
#[unsafe(no_mangle)]
static kSecGuestAttributePid: Ref = PID.reference();
/// `SecCode.h`: the audit token of a guest, as 32 bytes of `CFData`.
#[unsafe(no_mangle)]
static kSecGuestAttributeAudit: Ref = AUDIT.reference();
/// `SecCode.h`: the signing identifier, a `CFString`.
#[unsafe(no_mangle)]
static kSecCodeInfoIdentifier: Ref = IDENTIFIER.reference();
/// `SecCode.h`: the team, a `CFString`.
#[unsafe(no_mangle)]
static kSecCodeInfoTeamIdentifier: Ref = TEAM.reference();
/// `SecCode.h`: the hash of the code directory, `CFData` of 20 bytes.
#[unsafe(no_mangle)]
static kSecCodeInfoUnique: Ref = UNIQUE.reference();
/// `SecCode.h`: a `CFNumber`, there only for what came with macOS.
#[unsafe(no_mangle)]
static kSecCodeInfoPlatformIdentifier: Ref = PLATFORM.reference();
/// `SecCode.h`: the flags of the signature, a `CFNumber`.
#[unsafe(no_mangle)]
static kSecCodeInfoFlags: Ref = FLAGS.reference();
/// `SecCode.h`: the dynamic status, a `CFNumber`.
#[unsafe(no_mangle)]
static kSecCodeInfoStatus: Ref = STATUS.reference();
/// `SecCode.h`: the executable, a `CFURL`; there even for unsigned code.
#[unsafe(no_mangle)]
static kSecCodeInfoMainExecutable: Ref = MAIN_EXECUTABLE.reference();

/// Code that runs, identified when it was looked up.
pub(crate) struct Code {
    pid: i32,
    /// The image it has to be, if a token said so.
    version: Option<u32>,
    path: String,
    signature: machine::Code,
}

/// What code is asked to be.
pub(crate) struct Requirement {
    text: String,
}

/// `SecCode.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn SecCodeGetTypeID() -> usize {
    Kind::Code as usize
}

/// `SecRequirement.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn SecRequirementGetTypeID() -> usize {
    Kind::Requirement as usize
}

/// `SecCode.h`: the code of the process with this audit token, which the caller releases.
///
/// The framework asks first for the path by pid alone, and only then whether the token still is
/// the process's: a pid that is gone gives ESRCH (100003), one that went to another image
/// `errSecCSNoSuchCode`, a deleted executable ENOENT (100002).
#[unsafe(no_mangle)]
extern "C-unwind" fn SecCodeCopyGuestWithAttributes(
    host: Ref,
    attributes: Ref,
    flags: u32,
    guest: *mut Ref,
) -> i32 {
    let wanted = Wanted::from(attributes);
    let pid = wanted.as_ref().ok().map(|wanted| wanted.pid);
    if let Some(code) = enter("SecCodeCopyGuestWithAttributes", pid) {
        return code;
    }
    if flags != 0 {
        return status::INVALID_FLAGS;
    }
    assert!(
        host.is_none(),
        "only processes are looked up here, not guests of processes"
    );
    match wanted.and_then(identified) {
        Ok(code) => hand_out(guest, Ref::new(Body::Code(code))),
        Err(code) => code,
    }
}

/// `SecCode.h`: our own code, which the caller releases.
#[unsafe(no_mangle)]
extern "C-unwind" fn SecCodeCopySelf(flags: u32, place: *mut Ref) -> i32 {
    if let Some(code) = enter("SecCodeCopySelf", Some(machine::own_pid())) {
        return code;
    }
    if flags != 0 {
        return status::INVALID_FLAGS;
    }
    match identified(Wanted {
        pid: machine::own_pid(),
        version: None,
    }) {
        Ok(code) => hand_out(place, Ref::new(Body::Code(code))),
        Err(code) => code,
    }
}

/// `SecCode.h`: what the signature says, nothing of it validated. The caller releases it.
#[unsafe(no_mangle)]
extern "C-unwind" fn SecCodeCopySigningInformation(
    code: Ref,
    flags: u32,
    information: *mut Ref,
) -> i32 {
    let code = match required(&code) {
        Ok(code) => code,
        Err(status) => return status,
    };
    if let Some(failure) = enter("SecCodeCopySigningInformation", Some(code.pid)) {
        return failure;
    }
    if flags & !INFORMATION_FLAGS != 0 {
        return status::INVALID_FLAGS;
    }
    if code.signature.information != status::SUCCESS {
        return code.signature.information;
    }
    let mut entries = code.entries(flags);
    if flags & DYNAMIC_INFORMATION != 0 {
        match code.dynamic_status() {
            Ok(status) => entries.push((kSecCodeInfoStatus, integer(status))),
            Err(status) => {
                dictionary::new(entries).release();
                return status;
            }
        }
    }
    hand_out(information, dictionary::new(entries))
}

/// `SecCode.h`: whether the running code is what was signed, and meets a requirement if there is
/// one.
#[unsafe(no_mangle)]
extern "C-unwind" fn SecCodeCheckValidity(code: Ref, _flags: u32, requirement: Ref) -> i32 {
    let code = match required(&code) {
        Ok(code) => code,
        Err(status) => return status,
    };
    if let Some(failure) = enter("SecCodeCheckValidity", Some(code.pid)) {
        return failure;
    }
    if code.signature.validity != status::SUCCESS {
        return code.signature.validity;
    }
    match code.dynamic_status() {
        Ok(dynamic) if dynamic & STATUS_VALID == 0 => status::GUEST_INVALID,
        Ok(_) if requirement.is_none() || code.meets(requirement) => status::SUCCESS,
        Ok(_) => status::REQUIREMENT_FAILED,
        Err(status) => status,
    }
}

/// `SecCode.h`: where the code is, which for an application is its bundle. The caller releases it.
#[unsafe(no_mangle)]
extern "C-unwind" fn SecCodeCopyPath(code: Ref, flags: u32, path: *mut Ref) -> i32 {
    let code = match required(&code) {
        Ok(code) => code,
        Err(status) => return status,
    };
    if let Some(failure) = enter("SecCodeCopyPath", Some(code.pid)) {
        return failure;
    }
    if flags != 0 {
        return status::INVALID_FLAGS;
    }
    let place = match &code.signature.bundle {
        Some(bundle) => url::of_file(bundle.as_bytes(), true),
        None => url::of_file(code.path.as_bytes(), false),
    };
    hand_out(path, place)
}

/// `SecRequirement.h`: a requirement from its text, which the caller releases. Here the text is
/// only compared.
#[unsafe(no_mangle)]
extern "C-unwind" fn SecRequirementCreateWithString(
    text: Ref,
    flags: u32,
    requirement: *mut Ref,
) -> i32 {
    if let Some(code) = enter("SecRequirementCreateWithString", None) {
        return code;
    }
    if flags != 0 {
        return status::INVALID_FLAGS;
    }
    let text = string::read(text);
    if text.trim().is_empty() || !text.matches('"').count().is_multiple_of(2) {
        return status::REQUIREMENT_INVALID;
    }
    hand_out(
        requirement,
        Ref::new(Body::Requirement(Requirement { text })),
    )
}

/// `SecBase.h`: words for a status, which the caller releases.
#[unsafe(no_mangle)]
extern "C-unwind" fn SecCopyErrorMessageString(status: i32, _reserved: *mut c_void) -> Ref {
    enter("SecCopyErrorMessageString", None);
    string::new(&format!("OSStatus {status}"))
}

impl Code {
    fn entries(&self, flags: u32) -> Vec<(Ref, Ref)> {
        let executable = url::of_file(self.path.as_bytes(), false);
        let mut entries = vec![(kSecCodeInfoMainExecutable, executable)];
        let signature = &self.signature;
        let Some(identifier) = &signature.identifier else {
            return entries;
        };
        entries.push((kSecCodeInfoIdentifier, string::new(identifier)));
        entries.push((kSecCodeInfoFlags, integer(signature.flags)));
        if let Some(cdhash) = &signature.cdhash {
            entries.push((kSecCodeInfoUnique, data::new(cdhash)));
        }
        if signature.platform != 0 {
            entries.push((kSecCodeInfoPlatformIdentifier, integer(signature.platform)));
        }
        if let Some(team) = signature
            .team
            .as_ref()
            .filter(|_| flags & SIGNING_INFORMATION != 0)
        {
            entries.push((kSecCodeInfoTeamIdentifier, string::new(team)));
        }
        entries
    }

    /// What the kernel says of the code at this moment, if it still is that code.
    fn dynamic_status(&self) -> Result<u32, i32> {
        let machine = machine();
        let process = machine.running(self.pid);
        let same = |version| self.version.is_none_or(|wanted| wanted == version);
        let process = process.filter(|process| same(process.version));
        process
            .map(|process| process.code.status)
            .ok_or(status::NO_SUCH_CODE)
    }

    fn meets(&self, requirement: Ref) -> bool {
        let Body::Requirement(requirement) = requirement.body() else {
            requirement.is_not("SecRequirement")
        };
        self.signature.requirements.contains(&requirement.text)
    }
}

/// Which process is asked for.
struct Wanted {
    pid: i32,
    version: Option<u32>,
}

impl Wanted {
    /// `locateGuest`: a pid, a token or both; with both, the pid goes before that of the token.
    fn from(attributes: Ref) -> Result<Self, i32> {
        let pid = dictionary::value(attributes, kSecGuestAttributePid).map(number::integer);
        let pid = match pid {
            Some(pid) => Some(pid.ok_or(status::INVALID_ATTRIBUTE_VALUES)?),
            None => None,
        };
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        let token = dictionary::value(attributes, kSecGuestAttributeAudit);
        let Some(token) = token else {
            let pid = pid.ok_or(status::UNSUPPORTED_ATTRIBUTES)?;
            return Ok(Self { pid, version: None });
        };
        let Body::Data(_) = token.body() else {
            return Err(status::INVALID_ATTRIBUTE_VALUES);
        };
        let token = AuditToken::from_bytes(&data::copy(token));
        let token = token.ok_or(status::INVALID_ATTRIBUTE_VALUES)?;
        let pid = pid.unwrap_or(token.pid());
        Ok(Self {
            pid,
            version: Some(token.version()),
        })
    }
}

fn identified(wanted: Wanted) -> Result<Code, i32> {
    let Wanted { pid, version } = wanted;
    let machine = machine();
    let process = machine.running(pid).ok_or(status::ESRCH)?;
    let path = path_of(process)?;
    if version.is_some_and(|version| process.version != version) {
        return Err(status::NO_SUCH_CODE);
    }
    if process.code.guest != status::SUCCESS {
        return Err(process.code.guest);
    }
    Ok(Code {
        pid,
        version,
        path,
        signature: process.code.clone(),
    })
}

fn path_of(process: &Process) -> Result<String, i32> {
    let path = process.path.clone().ok_or(status::ESRCH)?;
    if process.deleted {
        Err(status::ENOENT)
    } else {
        Ok(path)
    }
}

fn required(code: &Ref) -> Result<&Code, i32> {
    if code.is_none() {
        return Err(status::OBJECT_REQUIRED);
    }
    let Body::Code(code) = code.body() else {
        return Err(status::INVALID_OBJECT);
    };
    Ok(code)
}

fn integer(value: u32) -> Ref {
    number::new(number::Number::Integer(i64::from(value)))
}

fn hand_out(place: *mut Ref, object: Ref) -> i32 {
    if place.is_null() {
        object.release();
        return status::OBJECT_REQUIRED;
    }
    raw::put(place, object);
    status::SUCCESS
}
