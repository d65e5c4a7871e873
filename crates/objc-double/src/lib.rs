//! Test-only: an Objective-C runtime and the few Foundation classes we use, off Apple.
//!
//! `objc2`, `block2` and `objc2-foundation` are the real crates, built for the ABI of GNUstep 2.x.
//! This crate supplies, under the names they link against, the C functions of a runtime and the
//! classes behind the types. So code written for macOS runs unchanged in an ordinary test.
//!
//! What it does beyond a runtime: it counts (every allocation, retain, release, block), it
//! panics with the selector's name where a Mac would raise an Objective-C exception, it records
//! on demand which messages a thread sends, and it makes any message fail or stall on demand.
//!
//! A crate that is listed in `Cargo.toml` but never named in source is not linked: where nothing
//! else names it, write `use objc_double as _;`.
//!
//! What it does not have: exceptions, forwarding, associated objects, key-value observing,
//! tagged pointers, messages to blocks.

#![cfg(not(target_vendor = "apple"))]
#![deny(unsafe_code)]

mod accounts;
#[expect(unsafe_code, reason = "heap memory by the public block ABI")]
mod blocks;
#[expect(
    unsafe_code,
    reason = "objects and classes are raw memory to the runtime"
)]
mod classes;
#[expect(unsafe_code, reason = "functions of the runtime are exported by name")]
mod dispatch;
#[expect(
    unsafe_code,
    reason = "class objects are exported by name, some arguments are pointers"
)]
pub mod foundation;
#[expect(
    unsafe_code,
    reason = "arguments of the runtime's functions are C strings and pointers"
)]
mod functions;
#[expect(unsafe_code, reason = "an object's memory is allocated and freed here")]
mod objects;
#[expect(unsafe_code, reason = "functions of the runtime are exported by name")]
mod pools;
#[expect(unsafe_code, reason = "protocol objects are read through pointers")]
mod protocols;
mod raising;
#[expect(unsafe_code, reason = "the root class is exported by name")]
mod root;
#[expect(unsafe_code, reason = "a selector is a pointer to its name")]
mod selectors;
#[expect(unsafe_code, reason = "counters of one thread are read by others")]
mod thread;
mod watching;
#[expect(
    unsafe_code,
    reason = "weak references are zeroed through their addresses"
)]
mod weak;

pub use accounts::{Snapshot, Stats, live_classes, stats};
pub use blocks::live_blocks;
pub use classes::{
    Class, ClassOf, Declaration, Methods, Signature, class_of, forget_cached_methods,
};
pub use dispatch::{is_kind_of, responds_to};
pub use objects::{Strong, retain_count};
pub use pools::{autoreleased_without_pool, hand_over_returned_objects};
pub use protocols::{ProtocolDeclaration, declare_protocol};
pub use raising::{raise, take_raised};
pub use root::NS_OBJECT;
pub use selectors::selector;
pub use thread::objects_made_on_this_thread;
pub use watching::{
    Reaction, clear_reactions, on_send, recorded, sent_on_this_thread, start_recording,
    stop_recording,
};

pub use objc2::runtime::{AnyClass, AnyObject, Bool, Sel};

/// An object, or nil, without a promise about who keeps it alive.
pub type Id = *mut AnyObject;

/// Defines a class: a static that objc2 finds by its link name, with the methods it answers.
///
/// The static is a [`ClassOf`] the payload: the Rust value that every object of the class holds.
/// `+` marks methods of the class, `-` those of its instances. A method after `when` exists only
/// while that function returns true, for what newer systems add.
///
/// ```
/// use objc_double::{ClassOf, NS_OBJECT, class};
///
/// class! {
///     /// Counts to a fixed number.
///     pub static COUNTER: usize = "Counter": NS_OBJECT;
///     - "limit" (this) -> usize { *COUNTER.of(this) }
/// }
///
/// let counter = COUNTER.create(3);
/// assert_eq!(*COUNTER.of(&counter), 3);
/// ```
#[macro_export]
macro_rules! class {
    (
        $(#[$attribute:meta])*
        $visibility:vis static $id:ident: $payload:ty = $name:literal : $parent:path;
        $($methods:tt)*
    ) => {
        $(#[$attribute])*
        // SAFETY: the name is that of the class, and a class is defined once in a program.
        #[unsafe(export_name = concat!("._OBJC_CLASS_", $name))]
        $visibility static $id: $crate::ClassOf<$payload> = $crate::ClassOf::new(
            $crate::c_name!($name),
            Some($parent.class()),
            |methods| $crate::methods!(methods; $($methods)*),
        );
        $crate::at_load!($crate::Declaration::new($id.class()));
    };
}

/// The methods of a class definition, see [`class!`].
#[doc(hidden)]
#[macro_export]
macro_rules! methods {
    ($all:ident; $(
        $sign:tt $(when $exists:path =>)? $selector:literal
        ($this:pat $(, $argument:ident: $type:ty)* $(,)?) $(-> $return:ty)? $body:block
    )*) => {{
        let _ = &$all;
        $({
            #[allow(improper_ctypes_definitions, clippy::too_many_arguments)]
            extern "C-unwind" fn implementation(
                $this: $crate::receiver!($sign), _selector: $crate::Sel $(, $argument: $type)*
            ) $(-> $return)? $body
            $all.add(
                $crate::is_of_class!($sign),
                $selector,
                $crate::gate!($($exists)?),
                implementation as extern "C-unwind" fn(_, _ $(, $crate::blank!($argument))*) -> _,
            );
        })*
    }};
}

/// Defines an exported constant string, such as the domain of an error.
#[macro_export]
macro_rules! constant_string {
    ($(#[$attribute:meta])* $visibility:vis static $id:ident = $text:literal;) => {
        $(#[$attribute])*
        // SAFETY: the name is that of the constant, which is defined once in a program.
        #[unsafe(no_mangle)]
        $visibility static $id: $crate::foundation::ConstantString = {
            static OBJECT: $crate::foundation::StringObject =
                $crate::foundation::StringObject::new(concat!($text, "\0"));
            $crate::foundation::ConstantString::new(&OBJECT)
        };
    };
}

/// Declares a protocol, so that classes that adopt it are checked against it.
///
/// ```
/// objc_double::protocol! {
///     "Listener";
///     required "heard:" fn(objc_double::Id);
///     optional "loudness" fn() -> isize;
/// }
/// ```
#[macro_export]
macro_rules! protocol {
    ($name:literal; $($need:ident $selector:literal fn($($type:ty),*) $(-> $return:ty)?;)*) => {
        $crate::at_load!({
            fn fill(protocol: &mut $crate::ProtocolDeclaration) {
                $(protocol.$need::<($($type,)*), $crate::or_nothing!($($return)?)>($selector);)*
            }
            $crate::declare_protocol($crate::c_name!($name), fill)
        });
    };
}

/// Runs an expression before `main`, as loading a framework does on a Mac.
#[doc(hidden)]
#[macro_export]
macro_rules! at_load {
    ($expression:expr) => {
        const _: () = {
            extern "C" fn load() {
                let _ = $expression;
            }
            // SAFETY: the section holds functions of this type, and before `main` this one only
            // allocates and links what it allocated.
            #[used]
            #[unsafe(link_section = ".init_array")]
            static LOAD: extern "C" fn() = load;
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! c_name {
    ($name:literal) => {
        match ::core::ffi::CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("a name holds no zero byte"),
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! receiver {
    (+) => {
        &$crate::AnyClass
    };
    (-) => {
        &$crate::AnyObject
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! is_of_class {
    (+) => {
        true
    };
    (-) => {
        false
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! gate {
    () => {
        None
    };
    ($exists:path) => {
        Some($exists as fn() -> bool)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! blank {
    ($argument:ident) => {
        _
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! or_nothing {
    () => {
        ()
    };
    ($type:ty) => {
        $type
    };
}
