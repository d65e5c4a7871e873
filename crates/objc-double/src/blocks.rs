//! Blocks, by the public block ABI: from the stack to the heap, and away.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ffi::{c_ulong, c_void};
use std::io::Write;
use std::ptr::{self, copy_nonoverlapping};
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use crate::classes::ClassOf;
use crate::root::NS_OBJECT;

/// The block is on the heap, and its references are counted.
const IS_ON_HEAP: i32 = 1 << 24;

/// The descriptor has functions that copy and drop what was captured.
const HAS_FUNCTIONS: i32 = 1 << 25;

/// The block captured nothing and is a constant.
const IS_GLOBAL: i32 = 1 << 28;

#[repr(C)]
struct Block {
    isa: *const ClassOf<()>,
    flags: i32,
    /// The word the ABI reserves.
    references: AtomicI32,
    invoke: *const c_void,
    descriptor: *const Descriptor,
}

#[repr(C)]
struct Descriptor {
    reserved: c_ulong,
    size: c_ulong,
    copy: Option<unsafe extern "C-unwind" fn(*mut Block, *const Block)>,
    dispose: Option<unsafe extern "C-unwind" fn(*mut Block)>,
}

#[unsafe(no_mangle)]
static _NSConcreteStackBlock: ClassOf<()> =
    ClassOf::new(c"__NSStackBlock__", Some(NS_OBJECT.class()), |_| {});

#[unsafe(no_mangle)]
static _NSConcreteMallocBlock: ClassOf<()> =
    ClassOf::new(c"__NSMallocBlock__", Some(NS_OBJECT.class()), |_| {});

#[unsafe(no_mangle)]
static _NSConcreteGlobalBlock: ClassOf<()> =
    ClassOf::new(c"__NSGlobalBlock__", Some(NS_OBJECT.class()), |_| {});

static LIVE: AtomicI64 = AtomicI64::new(0);

/// How many blocks are on the heap.
pub fn live_blocks() -> i64 {
    LIVE.load(Ordering::Acquire)
}

/// # Safety
///
/// The block must be valid.
unsafe fn layout_of(block: *const Block) -> Layout {
    // SAFETY: a valid block has a descriptor with its size.
    let size = unsafe { (*(*block).descriptor).size };
    Layout::from_size_align(size as usize, 16).expect("blocks are small")
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn _Block_copy(block: *mut Block) -> *mut Block {
    // SAFETY: the caller passes a valid block or null.
    let Some(from) = (unsafe { block.as_ref() }) else {
        return block;
    };
    if from.flags & IS_GLOBAL != 0 {
        return block;
    }
    if from.flags & IS_ON_HEAP != 0 {
        from.references.fetch_add(1, Ordering::Relaxed);
        return block;
    }
    // SAFETY: the block is valid and on the stack.
    unsafe { copy_to_heap(block) }
}

/// # Safety
///
/// The block must be valid and not on the heap.
unsafe fn copy_to_heap(from: *const Block) -> *mut Block {
    // SAFETY: the new memory is as large as the block; its function copies what it captured.
    unsafe {
        let layout = layout_of(from);
        let to = alloc(layout).cast::<Block>();
        if to.is_null() {
            handle_alloc_error(layout);
        }
        copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), layout.size());
        (*to).isa = &raw const _NSConcreteMallocBlock;
        (*to).flags |= IS_ON_HEAP;
        (&raw mut (*to).references).write(AtomicI32::new(1));
        if (*to).flags & HAS_FUNCTIONS != 0
            && let Some(copy) = (*(*to).descriptor).copy
        {
            copy(to, from);
        }
        LIVE.fetch_add(1, Ordering::AcqRel);
        to
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn _Block_release(block: *mut Block) {
    // SAFETY: the caller passes a valid block or null.
    let Some(this) = (unsafe { block.as_ref() }) else {
        return;
    };
    if this.flags & IS_GLOBAL != 0 || this.flags & IS_ON_HEAP == 0 {
        return;
    }
    match this.references.fetch_sub(1, Ordering::AcqRel) {
        // SAFETY: that was the last reference.
        1 => unsafe { free(block) },
        2.. => {}
        _ => {
            let _ = writeln!(std::io::stderr(), "objc-double: a block released too often");
            std::process::abort()
        }
    }
}

/// # Safety
///
/// The block must be on the heap and have no references left.
unsafe fn free(block: *mut Block) {
    // SAFETY: its function drops what was captured; the memory has the layout it was made with.
    unsafe {
        if (*block).flags & HAS_FUNCTIONS != 0
            && let Some(dispose) = (*(*block).descriptor).dispose
        {
            dispose(block);
        }
        let layout = layout_of(block);
        (*block).isa = ptr::null();
        dealloc(block.cast::<u8>(), layout);
    }
    LIVE.fetch_sub(1, Ordering::AcqRel);
}
