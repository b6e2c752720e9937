//! Which coordinators are bonded on chain, remembered for a little while.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ai_link_registry::{QueryError, Registry};
use ai_link_wire::AccountId;

/// A coordinator that loses its bond is believed this much longer. Refusals are not remembered.
const BELIEVED_FOR: Duration = Duration::from_secs(60);
/// Coordinators remembered at once.
const MAX_KNOWN: usize = 1024;

/// A small memory in front of the chain.
#[derive(Debug, Default)]
pub(crate) struct Coordinators {
    known: Mutex<HashMap<AccountId, Instant>>,
}

impl Coordinators {
    pub(crate) async fn is_bonded(
        &self,
        registry: &Registry,
        account: AccountId,
    ) -> Result<bool, QueryError> {
        let fresh = |seen: &Instant| seen.elapsed() < BELIEVED_FOR;
        if self
            .known
            .lock()
            .is_ok_and(|known| known.get(&account).is_some_and(fresh))
        {
            return Ok(true);
        }
        let bonded = registry.coordinator(account).await?.is_some();
        if let (true, Ok(mut known)) = (bonded, self.known.lock()) {
            if known.len() >= MAX_KNOWN {
                known.retain(|_, seen| fresh(seen));
            }
            if known.len() < MAX_KNOWN {
                known.insert(account, Instant::now());
            }
        }
        Ok(bonded)
    }
}
