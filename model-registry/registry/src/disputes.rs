//! Disputes about settled jobs: opening, answering and ending them.

use ai_link_wire::{
    Acceptance, AccountId, Acknowledgement, Digest, EpochProof, JobClaim, JobId, JobTerms, Leaf,
    Planck, Ticket, UnixMillis,
};
use subxt::utils::AccountId32;

use crate::{
    CallError, Finalised, QueryError, Registry, RegistryClient,
    api::chain::{
        self,
        runtime_types::{
            ai_link_pallets::{
                disputes::{record, statements, tree},
                settlement::PayoutItem,
            },
            bounded_collections::bounded_vec::BoundedVec,
        },
    },
    registry::check_count,
};

/// Why a job should have been settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisputeBasis {
    /// The client's money for it was taken in this epoch.
    Taken(u64),
    /// The coordinator promised it, and its time is over.
    Promised,
}

/// An open dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputeInfo {
    /// Of the job: names the dispute.
    pub terms: Digest,
    /// The job.
    pub job: JobId,
    /// Who paid, or promised to.
    pub client: AccountId,
    /// Who should have settled.
    pub coordinator: AccountId,
    /// Who opened it.
    pub disputer: AccountId,
    /// What the job costs.
    pub price: Planck,
    /// The client's total with the job.
    pub cumulative: Planck,
    /// Until when the coordinator may answer.
    pub answer_by: UnixMillis,
}

/// How a coordinator refutes a dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisputeAnswer {
    /// The job is under the root of an epoch.
    Included(EpochProof),
    /// The client accepted another job for the same part of its vouchers.
    OtherJob {
        /// The other job.
        terms: Digest,
        /// Its price.
        price: Planck,
        /// The client's word.
        acceptance: Acceptance,
    },
}

/// How a dispute ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisputeOutcome {
    /// The coordinator did not answer; its bond paid.
    Omitted,
    /// The job was settled with other terms; the bond paid.
    Altered,
    /// The job was paid by its epoch: the disputer lost its deposit.
    Paid,
    /// The client accepted two jobs for one payment; its escrow paid.
    ClientContradicted,
}

impl Registry {
    /// What an epoch took of a client: of all that it ever promised, from where to where. `None` when nothing, and once
    /// the epoch can no longer be disputed.
    pub async fn drawn(
        &self,
        coordinator: AccountId,
        epoch: u64,
        client: AccountId,
    ) -> Result<Option<(Planck, Planck)>, QueryError> {
        self.ask(async |at| {
            let drawn = chain::storage().settlement().drawn();
            let keys = (AccountId32(coordinator.0), epoch);
            let Some(record) = at.storage().try_fetch(drawn, keys).await? else {
                return Ok(None);
            };
            let draws = record.decode()?.draws.0;
            let own = draws.into_iter().find(|draw| draw.client.0 == client.0);
            Ok(own.map(|draw| (Planck(draw.from), Planck(draw.to))))
        })
        .await
    }

    /// The open dispute about a job.
    pub async fn dispute(&self, terms: Digest) -> Result<Option<DisputeInfo>, QueryError> {
        self.ask(async |at| {
            let disputes = chain::storage().disputes().disputes();
            let Some(record) = at.storage().try_fetch(disputes, (terms.0,)).await? else {
                return Ok(None);
            };
            Ok(Some(info(terms, record.decode()?)))
        })
        .await
    }

    /// All open disputes about a coordinator.
    pub async fn disputes_of(
        &self,
        coordinator: AccountId,
    ) -> Result<Vec<DisputeInfo>, QueryError> {
        self.ask(async |at| {
            let open = chain::storage().disputes().open();
            let keys = (AccountId32(coordinator.0),);
            if at.storage().try_fetch(open, keys).await?.is_none() {
                return Ok(Vec::new());
            }
            let disputes = chain::storage().disputes().disputes();
            let mut entries = at.storage().iter(disputes, ()).await?;
            let (mut seen, mut own) = (0, Vec::new());
            while let Some(entry) = entries.next().await {
                check_count(seen)?;
                seen += 1;
                let entry = entry?;
                let (terms,) = entry.key()?.decode()?;
                let info = info(Digest(terms), entry.value().decode()?);
                if info.coordinator == coordinator {
                    own.push(info);
                }
            }
            Ok(own)
        })
        .await
    }

    /// How the dispute about a job ended, if there was one.
    pub async fn decided(&self, terms: Digest) -> Result<Option<DisputeOutcome>, QueryError> {
        self.ask(async |at| {
            let decided = chain::storage().disputes().decided();
            let Some(outcome) = at.storage().try_fetch(decided, (terms.0,)).await? else {
                return Ok(None);
            };
            Ok(match outcome.decode()? {
                record::Outcome::Omitted => Some(DisputeOutcome::Omitted),
                record::Outcome::Altered => Some(DisputeOutcome::Altered),
                record::Outcome::Paid => Some(DisputeOutcome::Paid),
                record::Outcome::ClientContradicted => Some(DisputeOutcome::ClientContradicted),
                // Is not kept.
                record::Outcome::ClientCannotPay => None,
            })
        })
        .await
    }
}

impl RegistryClient {
    /// Says that a job was not settled. A deposit is held until that is decided.
    ///
    /// # Errors
    /// [`CallError`]; the chain refuses a basis that does not hold.
    pub async fn open_dispute(
        &self,
        ticket: &Ticket,
        claim: &JobClaim,
        basis: DisputeBasis,
    ) -> Result<Finalised, CallError> {
        let basis = match (basis, claim.acknowledgement) {
            (DisputeBasis::Promised, Some(promise)) => {
                record::Basis::Promised(acknowledgement(promise))
            }
            // Without a promise, none that is broken: the chain says so.
            (DisputeBasis::Promised, None) => record::Basis::Taken {
                epoch: 0,
                acceptance: acceptance(claim.acceptance),
            },
            (DisputeBasis::Taken(epoch), _) => record::Basis::Taken {
                epoch,
                acceptance: acceptance(claim.acceptance),
            },
        };
        let terms = signed_terms(ticket);
        self.send(&chain::tx().disputes().dispute(terms, basis))
            .await
    }

    /// Refutes a dispute about this coordinator, and gets its deposit if the job was paid.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn answer_dispute(
        &self,
        terms: Digest,
        answer: DisputeAnswer,
    ) -> Result<Finalised, CallError> {
        let answer = match answer {
            DisputeAnswer::Included(proof) => record::Answer::Included {
                epoch: proof.epoch,
                receipt: proof.leaf.receipt.0,
                inclusion: inclusion(&proof),
            },
            DisputeAnswer::OtherJob {
                terms,
                price,
                acceptance: word,
            } => record::Answer::OtherJob {
                terms: terms.0,
                price: price.0,
                acceptance: acceptance(word),
            },
        };
        self.send(&chain::tx().disputes().answer(terms.0, answer))
            .await
    }

    /// Ends a dispute that was not answered in time: the bond pays.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn conclude_dispute(&self, terms: Digest) -> Result<Finalised, CallError> {
        self.send(&chain::tx().disputes().conclude(terms.0)).await
    }

    /// Shows that a job which the coordinator acknowledged is under an epoch's root with other terms.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn prove_altered(
        &self,
        ticket: &Ticket,
        promise: Acknowledgement,
        altered: &EpochProof,
    ) -> Result<Finalised, CallError> {
        let leaf = record::AlteredLeaf {
            epoch: altered.epoch,
            leaf: leaf(altered.leaf),
            inclusion: inclusion(altered),
        };
        let (terms, promise) = (signed_terms(ticket), acknowledgement(promise));
        let call = chain::tx().disputes().prove_altered(terms, promise, leaf);
        self.send(&call).await
    }

    /// Shows that `account` got less from an epoch than its jobs give it. `payouts` are those of the settlement, in their
    /// order.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn prove_underpaid(
        &self,
        coordinator: AccountId,
        epoch: u64,
        account: AccountId,
        payouts: &[(AccountId, Planck)],
        jobs: &[(JobTerms, EpochProof)],
    ) -> Result<Finalised, CallError> {
        let payouts = payouts.iter().map(item).collect();
        let jobs = jobs.iter().map(|(terms, proof)| record::SettledJob {
            terms: job_terms(terms),
            receipt: proof.leaf.receipt.0,
            inclusion: inclusion(proof),
        });
        let call = chain::tx().disputes().prove_underpaid(
            AccountId32(coordinator.0),
            epoch,
            AccountId32(account.0),
            BoundedVec(payouts),
            BoundedVec(jobs.collect()),
        );
        self.send(&call).await
    }

    /// Shows that a coordinator signed two sets of terms for one attempt at one job.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn prove_equivocation(
        &self,
        first: &Ticket,
        second: &Ticket,
    ) -> Result<Finalised, CallError> {
        let proof = record::Equivocation::Terms {
            first: signed_terms(first),
            second: signed_terms(second),
        };
        self.send(&chain::tx().disputes().prove_equivocation(proof))
            .await
    }
}

fn info(terms: Digest, record: record::DisputeRecord) -> DisputeInfo {
    let job = record.terms;
    // The chain took it, so it fits.
    let price = job.payouts.0.iter().map(|payout| payout.amount).sum();
    DisputeInfo {
        terms,
        job: JobId(job.job),
        client: AccountId(job.client.0),
        coordinator: AccountId(job.coordinator.0),
        disputer: AccountId(record.disputer.0),
        price: Planck(price),
        cumulative: Planck(record.cumulative),
        answer_by: UnixMillis(record.answer_by),
    }
}

fn signed_terms(ticket: &Ticket) -> statements::SignedTerms {
    statements::SignedTerms {
        terms: job_terms(&ticket.terms()),
        signature: ticket.terms_signature.0,
    }
}

fn job_terms(terms: &JobTerms) -> statements::JobTerms {
    statements::JobTerms {
        coordinator: AccountId32(terms.coordinator.0),
        client: AccountId32(terms.client.0),
        job: terms.job.0,
        attempt: terms.attempt,
        payouts: BoundedVec(terms.payouts.iter().map(item).collect()),
    }
}

fn item((account, amount): &(AccountId, Planck)) -> PayoutItem {
    PayoutItem {
        account: AccountId32(account.0),
        amount: amount.0,
    }
}

fn acceptance(word: Acceptance) -> statements::Acceptance {
    statements::Acceptance {
        cumulative: word.cumulative.0,
        signature: word.signature.0,
    }
}

fn acknowledgement(word: Acknowledgement) -> statements::Acknowledgement {
    statements::Acknowledgement {
        cumulative: word.cumulative.0,
        settle_by: word.settle_by.0,
        signature: word.signature.0,
    }
}

fn leaf(leaf: Leaf) -> tree::Leaf {
    tree::Leaf {
        job: leaf.job.0,
        terms: leaf.terms.0,
        receipt: leaf.receipt.0,
    }
}

fn inclusion(proof: &EpochProof) -> tree::Inclusion {
    tree::Inclusion {
        index: proof.index,
        path: BoundedVec(proof.path.iter().map(|hash| hash.0).collect()),
    }
}
