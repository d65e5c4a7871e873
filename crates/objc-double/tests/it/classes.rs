//! Classes, methods, inheritance, protocols.

use std::cell::Cell;

use objc_double::{ClassOf, Id, NS_OBJECT, class, protocol, take_raised};
use objc2::rc::{Allocated, Retained};
use objc2::runtime::{AnyClass, AnyObject, AnyProtocol, NSObject, NSObjectProtocol};
use objc2::{
    AnyThread, ClassType, DefinedClass, ProtocolType, define_class, extern_class, extern_methods,
    extern_protocol, msg_send, sel,
};

use crate::{alone, panic_text};

class! {
    /// A base class of a framework, as a double defines it.
    static SPEAKER: u32 = "Speaker": NS_OBJECT;
    + "loudest" (_class) -> u32 { 11 }
    - "init" (this) -> Id {
        SPEAKER.fill(this, 3);
        std::ptr::from_ref(this).cast_mut()
    }
    - "volume" (this) -> u32 { *SPEAKER.of(this) }
    - "volumeTimes:" (this, factor: u32) -> u32 { *SPEAKER.of(this) * factor }
    - when sounds_new => "newerVolume" (_this) -> u32 { 12 }
}

static SOUNDS_NEW: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn sounds_new() -> bool {
    SOUNDS_NEW.load(std::sync::atomic::Ordering::SeqCst)
}

protocol! {
    "Listener";
    required "heard:" fn(u32) -> u32;
    optional "missed" fn();
}

extern_class!(
    // SAFETY: the superclass may be subclassed.
    #[unsafe(super(NSObject))]
    #[name = "Speaker"]
    struct Speaker;
);

impl Speaker {
    extern_methods!(
        // SAFETY: these are the types of the selector.
        #[unsafe(method(new))]
        // SAFETY: these are the types of the selector.
        #[unsafe(method_family = new)]
        fn new() -> Retained<Self>;
        // SAFETY: these are the types of the selector.
        #[unsafe(method(loudest))]
        fn loudest() -> u32;
        // SAFETY: these are the types of the selector.
        #[unsafe(method(volume))]
        fn volume(&self) -> u32;
        // SAFETY: these are the types of the selector.
        #[unsafe(method(volumeTimes:))]
        fn volume_times(&self, factor: u32) -> u32;
    );
}

extern_protocol!(
    #[allow(clippy::missing_safety_doc)]
    // SAFETY: the protocol asks for nothing unsafe.
    unsafe trait Listener: NSObjectProtocol {
        // SAFETY: these are the types of the selector.
        #[unsafe(method(heard:))]
        fn heard(&self, volume: u32) -> u32;
        #[optional]
        // SAFETY: these are the types of the selector.
        #[unsafe(method(missed))]
        fn missed(&self);
    }
);

struct Ivars {
    byte: u8,
    count: Cell<u64>,
    on_drop: std::sync::Arc<()>,
}

define_class!(
    // SAFETY: the superclass may be subclassed.
    #[unsafe(super(Speaker))]
    #[name = "LoudSpeaker"]
    #[ivars = Ivars]
    struct LoudSpeaker;

    impl LoudSpeaker {
        // SAFETY: these are the types of the selector.
        #[unsafe(method(volume))]
        fn loud_volume(&self) -> u32 {
            // SAFETY: the receiver answers with this type.
            let plain: u32 = unsafe { msg_send![super(self), volume] };
            plain + 1
        }
    }

    // SAFETY: the protocol asks for nothing unsafe.
    unsafe impl NSObjectProtocol for LoudSpeaker {}

    // SAFETY: the protocol asks for nothing unsafe.
    unsafe impl Listener for LoudSpeaker {
        // SAFETY: these are the types of the selector.
        #[unsafe(method(heard:))]
        fn heard_it(&self, volume: u32) -> u32 {
            self.ivars().count.set(self.ivars().count.get() + u64::from(volume));
            volume
        }
    }
);

impl LoudSpeaker {
    fn new(on_drop: std::sync::Arc<()>) -> Retained<Self> {
        let this: Allocated<Self> = Self::alloc();
        let this = this.set_ivars(Ivars {
            byte: 7,
            count: Cell::new(0),
            on_drop,
        });
        // SAFETY: the receiver answers with this type.
        unsafe { msg_send![super(this), init] }
    }
}

#[test]
fn a_class_is_found_by_its_name_before_anyone_used_it() {
    let class = AnyClass::get(c"NSEnumerator").expect("it is in the program");
    assert_eq!(class.name(), c"NSEnumerator");
    assert!(AnyClass::get(c"NoSuchClass").is_none());
}

#[test]
fn methods_of_the_class_and_of_instances_are_answered() {
    let _alone = alone();
    assert_eq!(Speaker::loudest(), 11);
    let speaker = Speaker::new();
    assert_eq!(speaker.volume(), 3);
    assert_eq!(speaker.volume_times(5), 15);
}

#[test]
fn a_subclass_overrides_calls_super_and_inherits_the_rest() {
    let _alone = alone();
    let speaker = LoudSpeaker::new(std::sync::Arc::default());
    assert_eq!(speaker.volume(), 4);
    assert_eq!(speaker.volume_times(2), 6);
    // SAFETY: the receiver answers with this type.
    let inherited: u32 = unsafe { msg_send![LoudSpeaker::class(), loudest] };
    assert_eq!(inherited, 11);
    let above: Vec<_> = std::iter::successors(Some(LoudSpeaker::class()), |c| c.superclass())
        .map(|class| class.name().to_str().unwrap())
        .collect();
    assert_eq!(above, ["LoudSpeaker", "Speaker", "NSObject"]);
    assert!(speaker.isKindOfClass(Speaker::class()));
    assert!(!Speaker::new().isKindOfClass(LoudSpeaker::class()));
}

#[test]
fn instance_variables_live_as_long_as_their_object() {
    let _alone = alone();
    let witness = std::sync::Arc::new(());
    let speaker = LoudSpeaker::new(witness.clone());
    assert_eq!(speaker.ivars().byte, 7);
    assert_eq!(speaker.heard(2) + speaker.heard(3), 5);
    assert_eq!(speaker.ivars().count.get(), 5);
    assert!(std::sync::Arc::ptr_eq(&speaker.ivars().on_drop, &witness));
    assert_eq!(std::sync::Arc::strong_count(&witness), 2);
    drop(speaker);
    assert_eq!(std::sync::Arc::strong_count(&witness), 1);
}

#[test]
fn a_class_conforms_to_the_protocols_it_adopts() {
    let _alone = alone();
    let protocol = <dyn Listener>::protocol().expect("it is declared");
    assert_eq!(protocol.name(), c"Listener");
    assert!(LoudSpeaker::class().conforms_to(protocol));
    assert!(!Speaker::class().conforms_to(protocol));
    assert!(AnyProtocol::get(c"Undeclared").is_none());
    let speaker = LoudSpeaker::new(std::sync::Arc::default());
    assert!(speaker.respondsToSelector(sel!(heard:)));
    assert!(!speaker.respondsToSelector(sel!(missed)));
}

#[test]
fn a_message_nobody_answers_panics_with_what_a_mac_would_raise() {
    let _alone = alone();
    let class = Speaker::class();
    let selector = sel!(noSuchThing);
    let text = panic_text(|| {
        // In a debug build objc2 finds out before the message is sent.
        // SAFETY: it is called with its receiver and selector only.
        let imp = unsafe { objc2::ffi::objc_msg_lookup(as_receiver(class), selector) };
        let imp: unsafe extern "C-unwind" fn(&AnyClass, objc2::runtime::Sel) =
            // SAFETY: it is called with its receiver and selector only.
            unsafe { std::mem::transmute(imp) };
        // SAFETY: it is called with its receiver and selector only.
        unsafe { imp(class, selector) };
    });
    assert!(text.contains("NSInvalidArgumentException"), "{text}");
    assert!(text.contains("+[Speaker noSuchThing]"), "{text}");
    assert_eq!(take_raised(), [text]);
}

fn as_receiver(class: &AnyClass) -> Id {
    std::ptr::from_ref(class).cast_mut().cast::<AnyObject>()
}

#[test]
fn a_method_of_a_newer_system_is_not_there_on_an_older_one() {
    let _alone = alone();
    let speaker = Speaker::new();
    let newer = sel!(newerVolume);
    assert!(!speaker.respondsToSelector(newer));
    SOUNDS_NEW.store(true, std::sync::atomic::Ordering::SeqCst);
    objc_double::forget_cached_methods();
    assert!(speaker.respondsToSelector(newer));
    // SAFETY: the receiver answers with this type.
    let volume: u32 = unsafe { msg_send![&speaker, newerVolume] };
    assert_eq!(volume, 12);
    SOUNDS_NEW.store(false, std::sync::atomic::Ordering::SeqCst);
    objc_double::forget_cached_methods();
    assert!(!speaker.respondsToSelector(newer));
}

#[test]
#[cfg(debug_assertions)]
fn an_override_with_other_types_is_refused_when_its_class_is_registered() {
    define_class!(
        // SAFETY: the superclass may be subclassed.
        #[unsafe(super(Speaker))]
        #[name = "WrongSpeaker"]
        struct WrongSpeaker;

        impl WrongSpeaker {
            // SAFETY: these are the types of the selector.
            #[unsafe(method(volumeTimes:))]
            fn times(&self, factor: u64) -> u32 {
                factor as u32
            }
        }
    );
    let text = panic_text(WrongSpeaker::class);
    assert!(text.contains("-[WrongSpeaker volumeTimes:]"), "{text}");
}

#[test]
#[cfg(debug_assertions)]
fn a_class_that_lacks_a_required_method_of_its_protocol_is_refused() {
    define_class!(
        // SAFETY: the superclass may be subclassed.
        #[unsafe(super(NSObject))]
        #[name = "DeafListener"]
        struct DeafListener;

        // SAFETY: the protocol asks for nothing unsafe.
        unsafe impl NSObjectProtocol for DeafListener {}
        // SAFETY: the protocol asks for nothing unsafe.
        unsafe impl Listener for DeafListener {}
    );
    let text = panic_text(DeafListener::class);
    assert!(text.contains("heard:"), "{text}");
}

#[test]
fn the_type_of_a_payload_is_checked_at_every_use() {
    let _alone = alone();
    static OTHER: ClassOf<u32> = ClassOf::new(c"Other", Some(NS_OBJECT.class()), |_| {});
    let other = OTHER.create(1);
    let text = panic_text(|| *SPEAKER.of(&other));
    assert!(text.contains("Other where a Speaker belongs"), "{text}");
    assert_eq!(take_raised().len(), 1);
}
