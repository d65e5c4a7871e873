//! The Security framework.

use super::foreign::*;
use darwin_double::cf;
use darwin_double::machine::{self, Code, Process, status};
use objc2_core_foundation::*;
use std::ptr::{NonNull, null};

fn attributes(token: &[u8]) -> CFRetained<CFDictionary<CFString, CFData>> {
    // SAFETY: it is a constant.
    let key = unsafe { kSecGuestAttributeAudit };
    CFDictionary::from_slices(&[key], &[&*CFData::from_bytes(token)])
}

fn taken<T: Type>(place: *const T) -> CFRetained<T> {
    // SAFETY: the function gave the object to us.
    unsafe { CFRetained::from_raw(NonNull::new(place.cast_mut()).unwrap()) }
}

fn guest(token: &[u8]) -> Result<CFRetained<CFType>, i32> {
    let attributes = attributes(token);
    let attributes: &CFDictionary = (*attributes).as_ref();
    let guest = with_place(|place| {
        // SAFETY: the dictionary is one, and the place is ours.
        unsafe { SecCodeCopyGuestWithAttributes(null(), attributes, 0, place) }
    });
    guest.map(taken)
}

fn information(
    code: &CFType,
    flags: u32,
) -> Result<CFRetained<CFDictionary<CFString, CFType>>, i32> {
    // SAFETY: the code is an object, and the place is ours.
    let information =
        with_place(|place| unsafe { SecCodeCopySigningInformation(code, flags, place) });
    // SAFETY: the keys are strings, and the values are objects.
    information.map(|place| unsafe { CFRetained::cast_unchecked(taken(place)) })
}

fn validity(code: &CFType) -> i32 {
    // SAFETY: the code is an object.
    unsafe { SecCodeCheckValidity(code, 0, null()) }
}

fn text(information: &CFDictionary<CFString, CFType>, key: &CFString) -> Option<String> {
    let value = information.get(key)?;
    match value.downcast_ref::<CFString>() {
        Some(text) => Some(text.to_string()),
        None => match value.downcast_ref::<CFNumber>() {
            Some(number) => number.as_i64().map(|number| number.to_string()),
            None => match value.downcast_ref::<CFData>() {
                Some(data) => Some(format!("{:?}", data.to_vec())),
                None => value
                    .downcast_ref::<CFURL>()?
                    .to_file_path()?
                    .to_str()
                    .map(str::to_owned),
            },
        },
    }
}

/// Identifier, team, hash, platform, flags, status, executable.
fn fields(information: &CFDictionary<CFString, CFType>) -> [Option<String>; 7] {
    // SAFETY: they are constants.
    let keys = unsafe {
        [
            kSecCodeInfoIdentifier,
            kSecCodeInfoTeamIdentifier,
            kSecCodeInfoUnique,
            kSecCodeInfoPlatformIdentifier,
            kSecCodeInfoFlags,
            kSecCodeInfoStatus,
            kSecCodeInfoMainExecutable,
        ]
    };
    keys.map(|key| text(information, key))
}

#[test]
fn code_of_a_team_has_an_identity() {
    let _machine = machine::lock();
    let code = Code::signed("com.example.browser", "TEAM123456").with_cdhash(&[9; 20]);
    let token = machine::add(
        Process::new(700)
            .at("/Applications/B.app/B")
            .with_code(code),
    );
    let code = guest(&token).unwrap();
    let fields = fields(&information(&code, 2 | 8).unwrap());
    let expected = [
        Some("com.example.browser".to_owned()),
        Some("TEAM123456".to_owned()),
        Some(format!("{:?}", [9; 20])),
        None,
        Some(machine::FLAG_RUNTIME.to_string()),
        Some(machine::STATUS_VALID.to_string()),
        Some("/Applications/B.app/B".to_owned()),
    ];
    assert_eq!(fields, expected);
    assert_eq!(validity(&code), 0);
    drop(code);
    assert_eq!(cf::live_total(), 0);
}

#[test]
fn the_team_and_the_status_come_only_when_asked_for() {
    let _machine = machine::lock();
    let token = machine::add(Process::new(700));
    let fields = fields(&information(&guest(&token).unwrap(), 0).unwrap());
    assert_eq!((&fields[1], &fields[5]), (&None, &None));
    assert!(fields[0].is_some());
    assert_eq!(
        information(&guest(&token).unwrap(), 1 << 20),
        Err(status::INVALID_FLAGS)
    );
}

#[test]
fn platform_code_has_a_number_and_no_team() {
    let _machine = machine::lock();
    let token = machine::token(1);
    let fields = fields(&information(&guest(&token).unwrap(), 2).unwrap());
    assert_eq!(
        (fields[1].as_deref(), fields[3].as_deref()),
        (None, Some("16"))
    );
}

#[test]
fn unsigned_code_has_an_executable_and_no_validity() {
    let _machine = machine::lock();
    let token = machine::add(
        Process::new(700)
            .at("/tmp/a.out")
            .with_code(Code::unsigned()),
    );
    let code = guest(&token).unwrap();
    let fields = fields(&information(&code, 2).unwrap());
    assert_eq!(fields[6].as_deref(), Some("/tmp/a.out"));
    assert!(fields[..6].iter().all(Option::is_none));
    assert_eq!(validity(&code), status::UNSIGNED);
}

#[test]
fn a_process_is_not_found_for_the_reason_it_is_not_there() {
    let _machine = machine::lock();
    let token = machine::add(Process::new(700));
    let after = machine::exec(700, |_| {});
    assert_eq!(guest(&token).err(), Some(status::NO_SUCH_CODE));
    machine::change(700, |process| process.deleted = true);
    assert_eq!(guest(&after).err(), Some(status::ENOENT));
    machine::exit(700);
    assert_eq!(guest(&after).err(), Some(status::ESRCH));
    assert_eq!(guest(&[0; 32]).err(), Some(status::ESRCH));
    assert_eq!(
        guest(&[0; 31]).err(),
        Some(status::INVALID_ATTRIBUTE_VALUES)
    );
    machine::on("SecCodeCopyGuestWithAttributes").fail(status::EPERM);
    assert_eq!(guest(&after).err(), Some(status::EPERM));
    assert_eq!(cf::live_total(), 0);
}

#[test]
fn code_that_was_found_keeps_its_signature_and_loses_its_validity_when_it_ends() {
    let _machine = machine::lock();
    let token = machine::add(Process::new(700));
    let code = guest(&token).unwrap();
    machine::exit(700);
    assert!(information(&code, 2).is_ok());
    assert_eq!(information(&code, 8).err(), Some(status::NO_SUCH_CODE));
    assert_eq!(validity(&code), status::NO_SUCH_CODE);
    drop(code);
    assert_eq!(cf::live_total(), 0);
}

#[test]
fn code_that_was_changed_is_not_valid() {
    let _machine = machine::lock();
    let broken = Code::signed("com.example", "TEAM123456").broken(status::SIGNATURE_FAILED);
    let token = machine::add(Process::new(700).with_code(broken));
    assert_eq!(validity(&guest(&token).unwrap()), status::SIGNATURE_FAILED);
    let token = machine::add(Process::new(701));
    machine::change(701, |process| process.code.status = 0);
    assert_eq!(validity(&guest(&token).unwrap()), status::GUEST_INVALID);
}

#[test]
fn a_requirement_is_met_or_not() {
    let _machine = machine::lock();
    let code = guest(&machine::token(1)).unwrap();
    let other = guest(&machine::add(Process::new(700))).unwrap();
    let text = CFString::from_str("anchor apple");
    // SAFETY: the text is a string, the objects are objects, and the places are ours.
    unsafe {
        let requirement = with_place(|place| SecRequirementCreateWithString(&*text, 0, place));
        let requirement: CFRetained<CFType> = taken(requirement.unwrap());
        assert_eq!(SecCodeCheckValidity(&*code, 0, &*requirement), 0);
        assert_eq!(
            SecCodeCheckValidity(&*other, 0, &*requirement),
            status::REQUIREMENT_FAILED
        );
        let nonsense = CFString::from_str("identifier \"half");
        let refused = with_place(|place| SecRequirementCreateWithString(&*nonsense, 0, place));
        assert_eq!(refused, Err(status::REQUIREMENT_INVALID));
    }
}

#[test]
fn an_application_is_at_its_bundle() {
    let _machine = machine::lock();
    let mut process = Process::new(700).at("/Applications/B.app/Contents/MacOS/B");
    process.code.bundle = Some("/Applications/B.app".to_owned());
    let code = guest(&machine::add(process)).unwrap();
    // SAFETY: the code is an object, and the place is ours.
    let path = with_place(|place| unsafe { SecCodeCopyPath(&*code, 0, place) }).unwrap();
    assert_eq!(
        taken(path).to_file_path().unwrap().to_str(),
        Some("/Applications/B.app")
    );
}

#[test]
fn our_own_code_is_found_without_a_token() {
    let _machine = machine::lock();
    // SAFETY: the place is ours.
    let code = taken(with_place(|place| unsafe { SecCodeCopySelf(0, place) }).unwrap());
    let fields = fields(&information(&code, 2).unwrap());
    assert_eq!(fields[0].as_deref(), Some("com.example.agent.filter"));
}

#[test]
fn a_process_id_finds_whatever_process_has_it() {
    let _machine = machine::lock();
    machine::add(Process::new(700));
    let guest = |pid: &CFType| {
        // SAFETY: it is a constant.
        let key = unsafe { kSecGuestAttributePid };
        let attributes = CFDictionary::from_slices(&[key], &[pid]);
        let attributes: &CFDictionary = (*attributes).as_ref();
        // SAFETY: the dictionary is one, and the place is ours.
        with_place(|place| unsafe { SecCodeCopyGuestWithAttributes(null(), attributes, 0, place) })
            .map(taken)
    };
    let code = guest(&CFNumber::new_i32(700)).unwrap();
    machine::exec(700, |_| {});
    assert_eq!(validity(&code), 0);
    machine::exit(700);
    assert_eq!(validity(&code), status::NO_SUCH_CODE);
    assert_eq!(guest(&CFNumber::new_i32(700)).err(), Some(status::ESRCH));
    let text = CFString::from_str("700");
    assert_eq!(guest(&text).err(), Some(status::INVALID_ATTRIBUTE_VALUES));
}

#[test]
fn without_a_known_attribute_nobody_is_found() {
    let _machine = machine::lock();
    let key = CFString::from_str("color");
    let attributes = CFDictionary::from_slices(&[&*key], &[&*key]);
    let attributes: &CFDictionary = (*attributes).as_ref();
    let guest = with_place(|place| {
        // SAFETY: the dictionary is one, and the place is ours.
        unsafe { SecCodeCopyGuestWithAttributes(null(), attributes, 0, place) }
    });
    assert_eq!(guest, Err(status::UNSUPPORTED_ATTRIBUTES));
}
