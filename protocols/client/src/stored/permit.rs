//! Permits, at the owner: who may ask for jobs of which model on an input, and which workers bring its shares.
//!
//! The owner says by *operators* who may deal and who may evaluate; every worker that the chain has of them gets a grant
//! of its own, sealed to the key that the chain knows it by. An operator that was ever granted one share of an input
//! is never granted the other, whichever of its workers is meant.

use std::collections::BTreeSet;
use std::time::SystemTime;

use ai_link_storage::grants::{BookError, Grant, GrantBook, GrantError, Purpose, Recipient};
use ai_link_storage::{Fid, RequestSigner};
use ai_link_wire::{AccountId, PeerKey, Permit, Share, SharedInput, Signed, WorkerGrant};

use super::grant_bytes;

/// What a permit is to say.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// Operators whose workers may deal: they get the seed.
    pub dealers: &'a [AccountId],
    /// Operators whose workers may evaluate: they get the masked words.
    pub evaluators: &'a [AccountId],
    /// What for.
    pub purpose: Purpose,
    /// Until when.
    pub until: SystemTime,
}

/// Makes a permit. `workers` are all that the chain has, each with its operator.
///
/// # Errors
/// [`PermitError`].
pub fn issue(
    book: &mut GrantBook,
    record: &Signed<SharedInput>,
    terms: &Terms<'_>,
    workers: &[(PeerKey, AccountId)],
    owner: &dyn RequestSigner,
) -> Result<Permit, PermitError> {
    let input = record
        .verify_at_any_time()
        .map_err(|_| PermitError::Record)?;
    if let Some(operator) = terms.dealers.iter().find(|o| terms.evaluators.contains(o)) {
        let operator = *operator;
        return Err(PermitError::BothShares { operator });
    }
    // All of them are looked at before the first is granted: what is in the book cannot be taken back.
    let mut granted = Vec::new();
    for (share, operators) in [
        (Share::Seed, terms.dealers),
        (Share::Masked, terms.evaluators),
    ] {
        let other = recipients(book, Fid(input.object(share.other()).0));
        for operator in operators {
            let before = granted.len();
            for (peer, _) in workers.iter().filter(|(_, of)| of == operator) {
                let recipient = Recipient::of_ed25519(&peer.0)?;
                if other.contains(&recipient) {
                    let operator = *operator;
                    return Err(PermitError::BothShares { operator });
                }
                granted.push((*peer, recipient, share));
            }
            if granted.len() == before {
                let operator = *operator;
                return Err(PermitError::NoWorker { operator });
            }
        }
    }
    if granted.len() > Permit::MAX_GRANTS {
        let (found, most) = (granted.len(), Permit::MAX_GRANTS);
        return Err(PermitError::TooMany { found, most });
    }
    let mut grants = Vec::with_capacity(granted.len());
    for (peer, recipient, share) in granted {
        let object = Fid(input.object(share).0);
        let grant = book.grant(object, recipient, terms.purpose, terms.until, owner)?;
        let grant = grant_bytes(&grant).ok_or(GrantError::Malformed)?;
        grants.push(WorkerGrant { peer, share, grant });
    }
    let record = record.clone();
    Ok(Permit { record, grants })
}

/// Whom an object was ever granted to.
fn recipients(book: &GrantBook, object: Fid) -> BTreeSet<Recipient> {
    book.grants(object).iter().map(Grant::recipient).collect()
}

/// Why there is no permit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PermitError {
    /// The book of grants.
    #[error("a grant cannot be given")]
    Book(#[from] BookError),
    /// An operator would have both shares.
    #[error(
        "operator {operator} is, or was, granted the other share of this input: with both its workers would have \
         the input"
    )]
    BothShares {
        /// The operator.
        operator: AccountId,
    },
    /// A worker's key.
    #[error("a grant cannot be sealed to a worker's key")]
    Grant(#[from] GrantError),
    /// The chain has no worker of an operator.
    #[error("operator {operator} has no worker on the chain")]
    NoWorker {
        /// The operator.
        operator: AccountId,
    },
    /// The record is not one.
    #[error("the record of the input is not signed by anyone")]
    Record,
    /// More workers than a permit holds.
    #[error("{found} workers would be granted, a permit holds {most}: name fewer operators")]
    TooMany {
        /// Workers.
        found: usize,
        /// Most.
        most: usize,
    },
}
