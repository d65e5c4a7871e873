//! The object: a mark, a count and the content.

use super::{bundle::Bundle, dictionary::Entries, run_loop::RunLoop, url::Url};
use crate::security::{Code, Requirement};
use std::cell::{Cell, UnsafeCell};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The mark of an object that somebody holds.
const ALIVE: u32 = 0xCF0B_1EC7;
/// The mark of an object that nobody holds.
const DEAD: u32 = 0xCF0D_EAD0;
/// How many dead objects are kept, to be recognized.
const DEAD_KEPT_MAX: usize = 65_536;

static DEAD_KEPT: Mutex<VecDeque<Kept>> = Mutex::new(VecDeque::new());
static OVER_RELEASED: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
static LIVE: [AtomicUsize; Kind::COUNT] = [const { AtomicUsize::new(0) }; Kind::COUNT];
static CREATED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static UNCOUNTED: Cell<bool> = const { Cell::new(false) };
}

/// What C callers hold: the address of an object.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Ref(*const Object);

// SAFETY: objects are shared between threads as on macOS; the count is atomic, and content that
// can change is behind a mutex.
unsafe impl Send for Ref {}
// SAFETY: as above.
unsafe impl Sync for Ref {}

/// One object.
pub(crate) struct Object {
    mark: AtomicU32,
    counted: bool,
    count: AtomicUsize,
    body: UnsafeCell<Body>,
}

// SAFETY: the body is replaced only by whoever takes the count to zero, when by the rules of
// CoreFoundation nobody reads it any more; parts of it that can change are behind a mutex.
unsafe impl Sync for Object {}
// SAFETY: nothing in an object belongs to one thread.
unsafe impl Send for Object {}

/// The content.
pub(crate) enum Body {
    Null,
    Allocator,
    Boolean(bool),
    Number(super::number::Number),
    Text(super::string::Text),
    Data(Mutex<Vec<u8>>),
    Date(f64),
    Array(super::array::Items),
    Dictionary(Entries),
    Url(Url),
    Bundle(Bundle),
    RunLoop(RunLoop),
    Code(Code),
    Requirement(Requirement),
    Dead(Kind),
}

/// The classes, whose numbers are the type ids. Apple's differ and may change with each release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Kind {
    /// `CFNull`.
    Null = 1,
    /// `CFAllocator`.
    Allocator,
    /// `CFBoolean`.
    Boolean,
    /// `CFNumber`.
    Number,
    /// `CFString`.
    String,
    /// `CFData`.
    Data,
    /// `CFDate`.
    Date,
    /// `CFArray`.
    Array,
    /// `CFDictionary`.
    Dictionary,
    /// `CFURL`.
    Url,
    /// `CFBundle`.
    Bundle,
    /// `CFRunLoop`.
    RunLoop,
    /// `SecCode`.
    Code,
    /// `SecRequirement`.
    Requirement,
}

impl Kind {
    const COUNT: usize = 15;

    /// The name of the class.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "CFNull",
            Self::Allocator => "CFAllocator",
            Self::Boolean => "CFBoolean",
            Self::Number => "CFNumber",
            Self::String => "CFString",
            Self::Data => "CFData",
            Self::Date => "CFDate",
            Self::Array => "CFArray",
            Self::Dictionary => "CFDictionary",
            Self::Url => "CFURL",
            Self::Bundle => "CFBundle",
            Self::RunLoop => "CFRunLoop",
            Self::Code => "SecCode",
            Self::Requirement => "SecRequirement",
        }
    }

    pub(super) const ALL: [Self; Self::COUNT - 1] = [
        Self::Null,
        Self::Allocator,
        Self::Boolean,
        Self::Number,
        Self::String,
        Self::Data,
        Self::Date,
        Self::Array,
        Self::Dictionary,
        Self::Url,
        Self::Bundle,
        Self::RunLoop,
        Self::Code,
        Self::Requirement,
    ];
}

/// What `make` makes lives as long as the program and is not counted.
pub(super) fn uncounted<T>(make: impl FnOnce() -> T) -> T {
    let before = UNCOUNTED.replace(true);
    let made = make();
    UNCOUNTED.set(before);
    made
}

/// How many objects of each class somebody holds, by the name of the class; static ones and those
/// that live as long as the program (bundle, run loops) are not counted.
pub fn live() -> BTreeMap<&'static str, usize> {
    let counts = Kind::ALL
        .into_iter()
        .map(|kind| (kind.name(), count_of(kind)));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// How many objects somebody holds.
pub fn live_total() -> usize {
    Kind::ALL.into_iter().map(count_of).sum()
}

/// How many objects were ever made.
pub fn created() -> u64 {
    CREATED.load(Ordering::Relaxed)
}

/// The classes of the objects that were released once too often since the machine was reset.
pub fn over_released() -> Vec<&'static str> {
    OVER_RELEASED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

pub(super) fn reset() {
    OVER_RELEASED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
}

fn count_of(kind: Kind) -> usize {
    LIVE[kind as usize].load(Ordering::Relaxed)
}

impl Body {
    fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Allocator => Kind::Allocator,
            Self::Boolean(_) => Kind::Boolean,
            Self::Number(_) => Kind::Number,
            Self::Text(_) => Kind::String,
            Self::Data(_) => Kind::Data,
            Self::Date(_) => Kind::Date,
            Self::Array(_) => Kind::Array,
            Self::Dictionary(_) => Kind::Dictionary,
            Self::Url(_) => Kind::Url,
            Self::Bundle(_) => Kind::Bundle,
            Self::RunLoop(_) => Kind::RunLoop,
            Self::Code(_) => Kind::Code,
            Self::Requirement(_) => Kind::Requirement,
            Self::Dead(kind) => *kind,
        }
    }
}

impl Object {
    /// An object that lives as long as the program and is not counted.
    pub(crate) const fn fixed(body: Body) -> Self {
        let (mark, count) = (AtomicU32::new(ALIVE), AtomicUsize::new(1));
        Self {
            mark,
            counted: false,
            count,
            body: UnsafeCell::new(body),
        }
    }

    /// A string that lives as long as the program: a key or a name.
    pub(crate) const fn constant(text: &'static str) -> Self {
        Self::fixed(Body::Text(super::string::Text::constant(text)))
    }

    /// Its reference.
    pub(crate) const fn reference(&'static self) -> Ref {
        Ref(self)
    }
}

impl Ref {
    /// No object.
    pub(crate) const NONE: Self = Self(std::ptr::null());

    /// A new object, which the caller holds.
    pub(crate) fn new(body: Body) -> Self {
        if UNCOUNTED.get() {
            return Self(Box::leak(Box::new(Object::fixed(body))));
        }
        LIVE[body.kind() as usize].fetch_add(1, Ordering::Relaxed);
        CREATED.fetch_add(1, Ordering::Relaxed);
        let mut object = Object::fixed(body);
        object.counted = true;
        Self(Box::into_raw(Box::new(object)))
    }

    pub(crate) fn from_address(address: *const std::ffi::c_void) -> Self {
        Self(address.cast())
    }

    pub(crate) fn address(self) -> *const std::ffi::c_void {
        self.0.cast()
    }

    pub(crate) fn is_none(self) -> bool {
        self.0.is_null()
    }

    fn object(&self) -> &Object {
        assert!(
            !self.is_none(),
            "a CoreFoundation function was called with NULL for an object"
        );
        // SAFETY: the C caller promised an object; one that it released too often is kept, and
        // recognized by its mark.
        unsafe { &*self.0 }
    }

    /// Its content.
    ///
    /// # Panics
    /// If there is no object or nobody holds it any more: on macOS anything could happen.
    pub(crate) fn body(&self) -> &Body {
        let object = self.object();
        // SAFETY: the body changes only when the last holder lets go, and this caller is one.
        let body = unsafe { &*object.body.get() };
        let mark = object.mark.load(Ordering::Acquire);
        assert!(
            mark == ALIVE,
            "a {} was used that nobody holds any more",
            body.kind().name()
        );
        body
    }

    pub(crate) fn kind(&self) -> Kind {
        self.body().kind()
    }

    /// Ends a call that got the wrong class: on macOS anything could happen.
    pub(crate) fn is_not(&self, class: &str) -> ! {
        panic!("a {} is not a {class}", self.kind().name())
    }

    /// Its count; `None` for what is not counted.
    pub(crate) fn count(&self) -> Option<usize> {
        self.body();
        let object = self.object();
        object.counted.then(|| object.count.load(Ordering::Relaxed))
    }

    /// Holds it once more.
    pub(crate) fn retain(self) -> Self {
        self.body();
        let object = self.object();
        if object.counted {
            object.count.fetch_add(1, Ordering::Relaxed);
        }
        self
    }

    /// Holds it once less. One time too many is noted and does no harm.
    pub(crate) fn release(self) {
        let object = self.object();
        if !object.counted {
            return;
        }
        if object.mark.load(Ordering::Acquire) != ALIVE {
            return self.note_over_release();
        }
        if object.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end();
        }
    }

    fn note_over_release(self) {
        // SAFETY: what is dead says which class it was of, and does not change any more.
        let name = unsafe { &*self.object().body.get() }.kind().name();
        OVER_RELEASED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name);
        eprintln!("darwin-double: a {name} was released once too often");
    }

    fn end(self) {
        let object = self.object();
        object.mark.store(DEAD, Ordering::Release);
        // SAFETY: the count is zero, so by the rules of CoreFoundation this is the only user.
        let body = unsafe { &mut *object.body.get() };
        let kind = body.kind();
        let content = mem::replace(body, Body::Dead(kind));
        LIVE[kind as usize].fetch_sub(1, Ordering::Relaxed);
        drop(content);
        let mut kept = DEAD_KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(Kept(self));
        let too_old = if kept.len() > DEAD_KEPT_MAX {
            kept.pop_front()
        } else {
            None
        };
        drop(kept);
        drop(too_old);
    }
}

/// A dead object that is still recognized.
struct Kept(Ref);

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: it came from a box, is counted and dead, and stood in the list once.
        drop(unsafe { Box::from_raw(self.0.0.cast_mut()) });
    }
}

/// A hold on an object that ends with it: what containers and other objects have.
pub(crate) struct Held(Ref);

impl Held {
    /// Takes over one count.
    pub(crate) fn taking(object: Ref) -> Self {
        Self(object)
    }

    /// Holds once more.
    pub(crate) fn new(object: Ref) -> Self {
        Self(object.retain())
    }

    pub(crate) fn get(&self) -> Ref {
        self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.release();
    }
}
