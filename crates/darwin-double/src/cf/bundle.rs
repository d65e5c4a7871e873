//! `CoreFoundation/CFBundle.h`: the main bundle.

use super::object::{Body, Held, Kind, Object, Ref};
use super::preferences::object_of;
use crate::machine::{self, Value, enter, machine, note};
use std::sync::{Mutex, PoisonError};

static MAIN: Mutex<Option<Ref>> = Mutex::new(None);

static EXECUTABLE_KEY: Object = Object::constant("CFBundleExecutable");
static IDENTIFIER_KEY: Object = Object::constant("CFBundleIdentifier");
static VERSION_KEY: Object = Object::constant("CFBundleVersion");
static NAME_KEY: Object = Object::constant("CFBundleName");

/// `CFBundle.h`: `CFBundleExecutable`.
#[unsafe(no_mangle)]
static kCFBundleExecutableKey: Ref = EXECUTABLE_KEY.reference();
/// `CFBundle.h`: `CFBundleIdentifier`.
#[unsafe(no_mangle)]
static kCFBundleIdentifierKey: Ref = IDENTIFIER_KEY.reference();
/// `CFBundle.h`: `CFBundleVersion`.
#[unsafe(no_mangle)]
static kCFBundleVersionKey: Ref = VERSION_KEY.reference();
/// `CFBundle.h`: `CFBundleName`.
#[unsafe(no_mangle)]
static kCFBundleNameKey: Ref = NAME_KEY.reference();

/// A bundle as it was when it was first asked for.
pub(crate) struct Bundle {
    path: Option<String>,
    executable: String,
    information: Held,
}

/// The next who asks for the main bundle gets a new one.
pub(super) fn reset() {
    MAIN.lock().unwrap_or_else(PoisonError::into_inner).take();
}

fn bundle_of(bundle: &Ref) -> &Bundle {
    let Body::Bundle(bundle) = bundle.body() else {
        bundle.is_not("CFBundle")
    };
    bundle
}

fn made_of(bundle: machine::Bundle) -> Ref {
    super::object::uncounted(|| {
        let information = Held::taking(object_of(&Value::Dictionary(bundle.information)));
        let body = Bundle {
            path: bundle.path,
            executable: bundle.executable,
            information,
        };
        Ref::new(Body::Bundle(body))
    })
}

/// `CFBundle.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFBundleGetTypeID() -> usize {
    Kind::Bundle as usize
}

/// `CFBundle.h`: not held for the caller. A program without a bundle has one all the same, whose
/// information is empty.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFBundleGetMainBundle() -> Ref {
    if enter("CFBundleGetMainBundle", None).is_some() {
        return Ref::NONE;
    }
    let mut main = MAIN.lock().unwrap_or_else(PoisonError::into_inner);
    *main.get_or_insert_with(|| {
        let bundle = machine().bundle.clone();
        made_of(bundle)
    })
}

/// `CFBundle.h`: NULL if the information has none; not held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFBundleGetIdentifier(bundle: Ref) -> Ref {
    note("CFBundleGetIdentifier");
    let information = bundle_of(&bundle).information.get();
    super::dictionary::value(information, kCFBundleIdentifierKey).unwrap_or(Ref::NONE)
}

/// `CFBundle.h`: not held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFBundleGetInfoDictionary(bundle: Ref) -> Ref {
    note("CFBundleGetInfoDictionary");
    bundle_of(&bundle).information.get()
}

/// `CFBundle.h`: NULL if there is none; not held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFBundleGetValueForInfoDictionaryKey(bundle: Ref, key: Ref) -> Ref {
    note("CFBundleGetValueForInfoDictionaryKey");
    let information = bundle_of(&bundle).information.get();
    super::dictionary::value(information, key).unwrap_or(Ref::NONE)
}

/// `CFBundle.h`: the caller releases it. For a program without a bundle, the directory it is in.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFBundleCopyBundleURL(bundle: Ref) -> Ref {
    note("CFBundleCopyBundleURL");
    let bundle = bundle_of(&bundle);
    let directory = || {
        bundle
            .executable
            .rsplit_once('/')
            .map_or("/", |(directory, _)| directory)
    };
    let path = bundle.path.as_deref().unwrap_or_else(directory);
    super::url::of_file(path.as_bytes(), true)
}

/// `CFBundle.h`: the caller releases it.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFBundleCopyExecutableURL(bundle: Ref) -> Ref {
    note("CFBundleCopyExecutableURL");
    super::url::of_file(bundle_of(&bundle).executable.as_bytes(), false)
}
