//! Proofs that a storage node still has a fragment: PoDR2 as CESS has it, over RSA-2048.
//!
//! A *tagger* holds an RSA key. Once per fragment M = m_0 … m_1023 it draws u and gives each block a
//! tag σ_i = (W_i · u^{m_i})^d mod N, with W_i = SHA256(name ‖ i in decimal). Whoever challenges draws
//! 47 block numbers with coefficients v_i of 160 bits; the node answers μ = Σ v_i m_i over the integers
//! and σ = Π σ_i^{v_i} mod N; and σ^e = u^μ · Π W_i^{v_i} mod N is checked with the public key alone.
//! A node that lost a share f of a fragment's blocks is caught with probability 1 − (1 − f)^47 each
//! time. The scheme is that of Shacham and Waters, "Compact Proofs of Retrievability" (2008), section
//! 4.2, as `cess:crates/ces-pdp` has it: one sector per block, a fragment's name is its hash.
//!
//! u must come from the tagger: a prover that chose it could prove anything. So a [`TagSet`] carries
//! the tagger's signature over name, u and tags (`h` of the sources), and verifiers take u from a
//! record ([`FileBank`](crate::FileBank)), never from the prover.
//!
//! Arithmetic is that of `crypto-bigint`; what touches the secret key takes constant time. The tagger
//! knows φ(N), so exponents of u are reduced, and both powers are one simultaneous one modulo p and
//! modulo q: a tag costs about what two RSA signatures cost.

mod audit;
mod challenge;
mod integer;
mod key;
mod proof;
mod tags;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use self::audit::{AuditAction, AuditConfig, Auditor, Subject, Verdict};
pub use self::challenge::{Challenge, ChallengeError};
pub use self::key::{KeyError, PublicKey, TaggingKey};
pub use self::proof::{Mismatch, Proof};
pub use self::tags::{FragmentKey, TagError, TagSet};

/// Blocks of a fragment.
pub const BLOCKS: usize = 1024;
/// Blocks that a challenge names: 4.6 %.
pub const CHALLENGED: usize = 47;
/// Bytes of the RSA modulus, and of everything modulo it.
pub const MODULUS: usize = 256;
/// Bytes of a coefficient.
const COEFFICIENT: usize = 20;
/// e.
const EXPONENT: u32 = 65_537;

/// The blocks of a fragment of `size` bytes, given without trailing zeros.
fn block(fragment: &[u8], size: usize, index: usize) -> &[u8] {
    let length = size / BLOCKS;
    let start = (index * length).min(fragment.len());
    let end = ((index + 1) * length).min(fragment.len());
    &fragment[start..end]
}
