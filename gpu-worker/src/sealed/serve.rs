//! A session at level `sealed`, from the client's hello to the signed receipt.

use std::sync::Arc;
use std::time::Duration;

use ai_link_sealed::message::{REQUEST, REQUEST_CHUNK, SealedEvent, SealedFailure, SealedRequest};
use ai_link_sealed::{
    ChunkError, KeyError, Last, Opening, Receipts, Sealer, ServerHalf, SessionError, accept,
};
use ai_link_wire::node::{BulkReader, BulkStream, BulkWriter, FrameKind, StreamError};
use ai_link_wire::{
    Abort, Bytes, CodecError, Level, Limit, PeerId, Role, SessionHello, SessionRefusal, Signed,
    Ticket, UnixMillis, WorkerReceipt, codec,
};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::Model;
use super::compute::{self, Events};
use crate::receipt::{self, ReceiptError};
use crate::session::admit as tickets;
use crate::session::alone::{self, Place};
use crate::tally::Failure;
use crate::used::UsedError;
use crate::worker::Worker;

/// A client may take this long for its next message.
const NEXT_WITHIN: Duration = Duration::from_secs(60);
/// The client is told that the worker is alive at least this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How long a last word may take to leave.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(2);
/// A signed key.
const KEY: Limit = Limit::bytes(1024);
const ABORT: Limit = Limit::bytes(512);

/// Takes the client's stream after its hello.
pub(crate) async fn incoming(
    worker: Arc<Worker>,
    peer: PeerId,
    mut stream: BulkStream,
    hello: SessionHello,
) {
    let attempt = worker.tally.begin(Level::Sealed);
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
    };
    let outcome = session.run(stream).await;
    let failure = outcome.as_ref().err().map(ServeError::failure);
    attempt.ended(failure.map_or(Ok(()), Err));
    match outcome {
        Ok(()) => tracing::info!(%job, level = %Level::Sealed, "session done"),
        Err(error) => tracing::warn!(
            %job, level = %Level::Sealed, error = &error as &dyn std::error::Error, "session failed"
        ),
    }
}

/// A session that may run: everything about its ticket is checked.
#[derive(Debug)]
struct Admitted {
    ticket: Ticket,
    model: Arc<Model>,
    /// Held, not read.
    _place: Place,
}

async fn admit(
    worker: &Arc<Worker>,
    peer: PeerId,
    hello: &SessionHello,
) -> Result<Admitted, SessionRefusal> {
    let (ticket, place) = alone::admit(worker, peer, hello, Level::Sealed).await?;
    let loaded = worker
        .cache
        .load_sealed(ticket.commitment, ticket.manifest)
        .await;
    Ok(Admitted {
        ticket: ticket.clone(),
        model: loaded.map_err(tickets::not_loaded)?,
        _place: place,
    })
}

struct Session<'a> {
    worker: &'a Arc<Worker>,
    signed: &'a Signed<Ticket>,
    admitted: Admitted,
    started: UnixMillis,
}

/// What came from the client.
struct Received {
    request: Zeroizing<Vec<u8>>,
    bytes: u64,
    answer: Sealer,
    nonce: [u8; 32],
    receipts: Receipts,
}

impl Session<'_> {
    async fn run(self, mut stream: BulkStream) -> Result<(), ServeError> {
        let deadline = alone::deadline(&self.admitted.ticket);
        stream.set_deadline(deadline);
        let received = match self.receive(&mut stream).await {
            Ok(received) => received,
            Err(error) => {
                let (_, mut writer) = stream.split();
                tell(&mut writer, &error).await;
                let _ = writer.close().await;
                return Err(error);
            }
        };
        let (reader, mut writer) = stream.split();
        let outcome = self.answer(received, reader, &mut writer, deadline).await;
        if let Err(error) = &outcome {
            tell(&mut writer, error).await;
        }
        let _ = writer.close().await;
        outcome
    }

    /// Sends the key and decrypts the request.
    async fn receive(&self, stream: &mut BulkStream) -> Result<Received, ServeError> {
        let identity = &self.worker.identity;
        let key = self.worker.sealed.current(identity, UnixMillis::now());
        let key = key.map_err(ServeError::Key)?;
        let frame = codec::encode(key.signed(), KEY).map_err(ServeError::Codec)?;
        stream.send(FrameKind::SealedKey, &frame).await?;
        let opening = size_of::<Opening>();
        let opening = within(stream.recv_exact(FrameKind::SealedOpening, opening)).await?;
        let opening: Opening = opening.try_into().map_err(|_| ServeError::Opening)?;
        let half = accept(&key, identity.peer_key(), self.signed.digest(), &opening);
        let ServerHalf {
            request: mut opener,
            answer,
            nonce,
            mut receipts,
        } = half.map_err(ServeError::Session)?;
        let (mut request, mut bytes) = (Zeroizing::new(Vec::new()), 0);
        let most = Sealer::chunk_bytes(REQUEST_CHUNK);
        loop {
            let chunk = within(stream.recv_bounded(FrameKind::SealedChunk, most)).await?;
            receipts.request(&chunk);
            bytes += chunk.len() as u64;
            let opened = opener.open(&chunk).map_err(ServeError::Chunk)?;
            let part = Zeroizing::new(opened.bytes);
            if request.len() + part.len() > REQUEST.get() {
                return Err(ServeError::TooLong);
            }
            request.extend_from_slice(&part);
            if opened.last == Last::Yes {
                break;
            }
        }
        Ok(Received {
            request,
            bytes,
            answer,
            nonce,
            receipts,
        })
    }

    /// Marks the ticket, computes, answers, and signs for it.
    async fn answer(
        &self,
        received: Received,
        reader: BulkReader,
        writer: &mut BulkWriter,
        deadline: Instant,
    ) -> Result<(), ServeError> {
        // From here on this ticket is spent, whatever happens.
        let (session, until) = (self.signed.digest(), self.signed.expires_at());
        let marked = self.worker.used.mark(&session, until, UnixMillis::now());
        marked.map_err(ServeError::Used)?;
        let Received {
            request,
            bytes,
            answer: sealer,
            nonce,
            receipts,
        } = received;
        writer.send(FrameKind::SealedNonce, &nonce).await?;
        let ticket = &self.admitted.ticket;
        let events = match SealedRequest::from_bytes(&request) {
            Ok(request) => {
                compute::begin(Arc::clone(&self.admitted.model), request, ticket.batch).await
            }
            Err(error) => {
                let why = SealedFailure::Invalid(error.to_string());
                Events::One(Some(SealedEvent::Failed(why)))
            }
        };
        drop(request);
        let mut sending = Sending {
            writer: &mut *writer,
            sealer,
            receipts,
            sent: 0,
        };
        let failed = sending.all(events, reader, deadline).await?;
        if let Some(failure) = failed {
            return Err(ServeError::Failed(failure));
        }
        let (input, output) = sending.receipts.digests();
        let now = UnixMillis::now();
        let receipt = WorkerReceipt {
            ticket: session,
            role: Role::EVALUATOR_0,
            commitment: ticket.commitment,
            input,
            output,
            bytes_sent: Bytes(sending.sent),
            bytes_received: Bytes(bytes),
            rounds: 0,
            started: self.started,
            finished: now.max(self.started),
        };
        let bytes = receipt::signed(self.worker, receipt).map_err(ServeError::Sign)?;
        Ok(writer.send(FrameKind::Receipt, &bytes).await?)
    }
}

/// The answer's way out.
struct Sending<'a> {
    writer: &'a mut BulkWriter,
    sealer: Sealer,
    receipts: Receipts,
    sent: u64,
}

impl Sending<'_> {
    /// Sends every event while the client waits. Returns the failure that the last one told, if it did.
    async fn all(
        &mut self,
        mut events: Events,
        mut reader: BulkReader,
        deadline: Instant,
    ) -> Result<Option<SealedFailure>, ServeError> {
        let leaving = async move {
            loop {
                if let Err(error) = reader.recv_any(&[(FrameKind::Waiting, 0)]).await {
                    return error;
                }
            }
        };
        tokio::pin!(leaving);
        loop {
            let event = tokio::select! {
                biased;
                error = &mut leaving => return Err(ServeError::Left(error)),
                () = tokio::time::sleep_until(deadline) => return Err(ServeError::Late),
                event = events.next() => event,
                () = tokio::time::sleep(SIGN_OF_LIFE) => {
                    self.writer.send(FrameKind::Waiting, &[]).await?;
                    continue;
                }
            };
            let event = event.unwrap_or_else(|| {
                SealedEvent::Failed(SealedFailure::Failed("the engine stopped".into()))
            });
            self.one(&event).await?;
            match event {
                SealedEvent::Failed(failure) => return Ok(Some(failure)),
                event if event.is_last() => return Ok(None),
                _ => {}
            }
        }
    }

    async fn one(&mut self, event: &SealedEvent) -> Result<(), ServeError> {
        let last = match event.is_last() {
            true => Last::Yes,
            false => Last::No,
        };
        let bytes = Zeroizing::new(event.to_bytes().map_err(ServeError::Codec)?);
        let chunk = self.sealer.seal(&bytes, last).map_err(ServeError::Chunk)?;
        self.receipts.answer(&chunk);
        self.sent += chunk.len() as u64;
        Ok(self.writer.send(FrameKind::SealedChunk, &chunk).await?)
    }
}

async fn within<T>(
    receiving: impl Future<Output = Result<T, StreamError>>,
) -> Result<T, ServeError> {
    tokio::time::timeout(NEXT_WITHIN, receiving)
        .await
        .map_err(|_| ServeError::Silent)?
        .map_err(ServeError::Stream)
}

/// Says why there will be no answer. Best effort, and nothing of what was decrypted: this is not encrypted to the client.
async fn tell(writer: &mut BulkWriter, error: &ServeError) {
    if let ServeError::Left(_) | ServeError::Stream(_) | ServeError::Failed(_) = error {
        return;
    }
    let abort = Abort::new(error.to_string(), None);
    if let Ok(bytes) = codec::encode(&abort, ABORT) {
        let sending = writer.send(FrameKind::Abort, &bytes);
        let _ = tokio::time::timeout(LAST_WORD_WITHIN, sending).await;
    }
}

/// Why a session failed on this worker.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("the client's request does not hold")]
    Chunk(#[source] ChunkError),
    #[error("a message cannot be read or written")]
    Codec(#[source] CodecError),
    // Told to the client, encrypted. Here only its kind: the text may speak of the request.
    #[error("the request was not answered: {}", kind(.0))]
    Failed(SealedFailure),
    #[error("there is no key")]
    Key(#[source] KeyError),
    #[error("the client left")]
    Left(#[source] StreamError),
    #[error("the job was not done before its deadline")]
    Late,
    #[error("what opens a request has 32 bytes")]
    Opening,
    #[error("the session cannot begin")]
    Session(#[source] SessionError),
    #[error("there is no receipt")]
    Sign(#[source] ReceiptError),
    #[error("the client said nothing for {NEXT_WITHIN:?}")]
    Silent,
    #[error("the stream broke")]
    Stream(#[from] StreamError),
    #[error("the request is longer than {} bytes", REQUEST.get())]
    TooLong,
    #[error("the session may not begin")]
    Used(#[source] UsedError),
}

impl ServeError {
    /// What it counts as.
    fn failure(&self) -> Failure {
        match self {
            Self::Left(_) | Self::Silent | Self::Stream(_) => Failure::Client,
            Self::Chunk(_) | Self::Codec(_) | Self::Opening | Self::Session(_) => Failure::Client,
            Self::Late => Failure::Late,
            Self::TooLong | Self::Failed(SealedFailure::Invalid(_)) => Failure::Input,
            Self::Failed(SealedFailure::Busy) => Failure::Busy,
            Self::Failed(SealedFailure::Failed(_)) => Failure::Engine,
            Self::Key(_) | Self::Sign(_) | Self::Used(_) => Failure::Internal,
        }
    }
}

fn kind(failure: &SealedFailure) -> &'static str {
    match failure {
        SealedFailure::Busy => "busy",
        SealedFailure::Invalid(_) => "it is not valid",
        SealedFailure::Failed(_) => "the model failed",
    }
}
