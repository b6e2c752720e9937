//! Decrypted values, and who may see them.
//!
//! tfhe's proof against an adversary who is *shown decryptions* (IND-CPA^D; Li and Micciancio, *On the Security of
//! Homomorphic Encryption on Approximate Numbers*, EUROCRYPT 2021) rests on results that are exact but for a negligible
//! probability. Those of an [`Exact`] program are. Those of an [`Approximate`] one carry noise that depends on the key: a
//! worker that learned enough of them, or of anything computed from them, could work it out. So they stay with the
//! client, and the type says so: it cannot be serialised, printed or cloned.

use serde::{Serialize, Serializer};
use zeroize::Zeroize;

/// Of an exact program: may be shown to anyone.
#[derive(Debug)]
pub enum Exact {}

/// Of an approximate program: never to the worker.
#[derive(Debug)]
pub enum Approximate {}

/// Integers that were decrypted, one per output.
///
/// ```
/// fn sendable<T: serde::Serialize>() {}
/// sendable::<ai_link_fhe::Decrypted<ai_link_fhe::Exact>>();
/// ```
/// ```compile_fail
/// fn sendable<T: serde::Serialize>() {}
/// sendable::<ai_link_fhe::Decrypted<ai_link_fhe::Approximate>>();
/// ```
pub struct Decrypted<K> {
    values: Vec<i64>,
    kind: std::marker::PhantomData<K>,
}

/// What a decryption gives; which of both follows from the program.
#[derive(Debug)]
pub enum AnyDecrypted {
    /// Equals [`Program::run_clear`](crate::Program::run_clear).
    Exact(Decrypted<Exact>),
    /// Equals it up to noise.
    Approximate(Decrypted<Approximate>),
}

impl<K> Decrypted<K> {
    pub(crate) fn new(values: Vec<i64>) -> Self {
        Self {
            values,
            kind: std::marker::PhantomData,
        }
    }

    /// The integers, for use in the application's process.
    pub fn local(&self) -> &[i64] {
        &self.values
    }
}

impl AnyDecrypted {
    /// The integers, for use in the application's process.
    pub fn local(&self) -> &[i64] {
        match self {
            Self::Exact(d) => d.local(),
            Self::Approximate(d) => d.local(),
        }
    }
}

impl<K> Drop for Decrypted<K> {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl Serialize for Decrypted<Exact> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.values.serialize(serializer)
    }
}

impl<K> std::fmt::Debug for Decrypted<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decrypted({} values, ..)", self.values.len())
    }
}
