//! Where memory comes from. Requests begin on one thread and end on another; the system's allocator
//! makes both wait for one lock (docs/performance.md).

use libmimalloc_sys::{mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has freed memory go back to the system at once. By default it may take a second, and reading a
/// large file takes twice as much.
pub fn give_back_at_once() {
    // `mi_option_purge_delay` of mimalloc.h, which the bindings leave out.
    const PURGE_DELAY: mi_option_t = 15;
    // SAFETY: it stores a number.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}
