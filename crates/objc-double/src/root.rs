//! `NSObject`, the root class.

use std::ptr;
use std::sync::LazyLock;

use objc2::runtime::{AnyClass, AnyObject, Bool, NSZone, Sel};

use crate::classes::{Class, ClassOf, Declaration, class_of};
use crate::{Id, Strong, dispatch, foundation, objects, protocols, selectors};

// SAFETY: the name is that of the class, and a class is defined once in a program.
/// The root class.
#[unsafe(export_name = "._OBJC_CLASS_NSObject")]
pub static NS_OBJECT: ClassOf<()> = ClassOf::new(c"NSObject", None, |methods| {
    crate::methods! { methods;
        + "alloc" (class) -> Id { Class::from_any(class).allocate().owned() }
        + "allocWithZone:" (class, _zone: *mut NSZone) -> Id {
            Class::from_any(class).allocate().owned()
        }
        + "new" (class) -> Id { new(class) }
        + "class" (class) -> *const AnyClass { ptr::from_ref(class) }
        + "superclass" (class) -> *const AnyClass { above(Class::from_any(class)) }
        + "isSubclassOfClass:" (class, other: &AnyClass) -> Bool {
            Bool::new(Class::from_any(class).is_kind_of(Class::from_any(other)))
        }
        + "instancesRespondToSelector:" (class, sel: Sel) -> Bool {
            Bool::new(Class::from_any(class).method(sel).is_some())
        }
        + "conformsToProtocol:" (class, protocol: Option<&AnyObject>) -> Bool {
            Bool::new(protocols::adopts(Class::from_any(class), protocol))
        }
        - "init" (this) -> Id { ptr::from_ref(this).cast_mut() }
        - "dealloc" (this) { objects::destroy(this) }
        - "retain" (this) -> Id { Strong::to(this).owned() }
        - "release" (this) { objects::release(this) }
        - "autorelease" (this) -> Id { autorelease(this) }
        - "retainCount" (this) -> usize { objects::retain_count(this) }
        - "self" (this) -> Id { ptr::from_ref(this).cast_mut() }
        - "class" (this) -> *const AnyClass { ptr::from_ref(class_of(this).as_any()) }
        - "superclass" (this) -> *const AnyClass { above(class_of(this)) }
        - "isKindOfClass:" (this, class: &AnyClass) -> Bool {
            Bool::new(class_of(this).is_kind_of(Class::from_any(class)))
        }
        - "isMemberOfClass:" (this, class: &AnyClass) -> Bool {
            Bool::new(ptr::eq(class_of(this), Class::from_any(class)))
        }
        - "respondsToSelector:" (this, sel: Sel) -> Bool {
            Bool::new(dispatch::responds_to(this, sel))
        }
        - "conformsToProtocol:" (this, protocol: Option<&AnyObject>) -> Bool {
            Bool::new(protocols::adopts(class_of(this), protocol))
        }
        - "isEqual:" (this, other: Option<&AnyObject>) -> Bool {
            Bool::new(other.is_some_and(|other| ptr::eq(this, other)))
        }
        - "hash" (this) -> usize { ptr::from_ref(this).addr() }
        - "isProxy" (_this) -> Bool { Bool::NO }
        - "description" (this) -> Id { describe(this).returned() }
        - "debugDescription" (this) -> Id { describe(this).returned() }
        - "copy" (this) -> Id { copy(this) }
        - "doesNotRecognizeSelector:" (this, sel: Sel) { dispatch::unrecognized_by(this, sel) }
    }
});

crate::at_load!(Declaration::new(NS_OBJECT.class()));

/// Sends `copyWithZone:`, as `copy` does; with its reference, like every copy.
pub(crate) fn copy(object: &AnyObject) -> Id {
    // SAFETY: `copyWithZone:` takes a zone that may be null, and gives an object with a
    // reference.
    unsafe { objc2::msg_send![object, copyWithZone: ptr::null_mut::<NSZone>()] }
}

fn new(class: &AnyClass) -> Id {
    static INIT: LazyLock<Sel> = LazyLock::new(|| selectors::selector("init"));
    let class = Class::from_any(class);
    let object = class.allocate().owned();
    let init = dispatch::implementation(class, *INIT);
    // SAFETY: `init` takes nothing and returns the object or another.
    unsafe {
        let init = std::mem::transmute::<
            objc2::runtime::Imp,
            unsafe extern "C-unwind" fn(Id, Sel) -> Id,
        >(init);
        init(object, *INIT)
    }
}

fn autorelease(object: &AnyObject) -> Id {
    let object = ptr::from_ref(object).cast_mut();
    // SAFETY: the reference that the sender gives up passes to the pool.
    unsafe { objc2::ffi::objc_autorelease(object) }
}

fn above(class: &'static Class) -> *const AnyClass {
    class
        .superclass()
        .map_or(ptr::null(), |class| ptr::from_ref(class.as_any()))
}

fn describe(object: &AnyObject) -> Strong {
    foundation::string(&format!("<{}: {object:p}>", class_of(object).name()))
}
