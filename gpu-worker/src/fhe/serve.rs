//! A session at level `fhe`, from the client's hello to the signed receipt.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use ai_link_fhe::{FheError, KeyId, ParameterSet};
use ai_link_wire::node::{BulkReader, BulkStream, BulkWriter, FrameKind, StreamError};
use ai_link_wire::{
    Abort, Bytes, CodecError, Digest, FheJob, FheRefusal, FheReply, KeyPiece, Level, Limit, PeerId,
    Progress, Role, SessionHello, SessionRefusal, Signed, Ticket, UnixMillis, WorkerReceipt, codec,
};
use tokio::time::{Instant, MissedTickBehavior};

use super::uploads::{Receiving, Uploads};
use super::{Evaluation, Held, Job, KeyShelf, Steps};
use crate::receipt::{self, ReceiptError};
use crate::session::admit as tickets;
use crate::session::alone::{self, Place};
use crate::tally::Failure;
use crate::used::UsedError;
use crate::worker::Worker;

/// A client may take this long for its next message.
const NEXT_WITHIN: Duration = Duration::from_secs(60);
/// How often the client is told how far its job is, if it is further.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// It is told that the worker is alive at least this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How long a last word may take to leave.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(2);

/// An [`FheJob`]: 128 hashes and a few more.
const JOB: Limit = Limit::bytes(8 << 10);
const REPLY: Limit = Limit::bytes(1024);
const PROGRESS: Limit = Limit::bytes(32);
const ABORT: Limit = Limit::bytes(512);

/// Takes the client's stream after its hello.
pub(crate) async fn incoming(
    worker: Arc<Worker>,
    peer: PeerId,
    mut stream: BulkStream,
    hello: SessionHello,
) {
    let attempt = worker.tally.begin(Level::Fhe);
    let admitted = admit(&worker, peer, &hello).await;
    if let Err(refusal) = &admitted {
        attempt.ended(Err(refusal.into()));
        alone::begin(&mut stream, peer, admitted).await;
        return;
    }
    let Some(admitted) = alone::begin(&mut stream, peer, admitted).await else {
        return;
    };
    let job = admitted.ticket.job;
    let session = Session {
        worker: &worker,
        signed: &hello.ticket,
        admitted,
        started: UnixMillis::now(),
        received: 0,
    };
    let outcome = session.run(stream).await;
    let failure = outcome.as_ref().err().map(ServeError::failure);
    attempt.ended(failure.map_or(Ok(()), Err));
    match outcome {
        Ok(()) => tracing::info!(%job, level = %Level::Fhe, "session done"),
        Err(error) => tracing::warn!(
            %job, level = %Level::Fhe, error = &error as &dyn std::error::Error, "session failed"
        ),
    }
}

/// A session that may run: everything about its ticket is checked.
#[derive(Debug)]
struct Admitted {
    ticket: Ticket,
    evaluation: Arc<Evaluation>,
    /// Held, not read.
    _place: Place,
}

async fn admit(
    worker: &Arc<Worker>,
    peer: PeerId,
    hello: &SessionHello,
) -> Result<Admitted, SessionRefusal> {
    let (ticket, place) = alone::admit(worker, peer, hello, Level::Fhe).await?;
    let loaded = worker
        .cache
        .load_fhe(ticket.commitment, ticket.manifest)
        .await;
    let evaluation = loaded.map_err(tickets::not_loaded)?;
    if ticket.batch as usize > evaluation.evaluator().program().max_batch() {
        return Err(SessionRefusal::ticket_invalid(
            "the batch is larger than a job may be",
        ));
    }
    Ok(Admitted {
        ticket: ticket.clone(),
        evaluation,
        _place: place,
    })
}

struct Session<'a> {
    worker: &'a Arc<Worker>,
    signed: &'a Signed<Ticket>,
    admitted: Admitted,
    started: UnixMillis,
    /// Payload bytes that came from the client.
    received: u64,
}

/// What is left to do when the records are here.
struct Prepared {
    job: Job,
    salt: Digest,
}

impl Session<'_> {
    async fn run(mut self, mut stream: BulkStream) -> Result<(), ServeError> {
        let deadline = alone::deadline(&self.admitted.ticket);
        stream.set_deadline(deadline);
        let prepared = match self.prepare(&mut stream).await {
            Ok(prepared) => prepared,
            Err(error) => {
                if let ServeError::Refused(refusal) = &error {
                    let reply = FheReply::Refused(refusal.clone());
                    let _ = send_reply(&mut stream, &reply).await;
                    let _ = stream.close().await;
                }
                return Err(error);
            }
        };
        let (reader, mut writer) = stream.split();
        let outcome = self.finish(prepared, reader, &mut writer, deadline).await;
        if let Err(error) = &outcome {
            tell(&mut writer, error).await;
        }
        let _ = writer.close().await;
        outcome
    }

    /// Gets the key and the records.
    async fn prepare(&mut self, stream: &mut BulkStream) -> Result<Prepared, ServeError> {
        let frame = within(stream.recv_bounded(FrameKind::FheJob, JOB.get())).await?;
        let job: FheJob = codec::decode(&frame, JOB).map_err(ServeError::Codec)?;
        let evaluation = Arc::clone(&self.admitted.evaluation);
        let program = evaluation.evaluator().program();
        let set = match ParameterSet::from_code(job.set) {
            Ok(set) if set == program.set() => set,
            _ => {
                let (need, have) = (program.set().code(), job.set);
                return Err(FheRefusal::WrongParameters { need, have }.into());
            }
        };
        let id = KeyId::from_bytes(job.key.0);
        let key = match self.worker.keys.get(id).await? {
            Some(held) => held,
            None => self.receive(stream, set, &job).await?,
        };
        if key.key().set() != set {
            let (need, have) = (set.code(), key.key().set().code());
            return Err(FheRefusal::WrongParameters { need, have }.into());
        }
        send_reply(stream, &FheReply::Ready).await?;
        let records = self.admitted.ticket.batch as usize;
        let mut requests = Vec::new();
        for _ in 0..records {
            let size = program.request_bytes();
            let request = within(stream.recv_exact(FrameKind::Data, size)).await?;
            self.received += request.len() as u64;
            requests.push(request);
        }
        let steps = Arc::new(Steps::new(&evaluation, records));
        let job_to_do = Job {
            evaluation,
            key,
            requests,
            steps,
        };
        Ok(Prepared {
            job: job_to_do,
            salt: job.salt,
        })
    }

    /// Takes the pieces of the key that are not here.
    async fn receive(
        &mut self,
        stream: &mut BulkStream,
        set: ParameterSet,
        job: &FheJob,
    ) -> Result<Held, ServeError> {
        let shelf = &self.worker.keys;
        let client = self.admitted.ticket.client;
        let begun = lock(shelf).begin(client, set, job, UnixMillis::now());
        let id = KeyId::from_bytes(job.key.0);
        let mut turn = Turn {
            shelf,
            client,
            id,
            receiving: Some(begun?),
        };
        let pieces = turn.missing();
        let count = pieces.len();
        send_reply(stream, &FheReply::Send { pieces }).await?;
        for _ in 0..count {
            let frame =
                within(stream.recv_bounded(FrameKind::KeyPiece, KeyPiece::MAX_FRAME)).await?;
            self.received += frame.len() as u64;
            let piece = KeyPiece::parse(&frame).map_err(FheRefusal::key)?;
            turn.accept(piece)?;
        }
        let bytes = turn.finish()?;
        Ok(shelf.put(bytes).await?)
    }

    /// Marks the ticket, computes, answers, and signs for it.
    async fn finish(
        &self,
        prepared: Prepared,
        reader: BulkReader,
        writer: &mut BulkWriter,
        deadline: Instant,
    ) -> Result<(), ServeError> {
        // From here on this ticket is spent, whatever happens.
        self.worker
            .used
            .mark(
                &self.signed.digest(),
                self.signed.expires_at(),
                UnixMillis::now(),
            )
            .map_err(ServeError::Used)?;
        let Prepared { job, salt } = prepared;
        let input = FheJob::commitment(&salt, job.requests.iter().map(Vec::as_slice));
        let answers = compute(job, reader, writer, deadline).await?;
        let output = FheJob::commitment(&salt, answers.iter().map(Vec::as_slice));
        let mut sent = 0;
        for answer in &answers {
            writer.send(FrameKind::Data, answer).await?;
            sent += answer.len() as u64;
        }
        let now = UnixMillis::now();
        let receipt = WorkerReceipt {
            ticket: self.signed.digest(),
            role: Role::EVALUATOR_0,
            commitment: self.admitted.ticket.commitment,
            input,
            output,
            bytes_sent: Bytes(sent),
            bytes_received: Bytes(self.received),
            rounds: 0,
            started: self.started,
            finished: now.max(self.started),
        };
        let bytes = receipt::signed(self.worker, receipt).map_err(ServeError::Sign)?;
        Ok(writer.send(FrameKind::Receipt, &bytes).await?)
    }
}

/// Computes while it tells the client how far it is, and stops when the client is gone.
async fn compute(
    job: Job,
    mut reader: BulkReader,
    writer: &mut BulkWriter,
    deadline: Instant,
) -> Result<Vec<Vec<u8>>, ServeError> {
    let steps = Arc::clone(&job.steps);
    // Also when this future is dropped, nobody waits any more.
    let _guard = CancelOnDrop(Arc::clone(&steps));
    let computing = tokio::task::spawn_blocking(move || job.run());
    tokio::pin!(computing);
    let leaving = async move {
        loop {
            if let Err(error) = reader.recv_any(&[(FrameKind::Waiting, 0)]).await {
                return error;
            }
        }
    };
    tokio::pin!(leaving);
    let mut tick = tokio::time::interval(TELL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut told_at) = (steps.progress(), Instant::now());
    let mut gone: Option<ServeError> = None;
    let outcome = loop {
        tokio::select! {
            outcome = &mut computing => break outcome,
            error = &mut leaving, if gone.is_none() => gone = Some(ServeError::Left(error)),
            () = tokio::time::sleep_until(deadline), if gone.is_none() => gone = Some(ServeError::Late),
            _ = tick.tick(), if gone.is_none() => {
                let now = steps.progress();
                if now != told || told_at.elapsed() >= SIGN_OF_LIFE {
                    let frame = codec::encode(&now, PROGRESS).map_err(ServeError::Codec)?;
                    if let Err(error) = writer.send(FrameKind::Progress, &frame).await {
                        gone = Some(ServeError::Left(error));
                    }
                    (told, told_at) = (now, Instant::now());
                }
            }
        }
        if gone.is_some() {
            steps.cancel();
        }
    };
    if let Some(gone) = gone {
        let Progress { done, total } = steps.progress();
        tracing::info!(
            done,
            total,
            "nobody waits for a job any more: it was stopped"
        );
        return Err(gone);
    }
    match outcome.map_err(ServeError::Stopped)? {
        Ok(answers) => Ok(answers),
        Err((_, FheError::Cancelled { .. })) => Err(ServeError::Late),
        Err((record, error)) => Err(FheRefusal::record(record, crate::chain(&error)).into()),
    }
}

struct CancelOnDrop(Arc<Steps>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A key that this stream brings. What came of it waits for the rest when the stream breaks.
struct Turn<'a> {
    shelf: &'a Arc<KeyShelf>,
    client: ai_link_wire::AccountId,
    id: KeyId,
    receiving: Option<Receiving>,
}

impl Turn<'_> {
    fn missing(&self) -> Vec<u16> {
        self.receiving
            .as_ref()
            .map(Receiving::missing)
            .unwrap_or_default()
    }

    fn accept(&mut self, piece: KeyPiece<'_>) -> Result<(), FheRefusal> {
        match &mut self.receiving {
            Some(receiving) => receiving.accept(piece),
            None => Err(FheRefusal::Piece { piece: piece.index }),
        }
    }

    /// The key's bytes. It counts as being received until this is dropped.
    fn finish(&mut self) -> Result<Vec<u8>, FheRefusal> {
        match self.receiving.take() {
            Some(receiving) => receiving.finish(),
            None => Err(FheRefusal::key("it was taken already")),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut uploads = lock(self.shelf);
        match self.receiving.take() {
            Some(receiving) => uploads.put_aside(receiving, UnixMillis::now()),
            None => uploads.done(self.client, self.id),
        }
    }
}

fn lock(shelf: &KeyShelf) -> MutexGuard<'_, Uploads> {
    // A panic leaves no half-made change: each is a single call.
    shelf.uploads.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn within<T>(
    receiving: impl Future<Output = Result<T, StreamError>>,
) -> Result<T, ServeError> {
    tokio::time::timeout(NEXT_WITHIN, receiving)
        .await
        .map_err(|_| ServeError::Silent)?
        .map_err(ServeError::Stream)
}

async fn send_reply(stream: &mut BulkStream, reply: &FheReply) -> Result<(), ServeError> {
    let bytes = codec::encode(reply, REPLY).map_err(ServeError::Codec)?;
    Ok(stream.send(FrameKind::FheReply, &bytes).await?)
}

/// Says why there will be no answer. Best effort: the client may be the one that is gone.
async fn tell(writer: &mut BulkWriter, error: &ServeError) {
    let frame = match error {
        ServeError::Left(_) | ServeError::Stream(_) => return,
        ServeError::Refused(refusal) => {
            let reply = FheReply::Refused(refusal.clone());
            codec::encode(&reply, REPLY).map(|bytes| (FrameKind::FheReply, bytes))
        }
        error => {
            let abort = Abort::new(crate::chain(error), None);
            codec::encode(&abort, ABORT).map(|bytes| (FrameKind::Abort, bytes))
        }
    };
    if let Ok((kind, bytes)) = frame {
        let _ = tokio::time::timeout(LAST_WORD_WITHIN, writer.send(kind, &bytes)).await;
    }
}

/// Why a session failed on this worker.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("a message cannot be read or written")]
    Codec(#[source] CodecError),
    #[error("the client left")]
    Left(#[source] StreamError),
    #[error("the job was not done before its deadline")]
    Late,
    #[error("{0}")]
    Refused(FheRefusal),
    #[error("there is no receipt")]
    Sign(#[source] ReceiptError),
    #[error("the client said nothing for {NEXT_WITHIN:?}")]
    Silent,
    #[error("the worker stopped")]
    Stopped(#[source] tokio::task::JoinError),
    #[error("the stream broke")]
    Stream(#[from] StreamError),
    #[error("the session may not begin")]
    Used(#[source] UsedError),
}

impl ServeError {
    /// What it counts as.
    fn failure(&self) -> Failure {
        match self {
            Self::Left(_) | Self::Silent | Self::Stream(_) => Failure::Client,
            Self::Late => Failure::Late,
            Self::Refused(_) => Failure::Input,
            Self::Codec(_) => Failure::Client,
            Self::Sign(_) | Self::Stopped(_) | Self::Used(_) => Failure::Internal,
        }
    }
}

impl From<FheRefusal> for ServeError {
    fn from(refusal: FheRefusal) -> Self {
        Self::Refused(refusal)
    }
}
