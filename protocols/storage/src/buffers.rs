//! Memory for fragments and segments, used again and again.
//!
//! Storing and reading move through many buffers of 8 and 32 MiB. Taking each from the system and
//! giving it back costs as much as hashing a part of it, and general allocators keep what they were
//! given back in other sizes. Here a buffer comes back when the last [`Bytes`] of it is dropped, and
//! serves the next.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// What is shorter comes from the general allocator.
const LEAST: usize = 1 << 20;
/// The most bytes that lie idle: the fragments of a segment that are made, which is two segments.
const MAX_IDLE: usize = 64 << 20;
/// Room beyond what is asked for, so that a buffer also serves who asks for a little more.
const SLACK: usize = 4096;

static IDLE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A buffer that serves again.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty one with room for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        if capacity < LEAST {
            return Self(Vec::with_capacity(capacity));
        }
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is much too large stays for those that need it.
        let fits = |buffer: &Vec<u8>| (capacity..=capacity * 2).contains(&buffer.capacity());
        match idle.iter().position(fits) {
            Some(place) => {
                let mut buffer = idle.swap_remove(place);
                buffer.clear();
                Self(buffer)
            }
            None => {
                drop(idle);
                Self(Vec::with_capacity(capacity + SLACK))
            }
        }
    }

    /// One of `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let mut buffer = Self::with_capacity(length);
        buffer.0.resize(length, 0);
        buffer
    }

    /// Its bytes.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// As bytes that are shared.
    pub(crate) fn freeze(self) -> Bytes {
        if self.0.capacity() < LEAST {
            let mut this = self;
            return Bytes::from(std::mem::take(&mut this.0));
        }
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if buffer.capacity() < LEAST {
            return;
        }
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = idle.iter().map(Vec::capacity).sum();
        if kept + buffer.capacity() <= MAX_IDLE {
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_hold_what_was_put_in_and_nothing_else() {
        for round in 0..50_u8 {
            let mut buffer = Buffer::with_capacity(3 << 20);
            assert!(buffer.as_ref().is_empty());
            buffer.bytes().extend(std::iter::repeat_n(round, 2 << 20));
            let bytes = buffer.freeze();
            let part = bytes.slice(100..200);
            drop(bytes);
            let mut other = Buffer::with_capacity(3 << 20);
            other.bytes().resize(3 << 20, 255);
            assert_eq!(part[..], [round; 100]);
        }
        let buffer = Buffer::zeros(2 << 20);
        assert_eq!(buffer.as_ref(), vec![0; 2 << 20]);
        let mut small = Buffer::with_capacity(10);
        small.bytes().push(1);
        assert_eq!(small.freeze()[..], [1]);
    }
}
