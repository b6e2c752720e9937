//! Bulk streams: frames in both directions between two authenticated peers.

use std::fmt;
use std::io;
use std::time::Duration;

use libp2p::{PeerId, Stream};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::admission::Permit;
use super::capture::CaptureFile;
use super::carrier::{ReadFrom, WriteTo};
use super::direct::{Left, Lent, LineReader, LineWriter};
use super::frame::{self, FrameError, FrameHeader, FrameKind, Room};
use super::halves;
use crate::{Abort, CodecError, Limit, codec};

/// Frames in both directions.
///
/// An [`Abort`] frame that arrives where the reader did not ask for one is returned as
/// [`StreamError::Aborted`]. After any error, or when a call is cancelled, the stream is in the
/// middle of a frame: drop it.
#[derive(Debug)]
pub struct BulkStream {
    reader: BulkReader,
    writer: BulkWriter,
}

impl BulkStream {
    pub(super) fn new(
        peer: PeerId,
        stream: Stream,
        shared: &Shared,
        permit: Option<Permit<PeerId>>,
    ) -> io::Result<Self> {
        let (read, write) = halves::split(stream);
        let halves = (ReadFrom::Libp2p(read), WriteTo::Libp2p(write));
        Self::over(peer, halves, shared, permit)
    }

    pub(super) fn direct(
        peer: PeerId,
        (reader, writer): (Lent<LineReader>, Lent<LineWriter>),
        shared: &Shared,
        permit: Option<Permit<PeerId>>,
    ) -> io::Result<Self> {
        let halves = (ReadFrom::Direct(reader), WriteTo::Direct(writer));
        Self::over(peer, halves, shared, permit)
    }

    fn over(
        peer: PeerId,
        (read, write): (ReadFrom, WriteTo),
        shared: &Shared,
        permit: Option<Permit<PeerId>>,
    ) -> io::Result<Self> {
        let capture = shared
            .capture
            .as_ref()
            .map(|capture| capture.file(&peer))
            .transpose()?;
        let idle = shared.limits.stream_idle;
        let reader = BulkReader {
            peer,
            io: read,
            header: Vec::with_capacity(FrameHeader::LEN),
            idle,
            deadline: None,
            capture: capture.clone(),
            _permit: permit,
        };
        let writer = BulkWriter {
            peer,
            io: write,
            idle,
            deadline: None,
            capture,
        };
        Ok(Self { reader, writer })
    }

    /// The authenticated peer at the other end.
    pub fn peer(&self) -> PeerId {
        self.reader.peer
    }

    /// What carries the stream.
    pub fn carrier(&self) -> Carrier {
        match self.reader.io {
            ReadFrom::Direct(_) => Carrier::Direct,
            ReadFrom::Libp2p(_) => Carrier::Libp2p,
        }
    }

    /// Sets when every later wait ends, in both directions.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.reader.set_deadline(deadline);
        self.writer.set_deadline(deadline);
    }

    /// See [`BulkWriter::send`].
    ///
    /// # Errors
    /// See there.
    pub async fn send(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), StreamError> {
        self.writer.send(kind, payload).await
    }

    /// See [`BulkReader::recv_exact`].
    ///
    /// # Errors
    /// See there.
    pub async fn recv_exact(
        &mut self,
        kind: FrameKind,
        bytes: usize,
    ) -> Result<Vec<u8>, StreamError> {
        self.reader.recv_exact(kind, bytes).await
    }

    /// See [`BulkReader::recv_bounded`].
    ///
    /// # Errors
    /// See there.
    pub async fn recv_bounded(
        &mut self,
        kind: FrameKind,
        max: usize,
    ) -> Result<Vec<u8>, StreamError> {
        self.reader.recv_bounded(kind, max).await
    }

    /// See [`BulkReader::recv_any`].
    ///
    /// # Errors
    /// See there.
    pub async fn recv_any(
        &mut self,
        max: &[(FrameKind, usize)],
    ) -> Result<(FrameKind, Vec<u8>), StreamError> {
        self.reader.recv_any(max).await
    }

    /// Two halves that can be used at the same time.
    pub fn split(self) -> (BulkReader, BulkWriter) {
        (self.reader, self.writer)
    }

    /// See [`BulkWriter::close`].
    ///
    /// # Errors
    /// See there.
    pub async fn close(&mut self) -> Result<(), StreamError> {
        self.writer.close().await
    }
}

/// What carries a [`BulkStream`]. Peers are authenticated and bytes encrypted on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A TCP connection of its own, with TLS 1.3.
    Direct,
    /// A stream of a libp2p connection.
    Libp2p,
}

/// The receiving half of a [`BulkStream`].
pub struct BulkReader {
    peer: PeerId,
    io: ReadFrom,
    header: Vec<u8>,
    idle: Duration,
    deadline: Option<Instant>,
    capture: Option<CaptureFile>,
    /// The place that an inbound stream takes in its node, given back with the reader.
    _permit: Option<Permit<PeerId>>,
}

impl BulkReader {
    /// The authenticated peer at the other end.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Sets when every later wait ends.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Receives a frame of `kind` with exactly `bytes` of payload. The header is judged before memory
    /// is claimed.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn recv_exact(
        &mut self,
        kind: FrameKind,
        bytes: usize,
    ) -> Result<Vec<u8>, StreamError> {
        self.recv_exact_into(kind, bytes, Vec::new()).await
    }

    /// As [`recv_exact`](Self::recv_exact), into the room that `buffer`, which is emptied, has already.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn recv_exact_into(
        &mut self,
        kind: FrameKind,
        bytes: usize,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>, StreamError> {
        let wanted = [(kind, Room::Exactly(bytes))];
        let (_, payload) = self.recv(&wanted, buffer).await?;
        Ok(payload)
    }

    /// Receives a frame of `kind` with at most `max` bytes of payload. Memory grows as bytes arrive.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn recv_bounded(
        &mut self,
        kind: FrameKind,
        max: usize,
    ) -> Result<Vec<u8>, StreamError> {
        let (_, payload) = self.recv(&[(kind, Room::AtMost(max))], Vec::new()).await?;
        Ok(payload)
    }

    /// Receives a frame of one of several kinds, each with its own most bytes.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn recv_any(
        &mut self,
        max: &[(FrameKind, usize)],
    ) -> Result<(FrameKind, Vec<u8>), StreamError> {
        let wanted: Vec<_> = max
            .iter()
            .map(|&(kind, max)| (kind, Room::AtMost(max)))
            .collect();
        self.recv(&wanted, Vec::new()).await
    }

    async fn recv(
        &mut self,
        wanted: &[(FrameKind, Room)],
        buffer: Vec<u8>,
    ) -> Result<(FrameKind, Vec<u8>), StreamError> {
        self.io.begin_frame();
        let header = self.recv_header().await?;
        if header.kind == FrameKind::Abort && wanted.iter().all(|(kind, _)| *kind != header.kind) {
            return Err(self.recv_abort(header).await);
        }
        let room = frame::admit(header, wanted).map_err(StreamError::Frame)?;
        let step = match room {
            Room::Exactly(_) => EXACT_STEP,
            Room::AtMost(_) => STEP,
        };
        let payload = self.recv_payload(header, step, buffer).await?;
        Ok((header.kind, payload))
    }

    async fn recv_header(&mut self) -> Result<FrameHeader, StreamError> {
        let mut bytes = std::mem::take(&mut self.header);
        bytes.clear();
        let filled = self.fill(&mut bytes, FrameHeader::LEN).await;
        let header = bytes.first_chunk().copied();
        self.header = bytes;
        filled?;
        let header = header.expect("so many bytes were filled, qed");
        FrameHeader::from_bytes(header).map_err(StreamError::Frame)
    }

    async fn recv_abort(&mut self, header: FrameHeader) -> StreamError {
        if let Err(error) = frame::admit(header, &[(FrameKind::Abort, Room::AtMost(ABORT.get()))]) {
            return StreamError::Frame(error);
        }
        let payload = match self.recv_payload(header, STEP, Vec::new()).await {
            Ok(payload) => payload,
            Err(error) => return error,
        };
        match codec::decode(&payload, ABORT) {
            Ok(abort) => StreamError::Aborted { abort },
            Err(source) => StreamError::Malformed {
                kind: FrameKind::Abort,
                source,
            },
        }
    }

    /// Reads the payload of an admitted header. A buffer never gets more room than the bytes that have
    /// arrived and `first`, doubled.
    async fn recv_payload(
        &mut self,
        header: FrameHeader,
        first: usize,
        mut payload: Vec<u8>,
    ) -> Result<Vec<u8>, StreamError> {
        let length = header.length as usize;
        payload.clear();
        while payload.len() < length {
            let have = payload.len();
            let room = payload.capacity() - have;
            let step = (length - have).min(room.max(have).max(first));
            payload.reserve_exact(step);
            self.fill(&mut payload, have + step).await?;
        }
        self.io.end_frame();
        if let Some(capture) = &self.capture {
            capture
                .append(&[&header.to_bytes(), &payload])
                .map_err(StreamError::Capture)?;
        }
        Ok(payload)
    }

    /// Fills `buffer` up to `length`; each read has the idle time anew, and all end at the deadline.
    async fn fill(&mut self, buffer: &mut Vec<u8>, length: usize) -> Result<(), StreamError> {
        while buffer.len() < length {
            let room = length - buffer.len();
            let until = wait_until(self.idle, self.deadline);
            let read = timeout_at(until, self.io.read(buffer, room))
                .await
                .map_err(|_| StreamError::Deadline {
                    doing: "receiving",
                    idle: self.idle,
                })?;
            if read.map_err(StreamError::Io)? == 0 {
                return Err(StreamError::Closed);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for BulkReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkReader")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The sending half of a [`BulkStream`].
pub struct BulkWriter {
    peer: PeerId,
    io: WriteTo,
    idle: Duration,
    deadline: Option<Instant>,
    capture: Option<CaptureFile>,
}

impl BulkWriter {
    /// The authenticated peer at the other end.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Sets when every later wait ends.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Sends a frame and flushes. Small frames are one write; of large ones the header is written
    /// with the first part, so that it never travels alone.
    ///
    /// # Errors
    /// [`StreamError::PayloadTooLong`] above 2^32 - 1 bytes, before anything is sent; and all that
    /// befalls connections.
    pub async fn send(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), StreamError> {
        let header = self.header(kind, payload)?;
        let begin = async |io: &mut WriteTo| io.begin(&header, payload).await;
        let mut sent = self.within("sending", begin).await?;
        while sent < payload.len() {
            let rest = &payload[sent..];
            let proceed = async |io: &mut WriteTo| io.proceed(rest).await;
            sent += self.within("sending", proceed).await?;
        }
        self.within("sending", WriteTo::flush).await
    }

    /// Sends a frame as far as that needs no waiting. Only small frames on direct connections are
    /// sent like this.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_now(&mut self, kind: FrameKind, payload: &[u8]) -> Result<SentNow, StreamError> {
        if payload.len() > SentNow::MOST || matches!(self.io, WriteTo::Libp2p(_)) {
            return Ok(SentNow::Nothing);
        }
        let header = self.header(kind, payload)?;
        match self.io.send_now(&header, payload) {
            None => Ok(SentNow::Nothing),
            Some(Ok(Left::Nothing)) => Ok(SentNow::All),
            Some(Ok(Left::Some)) => Ok(SentNow::Part),
            Some(Err(error)) => Err(StreamError::Io(error)),
        }
    }

    /// Waits until all of the frames that were begun is sent.
    ///
    /// # Errors
    /// [`StreamError::Deadline`] and [`StreamError::Io`].
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        self.within("sending", WriteTo::flush).await
    }

    /// Ends this direction after everything that was sent. A stream that is dropped without this may
    /// lose its last frames. Once both sides have ended theirs, a direct connection can carry
    /// another stream.
    ///
    /// # Errors
    /// [`StreamError::Deadline`] and [`StreamError::Io`].
    pub async fn close(&mut self) -> Result<(), StreamError> {
        self.within("closing", WriteTo::close).await
    }

    /// The header, and the frame in the capture.
    fn header(
        &self,
        kind: FrameKind,
        payload: &[u8],
    ) -> Result<[u8; FrameHeader::LEN], StreamError> {
        let length = u32::try_from(payload.len()).map_err(|_| StreamError::PayloadTooLong {
            length: payload.len(),
        })?;
        let header = FrameHeader { kind, length }.to_bytes();
        if let Some(capture) = &self.capture {
            capture
                .append(&[&header, payload])
                .map_err(StreamError::Capture)?;
        }
        Ok(header)
    }

    async fn within<T>(
        &mut self,
        doing: &'static str,
        work: impl AsyncFnOnce(&mut WriteTo) -> io::Result<T>,
    ) -> Result<T, StreamError> {
        let until = wait_until(self.idle, self.deadline);
        let idle = self.idle;
        timeout_at(until, work(&mut self.io))
            .await
            .map_err(|_| StreamError::Deadline { doing, idle })?
            .map_err(StreamError::Io)
    }
}

/// How much of a frame was sent without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SentNow {
    /// All of it.
    All,
    /// Some of it; the writer holds the rest. To be flushed before anything else is sent.
    Part,
    /// None of it: it is to be sent in the ordinary way.
    Nothing,
}

impl SentNow {
    /// Bytes of payload up to which a frame is sent at once.
    pub const MOST: usize = 64 << 10;
}

impl fmt::Debug for BulkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkWriter")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Room that a reader gives before anything arrived, when only the sender says how much comes.
const STEP: usize = 64 << 10;
/// Likewise, when this side has computed how much comes.
const EXACT_STEP: usize = 4 << 20;

/// An encoded [`Abort`]: a reason of 256 bytes, a key, and their prefixes.
const ABORT: Limit = Limit::bytes(512);

fn wait_until(idle: Duration, deadline: Option<Instant>) -> Instant {
    let idle = Instant::now() + idle;
    deadline.map_or(idle, |deadline| deadline.min(idle))
}

/// What befalls a bulk stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The peer ended the session and said why.
    #[error("the peer aborted: {}", abort.reason)]
    Aborted {
        /// Its words.
        abort: Abort,
    },
    /// The capture file could not be written, so nothing was sent or given out.
    #[error("the capture file cannot be written")]
    Capture(#[source] io::Error),
    /// The peer closed the stream before the frame was complete.
    #[error("the peer closed the stream")]
    Closed,
    /// Nothing moved until the deadline, or for the idle time.
    #[error("no progress in {doing} until the deadline (at most {idle:?} without progress)")]
    Deadline {
        /// What was waited for.
        doing: &'static str,
        /// The idle time.
        idle: Duration,
    },
    /// A header that is refused.
    #[error("the peer sent a frame that is refused")]
    Frame(#[source] FrameError),
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// The frame's content is no value of its kind.
    #[error("the peer sent a malformed {kind:?} frame")]
    Malformed {
        /// Its kind.
        kind: FrameKind,
        /// What is wrong.
        source: CodecError,
    },
    /// A frame's length must fit 32 bits.
    #[error("a payload of {length} bytes does not fit a frame: split it")]
    PayloadTooLong {
        /// Its length in bytes.
        length: usize,
    },
}
