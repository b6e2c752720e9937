//! Vouchers: a client's word for what a coordinator may take.

use alloc::vec::Vec;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sp_core::ed25519;
use sp_runtime::AccountId32;

use crate::Balance;

const DOMAIN: &[u8] = b"ai-link/voucher/v1";

/// A voucher as a coordinator presents it; the coordinator is the sender of the transaction.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct VoucherClaim {
    /// Whose escrow is drawn on; the account is the ed25519 key that signed.
    pub client: AccountId32,
    /// What the coordinator may take in all, earlier vouchers included, planck.
    pub cumulative: Balance,
    /// By the client over [`voucher_message`].
    pub signature: [u8; 64],
}

impl VoucherClaim {
    /// Whether the client signed this for `coordinator`.
    pub fn verify(&self, coordinator: &AccountId32) -> bool {
        let public: &[u8; 32] = self.client.as_ref();
        sp_io::crypto::ed25519_verify(
            &ed25519::Signature::from_raw(self.signature),
            &voucher_message(&self.client, coordinator, self.cumulative),
            &ed25519::Public::from_raw(*public),
        )
    }
}

/// What a client signs:
/// `"ai-link/voucher/v1" ‖ client (32) ‖ coordinator (32) ‖ cumulative (u128 little endian)`.
pub fn voucher_message(
    client: &AccountId32,
    coordinator: &AccountId32,
    cumulative: Balance,
) -> Vec<u8> {
    [
        DOMAIN,
        client.as_ref(),
        coordinator.as_ref(),
        &cumulative.to_le_bytes(),
    ]
    .concat()
}
