//! What a pool belongs to.

use ai_link_program::fixed::Program;
use sha2::{Digest, Sha256};

use super::PoolError;
use crate::session::{DealerSeat, SessionSpec};

/// The sessions that a pool is for: all parties must agree on all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolId {
    /// Digest of the program.
    pub program: [u8; 32],
    /// Records of a session.
    pub batch: u64,
    /// The sharing of private weights, if there are some.
    pub sharing: Option<[u8; 32]>,
    /// Key of the dealer.
    pub dealer: [u8; 32],
    /// Keys of the evaluators, in order.
    pub evaluators: Vec<[u8; 32]>,
    /// Drawn by the group for this pool, never used for another one.
    pub session: [u8; 32],
}

impl PoolId {
    /// A digest of everything above.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(b"ai-link/mpc/pool/v2");
        hash.update(self.program);
        hash.update(self.batch.to_be_bytes());
        hash.update([u8::from(self.sharing.is_some())]);
        hash.update(self.sharing.unwrap_or_default());
        hash.update(self.dealer);
        hash.update((self.evaluators.len() as u64).to_be_bytes());
        self.evaluators.iter().for_each(|key| hash.update(key));
        hash.update(self.session);
        hash.finalize().into()
    }

    /// The session digest that salts the keys of an entry: in the place of a ticket's.
    pub(crate) fn entry(&self, index: u64) -> [u8; 32] {
        Sha256::new_with_prefix(b"ai-link/mpc/pool-entry/v1")
            .chain_update(self.digest())
            .chain_update(index.to_be_bytes())
            .finalize()
            .into()
    }

    /// Refuses sessions that the pool is not for.
    pub(crate) fn check(
        &self,
        spec: &SessionSpec,
        sharing: Option<[u8; 32]>,
    ) -> Result<(), PoolError> {
        let same = self.fits(&spec.program)
            && self.batch == spec.batch as u64
            && self.evaluators.len() == usize::from(spec.evaluators)
            && self.sharing == sharing
            && spec.dealer == DealerSeat::Worker
            // An entry has masks of its own.
            && spec.stored.is_none();
        same.then_some(()).ok_or(PoolError::OtherSession)
    }

    fn fits(&self, program: &Program) -> bool {
        self.program == program.digest()
    }
}
