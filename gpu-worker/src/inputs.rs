//! Shares of stored inputs: pulled from storage, opened with a grant, and held against the ticket.
//!
//! The client's hello brings, for every stored input of its ticket, the record that the input's owner signed and a
//! grant for this worker (ARCHITECTURE.md, "A job, end to end", step 4). Before anything is pulled it is checked that
//!
//! * the record is the one that the ticket names, so that all workers of the group speak of one input;
//! * its owner signed the grant too, and the grant is of the record's object for this worker's seat: the seed for the
//!   dealer, the masked words for an evaluator;
//! * the grant is for this model (and this asker) or this job, and has not ended;
//! * the owner's location policy permits this worker to be where it is;
//! * this worker has never had the *other* share ([`book`]): whoever has both has the input.
//!
//! A sealed share that was pulled stays in the [cache](crate::objects); opened, it lives for the session.

pub mod book;

use std::time::SystemTime;

use ai_link_mpc::StoredShare;
use ai_link_program::fixed::Program;
use ai_link_storage::grants::{Grant, GrantError, Purpose, RecipientKey};
use ai_link_storage::location::LocationPolicy;
use ai_link_storage::seal::{open_object, sealed_size};
use ai_link_storage::shares::{ShareSeed, SharedTensor};
use ai_link_storage::{Account, Fid};
use ai_link_wire::{InputPart, InputRefusal, JobId, Role, Share, SharedInput, Ticket, UnixMillis};
use zeroize::Zeroizing;

use crate::objects::Copies;
use crate::worker::Worker;
use book::BookError;

/// A seed.
const SEED: usize = 32;
/// What stands before the words of a share: more than its header with all axes.
const HEAD: u64 = 128;

/// This worker's shares of all stored inputs of a ticket, in `role`.
///
/// # Errors
/// [`InputRefusal`]: the first thing that is in the way.
pub(crate) async fn bring(
    worker: &Worker,
    ticket: &Ticket,
    role: Role,
    parts: &[InputPart],
    program: &Program,
) -> Result<Vec<StoredShare>, InputRefusal> {
    let mut shares = Vec::with_capacity(ticket.inputs.len());
    for input in &ticket.inputs {
        let port = input.port;
        let part = parts.iter().find(|part| part.port == port);
        let part = part.ok_or(InputRefusal::NoGrant { port })?;
        if part.record.digest() != input.input {
            return Err(InputRefusal::record(port, "the ticket names another one"));
        }
        let record = part.record.verify(UnixMillis::now());
        let record = record.map_err(|error| InputRefusal::record(port, error))?;
        permitted(worker, port, record)?;
        let share = Share::of_role(role);
        let fit = Fit::of(record, program, ticket, port)?;
        let grant = checked_grant(part, record, share)?;
        // Opened before the share is marked as had: a grant that is not this worker's bars it from nothing.
        let asked = asked(&grant, ticket);
        let secret = RecipientKey::from_bytes(*worker.identity.agreement_secret());
        let key = grant.open(&secret, asked, SystemTime::now(), &[]);
        let key = key.map_err(|error| InputRefusal::grant(port, error))?;
        match worker.shares_had.take(record, share) {
            Ok(()) => {}
            Err(BookError::OtherShare) => return Err(InputRefusal::OtherShare { port }),
            Err(error) => return Err(InputRefusal::unavailable(port, crate::chain(&error))),
        }
        let most = sealed_size(HEAD + 8 * fit.words as u64);
        let fid = Fid(record.object(share).0);
        let copies = match record.policy {
            None => Copies::ToWorkers,
            Some(_) => Copies::ToNobody,
        };
        let sealed = worker.objects.get(input.input, fid, most, copies).await;
        let sealed =
            sealed.map_err(|error| InputRefusal::unavailable(port, crate::chain(&error)))?;
        let opened = open_object(&key, &sealed);
        let opened = opened.map_err(|error| InputRefusal::grant(port, error))?;
        shares.push(StoredShare {
            port: port.into(),
            words: fit.words_of(port, share, record, &opened)?,
        });
    }
    Ok(shares)
}

/// Whether the owner permits this worker to have a share, where it is.
fn permitted(worker: &Worker, port: u8, record: &SharedInput) -> Result<(), InputRefusal> {
    let Some(policy) = &record.policy else {
        return Ok(());
    };
    let refused = |why: String| InputRefusal::location(port, why);
    let policy =
        LocationPolicy::from_json(policy.as_str()).map_err(|error| refused(error.to_string()))?;
    let site = worker.config.site.as_ref();
    let site = site.ok_or_else(|| refused("it names no site".to_owned()))?;
    policy.permits(site).map_err(|why| refused(why.to_string()))
}

/// The grant of a part, if it is of this share of this record and by the record's owner.
fn checked_grant(
    part: &InputPart,
    record: &SharedInput,
    share: Share,
) -> Result<Grant, InputRefusal> {
    let port = part.port;
    let refused = |error: GrantError| InputRefusal::grant(port, error);
    let grant = Grant::from_bytes(part.grant.as_bytes()).map_err(refused)?;
    if grant.object().0 != record.object(share).0 {
        let why = format!("it is not for {share} of this input");
        return Err(InputRefusal::grant(port, why));
    }
    if grant.owner() != Account(part.record.signer().account().0) {
        let why = "whoever signed the grant did not sign the record";
        return Err(InputRefusal::record(port, why));
    }
    Ok(grant)
}

/// What the grant must be for.
fn asked(grant: &Grant, ticket: &Ticket) -> Purpose {
    match grant.purpose() {
        Purpose::Job(_) => Purpose::Job(job_purpose(ticket.job)),
        _ => Purpose::ModelBy {
            model: ticket.commitment.0,
            asker: Account(ticket.client.0),
        },
    }
}

/// A job as grants name it: its number, and zeros.
fn job_purpose(job: JobId) -> [u8; 32] {
    let mut purpose = [0; 32];
    purpose[..16].copy_from_slice(&job.0);
    purpose
}

/// How a stored input fits its port.
struct Fit {
    /// Words of the port for the whole batch.
    words: usize,
    /// Bits by which the port's point is further left than the input's.
    shift: u32,
}

impl Fit {
    fn of(
        record: &SharedInput,
        program: &Program,
        ticket: &Ticket,
        port: u8,
    ) -> Result<Self, InputRefusal> {
        let Some(input) = program.inputs().get(usize::from(port)) else {
            let inputs = program.inputs().len();
            let why = format!("the model has {inputs} inputs");
            return Err(InputRefusal::shape(port, why));
        };
        let info = program.value(input.value);
        let (batch, record_shape) = match record.shape.split_first() {
            Some((batch, rest)) => (*batch, rest),
            None => return Err(InputRefusal::shape(port, "it has no axes")),
        };
        let elements = record_shape
            .iter()
            .try_fold(1_u64, |product, length| product.checked_mul(*length));
        if batch != u64::from(ticket.batch) || elements != Some(info.elements() as u64) {
            let why = format!(
                "its shape is {:?}, and {} records of {} values are wanted",
                record.shape,
                ticket.batch,
                info.elements()
            );
            return Err(InputRefusal::shape(port, why));
        }
        let shift = u32::from(info.fraction).checked_sub(u32::from(record.fraction_bits));
        let shift = shift.ok_or_else(|| {
            let why = format!(
                "it has {} bits behind the point, the model takes at most {}",
                record.fraction_bits, info.fraction
            );
            InputRefusal::shape(port, why)
        })?;
        // The batch is within what the program allows: checked before.
        Ok(Self {
            words: info.elements() * ticket.batch as usize,
            shift,
        })
    }

    /// The words of a share, at the port's fraction: `m` of the masked words, `lambda = -expand(seed)` of a seed.
    fn words_of(
        &self,
        port: u8,
        share: Share,
        record: &SharedInput,
        opened: &[u8],
    ) -> Result<Zeroizing<Vec<u64>>, InputRefusal> {
        let other = |why: &str| InputRefusal::shape(port, why);
        let mut words = match share {
            Share::Seed => {
                let seed: [u8; SEED] = opened.try_into().map_err(|_| other("not a seed"))?;
                let mut mask = ShareSeed::from_bytes(seed).expand(self.words);
                mask.iter_mut().for_each(|word| *word = word.wrapping_neg());
                mask
            }
            Share::Masked => {
                let tensor = SharedTensor::from_bytes(opened);
                let tensor = tensor.map_err(|error| InputRefusal::shape(port, error))?;
                let said = (&record.shape, record.fraction_bits);
                if (&tensor.dims, tensor.fraction_bits) != said {
                    return Err(other("its record says another shape or fraction"));
                }
                Zeroizing::new(tensor.words.0)
            }
        };
        if words.len() != self.words {
            return Err(other("another number of words than its shape says"));
        }
        words.iter_mut().for_each(|word| *word <<= self.shift);
        Ok(words)
    }
}
