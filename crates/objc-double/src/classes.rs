//! Classes and metaclasses: what they are made of, how a static one comes to life, how a method
//! is found.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::marker::PhantomData;
use std::ptr::{self, null_mut};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use objc2::encode::{Encode, EncodeArguments, EncodeReturn};
use objc2::runtime::{AnyClass, AnyObject, Imp, MethodImplementation, Sel};

use crate::protocols::Protocol;
use crate::selectors;
use crate::thread::CLASSES_MAX;

/// Entries of a method cache; a class answers a few dozen selectors.
const CACHE_SLOTS: usize = 256;

/// How far from its own place an entry of a method cache may lie.
const CACHE_PROBES: usize = 4;

/// A class or metaclass.
///
/// `isa` is the first field because a class is an object. In a static class it is null until the
/// class is first used. What every message and every reference needs stands close together.
#[repr(C)]
pub struct Class {
    isa: AtomicPtr<Class>,
    superclass: AtomicPtr<Class>,
    role: Role,
    registered: AtomicBool,
    /// Where the counters of this class stand in a thread's counters.
    number: AtomicUsize,
    /// Bytes of an instance, from its `isa` on.
    size: AtomicUsize,
    /// Where the payload stands in an instance, in bytes from its `isa`.
    payload_offset: AtomicUsize,
    name: &'static CStr,
    /// How to bring a static class to life; none for those made at run time.
    plan: Option<Plan>,
    /// Takes the place of this class in objects that have died.
    zombie: AtomicPtr<Class>,
    body: Mutex<Body>,
    cache: [AtomicPtr<Method>; CACHE_SLOTS],
}

/// What kind of class a class is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Class,
    Meta,
    /// The class of objects that have died.
    Zombie,
}

#[derive(Clone, Copy)]
struct Plan {
    superclass: Option<&'static Class>,
    payload: Option<Payload>,
    methods: fn(&mut Methods),
}

/// The Rust value that each instance of a static class holds.
#[derive(Clone, Copy)]
pub(crate) struct Payload {
    size: usize,
    align: usize,
    /// Drops the value, if there is one.
    pub(crate) drop: unsafe fn(*mut u8),
}

impl Payload {
    pub(crate) const fn new(size: usize, align: usize, drop: unsafe fn(*mut u8)) -> Payload {
        Payload { size, align, drop }
    }
}

#[derive(Default)]
struct Body {
    methods: Vec<&'static Method>,
    ivars: Vec<&'static Ivar>,
    protocols: Vec<&'static Protocol>,
}

/// A method of a class.
pub(crate) struct Method {
    pub(crate) sel: Sel,
    imp: AtomicPtr<()>,
    pub(crate) types: CString,
    /// Whether the simulated system has the method; none when every system has it.
    exists: Option<fn() -> bool>,
}

/// A variable of each instance.
pub(crate) struct Ivar {
    pub(crate) name: CString,
    pub(crate) types: CString,
    /// Bytes from the object's `isa`.
    pub(crate) offset: usize,
}

#[derive(Default)]
struct Registry {
    by_name: HashMap<&'static CStr, &'static Class>,
    all: Vec<&'static Class>,
}

/// Locked wherever the structure of classes is read slowly or changed.
static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

/// Static classes that the program was loaded with, newest first.
static LOADED: AtomicPtr<Declaration> = AtomicPtr::new(null_mut());

static NUMBERS_GIVEN: AtomicUsize = AtomicUsize::new(0);

/// A static class whose instances hold a `P`.
#[repr(transparent)]
pub struct ClassOf<P> {
    class: Class,
    payload: PhantomData<fn() -> P>,
}

impl<P: Send + Sync + 'static> ClassOf<P> {
    /// Describes a class; what makes it usable happens when it is first used.
    pub const fn new(
        name: &'static CStr,
        superclass: Option<&'static Class>,
        methods: fn(&mut Methods),
    ) -> ClassOf<P> {
        let plan = Plan {
            superclass,
            payload: crate::objects::payload_of::<P>(),
            methods,
        };
        ClassOf {
            class: Class::blank(name, Role::Class, Some(plan)),
            payload: PhantomData,
        }
    }

    /// The class without the type of its payload.
    pub const fn class(&'static self) -> &'static Class {
        &self.class
    }
}

/// The methods of a class that is about to be used for the first time.
#[derive(Default)]
pub struct Methods {
    of_instances: Vec<&'static Method>,
    of_class: Vec<&'static Method>,
}

impl Methods {
    /// Adds a method; its type encoding is that of the function.
    ///
    /// # Panics
    ///
    /// When the selector has more or fewer colons than the function has arguments.
    pub fn add<F: Signature>(
        &mut self,
        is_of_class: bool,
        selector: &str,
        exists: Option<fn() -> bool>,
        implementation: F,
    ) {
        let method = Box::leak(Box::new(Method {
            sel: selectors::selector(selector),
            imp: AtomicPtr::new(implementation.address()),
            types: types_of::<F::Arguments, F::Return>(selector),
            exists,
        }));
        let methods = match is_of_class {
            true => &mut self.of_class,
            false => &mut self.of_instances,
        };
        methods.push(method);
    }
}

/// A function that can implement a method.
pub trait Signature: MethodImplementation {
    /// Where its code is.
    fn address(self) -> *mut ();
}

impl<F: MethodImplementation> Signature for F {
    fn address(self) -> *mut () {
        const { assert!(size_of::<F>() == size_of::<*mut ()>()) };
        // SAFETY: only function pointers implement the sealed `MethodImplementation`.
        unsafe { std::mem::transmute_copy::<F, *mut ()>(&self) }
    }
}

/// The type encoding of a method with these arguments and this result.
pub(crate) fn types_of<A: EncodeArguments, R: EncodeReturn>(selector: &str) -> CString {
    let arguments = A::ENCODINGS;
    let colons = selector.matches(':').count();
    assert_eq!(colons, arguments.len(), "arguments of {selector}");
    let mut types = format!(
        "{}{}{}",
        R::ENCODING_RETURN,
        <*mut AnyObject>::ENCODING,
        Sel::ENCODING
    );
    for argument in arguments {
        write!(types, "{argument}").expect("writing to a string does not fail");
    }
    CString::new(types).expect("an encoding holds no zero byte")
}

/// A note, made before `main`, that the program holds a static class.
pub struct Declaration {
    class: &'static Class,
    next: AtomicPtr<Declaration>,
}

impl Declaration {
    /// Notes the class, so that it is found by its name before it is first used.
    #[expect(clippy::new_ret_no_self, reason = "the note keeps itself")]
    pub fn new(class: &'static Class) {
        let note = Box::leak(Box::new(Declaration {
            class,
            next: AtomicPtr::new(LOADED.load(Acquire)),
        }));
        // Constructors run one after the other, on one thread.
        LOADED.store(note, Release);
    }
}

/// The class of an object.
#[inline]
pub fn class_of(object: &AnyObject) -> &'static Class {
    // SAFETY: every object, and so every class, begins with a pointer to its class.
    let isa = unsafe { (*ptr::from_ref(object).cast::<AtomicPtr<Class>>()).load(Acquire) };
    // SAFETY: classes are never freed.
    match unsafe { isa.as_ref() } {
        Some(class) => class,
        None => {
            // SAFETY: only a static class that nobody has used yet has no `isa`.
            let class: &'static Class = unsafe { &*ptr::from_ref(object).cast::<Class>() };
            class.realize().isa()
        }
    }
}

/// A class by its name, used or not.
pub(crate) fn find(name: &CStr) -> Option<&'static Class> {
    if let Some(class) = registry().by_name.get(name) {
        return Some(class);
    }
    // SAFETY: notes are leaked boxes, linked once.
    let mut note = unsafe { LOADED.load(Acquire).as_ref() };
    while let Some(loaded) = note {
        if loaded.class.name == name {
            return Some(loaded.class.realize());
        }
        // SAFETY: as above.
        note = unsafe { loaded.next.load(Acquire).as_ref() };
    }
    None
}

/// All classes in use, without their metaclasses.
pub(crate) fn all() -> Vec<&'static Class> {
    let registry = registry();
    let classes = registry.all.iter().copied();
    classes.filter(|class| class.role == Role::Class).collect()
}

/// Forgets all cached methods, when what the simulated system has changes.
pub fn forget_cached_methods() {
    let registry = registry();
    registry.all.iter().for_each(|class| class.clear_cache());
}

impl Class {
    const fn blank(name: &'static CStr, role: Role, plan: Option<Plan>) -> Class {
        Class {
            isa: AtomicPtr::new(null_mut()),
            superclass: AtomicPtr::new(null_mut()),
            role,
            registered: AtomicBool::new(false),
            number: AtomicUsize::new(0),
            size: AtomicUsize::new(0),
            payload_offset: AtomicUsize::new(0),
            name,
            plan,
            zombie: AtomicPtr::new(null_mut()),
            body: Mutex::new(Body {
                methods: Vec::new(),
                ivars: Vec::new(),
                protocols: Vec::new(),
            }),
            cache: [const { AtomicPtr::new(null_mut()) }; CACHE_SLOTS],
        }
    }

    /// A class as objc2 sees it.
    pub fn as_any(&'static self) -> &'static AnyClass {
        self.realize();
        // SAFETY: objc2 treats a class as opaque and asks this runtime about it.
        unsafe { &*ptr::from_ref(self).cast::<AnyClass>() }
    }

    /// A class that objc2 knows.
    pub fn from_any(class: &AnyClass) -> &'static Class {
        // SAFETY: every class objc2 has comes from this runtime, and classes are never freed.
        let class: &'static Class = unsafe { &*ptr::from_ref(class).cast::<Class>() };
        class.realize()
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name.to_str().unwrap_or("(a name that is not UTF-8)")
    }

    pub(crate) fn c_name(&self) -> &'static CStr {
        self.name
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn number(&self) -> usize {
        self.number.load(Relaxed)
    }

    pub(crate) fn size(&self) -> usize {
        self.size.load(Relaxed)
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.registered.load(Acquire)
    }

    /// Its metaclass.
    pub(crate) fn isa(&self) -> &'static Class {
        // SAFETY: classes are never freed, and the class is realized before this is asked.
        unsafe { self.isa.load(Acquire).as_ref() }.expect("the class is in use")
    }

    /// The class it inherits from.
    pub fn superclass(&self) -> Option<&'static Class> {
        // SAFETY: classes are never freed.
        unsafe { self.superclass.load(Acquire).as_ref() }
    }

    /// Whether this class is the other one or inherits from it.
    #[inline]
    pub fn is_kind_of(&self, other: &Class) -> bool {
        let mut class = Some(self);
        while let Some(here) = class {
            if ptr::eq(here, other) {
                return true;
            }
            class = here.superclass();
        }
        false
    }

    /// Whether both classes answer a selector with the same method: one inherits it.
    pub fn shares_method(&'static self, other: &'static Class, sel: Sel) -> bool {
        let own = self.realize().method(sel).map(ptr::from_ref);
        own == other.realize().method(sel).map(ptr::from_ref)
    }

    /// What instances hold at this level of inheritance, and how many bytes from their `isa`.
    pub(crate) fn payload(&self) -> Option<(Payload, usize)> {
        let payload = self.plan.as_ref()?.payload?;
        Some((payload, self.payload_offset()))
    }

    /// How many bytes from an instance's `isa` its payload stands, if it has one.
    #[inline]
    pub(crate) fn payload_offset(&self) -> usize {
        self.payload_offset.load(Relaxed)
    }

    /// Makes a static class usable: metaclass, superclass, size, methods, name.
    #[inline]
    pub(crate) fn realize(&'static self) -> &'static Class {
        if self.isa.load(Acquire).is_null() {
            self.come_to_life();
        }
        self
    }

    #[cold]
    fn come_to_life(&'static self) {
        let plan = self
            .plan
            .expect("only static classes wait for their first use");
        let superclass = plan.superclass.map(Class::realize);
        let mut methods = Methods::default();
        (plan.methods)(&mut methods);
        let mut registry = registry();
        if !self.isa.load(Acquire).is_null() {
            return; // Another thread was faster; what it made stays.
        }
        let meta = self.make_meta(superclass);
        self.body().methods = methods.of_instances;
        meta.body().methods = methods.of_class;
        let above = superclass.map_or(size_of::<usize>(), Class::size);
        let end = plan.payload.map_or(above, |payload| {
            let offset = above.next_multiple_of(payload.align);
            self.payload_offset.store(offset, Relaxed);
            offset + payload.size
        });
        self.become_subclass(superclass, end);
        self.register(&mut registry, meta);
        self.isa.store(ptr::from_ref(meta).cast_mut(), Release);
    }

    /// A class and its metaclass, to be filled and then registered; none if the name is taken.
    pub(crate) fn allocate_pair(
        superclass: Option<&'static Class>,
        name: &CStr,
    ) -> Option<&'static Class> {
        if find(name).is_some() {
            return None;
        }
        let name = Box::leak(name.to_owned().into_boxed_c_str());
        let class = Box::leak(Box::new(Class::blank(name, Role::Class, None)));
        let class: &'static Class = class;
        let meta = class.make_meta(superclass);
        class.become_subclass(
            superclass,
            superclass.map_or(size_of::<usize>(), Class::size),
        );
        class.isa.store(ptr::from_ref(meta).cast_mut(), Release);
        Some(class)
    }

    pub(crate) fn register_pair(&'static self) {
        self.register(&mut registry(), self.isa());
    }

    fn make_meta(&'static self, superclass: Option<&'static Class>) -> &'static Class {
        let meta: &'static Class = Box::leak(Box::new(Class::blank(self.name, Role::Meta, None)));
        meta.registered.store(true, Release);
        // The root metaclass inherits from the root class itself: class objects answer the
        // instance methods of NSObject too.
        let (isa, above) = match superclass {
            Some(superclass) => (superclass.isa().isa(), superclass.isa()),
            None => (meta, self),
        };
        meta.superclass
            .store(ptr::from_ref(above).cast_mut(), Release);
        meta.isa.store(ptr::from_ref(isa).cast_mut(), Release);
        meta
    }

    fn become_subclass(&self, superclass: Option<&'static Class>, size: usize) {
        let above = superclass.map_or(null_mut(), |class| ptr::from_ref(class).cast_mut());
        self.superclass.store(above, Release);
        self.size.store(size, Relaxed);
        let number = NUMBERS_GIVEN.fetch_add(1, Relaxed);
        assert!(number < CLASSES_MAX, "more than {CLASSES_MAX} classes");
        self.number.store(number, Relaxed);
    }

    fn register(&'static self, registry: &mut Registry, meta: &'static Class) {
        registry.all.extend([self, meta]);
        let taken = registry.by_name.insert(self.name, self);
        assert!(taken.is_none(), "two classes named {}", self.name());
        self.registered.store(true, Release);
    }

    /// What an object of this class becomes when it dies: it answers nothing.
    pub(crate) fn zombie(&'static self) -> &'static Class {
        // SAFETY: classes are never freed.
        if let Some(zombie) = unsafe { self.zombie.load(Acquire).as_ref() } {
            return zombie;
        }
        let zombie: &'static Class =
            Box::leak(Box::new(Class::blank(self.name, Role::Zombie, None)));
        zombie.isa.store(ptr::from_ref(zombie).cast_mut(), Release);
        zombie.size.store(self.size(), Relaxed);
        // Two threads may make one each: both do.
        self.zombie.store(ptr::from_ref(zombie).cast_mut(), Release);
        zombie
    }

    /// The method that answers a selector, from the cache if it was asked for before.
    #[inline]
    pub(crate) fn method(&self, sel: Sel) -> Option<&'static Method> {
        let place = selectors::address(sel) >> 4;
        for probe in 0..CACHE_PROBES {
            let slot = &self.cache[(place + probe) % CACHE_SLOTS];
            // SAFETY: methods are never freed.
            let Some(method) = (unsafe { slot.load(Acquire).as_ref() }) else {
                break;
            };
            if selectors::address(method.sel) == selectors::address(sel) {
                return Some(method);
            }
        }
        self.search(sel)
    }

    #[cold]
    fn search(&self, sel: Sel) -> Option<&'static Method> {
        if self.isa.load(Acquire).is_null() {
            // SAFETY: only static classes wait to be realized, and those live forever.
            unsafe { &*ptr::from_ref(self) }.realize();
        }
        let _structure = registry();
        let mut class = Some(self);
        while let Some(here) = class {
            if let Some(method) = here.own_method(sel) {
                // Under the lock, so that a change of the structure that follows clears it.
                self.cache(method);
                return Some(method);
            }
            class = here.superclass();
        }
        None
    }

    fn own_method(&self, sel: Sel) -> Option<&'static Method> {
        let body = self.body();
        let mut methods = body.methods.iter().copied();
        methods.find(|method| {
            selectors::address(method.sel) == selectors::address(sel)
                && method.exists.is_none_or(|exists| exists())
        })
    }

    fn cache(&self, method: &'static Method) {
        let place = selectors::address(method.sel) >> 4;
        let slots = (0..CACHE_PROBES).map(|probe| &self.cache[(place + probe) % CACHE_SLOTS]);
        let free = slots.clone().find(|slot| slot.load(Relaxed).is_null());
        if let Some(slot) = free.or_else(|| slots.last()) {
            slot.store(ptr::from_ref(method).cast_mut(), Release);
        }
    }

    fn clear_cache(&self) {
        for slot in &self.cache {
            slot.store(null_mut(), Release);
        }
    }

    /// Adds a method of its own; false if it has one for the selector.
    pub(crate) fn add_method(&self, sel: Sel, imp: *mut (), types: CString) -> bool {
        let registry = registry();
        let mut body = self.body();
        let mut methods = body.methods.iter();
        if methods.any(|method| selectors::address(method.sel) == selectors::address(sel)) {
            return false;
        }
        body.methods.push(Box::leak(Box::new(Method {
            sel,
            imp: AtomicPtr::new(imp),
            types,
            exists: None,
        })));
        drop(body);
        self.clear_cache();
        if self.is_registered() {
            registry.all.iter().for_each(|class| class.clear_cache());
        }
        true
    }

    /// Adds a variable; false if it has one of that name or is registered.
    pub(crate) fn add_ivar(&self, name: &CStr, types: &CStr, size: usize, align: usize) -> bool {
        let mut body = self.body();
        if self.is_registered() || body.ivars.iter().any(|ivar| ivar.name.as_c_str() == name) {
            return false;
        }
        let offset = self.size().next_multiple_of(align);
        self.size.store(offset + size, Relaxed);
        body.ivars.push(Box::leak(Box::new(Ivar {
            name: name.to_owned(),
            types: types.to_owned(),
            offset,
        })));
        true
    }

    pub(crate) fn ivar(&self, name: &CStr) -> Option<&'static Ivar> {
        let body = self.body();
        let mut own = body.ivars.iter().copied();
        let found = own.find(|ivar| ivar.name.as_c_str() == name);
        drop(body);
        found.or_else(|| self.superclass()?.ivar(name))
    }

    /// Adopts a protocol; false if it did before.
    pub(crate) fn add_protocol(&self, protocol: &'static Protocol) -> bool {
        let is_new = !self.conforms_to(protocol);
        if is_new {
            self.body().protocols.push(protocol);
        }
        is_new
    }

    pub(crate) fn conforms_to(&self, protocol: &Protocol) -> bool {
        let adopts = self
            .body()
            .protocols
            .iter()
            .any(|own| ptr::eq(*own, protocol));
        adopts
            || self
                .superclass()
                .is_some_and(|above| above.conforms_to(protocol))
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Method {
    #[inline]
    pub(crate) fn imp(&self) -> Imp {
        // SAFETY: what was stored is the address of a function that implements a method.
        unsafe { std::mem::transmute::<*mut (), Imp>(self.imp.load(Relaxed)) }
    }

    pub(crate) fn replace_imp(&self, imp: Imp) -> Imp {
        let old = self.imp.swap(imp as *mut (), Relaxed);
        // SAFETY: as in `imp`.
        unsafe { std::mem::transmute::<*mut (), Imp>(old) }
    }
}

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}
