//! Decoders allocate for what arrived, not for what is claimed. Counted with an allocator, so this
//! test has a binary of its own.
#![allow(clippy::unwrap_used, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ai_link_wire::*;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Watching;

// SAFETY: every call is passed on unchanged to `System`; the cell is const-initialised and has no
// destructor, so that reaching it never allocates.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn note(size: usize) {
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn largest_allocation(work: impl FnOnce()) -> usize {
    LARGEST.set(0);
    work();
    LARGEST.get()
}

#[test]
fn claims_are_not_allocated() {
    let seen = largest_allocation(|| drop(vec![0_u8; 1 << 20]));
    assert!(seen >= 1 << 20, "the allocator counts");

    // 253: a u64 follows. 252: a u32. Lengths of lists, texts and byte strings.
    let huge = |rest: &[u8]| [&[253][..], &(1_u64 << 60).to_le_bytes(), rest].concat();
    let million = |rest: &[u8]| [&[252][..], &1_000_000_u32.to_le_bytes(), rest].concat();
    for claim in [huge(b"abc"), million(b"abc"), million(&[0; 300])] {
        // NoMatch with so many reasons; Refused(Malformed) with so long a text.
        let no_match = [&[3][..], &claim].concat();
        let malformed = [&[8, 18][..], &claim].concat();
        // A signed record of kind "ticket", whose payload is so long.
        let envelope = [&[0, 6][..], b"ticket", &[1], &[9; 32], &[1, 2], &claim].concat();
        let seen = largest_allocation(|| {
            assert!(decode::<ControlResponse>(&no_match, Limit::CONTROL).is_err());
            assert!(decode::<ControlResponse>(&malformed, Limit::CONTROL).is_err());
            assert!(decode::<ControlRequest>(&envelope, Limit::CONTROL).is_err());
            assert!(decode::<ModelName>(&claim, Limit::CONTROL).is_err());
            assert!(decode::<Multiaddr>(&claim, Limit::CONTROL).is_err());
        });
        assert!(
            seen <= 64 << 10,
            "{seen} bytes for a message of {}",
            claim.len()
        );
    }
}
