//! From a message to the function that answers it.

use std::ptr;

use objc2::runtime::{AnyObject, Imp, Sel};

use crate::classes::{Class, ClassOf, Role, class_of};
use crate::objects::fatal;
use crate::raising::raise;
use crate::{selectors, watching};

/// Whether an object is an instance of the class, or of one that inherits from it.
pub fn is_kind_of<P: Send + Sync>(object: &AnyObject, class: &'static ClassOf<P>) -> bool {
    class_of(object).is_kind_of(class.class())
}

/// Whether an object answers a selector.
pub fn responds_to(object: &AnyObject, sel: Sel) -> bool {
    class_of(object).method(sel).is_some()
}

/// The function that answers a selector in a class; one that panics if none does.
#[inline]
pub(crate) fn implementation(class: &Class, sel: Sel) -> Imp {
    match class.method(sel) {
        Some(method) => method.imp(),
        None => nobody(class, sel),
    }
}

#[cold]
fn nobody(class: &Class, sel: Sel) -> Imp {
    if class.role() == Role::Zombie {
        fatal(selectors::name(sel), class);
    }
    let unrecognized: extern "C-unwind" fn(&AnyObject, Sel) = unrecognized;
    // SAFETY: a function pointer is cast to another; it is called with at least these arguments.
    unsafe { std::mem::transmute::<extern "C-unwind" fn(&AnyObject, Sel), Imp>(unrecognized) }
}

extern "C-unwind" fn unrecognized(receiver: &AnyObject, sel: Sel) {
    unrecognized_by(receiver, sel)
}

/// What a message that nobody answers comes to.
pub(crate) fn unrecognized_by(receiver: &AnyObject, sel: Sel) -> ! {
    let class = class_of(receiver);
    let sign = match class.role() {
        Role::Meta => '+',
        Role::Class | Role::Zombie => '-',
    };
    let (class, name) = (class.name(), selectors::name(sel));
    let text = format!("{sign}[{class} {name}]: unrecognized selector");
    raise("NSInvalidArgumentException", &text)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_msg_lookup(receiver: &AnyObject, sel: Sel) -> Imp {
    if watching::is_on() {
        watching::sent(selectors::name(sel));
    }
    implementation(class_of(receiver), sel)
}

/// What a message to `super` is addressed to.
#[repr(C)]
struct Super {
    receiver: *const AnyObject,
    /// The class at which the search begins, already that above the sender's.
    class: *const Class,
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_msg_lookup_super(message: &Super, sel: Sel) -> Imp {
    if watching::is_on() {
        watching::sent(selectors::name(sel));
    }
    // SAFETY: the sender passes a class or null; classes are never freed.
    let class: Option<&'static Class> = unsafe { message.class.as_ref() };
    debug_assert!(!ptr::eq(message.receiver, ptr::null()));
    match class {
        Some(class) => implementation(class.realize(), sel),
        None => raise(
            "NSInvalidArgumentException",
            "a message to the class above the root",
        ),
    }
}
