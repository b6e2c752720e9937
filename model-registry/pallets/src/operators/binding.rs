//! The proof that whoever holds a peer key agrees to an operator.

use alloc::vec::Vec;

use sp_core::ed25519;
use sp_runtime::AccountId32;

use super::PeerKey;

const DOMAIN: &[u8] = b"ai-link/peer-binding/v1";

/// What a peer key signs to be bound to `operator`: `"ai-link/peer-binding/v1" ‖ operator (32)`.
///
/// The proof names the operator alone and does not expire: nobody else can use it, and the operator
/// may use it again after unbonding.
pub fn binding_message(operator: &AccountId32) -> Vec<u8> {
    [DOMAIN, operator.as_ref()].concat()
}

/// Whether `proof` is a signature by `peer` over the binding to `operator`.
pub fn verify_binding(peer: &PeerKey, operator: &AccountId32, proof: &[u8; 64]) -> bool {
    sp_io::crypto::ed25519_verify(
        &ed25519::Signature::from_raw(*proof),
        &binding_message(operator),
        &ed25519::Public::from_raw(*peer),
    )
}
