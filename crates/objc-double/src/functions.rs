//! The runtime's C functions about classes, methods and variables.
//!
//! Every function has the signature of the runtime's function of its name; where C passes a
//! pointer that is never null, or null for nothing, Rust takes a reference or an option of one.

use std::ffi::{CStr, c_char};
use std::ptr::{self, null, null_mut};

use objc2::runtime::{AnyObject, Bool, Imp, Sel};

use crate::classes::{self, Class, Ivar, Method, Role, class_of};

/// # Safety
///
/// The pointer must be to a string that ends with a zero byte.
unsafe fn text<'a>(string: *const c_char) -> &'a CStr {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(string) }
}

fn pointer<T>(reference: Option<&'static T>) -> *const T {
    reference.map_or(null(), ptr::from_ref)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn objc_getClass(name: *const c_char) -> *const Class {
    // SAFETY: the caller passes a string.
    pointer(classes::find(unsafe { text(name) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn objc_lookUpClass(name: *const c_char) -> *const Class {
    // SAFETY: as above.
    unsafe { objc_getClass(name) }
}

#[unsafe(no_mangle)]
extern "C" fn object_getClass(object: Option<&AnyObject>) -> *const Class {
    pointer(object.map(class_of))
}

#[unsafe(no_mangle)]
extern "C" fn object_getClassName(object: Option<&AnyObject>) -> *const c_char {
    object.map_or(c"nil".as_ptr(), |object| class_of(object).c_name().as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn class_getName(class: Option<&'static Class>) -> *const c_char {
    class.map_or(c"nil".as_ptr(), |class| class.c_name().as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn class_getSuperclass(class: Option<&'static Class>) -> *const Class {
    pointer(class.and_then(|class| class.realize().superclass()))
}

#[unsafe(no_mangle)]
extern "C" fn class_isMetaClass(class: Option<&'static Class>) -> Bool {
    Bool::new(class.is_some_and(|class| class.role() == Role::Meta))
}

#[unsafe(no_mangle)]
extern "C" fn class_getInstanceSize(class: Option<&'static Class>) -> usize {
    class.map_or(0, |class| class.realize().size())
}

#[unsafe(no_mangle)]
extern "C-unwind" fn class_getInstanceMethod(
    class: Option<&'static Class>,
    sel: Sel,
) -> *const Method {
    pointer(class.and_then(|class| class.realize().method(sel)))
}

#[unsafe(no_mangle)]
extern "C-unwind" fn class_getClassMethod(
    class: Option<&'static Class>,
    sel: Sel,
) -> *const Method {
    pointer(class.and_then(|class| class.realize().isa().method(sel)))
}

#[unsafe(no_mangle)]
extern "C-unwind" fn class_respondsToSelector(class: Option<&'static Class>, sel: Sel) -> Bool {
    Bool::new(class.is_some_and(|class| class.realize().method(sel).is_some()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn objc_allocateClassPair(
    superclass: Option<&'static Class>,
    name: *const c_char,
    _extra_bytes: usize,
) -> *mut Class {
    // SAFETY: the caller passes a string.
    let pair = Class::allocate_pair(superclass.map(Class::realize), unsafe { text(name) });
    pair.map_or(null_mut(), |class| ptr::from_ref(class).cast_mut())
}

#[unsafe(no_mangle)]
extern "C" fn objc_registerClassPair(class: &'static Class) {
    class.register_pair();
}

/// Reached only when a definition panics half way: what there is of the class stays.
#[unsafe(no_mangle)]
extern "C" fn objc_disposeClassPair(_class: &'static Class) {}

#[unsafe(no_mangle)]
unsafe extern "C" fn class_addMethod(
    class: &'static Class,
    sel: Sel,
    imp: Imp,
    types: *const c_char,
) -> Bool {
    // SAFETY: the caller passes a string.
    let types = unsafe { text(types) };
    let added = class
        .realize()
        .add_method(sel, imp as *mut (), types.to_owned());
    Bool::new(added)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn class_addIvar(
    class: &'static Class,
    name: *const c_char,
    size: usize,
    log2_align: u8,
    types: *const c_char,
) -> Bool {
    // SAFETY: the caller passes strings.
    let (name, types) = unsafe { (text(name), text(types)) };
    Bool::new(class.add_ivar(name, types, size, 1 << log2_align))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn class_getInstanceVariable(
    class: Option<&'static Class>,
    name: *const c_char,
) -> *const Ivar {
    // SAFETY: the caller passes a string.
    let name = unsafe { text(name) };
    pointer(class.and_then(|class| class.realize().ivar(name)))
}

#[unsafe(no_mangle)]
extern "C" fn ivar_getOffset(ivar: &Ivar) -> isize {
    ivar.offset as isize
}

#[unsafe(no_mangle)]
extern "C" fn ivar_getName(ivar: &Ivar) -> *const c_char {
    ivar.name.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn ivar_getTypeEncoding(ivar: &Ivar) -> *const c_char {
    ivar.types.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn method_getName(method: &Method) -> Sel {
    method.sel
}

#[unsafe(no_mangle)]
extern "C" fn method_getTypeEncoding(method: &Method) -> *const c_char {
    method.types.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn method_getImplementation(method: &Method) -> Imp {
    method.imp()
}

#[unsafe(no_mangle)]
extern "C" fn method_setImplementation(method: &Method, imp: Imp) -> Imp {
    method.replace_imp(imp)
}
