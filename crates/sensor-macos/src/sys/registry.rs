//! `IOKit/IOKitLib.h`: which machine this is.

use objc2_core_foundation::{CFDictionary, CFMutableDictionary, CFRetained, CFString, CFType};
use std::ffi::{CStr, c_char};
use std::ptr::{self, NonNull};

// SAFETY: the declarations are those of `IOKit/IOKitLib.h`; `mach_port_t`, `io_service_t`,
// `io_registry_entry_t` and `io_object_t` are `unsigned int`, `kern_return_t` is `int`.
#[cfg_attr(target_vendor = "apple", link(name = "IOKit", kind = "framework"))]
unsafe extern "C-unwind" {
    /// What to look for. The caller owns it. `IOKit/IOKitLib.h`, macOS 10.0.
    fn IOServiceMatching(name: *const c_char) -> *mut CFMutableDictionary;
    /// Finds a service and takes over `matching`. `IOKit/IOKitLib.h`, macOS 10.2.
    fn IOServiceGetMatchingService(main_port: u32, matching: *const CFDictionary) -> u32;
    /// Reads a property. The caller owns it. `IOKit/IOKitLib.h`, macOS 10.0.
    fn IORegistryEntryCreateCFProperty(
        entry: u32,
        key: *const CFString,
        allocator: *const CFType,
        options: u32,
    ) -> *const CFType;
    /// Lets go of a service. `IOKit/IOKitLib.h`, macOS 10.0.
    safe fn IOObjectRelease(object: u32) -> i32;
}

/// The serial number and the hardware UUID of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    /// Letters and digits, as they stand on the box.
    pub(crate) serial_number: String,
    /// The hardware UUID, as System Information shows it.
    pub(crate) hardware: [u8; 16],
}

/// Which machine this is; `None` where it does not say.
pub(crate) fn platform() -> Option<Platform> {
    let service = Service::find(c"IOPlatformExpertDevice")?;
    Some(Platform {
        serial_number: service.text("IOPlatformSerialNumber")?,
        hardware: record::parse_uuid(&service.text("IOPlatformUUID")?)?,
    })
}

struct Service(u32);

impl Service {
    fn find(name: &CStr) -> Option<Service> {
        // SAFETY: `name` ends with a zero.
        let matching = unsafe { IOServiceMatching(name.as_ptr()) };
        if matching.is_null() {
            return None;
        }
        // SAFETY: no port means the usual one; the dictionary is ours to give away.
        let service = unsafe { IOServiceGetMatchingService(0, matching.cast()) };
        (service != 0).then_some(Service(service))
    }

    fn text(&self, key: &'static str) -> Option<String> {
        let key = CFString::from_static_str(key);
        // SAFETY: the entry and the key live longer than the call; no allocator means the usual
        // one, and there are no options.
        let value = unsafe { IORegistryEntryCreateCFProperty(self.0, &*key, ptr::null(), 0) };
        // SAFETY: what the function created is ours to release.
        let value = unsafe { CFRetained::from_raw(NonNull::new(value.cast_mut())?) };
        Some(value.downcast_ref::<CFString>()?.to_string())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        IOObjectRelease(self.0);
    }
}
