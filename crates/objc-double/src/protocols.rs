//! Protocols: which methods one asks for, so that adopting classes are checked against it.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_uint};
use std::ptr::{self, null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use objc2::encode::{EncodeArguments, EncodeReturn};
use objc2::runtime::{AnyObject, Bool, Sel};

use crate::classes::{Class, ClassOf, types_of};
use crate::root::NS_OBJECT;
use crate::selectors;

/// A protocol is an object of this class.
static PROTOCOL: ClassOf<()> = ClassOf::new(c"Protocol", Some(NS_OBJECT.class()), |_| {});

/// A protocol that a framework declares.
#[repr(C)]
pub(crate) struct Protocol {
    isa: &'static Class,
    name: &'static CStr,
    required: Vec<(Sel, CString)>,
    optional: Vec<(Sel, CString)>,
}

/// The methods of a protocol; see [`protocol!`](crate::protocol!).
#[derive(Default)]
pub struct ProtocolDeclaration {
    required: Vec<(Sel, CString)>,
    optional: Vec<(Sel, CString)>,
}

impl ProtocolDeclaration {
    /// A method of instances that every adopting class must have.
    pub fn required<A: EncodeArguments, R: EncodeReturn>(&mut self, selector: &str) {
        let types = types_of::<A, R>(selector);
        self.required.push((selectors::selector(selector), types));
    }

    /// A method of instances that an adopting class may have.
    pub fn optional<A: EncodeArguments, R: EncodeReturn>(&mut self, selector: &str) {
        let types = types_of::<A, R>(selector);
        self.optional.push((selectors::selector(selector), types));
    }
}

struct Note {
    name: &'static CStr,
    fill: fn(&mut ProtocolDeclaration),
    next: *mut Note,
}

/// What was declared before `main`, newest first.
static DECLARED: AtomicPtr<Note> = AtomicPtr::new(null_mut());

static PROTOCOLS: LazyLock<Mutex<HashMap<&'static CStr, &'static Protocol>>> =
    LazyLock::new(Mutex::default);

/// Makes a protocol known; what it asks for is worked out when somebody adopts it.
pub fn declare_protocol(name: &'static CStr, fill: fn(&mut ProtocolDeclaration)) {
    // Constructors run one after the other, on one thread.
    let next = DECLARED.load(Ordering::Acquire);
    let note = Box::leak(Box::new(Note { name, fill, next }));
    DECLARED.store(note, Ordering::Release);
}

fn find(name: &CStr) -> Option<&'static Protocol> {
    let mut protocols = PROTOCOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = protocols.get(name) {
        return Some(known);
    }
    // SAFETY: notes are leaked boxes, linked once.
    let mut note = unsafe { DECLARED.load(Ordering::Acquire).as_ref() };
    while note.is_some_and(|note| note.name != name) {
        // SAFETY: as above.
        note = note.and_then(|note| unsafe { note.next.as_ref() });
    }
    let note = note?;
    let mut methods = ProtocolDeclaration::default();
    (note.fill)(&mut methods);
    let protocol: &'static Protocol = Box::leak(Box::new(Protocol {
        isa: PROTOCOL.class().realize(),
        name: note.name,
        required: methods.required,
        optional: methods.optional,
    }));
    protocols.insert(note.name, protocol);
    Some(protocol)
}

/// What the runtime tells about a method of a protocol.
#[repr(C)]
struct Description {
    sel: Sel,
    types: *const c_char,
}

#[unsafe(no_mangle)]
extern "C" fn objc_getProtocol(name: *const c_char) -> *const Protocol {
    // SAFETY: the caller passes a string that ends with a zero byte.
    find(unsafe { CStr::from_ptr(name) }).map_or(null(), ptr::from_ref)
}

#[unsafe(no_mangle)]
extern "C" fn class_addProtocol(class: &'static Class, protocol: &'static Protocol) -> Bool {
    Bool::new(class.add_protocol(protocol))
}

#[unsafe(no_mangle)]
extern "C" fn class_conformsToProtocol(
    class: Option<&'static Class>,
    protocol: Option<&'static Protocol>,
) -> Bool {
    let both = class.zip(protocol);
    Bool::new(both.is_some_and(|(class, protocol)| class.realize().conforms_to(protocol)))
}

#[unsafe(no_mangle)]
extern "C" fn protocol_conformsToProtocol(one: &Protocol, other: &Protocol) -> Bool {
    Bool::new(ptr::eq(one, other))
}

#[unsafe(no_mangle)]
extern "C" fn protocol_isEqual(one: &Protocol, other: &Protocol) -> Bool {
    Bool::new(ptr::eq(one, other))
}

#[unsafe(no_mangle)]
extern "C" fn protocol_getName(protocol: &Protocol) -> *const c_char {
    debug_assert!(ptr::eq(protocol.isa, PROTOCOL.class()));
    protocol.name.as_ptr()
}

/// The caller frees the list with `free`, so it comes from `malloc`.
#[unsafe(no_mangle)]
extern "C" fn protocol_copyMethodDescriptionList(
    protocol: &Protocol,
    is_required: Bool,
    is_of_instances: Bool,
    count: &mut c_uint,
) -> *mut Description {
    let methods: &[(Sel, CString)] = match (is_required.as_bool(), is_of_instances.as_bool()) {
        (true, true) => &protocol.required,
        (false, true) => &protocol.optional,
        (_, false) => &[],
    };
    *count = methods.len() as c_uint;
    if methods.is_empty() {
        return null_mut();
    }
    // SAFETY: the memory is as large as the descriptions written into it.
    unsafe {
        let list = malloc(size_of_val(methods)).cast::<Description>();
        assert!(!list.is_null(), "out of memory");
        for (index, (sel, types)) in methods.iter().enumerate() {
            let types = types.as_ptr();
            list.add(index).write(Description { sel: *sel, types });
        }
        list
    }
}

// SAFETY: this is the C library's function.
unsafe extern "C" {
    fn malloc(size: usize) -> *mut Description;
}

/// Whether an object's class, or one above it, adopted a protocol.
pub(crate) fn adopts(class: &'static Class, protocol: Option<&AnyObject>) -> bool {
    let Some(protocol) = protocol else {
        return false;
    };
    // SAFETY: whoever has a protocol object got it from `objc_getProtocol`.
    let protocol = unsafe { &*ptr::from_ref(protocol).cast::<Protocol>() };
    class.conforms_to(protocol)
}

crate::protocol! {
    "NSObject";
    required "isEqual:" fn(crate::Id) -> Bool;
    required "hash" fn() -> usize;
    required "superclass" fn() -> *const objc2::runtime::AnyClass;
    required "class" fn() -> *const objc2::runtime::AnyClass;
    required "self" fn() -> crate::Id;
    required "isProxy" fn() -> Bool;
    required "isKindOfClass:" fn(*const objc2::runtime::AnyClass) -> Bool;
    required "isMemberOfClass:" fn(*const objc2::runtime::AnyClass) -> Bool;
    required "conformsToProtocol:" fn(crate::Id) -> Bool;
    required "respondsToSelector:" fn(Sel) -> Bool;
    required "retain" fn() -> crate::Id;
    required "release" fn();
    required "autorelease" fn() -> crate::Id;
    required "retainCount" fn() -> usize;
    required "description" fn() -> crate::Id;
    optional "debugDescription" fn() -> crate::Id;
}

crate::protocol! {
    "NSCopying";
    required "copyWithZone:" fn(*mut objc2::runtime::NSZone) -> crate::Id;
}
