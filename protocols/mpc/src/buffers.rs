//! Large buffers that are used again.
//!
//! A layer of a million ReLUs goes through some hundred megabytes of messages and vectors. Taken
//! from the system each time, most of the time would go into its clearing and mapping pages (some
//! microseconds for each four kilobytes), so they are kept: 128 MiB of each type at most in
//! the whole process, none below 128 KiB.
//!
//! What a buffer holds when it is taken is whatever its last user left. So only *public* values
//! (openings, masked values) and wiped ones may be given back, and who takes one overwrites all of
//! it; in tests buffers come filled with a pattern, so that a forgotten byte is noticed.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::planes::for_chunks;

/// Bytes of one type that are kept at most.
const LIMIT: usize = 128 << 20;
/// Bytes below which a buffer is left to the allocator.
const SMALLEST: usize = 128 << 10;
/// Buffers of one type that are kept at most.
const MOST: usize = 64;

static BYTES: Mutex<Pool<u8>> = Mutex::new(Pool::new());
static WORDS: Mutex<Pool<u64>> = Mutex::new(Pool::new());

/// A message of `len` bytes that are all to be overwritten.
pub fn take_bytes(len: usize) -> Vec<u8> {
    take(&BYTES, len, 0xa5)
}

/// No bytes, with room for `len` of them if such a buffer lies here: for a message that is still to come.
pub fn spare_bytes(len: usize) -> Vec<u8> {
    spare(&BYTES, len)
}

/// Gives back a message. It must hold nothing secret.
pub fn give_bytes(buffer: Vec<u8>) {
    give(&BYTES, buffer);
}

/// A copy of a message.
pub(crate) fn copied_bytes(message: &[u8]) -> Vec<u8> {
    let mut copy = take_bytes(message.len());
    let parts = copy.chunks_mut(SMALLEST).zip(message.chunks(SMALLEST));
    for_chunks(
        parts.collect(),
        || (),
        |(), _, (to, from)| to.copy_from_slice(from),
    );
    copy
}

/// A vector of `len` words that are all to be overwritten.
pub(crate) fn take_words(len: usize) -> Vec<u64> {
    take(&WORDS, len, 0xa5a5_a5a5_a5a5_a5a5)
}

/// Gives back a vector. It must hold nothing secret.
pub(crate) fn give_words(buffer: Vec<u64>) {
    give(&WORDS, buffer);
}

/// Wipes a message and gives it back.
pub fn wipe_bytes(buffer: Vec<u8>) {
    give_bytes(wiped(buffer));
}

/// Wipes a vector and gives it back.
pub(crate) fn wipe_words(buffer: Vec<u64>) {
    give_words(wiped(buffer));
}

fn wiped<T: Copy + Default + Send>(mut buffer: Vec<T>) -> Vec<T> {
    // All of it, if it was longer once.
    buffer.resize(buffer.capacity(), T::default());
    let parts = buffer.chunks_mut(SMALLEST).collect();
    for_chunks(parts, || (), |(), _, part| part.fill(T::default()));
    // The zeros must not be left out because no one seems to read them.
    std::hint::black_box(buffer.as_mut_slice());
    buffer
}

/// Bytes that are wiped and given back when dropped.
#[derive(Default)]
pub(crate) struct Wiped(Vec<u8>);

impl Wiped {
    /// The bytes, for someone else to wipe.
    pub(crate) fn into_inner(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe_bytes(std::mem::take(&mut self.0));
    }
}

struct Pool<T> {
    free: Vec<Vec<T>>,
    bytes: usize,
}

impl<T> Pool<T> {
    const fn new() -> Self {
        Self {
            free: Vec::new(),
            bytes: 0,
        }
    }
}

fn size<T>(buffer: &Vec<T>) -> usize {
    buffer.capacity() * size_of::<T>()
}

fn take<T: Copy + Default>(pool: &Mutex<Pool<T>>, len: usize, pattern: T) -> Vec<T> {
    let mut buffer = find(pool, len).unwrap_or_default();
    if buffer.capacity() < len {
        // Zeroed pages of the system: nothing is written yet.
        buffer = vec![T::default(); len];
    }
    buffer.resize(len, T::default());
    if cfg!(test) {
        buffer.fill(pattern);
    }
    buffer
}

fn spare<T>(pool: &Mutex<Pool<T>>, len: usize) -> Vec<T> {
    let mut buffer = find(pool, len).unwrap_or_default();
    buffer.clear();
    buffer
}

/// The smallest buffer that is large enough, unless most of it would lie idle.
fn find<T>(pool: &Mutex<Pool<T>>, len: usize) -> Option<Vec<T>> {
    if len * size_of::<T>() < SMALLEST {
        return None;
    }
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = pool.free.iter().enumerate();
    let fits = fits.filter(|(_, b)| (len..=2 * len).contains(&b.capacity()));
    let (at, _) = fits.min_by_key(|(_, b)| b.capacity())?;
    let buffer = pool.free.swap_remove(at);
    pool.bytes -= size(&buffer);
    Some(buffer)
}

fn give<T>(pool: &Mutex<Pool<T>>, buffer: Vec<T>) {
    let bytes = size(&buffer);
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    if bytes >= SMALLEST && pool.bytes + bytes <= LIMIT && pool.free.len() < MOST {
        pool.bytes += bytes;
        pool.free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_have_bounds() {
        let pool = Mutex::new(Pool::<u64>::new());
        let len = SMALLEST / 4;
        let first = take(&pool, len, 1);
        let at = first.as_ptr();
        give(&pool, first);
        assert_eq!(pool.lock().unwrap().bytes, 2 * SMALLEST);
        // A request that is too large or too small leaves it; one in between takes it.
        assert_eq!(take(&pool, len + 1, 2).len(), len + 1);
        assert_eq!(take(&pool, len / 2 - 1, 2).len(), len / 2 - 1);
        let again = take(&pool, len - 7, 3);
        assert_eq!((again.as_ptr(), again.len()), (at, len - 7));
        assert!(again.iter().all(|word| *word == 3));
        assert_eq!(pool.lock().unwrap().bytes, 0);

        for _ in 0..2 * MOST {
            give(&pool, vec![0; len]);
        }
        assert_eq!(pool.lock().unwrap().free.len(), MOST);
        give(&pool, vec![0; 10]);
        let pool = Mutex::new(Pool::<u64>::new());
        for _ in 0..3 {
            give(&pool, Vec::with_capacity(LIMIT / 16));
        }
        assert_eq!(pool.lock().unwrap().bytes, LIMIT);
    }

    #[test]
    fn spare_buffers_are_empty_and_have_the_room() {
        let pool = Mutex::new(Pool::<u8>::new());
        give(&pool, vec![7; SMALLEST]);
        let found = spare(&pool, SMALLEST - 1);
        assert_eq!(found.capacity(), 0, "too small to be kept");
        let found = spare(&pool, SMALLEST);
        assert!(found.is_empty() && found.capacity() >= SMALLEST);
        // Nothing is allocated for a message that may never come.
        assert_eq!(spare(&pool, SMALLEST).capacity(), 0);
    }

    #[test]
    fn what_is_wiped_on_drop_is_not_what_was_taken_out() {
        let secret = Wiped::from(vec![7u8; SMALLEST]);
        let kept = secret.into_inner();
        assert!(kept.iter().all(|byte| *byte == 7));
        let secret = Wiped::from(kept);
        let at = secret.as_ptr();
        drop(secret);
        let pool = BYTES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = pool.free.iter().find(|buffer| buffer.as_ptr() == at) {
            assert!(found.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn copies_are_equal() {
        let message: Vec<u8> = (0..20 * SMALLEST + 3).map(|i| (i % 251) as u8).collect();
        assert!(copied_bytes(&message) == message);
    }

    #[test]
    fn wiped_buffers_hold_nothing() {
        let mut secret = vec![7u8; SMALLEST];
        secret.truncate(SMALLEST - 100);
        let at = secret.as_ptr();
        wipe_bytes(secret);
        let pool = BYTES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = pool.free.iter().find(|buffer| buffer.as_ptr() == at) {
            assert!(found.iter().all(|byte| *byte == 0));
        }
    }
}
