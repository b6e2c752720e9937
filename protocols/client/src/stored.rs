//! Inputs that stay in storage: the application asks for a job on data that it never sees.
//!
//! A data owner shared the input in two, stored both shares sealed, and gave the application a [`Permit`]: the
//! signed record of the input, and a grant for each worker that may pull a share. None of the grants is for the
//! application. Here a permit is checked before anyone is asked (is every grant the owner's, for this model and this
//! account, and not over?), the coordinator is told which worker may take which seat and which location policies there
//! are, and every worker of the group is given its grant with the ticket.
//!
//! [`permit`](mod@permit) makes permits, at the owner.

pub mod permit;

use std::collections::BTreeSet;
use std::time::SystemTime;

use ai_link_program::fixed::Program;
use ai_link_storage::Account;
use ai_link_storage::grants::{Grant, GrantError, Purpose, Recipient};
use ai_link_storage::location::{LocationPolicy, PolicyError};
use ai_link_wire::{
    AccountId, Commitment, DealerSeat, GrantBytes, GroupMember, InputPart, Level, LocationText,
    MAX_STORED_INPUTS, PeerKey, Permit, Seats, Share, SharedInput, SignedError, StoredInput,
    UnixMillis, WorkerGrant,
};

use crate::group::Group;

/// An input of a job that workers bring from storage.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// Which of the model's inputs.
    pub port: usize,
    /// What its owner gave.
    pub permit: Permit,
}

/// The stored inputs of a job, checked: what a request and the workers are told of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) inputs: Vec<StoredInput>,
    pub(crate) seats: Seats,
    pub(crate) policies: Vec<LocationText>,
    parts: Vec<(u8, Permit)>,
}

/// Where and for whom a job is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) level: Level,
    pub(crate) group: Group,
    pub(crate) batch: u32,
    pub(crate) model: Commitment,
    pub(crate) asker: AccountId,
    /// At level `mpc`.
    pub(crate) program: Option<&'a Program>,
}

impl Stored {
    /// Checks permits against the job.
    ///
    /// # Errors
    /// [`StoredProblem`].
    pub(crate) fn check(
        tensors: &[StoredTensor],
        asked: Asked<'_>,
        now: SystemTime,
    ) -> Result<Self, StoredProblem> {
        if tensors.is_empty() {
            return Ok(Self::default());
        }
        let program = match (asked.level, asked.program) {
            (Level::Mpc, Some(program)) => program,
            (level, _) => return Err(StoredProblem::Level { level }),
        };
        if asked.group.dealer != DealerSeat::Worker {
            return Err(StoredProblem::ClientDeals);
        }
        if tensors.len() > MAX_STORED_INPUTS {
            let (found, most) = (tensors.len(), MAX_STORED_INPUTS);
            return Err(StoredProblem::TooMany { found, most });
        }
        let mut tensors: Vec<&StoredTensor> = tensors.iter().collect();
        tensors.sort_by_key(|tensor| tensor.port);
        let mut stored = Self::default();
        let mut seated: Option<[BTreeSet<PeerKey>; 2]> = None;
        for tensor in tensors {
            let name = port_name(program, tensor.port)?;
            let record = tensor.permit.record.verify(UnixMillis::now());
            let record = record.map_err(|source| StoredProblem::Record {
                input: name.clone(),
                source,
            })?;
            check_shape(record, program, tensor.port, asked.batch, &name)?;
            if let Some(policy) = &record.policy {
                LocationPolicy::from_json(policy.as_str()).map_err(|source| {
                    StoredProblem::Policy {
                        input: name.clone(),
                        source,
                    }
                })?;
                stored.policies.push(policy.clone());
            }
            let granted = granted(&tensor.permit, record, asked, now, &name)?;
            seated = Some(match seated {
                None => granted,
                Some([seeds, masked]) => [&seeds & &granted[0], &masked & &granted[1]],
            });
            let port = u8::try_from(tensor.port).unwrap_or(u8::MAX);
            stored.inputs.push(StoredInput {
                port,
                input: tensor.permit.record.digest(),
            });
            stored.parts.push((port, tensor.permit.clone()));
        }
        let [dealers, evaluators] = seated.unwrap_or_default();
        let wanted = usize::from(asked.group.evaluators);
        for (share, have, need) in [
            (Share::Seed, dealers.len(), 1),
            (Share::Masked, evaluators.len(), wanted),
        ] {
            if have < need {
                return Err(StoredProblem::NotEnough { share, have, need });
            }
        }
        let most = Permit::MAX_GRANTS / 2;
        stored.seats = Seats {
            dealers: dealers.into_iter().take(most).collect(),
            evaluators: evaluators.into_iter().take(most).collect(),
        };
        Ok(stored)
    }

    /// What a member of the group is brought.
    pub(crate) fn parts_for(&self, member: &GroupMember) -> Vec<InputPart> {
        let share = Share::of_role(member.role);
        let parts = self.parts.iter().filter_map(|(port, permit)| {
            Some(InputPart {
                port: *port,
                record: permit.record.clone(),
                grant: permit.grant(&member.peer, share)?.clone(),
            })
        });
        parts.collect()
    }
}

fn port_name(program: &Program, port: usize) -> Result<String, StoredProblem> {
    let inputs = program.inputs();
    let input = inputs.get(port).ok_or(StoredProblem::NoSuchPort {
        port,
        inputs: inputs.len(),
    })?;
    Ok(input.name.clone())
}

fn check_shape(
    record: &SharedInput,
    program: &Program,
    port: usize,
    batch: u32,
    name: &str,
) -> Result<(), StoredProblem> {
    let info = program.value(program.inputs()[port].value);
    let dims: Vec<u64> = std::iter::once(u64::from(batch))
        .chain(info.dims.iter().map(|d| *d as u64))
        .collect();
    let product = |dims: &[u64]| dims.iter().try_fold(1_u64, |n, d| n.checked_mul(*d));
    if record.shape.first() != dims.first() || product(&record.shape) != product(&dims) {
        return Err(StoredProblem::Shape {
            input: name.to_owned(),
            found: record.shape.clone(),
            wanted: dims,
        });
    }
    if record.fraction_bits > info.fraction {
        return Err(StoredProblem::Fraction {
            input: name.to_owned(),
            found: record.fraction_bits,
            most: info.fraction,
        });
    }
    Ok(())
}

/// The workers with grants for the seed, and those with grants for the masked words.
fn granted(
    permit: &Permit,
    record: &SharedInput,
    asked: Asked<'_>,
    now: SystemTime,
    name: &str,
) -> Result<[BTreeSet<PeerKey>; 2], StoredProblem> {
    let owner = Account(permit.record.signer().account().0);
    let mut granted = [BTreeSet::new(), BTreeSet::new()];
    let mut reason = None;
    for entry in &permit.grants {
        match check_grant(entry, record, owner, asked, now) {
            Ok(()) => drop(granted[usize::from(entry.share == Share::Masked)].insert(entry.peer)),
            Err(error) => reason = Some(error),
        }
    }
    if let Some(peer) = granted[0].intersection(&granted[1]).next() {
        return Err(StoredProblem::BothShares {
            input: name.to_owned(),
            peer: *peer,
        });
    }
    for (at, share) in [Share::Seed, Share::Masked].into_iter().enumerate() {
        if granted[at].is_empty() {
            let input = name.to_owned();
            return Err(match reason {
                Some(source) => StoredProblem::Grant {
                    input,
                    share,
                    source,
                },
                None => StoredProblem::NoGrant { input, share },
            });
        }
    }
    Ok(granted)
}

fn check_grant(
    entry: &WorkerGrant,
    record: &SharedInput,
    owner: Account,
    asked: Asked<'_>,
    now: SystemTime,
) -> Result<(), GrantError> {
    let grant = Grant::from_bytes(entry.grant.as_bytes())?;
    let purpose = Purpose::ModelBy {
        model: asked.model.0,
        asker: Account(asked.asker.0),
    };
    if grant.owner() != owner {
        return Err(GrantError::Signature);
    }
    let recipient = Recipient::of_ed25519(&entry.peer.0)?;
    if grant.object().0 != record.object(entry.share).0 || grant.recipient() != recipient {
        return Err(GrantError::OtherRecipient);
    }
    // A grant for one job is the worker's to judge: the job has no number yet.
    let asked = match grant.purpose() {
        Purpose::Job(job) => Purpose::Job(job),
        _ => purpose,
    };
    grant.check(asked, now, &[])
}

/// The encoding of a grant as permits carry it.
pub(crate) fn grant_bytes(grant: &Grant) -> Option<GrantBytes> {
    GrantBytes::new(grant.to_bytes())
}

/// Why a job cannot have an input from storage. Nothing has been asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoredProblem {
    /// One worker has grants for both shares: it could put them together.
    #[error(
        "worker {peer} is granted both shares of input {input}, with which it would have the input: ask its owner \
         for another permit"
    )]
    BothShares {
        /// The input.
        input: String,
        /// The worker.
        peer: PeerKey,
    },
    /// The application would deal, and have the input's mask.
    #[error(
        "where an input comes from storage a worker deals: the application that did would hold half of what opens it"
    )]
    ClientDeals,
    /// More bits behind the point than the model takes.
    #[error(
        "input {input} has {found} bits behind the point, the model takes at most {most}: its owner must store it for this model"
    )]
    Fraction {
        /// The input.
        input: String,
        /// Its bits.
        found: u8,
        /// The model's.
        most: u8,
    },
    /// No grant for a share holds.
    #[error("no grant for {share} of input {input} holds for this job")]
    Grant {
        /// The input.
        input: String,
        /// Which share.
        share: Share,
        /// Why one of them does not.
        #[source]
        source: GrantError,
    },
    /// Only masked evaluation works on shares.
    #[error("at level {level} an input cannot come from storage unopened: only at level mpc")]
    Level {
        /// The level.
        level: Level,
    },
    /// There is no grant for a share.
    #[error("the permit for input {input} has no grant for {share}: ask its owner for one")]
    NoGrant {
        /// The input.
        input: String,
        /// Which share.
        share: Share,
    },
    /// The inputs' grants have too few workers in common.
    #[error("{have} workers are granted {share} of every stored input, but {need} are needed")]
    NotEnough {
        /// Which share.
        share: Share,
        /// Workers.
        have: usize,
        /// Needed.
        need: usize,
    },
    /// The model has fewer inputs.
    #[error("the model has {inputs} inputs, and none with number {port}")]
    NoSuchPort {
        /// As asked.
        port: usize,
        /// The model's.
        inputs: usize,
    },
    /// The owner's policy cannot be read, so nothing is permitted.
    #[error("the location policy of input {input} cannot be followed")]
    Policy {
        /// The input.
        input: String,
        /// What is wrong with it.
        #[source]
        source: PolicyError,
    },
    /// The record is not signed, or is over.
    #[error("the record of input {input} does not hold")]
    Record {
        /// The input.
        input: String,
        /// What is wrong with it.
        #[source]
        source: SignedError,
    },
    /// Another shape than the model takes.
    #[error("input {input} has shape {found:?}, and {wanted:?} is needed")]
    Shape {
        /// The input.
        input: String,
        /// Its shape.
        found: Vec<u64>,
        /// The model's, with the job's records.
        wanted: Vec<u64>,
    },
    /// More than a job can have.
    #[error("{found} inputs come from storage, at most {most} can")]
    TooMany {
        /// As asked.
        found: usize,
        /// Most.
        most: usize,
    },
}
