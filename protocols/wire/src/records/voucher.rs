//! What the chain verifies: vouchers and the proof that a worker belongs to an operator.
//!
//! Both are fixed byte strings, not [`Signed`](crate::Signed) records, so that the chain can check
//! them without a decoder.

use serde::{Deserialize, Serialize};

use crate::identity::BadSignature;
use crate::{AccountId, Identity, Planck, SignatureBytes};

/// "I owe this coordinator so much in all, since ever": the total only grows, so that the latest
/// voucher replaces all earlier ones and none can be cashed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// Who owes, and signed.
    pub client: AccountId,
    /// Who may cash it.
    pub coordinator: AccountId,
    /// The total of all jobs ever.
    pub cumulative: Planck,
    /// Over [`Voucher::signed_bytes`].
    pub signature: SignatureBytes,
}

impl Voucher {
    /// Length of the signed bytes.
    pub const SIGNED_LEN: usize = VOUCHER_DOMAIN.len() + 32 + 32 + 16;

    /// Signs a new total. The caller makes sure that it is not below an earlier one.
    pub fn sign(client: &Identity, coordinator: AccountId, cumulative: Planck) -> Self {
        let account = client.account();
        let signature = client.sign(&Self::signed_bytes(&account, &coordinator, cumulative));
        Self {
            client: account,
            coordinator,
            cumulative,
            signature,
        }
    }

    /// Checks the client's signature.
    ///
    /// # Errors
    /// [`VoucherError`] when it is not the client's.
    pub fn verify(&self) -> Result<(), VoucherError> {
        self.signature
            .verify(
                &self.client.into(),
                &Self::signed_bytes(&self.client, &self.coordinator, self.cumulative),
            )
            .map_err(|source| VoucherError {
                client: self.client,
                source,
            })
    }

    /// `"ai-link/voucher/v1" ‖ client (32) ‖ coordinator (32) ‖ cumulative (u128 LE)`.
    pub fn signed_bytes(
        client: &AccountId,
        coordinator: &AccountId,
        cumulative: Planck,
    ) -> [u8; Self::SIGNED_LEN] {
        let mut bytes = [0; Self::SIGNED_LEN];
        bytes[..18].copy_from_slice(VOUCHER_DOMAIN);
        bytes[18..50].copy_from_slice(&client.0);
        bytes[50..82].copy_from_slice(&coordinator.0);
        bytes[82..].copy_from_slice(&cumulative.0.to_le_bytes());
        bytes
    }
}

const VOUCHER_DOMAIN: &[u8; 18] = b"ai-link/voucher/v1";

/// What a worker's peer key signs to say "I am a worker of `operator`":
/// `"ai-link/peer-binding/v1" ‖ operator (32)`. Registered on the chain.
pub fn binding_message(operator: &AccountId) -> Vec<u8> {
    [b"ai-link/peer-binding/v1".as_slice(), &operator.0].concat()
}

/// The voucher is not signed by its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the voucher is not signed by its client {client}")]
pub struct VoucherError {
    /// Who should have signed it.
    pub client: AccountId,
    /// The check that failed.
    pub source: BadSignature,
}
