//! One attempt at level `fhe`: a stream to one worker, its evaluation of ciphertexts, its receipt.

use std::sync::Arc;
use std::time::Duration;

use ai_link_fhe::{Entropy, FheError, KeyUpload, Reading};
use ai_link_session::hello::{self, HelloError};
use ai_link_wire::node::{BulkReader, BulkStream, BulkWriter, FrameKind, Node, StreamError};
use ai_link_wire::{
    CodecError, Digest, FheJob, FheRefusal, FheReply, GroupMember, JobReceipt, KeyPiece, Limit,
    PeerKey, Progress, Signed, Ticket, UnixMillis, WorkerReceipt, codec,
};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout, timeout_at};
use zeroize::Zeroizing;

use super::{KeyPair, KeyStore, KeyStoreError, Offered};
use crate::attempt::{Delivered, Traffic};

/// How long a worker may take to accept a session: it may have to pull the model first.
const ACCEPT_WITHIN: Duration = Duration::from_secs(15);
/// How long a worker may take to look for a key, or to expand one that it was sent.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A worker that computes says so every five seconds.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);
/// The worker is told this often that somebody waits.
const WAITING_EVERY: Duration = Duration::from_secs(60);
/// Streams that are opened for one upload of a key, each of which goes on where the one before it broke.
const UPLOAD_TRIES: u32 = 4;
/// Between them.
const UPLOAD_PAUSE: Duration = Duration::from_millis(200);

const JOB: Limit = Limit::bytes(8 << 10);
const REPLY: Limit = Limit::bytes(1024);
const PROGRESS: Limit = Limit::bytes(32);
const RECEIPT: Limit = Limit::bytes(4096);

/// What an attempt needs.
#[derive(Debug)]
pub(crate) struct FheAttempt<'a> {
    pub(crate) node: &'a Node,
    pub(crate) signed: &'a Signed<Ticket>,
    pub(crate) ticket: &'a Ticket,
    pub(crate) offered: &'a Offered,
    pub(crate) keys: &'a Arc<KeyStore>,
    /// The records of the batch.
    pub(crate) values: &'a [f32],
    pub(crate) deadline: Instant,
    /// Told how far the worker is.
    pub(crate) progress: &'a watch::Sender<Option<Progress>>,
}

/// What came back, still encrypted.
struct Answers {
    parts: Vec<Vec<u8>>,
    receipt: Signed<WorkerReceipt>,
}

impl FheAttempt<'_> {
    /// Runs the attempt.
    ///
    /// # Errors
    /// [`FheFailure`], which knows whether another worker could help.
    pub(crate) async fn run(self) -> Result<Delivered, FheFailure> {
        let set = self.offered.set();
        let pair = self.keys.current(set).await.map_err(FheFailure::Key)?;
        // The records are checked before anyone is bothered with them, and encrypted afresh for each attempt.
        let integers = self.offered.encode(self.values);
        let integers = Zeroizing::new(integers.map_err(FheFailure::Input)?);
        let mut requests = Vec::with_capacity(integers.len());
        for record in integers.iter() {
            let program = &self.offered.offer().package().program;
            let request = pair.client().encrypt(program, record, entropy()?);
            requests.push(request.map_err(FheFailure::Input)?);
        }
        drop(integers);
        let salt = salt()?;
        let member = match self.ticket.group.as_slice() {
            [member] => member,
            group => return Err(FheFailure::Group { found: group.len() }),
        };
        let peer = member.peer;
        let mut stream = self.ready(member, &pair, salt).await?;
        stream.set_deadline(self.deadline);
        for request in &requests {
            let sent = stream.send(FrameKind::Data, request).await;
            sent.map_err(|source| FheFailure::Stream { peer, source })?;
        }
        let (reader, mut writer) = stream.split();
        let answers = self
            .answers(peer, reader, &mut writer, requests.len())
            .await;
        let closed = timeout(UPLOAD_PAUSE, writer.close()).await;
        if closed.is_err() {
            tracing::debug!(%peer, "stream did not close in time");
        }
        let Answers { parts, receipt } = answers?;
        let commitment =
            |parts: &[Vec<u8>]| FheJob::commitment(&salt, parts.iter().map(Vec::as_slice));
        // What it signs for must be what this side sent and got: ciphertexts, both.
        let signed = receipt.verify_at_any_time();
        let signed = signed.map_err(|_| FheFailure::FalseReceipt { peer })?;
        if signed.input != commitment(&requests) || signed.output != commitment(&parts) {
            return Err(FheFailure::FalseReceipt { peer });
        }
        let program = &self.offered.offer().package().program;
        let decoder = &self.offered.offer().package().decoder;
        let mut readings: Vec<Reading> = Vec::with_capacity(parts.len());
        for part in &parts {
            // Fails by the header alone: nothing that the worker sees tells whether a decryption makes sense.
            let decrypted = pair.client().decrypt(program, part);
            let decrypted = decrypted.map_err(|source| FheFailure::Answer { peer, source })?;
            readings.push(decoder.answer(&decrypted));
        }
        let bytes = |parts: &[Vec<u8>]| parts.iter().map(|p| p.len() as u64).sum();
        Ok(Delivered {
            outputs: self.offered.outputs(&readings),
            traffic: Traffic {
                input: bytes(&requests),
                output: bytes(&parts),
            },
            preprocessing: None,
            receipt: JobReceipt {
                ticket: self.signed.clone(),
                workers: vec![receipt],
                price: self.ticket.price,
                finished: UnixMillis::now(),
            },
        })
    }

    /// A stream to a worker that has the key. An upload that breaks goes on over another stream.
    async fn ready(
        &self,
        member: &GroupMember,
        pair: &Arc<KeyPair>,
        salt: Digest,
    ) -> Result<BulkStream, FheFailure> {
        let peer = member.peer;
        let mut tries = 0;
        loop {
            let within = ACCEPT_WITHIN.min(self.deadline.saturating_duration_since(Instant::now()));
            let from = ai_link_wire::Party::Client;
            let opened = hello::open(self.node, self.signed, from, member, within).await;
            let mut stream = opened.map_err(FheFailure::Open)?.stream;
            stream.set_deadline(self.deadline);
            tries += 1;
            match self.offer_key(peer, &mut stream, pair, salt).await {
                Ok(()) => return Ok(stream),
                Err(KeyStep::Final(error)) => return Err(error),
                Err(KeyStep::Broken(source)) => {
                    if tries >= UPLOAD_TRIES || Instant::now() + UPLOAD_PAUSE >= self.deadline {
                        return Err(FheFailure::Stream { peer, source });
                    }
                    tracing::info!(
                        %peer, tries, error = &source as &dyn std::error::Error,
                        "the upload of a key broke; going on"
                    );
                    tokio::time::sleep(UPLOAD_PAUSE).await;
                }
            }
        }
    }

    /// Tells the worker which key it is, and sends what it lacks of it.
    async fn offer_key(
        &self,
        peer: PeerKey,
        stream: &mut BulkStream,
        pair: &Arc<KeyPair>,
        salt: Digest,
    ) -> Result<(), KeyStep> {
        let known = Arc::clone(pair);
        // The first time, the key is read and hashed.
        let hashing = move || known.pieces().map(<[Digest]>::to_vec);
        let pieces = blocking(hashing).await?;
        let job = FheJob {
            key: pair.id(),
            set: self.offered.set().code(),
            pieces,
            salt,
        };
        let count = job.pieces.len();
        let codec_error = |source| KeyStep::Final(FheFailure::Codec { peer, source });
        let frame = codec::encode(&job, JOB).map_err(codec_error)?;
        stream.send(FrameKind::FheJob, &frame).await?;
        let missing = match reply(peer, stream).await? {
            FheReply::Ready => return Ok(()),
            FheReply::Send { pieces } => pieces,
            FheReply::Refused(refusal) => return Err(FheFailure::Refused { peer, refusal }.into()),
        };
        let ascending = missing.windows(2).all(|w| w[0] < w[1]);
        let known = missing.last().is_none_or(|last| usize::from(*last) < count);
        if !ascending || !known {
            return Err(FheFailure::Order { peer }.into());
        }
        let key = Arc::clone(pair);
        let key = blocking(move || key.evaluation()).await?;
        tracing::info!(%peer, pieces = missing.len(), of = count, "sending an evaluation key");
        for index in missing {
            let bytes = KeyUpload::pieces(&key).nth(index.into());
            let bytes = bytes.ok_or(FheFailure::Order { peer })?;
            let frame = KeyPiece { index, bytes }.to_bytes();
            stream.send(FrameKind::KeyPiece, &frame).await?;
        }
        match reply(peer, stream).await? {
            FheReply::Ready => Ok(()),
            FheReply::Refused(refusal) => Err(FheFailure::Refused { peer, refusal }.into()),
            FheReply::Send { .. } => Err(FheFailure::Order { peer }.into()),
        }
    }

    /// Waits for the encrypted answers and the receipt, and passes on how far the worker is.
    async fn answers(
        &self,
        peer: PeerKey,
        mut reader: BulkReader,
        writer: &mut BulkWriter,
        records: usize,
    ) -> Result<Answers, FheFailure> {
        let size = self.offered.offer().package().program.answer_bytes();
        let wanted = [
            (FrameKind::Data, size),
            (FrameKind::Progress, PROGRESS.get()),
            (FrameKind::FheReply, REPLY.get()),
            (FrameKind::Receipt, RECEIPT.get()),
        ];
        let broken = |source| FheFailure::Stream { peer, source };
        let codec_error = |source| FheFailure::Codec { peer, source };
        let mut parts = Vec::with_capacity(records);
        let mut waiting = tokio::time::interval_at(Instant::now() + WAITING_EVERY, WAITING_EVERY);
        waiting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let until = (Instant::now() + ALIVE_WITHIN).min(self.deadline);
            let (kind, frame) = {
                let receiving = timeout_at(until, reader.recv_any(&wanted));
                tokio::pin!(receiving);
                loop {
                    tokio::select! {
                        received = &mut receiving => {
                            let received = received.map_err(|_| FheFailure::Silent { peer })?;
                            break received.map_err(broken)?;
                        }
                        _ = waiting.tick() => {
                            writer.send(FrameKind::Waiting, &[]).await.map_err(broken)?;
                        }
                    }
                }
            };
            match kind {
                FrameKind::Progress => {
                    let progress: Progress =
                        codec::decode(&frame, PROGRESS).map_err(codec_error)?;
                    self.progress.send_replace(Some(progress));
                }
                FrameKind::FheReply => {
                    return match codec::decode(&frame, REPLY).map_err(codec_error)? {
                        FheReply::Refused(refusal) => Err(FheFailure::Refused { peer, refusal }),
                        _ => Err(FheFailure::Order { peer }),
                    };
                }
                FrameKind::Data if parts.len() < records && frame.len() == size => {
                    parts.push(frame)
                }
                FrameKind::Receipt if parts.len() == records => {
                    let receipt = codec::decode(&frame, RECEIPT).map_err(codec_error)?;
                    return Ok(Answers { parts, receipt });
                }
                _ => return Err(FheFailure::Order { peer }),
            }
        }
    }
}

async fn reply(peer: PeerKey, stream: &mut BulkStream) -> Result<FheReply, KeyStep> {
    let receiving = stream.recv_bounded(FrameKind::FheReply, REPLY.get());
    let frame = timeout(READY_WITHIN, receiving)
        .await
        .map_err(|_| FheFailure::Silent { peer })??;
    let decoded = codec::decode(&frame, REPLY);
    Ok(decoded.map_err(|source| FheFailure::Codec { peer, source })?)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyStoreError> + Send + 'static,
) -> Result<T, FheFailure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(KeyStoreError::Stopped))
        .map_err(FheFailure::Key)
}

fn entropy() -> Result<Entropy, FheFailure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(FheFailure::Entropy)?;
    Ok(Entropy::new(*bytes))
}

fn salt() -> Result<Digest, FheFailure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(FheFailure::Entropy)?;
    Ok(Digest(bytes))
}

/// How the sending of a key ended.
enum KeyStep {
    /// Another stream will not help.
    Final(FheFailure),
    /// It broke: what has come is still there.
    Broken(StreamError),
}

impl From<FheFailure> for KeyStep {
    fn from(error: FheFailure) -> Self {
        Self::Final(error)
    }
}

impl From<StreamError> for KeyStep {
    fn from(source: StreamError) -> Self {
        Self::Broken(source)
    }
}

/// Why an attempt gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum FheFailure {
    /// An answer of another key or program.
    #[error("what worker {peer} returned is no answer to what it was sent")]
    Answer {
        /// The worker.
        peer: PeerKey,
        /// What is wrong with it.
        #[source]
        source: FheError,
    },
    /// A message that cannot be read.
    #[error("worker {peer} sent a message that cannot be read")]
    Codec {
        /// The worker.
        peer: PeerKey,
        /// What is wrong with it.
        #[source]
        source: CodecError,
    },
    /// The operating system gave no randomness; nothing was sent.
    #[error(
        "the operating system gave no randomness, so nothing was encrypted and nothing was sent"
    )]
    Entropy(#[source] getrandom::Error),
    /// A receipt for something else than was exchanged.
    #[error("worker {peer} signed a receipt for something else than was exchanged")]
    FalseReceipt {
        /// The worker.
        peer: PeerKey,
    },
    /// Not a group of one worker.
    #[error("the group has {found} workers, at level fhe it is one")]
    Group {
        /// Workers in the group.
        found: usize,
    },
    /// A record that cannot be encrypted; nothing was sent.
    #[error("a record does not fit the model")]
    Input(#[source] FheError),
    /// There is no key.
    #[error("there is no key to encrypt under")]
    Key(#[source] KeyStoreError),
    /// The worker cannot be had.
    #[error("the worker cannot be had")]
    Open(#[source] HelloError),
    /// A message out of order, or of another size than it must have.
    #[error("worker {peer} said something that was not due")]
    Order {
        /// The worker.
        peer: PeerKey,
    },
    /// It refuses.
    #[error("worker {peer} refuses: {refusal}")]
    Refused {
        /// The worker.
        peer: PeerKey,
        /// Its reason.
        refusal: FheRefusal,
    },
    /// It does not say that it is alive.
    #[error("worker {peer} gave no sign of life in time")]
    Silent {
        /// The worker.
        peer: PeerKey,
    },
    /// The stream broke.
    #[error("the stream to worker {peer} broke")]
    Stream {
        /// The worker.
        peer: PeerKey,
        /// How.
        #[source]
        source: StreamError,
    },
}

impl FheFailure {
    /// The worker to leave out next time.
    pub fn culprit(&self) -> Option<PeerKey> {
        match self {
            Self::Answer { peer, .. }
            | Self::Codec { peer, .. }
            | Self::FalseReceipt { peer }
            | Self::Order { peer }
            | Self::Refused { peer, .. }
            | Self::Silent { peer }
            | Self::Stream { peer, .. } => Some(*peer),
            Self::Open(error) => Some(error.culprit()),
            Self::Entropy(_) | Self::Group { .. } | Self::Input(_) | Self::Key(_) => None,
        }
    }

    /// Whether no other worker could help.
    pub fn is_the_callers(&self) -> bool {
        matches!(self, Self::Entropy(_) | Self::Input(_) | Self::Key(_))
    }

    /// Whether the record is at fault.
    pub(crate) fn is_the_inputs(&self) -> bool {
        matches!(self, Self::Input(_))
    }
}
