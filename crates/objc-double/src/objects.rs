//! Objects: memory, reference counts, the Rust value inside.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::{self, NonNull, null_mut};
use std::sync::LazyLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};

use objc2::rc::Retained;
use objc2::runtime::{AnyObject, Sel};

use crate::classes::{Class, ClassOf, Payload, Role, class_of};
use crate::thread::{self, Count};
use crate::{Id, dispatch, pools, raise, selectors, watching, weak};

/// What a reference count above this means: the object is a constant, and is not counted.
pub(crate) const IMMORTAL: usize = usize::MAX / 2;

/// How many dead objects a thread holds back in debug builds.
const GRAVES: usize = 256;

/// Lies just before every object; its size keeps objects aligned to 16 bytes.
#[repr(C, align(16))]
pub(crate) struct Header {
    references: AtomicUsize,
    has_weak: AtomicBool,
}

impl Header {
    pub(crate) const fn of_constant() -> Header {
        Header {
            references: AtomicUsize::new(IMMORTAL),
            has_weak: AtomicBool::new(false),
        }
    }
}

/// Room for the Rust value of one class in an object.
#[repr(C)]
pub(crate) struct Slot<P> {
    is_filled: AtomicBool,
    value: UnsafeCell<MaybeUninit<P>>,
}

impl<P> Slot<P> {
    pub(crate) const fn filled(value: P) -> Slot<P> {
        Slot {
            is_filled: AtomicBool::new(true),
            value: UnsafeCell::new(MaybeUninit::new(value)),
        }
    }
}

// SAFETY: once filled, the value is only ever shared.
unsafe impl<P: Sync> Sync for Slot<P> {}

/// What an object of a class with this payload must have room for.
pub(crate) const fn payload_of<P>() -> Option<Payload> {
    assert!(align_of::<Slot<P>>() <= align_of::<Header>());
    match size_of::<P>() {
        0 => None,
        _ => Some(Payload::new(
            size_of::<Slot<P>>(),
            align_of::<Slot<P>>(),
            drop_slot::<P>,
        )),
    }
}

/// # Safety
///
/// The address must be that of a `Slot<P>` that nobody uses any more.
unsafe fn drop_slot<P>(slot: *mut u8) {
    // SAFETY: as the caller promises.
    let slot = unsafe { &mut *slot.cast::<Slot<P>>() };
    if std::mem::take(slot.is_filled.get_mut()) {
        // SAFETY: it was filled, and is not any more.
        unsafe { slot.value.get_mut().assume_init_drop() };
    }
}

impl<P: Send + Sync + 'static> ClassOf<P> {
    /// A new object that holds the value.
    pub fn create(&'static self, value: P) -> Strong {
        let object = self.class().allocate();
        self.fill(&object, value);
        object
    }

    /// Gives an allocated object its value, as an initializer does.
    ///
    /// # Panics
    ///
    /// When it has one, or is not of this class.
    pub fn fill(&'static self, object: &AnyObject, value: P) {
        if size_of::<P>() == 0 {
            return;
        }
        let slot = self.slot(object);
        assert!(
            !slot.is_filled.load(Acquire),
            "{} was initialized twice",
            self.class().name()
        );
        // SAFETY: the value is not read before it is marked as filled, and an object is
        // initialized by one thread.
        unsafe { (*slot.value.get()).write(value) };
        slot.is_filled.store(true, Release);
    }

    /// The value of an object.
    ///
    /// # Panics
    ///
    /// When the object is not of this class, or was allocated and never initialized.
    #[inline]
    pub fn of<'a>(&'static self, object: &'a AnyObject) -> &'a P {
        match self.get(object) {
            Some(value) => value,
            None => panic!("a {} that was never initialized", self.class().name()),
        }
    }

    /// The value of an object, unless it was allocated and never initialized.
    ///
    /// # Panics
    ///
    /// When the object is not of this class.
    #[inline]
    pub fn get<'a>(&'static self, object: &'a AnyObject) -> Option<&'a P> {
        let slot = self.slot(object);
        // SAFETY: a filled slot holds a value until the object is destroyed.
        let value = || unsafe { (*slot.value.get()).assume_init_ref() };
        slot.is_filled.load(Acquire).then(value)
    }

    /// Whether the object is of this class.
    pub fn is_class_of(&'static self, object: &AnyObject) -> bool {
        class_of(object).is_kind_of(self.class())
    }

    #[cold]
    fn refuse(&'static self, class: &Class) -> ! {
        let text = format!("{} where a {} belongs", class.name(), self.class().name());
        raise("NSInvalidArgumentException", &text)
    }

    #[inline]
    fn slot<'a>(&'static self, object: &'a AnyObject) -> &'a Slot<P> {
        let class = class_of(object);
        if !class.is_kind_of(self.class()) {
            self.refuse(class);
        }
        let offset = self.class().payload_offset();
        // SAFETY: an object of the class has a slot at the offset, and lives as long as `'a`.
        unsafe { &*ptr::from_ref(object).byte_add(offset).cast::<Slot<P>>() }
    }
}

impl Class {
    /// A new object with one reference and all memory zero.
    ///
    /// # Panics
    ///
    /// When the class is not registered yet.
    pub fn allocate(&'static self) -> Strong {
        self.realize();
        assert!(self.is_registered(), "{} is not registered", self.name());
        let layout = layout_of(self);
        // SAFETY: the layout is never empty.
        let memory = unsafe { alloc(layout) };
        let Some(memory) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        // The header is written and the rest zeroed: for `alloc_zeroed` the C library leaves its
        // fast path.
        // SAFETY: the memory is as large as the header and the object. Zero is a valid object
        // without payload, and a valid `isa`.
        let object = unsafe {
            memory.cast::<Header>().write(Header {
                references: AtomicUsize::new(1),
                has_weak: AtomicBool::new(false),
            });
            let object = memory.add(size_of::<Header>());
            object.write_bytes(0, self.size());
            let isa = object.cast::<AtomicPtr<Class>>().as_ref();
            isa.store(ptr::from_ref(self).cast_mut(), Release);
            object.cast::<AnyObject>()
        };
        thread::current().add(self.number(), Count::Alloc);
        // SAFETY: the object is valid, and the one reference is given away here.
        Strong(unsafe { Retained::from_raw(object.as_ptr()) }.expect("it is not null"))
    }
}

/// A reference that keeps its object alive, to be kept inside objects.
pub struct Strong(Retained<AnyObject>);

impl Clone for Strong {
    #[inline]
    fn clone(&self) -> Strong {
        Strong::to(self)
    }
}

// SAFETY: what is inside objects of the doubles is shared by threads; every value they hold is
// `Send + Sync`, and reference counts are atomic.
unsafe impl Send for Strong {}
// SAFETY: as above.
unsafe impl Sync for Strong {}

impl Strong {
    /// Takes one more reference.
    #[inline]
    pub fn to(object: &AnyObject) -> Strong {
        retain(object);
        // SAFETY: the reference just taken is given away.
        let retained = unsafe { Retained::from_raw(ptr::from_ref(object).cast_mut()) };
        Strong(retained.expect("it is not null"))
    }

    /// The object as a method returns it that does not give its reference away: the caller's
    /// autorelease pool holds it.
    #[inline]
    pub fn returned(self) -> Id {
        let object = Retained::into_raw(self.0);
        // SAFETY: the reference passes to whoever gets the object, and keeps it alive until then.
        pools::return_value(unsafe { &*object });
        object
    }

    /// The object as `alloc`, `init`, `new` and `copy` return it: with its reference.
    pub fn owned(self) -> Id {
        Retained::into_raw(self.0)
    }

    /// The object under a type of objc2.
    ///
    /// # Panics
    ///
    /// When the object is not of the type's class.
    pub fn into_retained<T: objc2::DowncastTarget + 'static>(self) -> Retained<T> {
        match self.0.downcast::<T>() {
            Ok(retained) => retained,
            Err(object) => panic!("{} is another class", class_of(&object).name()),
        }
    }
}

impl<T: objc2::Message> From<Retained<T>> for Strong {
    fn from(object: Retained<T>) -> Strong {
        // SAFETY: every object is an `AnyObject`.
        Strong(unsafe { Retained::cast_unchecked(object) })
    }
}

impl Deref for Strong {
    type Target = AnyObject;

    fn deref(&self) -> &AnyObject {
        &self.0
    }
}

impl fmt::Debug for Strong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<{}>", class_of(self).name())
    }
}

/// How many references an object has. Constants have more than any other.
pub fn retain_count(object: &AnyObject) -> usize {
    header(object).references.load(Acquire)
}

#[inline]
fn header(object: &AnyObject) -> &Header {
    // SAFETY: every object that is not a class has a header before it.
    unsafe { &*ptr::from_ref(object).cast::<Header>().sub(1) }
}

fn layout_of(class: &Class) -> Layout {
    Layout::from_size_align(size_of::<Header>() + class.size(), align_of::<Header>())
        .expect("objects are small")
}

/// Adds a reference, unless it is a class or a constant: those are not counted.
#[inline]
pub(crate) fn retain(object: &AnyObject) {
    let class = class_of(object);
    if class.role() == Role::Meta {
        return;
    }
    let references = &header(object).references;
    if references.load(Relaxed) >= IMMORTAL {
        return;
    }
    if references.fetch_add(1, Relaxed) == 0 {
        fatal("retain", class);
    }
    thread::current().add(class.number(), Count::Retain);
}

/// Adds a reference, unless the last one is gone.
pub(crate) fn try_retain(object: &AnyObject) -> bool {
    let more = |count: usize| match count {
        0 => None,
        IMMORTAL.. => Some(count),
        _ => Some(count + 1),
    };
    let taken = header(object)
        .references
        .fetch_update(Release, Acquire, more);
    if taken.is_ok_and(|before| before < IMMORTAL) {
        thread::current().add(class_of(object).number(), Count::Retain);
    }
    taken.is_ok()
}

/// Takes a reference away; with the last one the object is sent `dealloc`.
#[inline]
pub(crate) fn release(object: &AnyObject) {
    let class = class_of(object);
    if class.role() == Role::Meta {
        return;
    }
    let header = header(object);
    if header.references.load(Relaxed) >= IMMORTAL {
        return;
    }
    if class.role() == Role::Zombie {
        fatal("release", class);
    }
    thread::current().add(class.number(), Count::Release);
    if header.references.fetch_sub(1, Release) == 1 {
        // A load and not a fence: ThreadSanitizer does not see fences.
        header.references.load(Acquire);
        die(object, header);
    }
}

/// Marks an object as one that weak references must be cleared for.
pub(crate) fn note_weak_reference(object: &AnyObject) {
    header(object).has_weak.store(true, Release);
}

fn die(object: &AnyObject, header: &Header) {
    static DEALLOC: LazyLock<Sel> = LazyLock::new(|| selectors::selector("dealloc"));
    if header.has_weak.load(Acquire) {
        weak::clear(object);
    }
    let imp = dispatch::implementation(class_of(object), *DEALLOC);
    // SAFETY: `dealloc` takes nothing and returns nothing; the last reference is gone, so nobody
    // else uses the object.
    unsafe {
        let dealloc = std::mem::transmute::<
            objc2::runtime::Imp,
            unsafe extern "C-unwind" fn(&AnyObject, Sel),
        >(imp);
        dealloc(object, *DEALLOC);
    }
}

/// What NSObject's `dealloc` does when all subclasses have done theirs.
pub(crate) fn destroy(object: &AnyObject) {
    let class = class_of(object);
    let mut level = Some(class);
    while let Some(here) = level {
        if let Some((payload, offset)) = here.payload() {
            let slot = ptr::from_ref(object).cast_mut().cast::<u8>();
            // SAFETY: the slot is this class's own, and nobody uses the object any more.
            unsafe { (payload.drop)(slot.add(offset)) };
        }
        level = here.superclass();
    }
    thread::current().add(class.number(), Count::Dealloc);
    let object = ptr::from_ref(object).cast_mut();
    match *GRAVEYARD {
        Graveyard::None => free(object, class),
        Graveyard::Some => bury(object, class, GRAVES),
        Graveyard::Endless => bury(object, class, usize::MAX),
    }
}

/// Whether dead objects keep their memory, so that a use after the last release is found.
enum Graveyard {
    None,
    Some,
    Endless,
}

static GRAVEYARD: LazyLock<Graveyard> =
    LazyLock::new(|| match std::env::var_os("OBJC_DOUBLE_ZOMBIES") {
        Some(_) => Graveyard::Endless,
        None if cfg!(debug_assertions) => Graveyard::Some,
        None => Graveyard::None,
    });

/// Turns the object into one that reports every use, and frees an older one.
fn bury(object: Id, class: &'static Class, graves: usize) {
    // SAFETY: the memory is still there; only its class changes.
    let isa = unsafe { &*object.cast::<AtomicPtr<Class>>() };
    isa.store(ptr::from_ref(class.zombie()).cast_mut(), Release);
    let mut graveyard = thread::current().graveyard.borrow_mut();
    graveyard.push_back(object);
    if graveyard.len() > graves
        && let Some(oldest) = graveyard.pop_front()
    {
        // SAFETY: what lies in the graveyard was not freed, and begins with its class.
        let class = class_of(unsafe { &*oldest });
        free(oldest, class);
    }
}

fn free(object: Id, class: &Class) {
    let layout = layout_of(class);
    // SAFETY: the object was allocated with this layout, its header first. Its class is cleared
    // so that a stray use fails rather than succeeds.
    unsafe {
        (*object.cast::<AtomicPtr<Class>>()).store(null_mut(), Release);
        dealloc(object.cast::<u8>().sub(size_of::<Header>()), layout);
    }
}

/// Ends the process: an object was used after its last reference was gone.
///
/// A panic could be caught, and the next thing to happen would be undefined.
pub(crate) fn fatal(what: &str, class: &Class) -> ! {
    let _ = std::io::Write::write_fmt(
        // Not `eprintln`: the test harness captures that, and loses it when the process ends.
        &mut std::io::stderr(),
        format_args!("objc-double: `{what}` for a dead {}\n", class.name()),
    );
    watching::show_recording();
    std::process::abort()
}
