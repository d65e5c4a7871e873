//! The registry of devices.

use super::foreign::*;
use darwin_double::{cf, machine};
use objc2_core_foundation::{CFRetained, CFString, CFType};
use std::ffi::CStr;
use std::ptr::{NonNull, null};

fn found(class: &CStr) -> u32 {
    // SAFETY: the class is a string, and the dictionary is given away.
    unsafe { IOServiceGetMatchingService(0, IOServiceMatching(class.as_ptr())) }
}

fn text(service: u32, key: &str) -> Option<String> {
    let key = CFString::from_str(key);
    // SAFETY: the key is a string.
    let value = unsafe { IORegistryEntryCreateCFProperty(service, &*key, null(), 0) };
    // SAFETY: the function gave the object to us.
    let value: CFRetained<CFType> =
        unsafe { CFRetained::from_raw(NonNull::new(value.cast_mut())?) };
    value.downcast_ref::<CFString>().map(ToString::to_string)
}

#[test]
fn the_platform_says_which_machine_it_is_until_it_is_let_go() {
    let _machine = machine::lock();
    let service = found(c"IOPlatformExpertDevice");
    assert_eq!(
        text(service, "IOPlatformSerialNumber").as_deref(),
        Some("C02EXAMPLE01")
    );
    assert_eq!(text(service, "IOPlatformNothing"), None);
    assert_eq!(machine::services_held(), 1);
    assert_eq!(IOObjectRelease(service), 0);
    assert_eq!(text(service, "IOPlatformSerialNumber"), None);
    assert_ne!(IOObjectRelease(service), 0);
    assert_eq!((machine::services_held(), cf::live_total()), (0, 0));
}

#[test]
fn a_service_that_is_not_there_is_not_found() {
    let _machine = machine::lock();
    assert_eq!(found(c"IOToaster"), 0);
    machine::registry(|all| all.clear());
    assert_eq!(found(c"IOPlatformExpertDevice"), 0);
    machine::on("IOServiceMatching").fail(1);
    // SAFETY: the class is a string.
    assert!(unsafe { IOServiceMatching(c"IOToaster".as_ptr()) }.is_null());
    assert_eq!(cf::live_total(), 0);
}
