//! `IOKit/IOKitLib.h`: the registry of devices, of which the machine has the entries it was given.

use crate::cf::object::{Body, Ref};
use crate::cf::{dictionary, preferences, string};
use crate::machine::{enter, machine};
use crate::raw;
use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The key under which a matching dictionary has the name of a class.
const CLASS_KEY: &str = "IOProviderClass";
/// The first port name that is given out: they are what the kernel likes.
const FIRST_PORT: u32 = 0x0B03;
/// `KERN_SUCCESS`.
const SUCCESS: i32 = 0;
/// `MACH_SEND_INVALID_DEST`: there is no such port, or it was let go already.
const INVALID_PORT: i32 = 0x1000_0003;

/// What was found and not let go: port and class.
static FOUND: Mutex<Found> = Mutex::new(Found {
    next: FIRST_PORT,
    held: Vec::new(),
});

struct Found {
    next: u32,
    held: Vec<(u32, String)>,
}

/// How many found services nobody let go.
pub(crate) fn held() -> usize {
    found().held.len()
}

pub(crate) fn reset() {
    *found() = Found {
        next: FIRST_PORT,
        held: Vec::new(),
    };
}

fn found() -> MutexGuard<'static, Found> {
    FOUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `IOKit/IOKitLib.h`: a dictionary that asks for a class; the caller holds it. NULL is failure.
#[unsafe(no_mangle)]
extern "C-unwind" fn IOServiceMatching(name: *const c_char) -> Ref {
    if enter("IOServiceMatching", None).is_some() {
        return Ref::NONE;
    }
    let class = string::new(&raw::text(name).to_string_lossy());
    dictionary::new(vec![(string::new(CLASS_KEY), class)])
}

/// `IOKit/IOKitLib.h`: the first service that matches, which the caller lets go; 0 if none does.
/// It takes over the dictionary.
#[unsafe(no_mangle)]
extern "C-unwind" fn IOServiceGetMatchingService(_main_port: u32, matching: Ref) -> u32 {
    let failed = enter("IOServiceGetMatchingService", None).is_some();
    let key = string::new(CLASS_KEY);
    let class = dictionary::value(matching, key).map(string::read);
    key.release();
    matching.release();
    let known = class.filter(|class| !failed && machine().registry.contains_key(class));
    let Some(class) = known else { return 0 };
    let mut found = found();
    let port = found.next;
    found.next += 4;
    found.held.push((port, class));
    port
}

/// `IOKit/IOKitLib.h`: a property, which the caller releases; NULL if there is none.
#[unsafe(no_mangle)]
extern "C-unwind" fn IORegistryEntryCreateCFProperty(
    entry: u32,
    key: Ref,
    _allocator: Ref,
    _options: u32,
) -> Ref {
    if enter("IORegistryEntryCreateCFProperty", None).is_some() {
        return Ref::NONE;
    }
    let class = found()
        .held
        .iter()
        .find(|(port, _)| *port == entry)
        .map(|(_, class)| class.clone());
    let Body::Text(_) = key.body() else {
        key.is_not("CFString")
    };
    let machine = machine();
    let entry = class.and_then(|class| machine.registry.get(&class));
    let value = entry.and_then(|entry| entry.get(&string::read(key)));
    value.map_or(Ref::NONE, preferences::object_of)
}

/// `IOKit/IOKitLib.h`: lets go of a service.
#[unsafe(no_mangle)]
extern "C-unwind" fn IOObjectRelease(object: u32) -> i32 {
    enter("IOObjectRelease", None);
    let mut found = found();
    let place = found.held.iter().position(|(port, _)| *port == object);
    match place {
        Some(place) => {
            found.held.remove(place);
            SUCCESS
        }
        None => INVALID_PORT,
    }
}
