//! Buffers for packed blocks, one set a thread: products of a few microseconds allocate nothing.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

use crate::buffers::{take_words, wipe_words};

/// Space for one task. Blocks of the contracted axis bound it to a few megabytes.
#[derive(Default)]
pub(super) struct Scratch {
    /// Left panels.
    pub(super) left: Buffer,
    /// One right panel, worked out.
    pub(super) right: Buffer,
    /// Windows of a convolution, row by row.
    pub(super) windows: Buffer,
}

/// Words that are wiped after use.
#[derive(Default)]
pub(super) struct Buffer {
    words: Vec<u64>,
    /// Words from the front that were handed out since the last wipe.
    used: usize,
}

impl Buffer {
    /// `n` words with anything in them.
    pub(super) fn take(&mut self, n: usize) -> &mut [u64] {
        if self.words.len() < n {
            // Not `resize`: moving would leave a copy behind.
            self.wipe();
            self.words = vec![0; n];
        }
        self.used = self.used.max(n);
        &mut self.words[..n]
    }

    fn wipe(&mut self) {
        self.words[..self.used].zeroize();
        self.used = 0;
    }
}

/// Words for one product, too many for a thread to keep: from the process's buffers, wiped on drop.
pub(super) struct Large(Vec<u64>);

impl Large {
    /// `n` words with anything in them.
    pub(super) fn new(n: usize) -> Self {
        Self(take_words(n))
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        wipe_words(std::mem::take(&mut self.0));
    }
}

impl Deref for Large {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.0
    }
}

impl DerefMut for Large {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Runs `task` with this thread's buffers, and wipes what it used of them.
pub(super) fn with_scratch(task: impl FnOnce(&mut Scratch)) {
    // Taken out meanwhile, so that a task within the task gets buffers of its own.
    let mut scratch = SCRATCH.take().unwrap_or_default();
    task(&mut scratch);
    scratch.left.wipe();
    scratch.right.wipe();
    scratch.windows.wipe();
    SCRATCH.set(Some(scratch));
}
