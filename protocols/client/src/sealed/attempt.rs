//! One attempt at level `sealed`: a stream to one worker, its encrypted answer, its receipt.

use std::time::Duration;

use ai_link_sealed::message::{EVENT, REQUEST_CHUNK, SealedEvent, SealedFailure};
use ai_link_sealed::{ChunkError, ClientHalf, Last, Opener, Receipts, Sealer, SessionError, open};
use ai_link_session::hello::{self, HelloError};
use ai_link_wire::node::{BulkReader, BulkWriter, FrameKind, Node, StreamError};
use ai_link_wire::{
    Abort, CodecError, JobReceipt, Limit, PeerKey, SealedKey, Signed, Ticket, UnixMillis,
    WorkerReceipt, codec,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, timeout, timeout_at};
use zeroize::Zeroizing;

use super::Item;
use crate::attempt::{Delivered, Traffic};
use crate::error::InferError;

/// How long a worker may take to accept a session: it may have to pull and load the model first.
const ACCEPT_WITHIN: Duration = Duration::from_secs(60);
/// A worker that computes says so every five seconds.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);
/// The worker is told this often that somebody waits.
const WAITING_EVERY: Duration = Duration::from_secs(60);
/// How long the stream's end may take to leave.
const CLOSE_WITHIN: Duration = Duration::from_millis(200);

const KEY: Limit = Limit::bytes(1024);
const ABORT: Limit = Limit::bytes(512);
const RECEIPT: Limit = Limit::bytes(4096);

/// What an attempt needs.
#[derive(Debug)]
pub(crate) struct SealedAttempt<'a> {
    pub(crate) node: &'a Node,
    pub(crate) signed: &'a Signed<Ticket>,
    pub(crate) ticket: &'a Ticket,
    /// Encoded.
    pub(crate) request: &'a [u8],
    pub(crate) deadline: Instant,
    /// Where pieces of the answer go.
    pub(crate) out: &'a mpsc::Sender<Result<Item, InferError>>,
}

impl SealedAttempt<'_> {
    /// Runs the attempt.
    ///
    /// # Errors
    /// [`SealedFailed`], which knows whether another worker could help.
    pub(crate) async fn run(self) -> Result<Delivered, SealedFailed> {
        let mut begun = Begun::No;
        let outcome = self.attempt(&mut begun).await;
        outcome.map_err(|why| SealedFailed { begun, why })
    }

    async fn attempt(&self, begun: &mut Begun) -> Result<Delivered, Why> {
        let member = match self.ticket.group.as_slice() {
            [member] => member,
            group => return Err(Why::Group { found: group.len() }),
        };
        let peer = member.peer;
        let within = ACCEPT_WITHIN.min(self.deadline.saturating_duration_since(Instant::now()));
        let from = ai_link_wire::Party::Client;
        let opened = hello::open(self.node, self.signed, from, member, within).await;
        let mut stream = opened.map_err(Why::Open)?.stream;
        stream.set_deadline(self.deadline);
        let broken = |source| Why::Stream { peer, source };
        let receiving = stream.recv_bounded(FrameKind::SealedKey, KEY.get());
        let frame = timeout(ALIVE_WITHIN, receiving).await;
        let frame = frame.map_err(|_| Why::Silent { peer })?.map_err(broken)?;
        let key: Signed<SealedKey> =
            codec::decode(&frame, KEY).map_err(|source| Why::Codec { peer, source })?;
        let session = open(&key, peer, self.signed.digest(), UnixMillis::now());
        let (half, opening) = session.map_err(|source| Why::Session { peer, source })?;
        let ClientHalf {
            mut request,
            answer,
            mut receipts,
        } = half;
        let sent = stream.send(FrameKind::SealedOpening, &opening).await;
        sent.map_err(broken)?;
        let mut input = 0;
        let mut parts = self.request.chunks(REQUEST_CHUNK).peekable();
        while let Some(part) = parts.next() {
            let last = match parts.peek() {
                None => Last::Yes,
                Some(_) => Last::No,
            };
            let chunk = request.seal(part, last);
            let chunk = chunk.map_err(|source| Why::Chunk { peer, source })?;
            receipts.request(&chunk);
            input += chunk.len() as u64;
            let sent = stream.send(FrameKind::SealedChunk, &chunk).await;
            sent.map_err(broken)?;
        }
        let (reader, writer) = stream.split();
        let mut answering = Answering {
            peer,
            reader,
            writer,
            waiting_since: Instant::now(),
            deadline: self.deadline,
        };
        let nonce = answering.frame(&[(FrameKind::SealedNonce, 32)]).await?.1;
        let nonce: [u8; 32] = nonce.try_into().map_err(|_| Why::Order { peer })?;
        let opener = answer.begin(&nonce);
        let outcome = self.pieces(&mut answering, opener, receipts, begun).await;
        if timeout(CLOSE_WITHIN, answering.writer.close())
            .await
            .is_err()
        {
            tracing::debug!(%peer, "stream did not close in time");
        }
        let (output, receipt) = outcome?;
        Ok(Delivered {
            outputs: Vec::new(),
            traffic: Traffic { input, output },
            preprocessing: None,
            receipt: JobReceipt {
                ticket: self.signed.clone(),
                workers: vec![receipt],
                price: self.ticket.price,
                finished: UnixMillis::now(),
            },
        })
    }

    /// Passes on every piece, and returns the bytes that came and the receipt.
    async fn pieces(
        &self,
        answering: &mut Answering,
        mut opener: Opener,
        mut receipts: Receipts,
        begun: &mut Begun,
    ) -> Result<(u64, Signed<WorkerReceipt>), Why> {
        let peer = answering.peer;
        let chunk_error = |source| Why::Chunk { peer, source };
        let codec_error = |source| Why::Codec { peer, source };
        let most = Sealer::chunk_bytes(EVENT.get());
        let mut output = 0;
        loop {
            let (_, chunk) = match answering.frame(&[(FrameKind::SealedChunk, most)]).await {
                Ok(frame) => frame,
                // Where the stream ends before the last chunk, the answer was cut.
                Err(Why::Stream { .. }) if *begun == Begun::Yes => {
                    opener.finish().map_err(chunk_error)?;
                    return Err(Why::Order { peer });
                }
                Err(why) => return Err(why),
            };
            receipts.answer(&chunk);
            output += chunk.len() as u64;
            let opened = opener.open(&chunk).map_err(chunk_error)?;
            let bytes = Zeroizing::new(opened.bytes);
            let event = SealedEvent::from_bytes(&bytes).map_err(codec_error)?;
            let last = event.is_last();
            if last != (opened.last == Last::Yes) {
                return Err(Why::Order { peer });
            }
            if let SealedEvent::Failed(failure) = event {
                return Err(Why::Failed { peer, failure });
            }
            *begun = Begun::Yes;
            let passed = self.out.send(Ok(Item::Event(event))).await;
            passed.map_err(|_| Why::NobodyWaits)?;
            if last {
                break;
            }
        }
        let (_, frame) = answering
            .frame(&[(FrameKind::Receipt, RECEIPT.get())])
            .await?;
        let receipt: Signed<WorkerReceipt> = codec::decode(&frame, RECEIPT).map_err(codec_error)?;
        // What it signs for must be what this side sent and got: ciphertexts, both.
        let signed = receipt.verify_at_any_time();
        let signed = signed.map_err(|_| Why::FalseReceipt { peer })?;
        match (signed.input, signed.output) == receipts.digests() {
            true => Ok((output, receipt)),
            false => Err(Why::FalseReceipt { peer }),
        }
    }
}

/// The stream, while the worker answers.
struct Answering {
    peer: PeerKey,
    reader: BulkReader,
    writer: BulkWriter,
    waiting_since: Instant,
    deadline: Instant,
}

impl Answering {
    /// The next frame of these kinds, past signs of life.
    async fn frame(&mut self, wanted: &[(FrameKind, usize)]) -> Result<(FrameKind, Vec<u8>), Why> {
        let peer = self.peer;
        let broken = |source| Why::Stream { peer, source };
        let mut any = vec![(FrameKind::Waiting, 0), (FrameKind::Abort, ABORT.get())];
        any.extend(wanted);
        let start = self.waiting_since + WAITING_EVERY;
        let mut waiting = tokio::time::interval_at(start, WAITING_EVERY);
        waiting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let until = (Instant::now() + ALIVE_WITHIN).min(self.deadline);
            let receiving = timeout_at(until, self.reader.recv_any(&any));
            tokio::pin!(receiving);
            let (kind, frame) = loop {
                tokio::select! {
                    received = &mut receiving => {
                        break received.map_err(|_| Why::Silent { peer })?.map_err(broken)?;
                    }
                    now = waiting.tick() => {
                        self.waiting_since = now;
                        self.writer.send(FrameKind::Waiting, &[]).await.map_err(broken)?;
                    }
                }
            };
            match kind {
                FrameKind::Waiting => {}
                FrameKind::Abort => {
                    let abort = codec::decode::<Abort>(&frame, ABORT);
                    let reason = abort.map_or_else(|e| e.to_string(), |abort| abort.reason);
                    return Err(Why::Aborted { peer, reason });
                }
                kind => return Ok((kind, frame)),
            }
        }
    }
}

/// Whether the application has got a piece of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

impl Begun {
    fn text(self) -> &'static str {
        match self {
            Self::No => "the worker gave no answer",
            Self::Yes => "the answer broke off: what came of it is not all of it",
        }
    }
}

/// Why an attempt gave nothing, or not all.
#[derive(Debug, thiserror::Error)]
#[error("{}", .begun.text())]
pub struct SealedFailed {
    begun: Begun,
    #[source]
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("worker {peer} gave up: {reason}")]
    Aborted { peer: PeerKey, reason: String },
    #[error("what came from worker {peer} is not what it sent, or not all")]
    Chunk {
        peer: PeerKey,
        #[source]
        source: ChunkError,
    },
    #[error("worker {peer} sent a message that cannot be read")]
    Codec {
        peer: PeerKey,
        #[source]
        source: CodecError,
    },
    #[error("worker {peer}: {failure}")]
    Failed {
        peer: PeerKey,
        failure: SealedFailure,
    },
    #[error("worker {peer} signed a receipt for something else than was exchanged")]
    FalseReceipt { peer: PeerKey },
    #[error("the group has {found} workers, at level sealed it is one")]
    Group { found: usize },
    #[error("the application does not wait any more")]
    NobodyWaits,
    #[error("the worker cannot be had")]
    Open(#[source] HelloError),
    #[error("worker {peer} said something that was not due")]
    Order { peer: PeerKey },
    #[error("no session with worker {peer} can begin")]
    Session {
        peer: PeerKey,
        #[source]
        source: SessionError,
    },
    #[error("worker {peer} gave no sign of life in time")]
    Silent { peer: PeerKey },
    #[error("the stream to worker {peer} broke")]
    Stream {
        peer: PeerKey,
        #[source]
        source: StreamError,
    },
}

impl SealedFailed {
    /// The worker to leave out next time.
    pub fn culprit(&self) -> Option<PeerKey> {
        match &self.why {
            Why::Aborted { peer, .. }
            | Why::Chunk { peer, .. }
            | Why::Codec { peer, .. }
            | Why::FalseReceipt { peer }
            | Why::Order { peer }
            | Why::Session { peer, .. }
            | Why::Silent { peer }
            | Why::Stream { peer, .. } => Some(*peer),
            Why::Failed { peer, failure } => match failure {
                SealedFailure::Failed(_) => Some(*peer),
                SealedFailure::Busy | SealedFailure::Invalid(_) => None,
            },
            Why::Open(error) => Some(error.culprit()),
            Why::Group { .. } | Why::NobodyWaits => None,
        }
    }

    /// Whether no other worker could help: the request is at fault, nobody waits, or a part of the answer is out.
    pub fn is_the_callers(&self) -> bool {
        let fault = matches!(
            &self.why,
            Why::NobodyWaits
                | Why::Failed {
                    failure: SealedFailure::Busy | SealedFailure::Invalid(_),
                    ..
                }
        );
        fault || self.begun == Begun::Yes
    }

    /// Whether the request is at fault.
    pub(crate) fn is_the_inputs(&self) -> bool {
        matches!(
            &self.why,
            Why::Failed {
                failure: SealedFailure::Invalid(_),
                ..
            }
        )
    }

    /// Whether the worker has too much to do.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(
            &self.why,
            Why::Failed {
                failure: SealedFailure::Busy,
                ..
            }
        )
    }
}
