//! A direct connection after its handshake: two halves, each with its key and its buffer.
//!
//! Streams follow each other on a connection. An empty record ends one, in its direction, as
//! `close_notify` ends the connection; a record with the single byte [`OPENING`] asks for the next.
//!
//! The kernel sizes the buffers of the socket: what a program may ask for (`wmem_max`, 208 KiB as a
//! rule) is less than what it gives by itself where delay and bandwidth need it.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::record::{self, CONTENT, Content, HEADER, LONGEST, Opener, Sealer};

/// Asks for a further stream on a connection.
const OPENING: u8 = 1;
/// Room for incoming records at first. Two of the longest, so that one read can bring a whole one
/// whatever is left of another.
const ROOM: usize = 2 * LONGEST;
/// Room once the peer sends faster than this side reads.
const MOST_ROOM: usize = 512 << 10;
/// Records that are sealed before they are written: as much as stays in a core's cache, since every
/// write wakes the reader.
const BATCH: usize = 17;

/// Both halves of a connection.
pub(super) struct Line {
    pub(super) reader: LineReader,
    pub(super) writer: LineWriter,
}

/// The receiving half.
pub(in super::super) struct LineReader {
    socket: Arc<Socket>,
    opener: Opener,
    /// `plain`, read and opened but not taken; then `sealed`, read and not opened; then room.
    buffer: Vec<u8>,
    plain: Range<usize>,
    sealed: Range<usize>,
    state: Reading,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Nothing is taken of the next frame.
    BetweenFrames,
    /// Something was, or a wait for it was cut off.
    WithinFrame,
    /// The peer has ended the stream.
    Ended,
    /// The peer has ended the connection.
    Closed,
}

/// The sending half.
pub(in super::super) struct LineWriter {
    socket: Arc<Socket>,
    sealer: Sealer,
    /// Sealed, and not written from `written` on in the first.
    out: VecDeque<Vec<u8>>,
    written: usize,
    ended: bool,
}

/// What is left of a frame after an attempt to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Left {
    /// Nothing: all is with the system.
    Nothing,
    /// Some, which the writer keeps.
    Some,
}

impl Line {
    pub(super) fn new(socket: Socket, sealer: Sealer, opener: Opener) -> Self {
        let socket = Arc::new(socket);
        Self {
            reader: LineReader {
                socket: socket.clone(),
                opener,
                buffer: vec![0; ROOM],
                plain: 0..0,
                sealed: 0..0,
                state: Reading::BetweenFrames,
            },
            writer: LineWriter {
                socket,
                sealer,
                out: VecDeque::new(),
                written: 0,
                ended: false,
            },
        }
    }

    /// Whether both directions of the stream ended in order, and their keys serve for more.
    pub(super) fn is_reusable(&self) -> bool {
        let ended = self.writer.ended && self.reader.state == Reading::Ended;
        let worn = self.writer.sealer.is_worn() || self.reader.opener.is_worn();
        ended && !worn && self.writer.out.is_empty() && self.reader.plain.is_empty()
    }

    /// Forgets the stream that ended.
    pub(super) fn renew(&mut self) {
        self.reader.state = Reading::BetweenFrames;
        self.writer.ended = false;
        // Idle connections keep little memory.
        if self.reader.sealed.is_empty() && self.reader.buffer.len() > ROOM {
            self.reader.buffer = vec![0; ROOM];
            (self.reader.plain, self.reader.sealed) = (0..0, 0..0);
        }
    }

    /// Whether nothing came on an idle connection, not even its end.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.reader.sealed.is_empty() && matches!(self.reader.receive(), Ok(None))
    }

    /// Asks for a stream on an idle connection.
    pub(super) async fn ask(&mut self) -> io::Result<()> {
        self.writer.push(&[&[OPENING]])?;
        self.writer.flush().await
    }

    /// Waits for the peer to ask.
    ///
    /// # Errors
    /// Anything else that comes.
    pub(super) async fn asked(&mut self) -> io::Result<()> {
        let mut byte = Vec::new();
        match self.reader.read(&mut byte, 1).await? {
            1 if byte == [OPENING] && self.reader.plain.is_empty() => Ok(()),
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Says that nothing more comes, if that can be said at once.
    pub(super) fn hang_up(mut self) {
        if let Ok(record) = self.writer.sealer.close() {
            self.writer.out.push_back(record);
            // Best effort: a connection that just breaks off is understood as well.
            let _ = self.writer.try_flush();
        }
    }

    /// Waits for the peer to end the stream, and takes nothing else.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        match self.reader.more().await? {
            false => Ok(()),
            true => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Reads away what the peer still sends. A socket that is closed with something unread takes
    /// back what it has sent last, which may be the words that explain the end.
    pub(super) async fn linger(self) {
        let Self { reader, writer } = self;
        let socket = reader.socket.clone();
        drop((reader, writer));
        let _ = SockRef::from(&socket.stream).shutdown(Shutdown::Write);
        let mut waste = vec![0; ROOM];
        while socket.stream.readable().await.is_ok() {
            match socket.stream.try_read(&mut waste) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => tokio::task::consume_budget().await,
            }
        }
    }
}

impl LineReader {
    /// A frame is begun.
    pub(in super::super) fn begin_frame(&mut self) {
        if self.state == Reading::BetweenFrames {
            self.state = Reading::WithinFrame;
        }
    }

    /// All of a frame was taken.
    pub(in super::super) fn end_frame(&mut self) {
        if self.state == Reading::WithinFrame {
            self.state = Reading::BetweenFrames;
        }
    }

    pub(super) fn is_within_frame(&self) -> bool {
        self.state == Reading::WithinFrame
    }

    /// Appends at most `room` bytes to `into`; 0 when the stream has ended.
    pub(in super::super) async fn read(
        &mut self,
        into: &mut Vec<u8>,
        room: usize,
    ) -> io::Result<usize> {
        // So that a peer who is always ahead does not keep other tasks waiting.
        tokio::task::consume_budget().await;
        Ok(match self.more().await? {
            true => self.take(into, room),
            false => 0,
        })
    }

    fn take(&mut self, into: &mut Vec<u8>, room: usize) -> usize {
        let taken = self.plain.len().min(room);
        let from = self.plain.start;
        into.extend_from_slice(&self.buffer[from..from + taken]);
        self.plain.start += taken;
        taken
    }

    /// Waits until some of the stream is opened; `false` when it has ended.
    async fn more(&mut self) -> io::Result<bool> {
        loop {
            if let Some(more) = self.try_more()? {
                return Ok(more);
            }
            self.socket.stream.readable().await?;
        }
    }

    fn try_more(&mut self) -> io::Result<Option<bool>> {
        loop {
            if !self.plain.is_empty() {
                return Ok(Some(true));
            }
            if matches!(self.state, Reading::Ended | Reading::Closed) {
                return Ok(Some(false));
            }
            if self.open_next()? {
                continue;
            }
            match self.receive()? {
                None => return Ok(None),
                Some(0) => {
                    let broken = "the connection ended without saying so";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, broken));
                }
                Some(_) => {}
            }
        }
    }

    /// Opens the next record, if all of it is here.
    fn open_next(&mut self) -> io::Result<bool> {
        let sealed = &self.buffer[self.sealed.clone()];
        let length = match record::length(sealed)? {
            Some(length) if length <= sealed.len() => length,
            _ => return Ok(false),
        };
        let from = self.sealed.start;
        self.sealed.start += length;
        match self.opener.open(&mut self.buffer[from..from + length])? {
            Content::Data(0) => self.state = Reading::Ended,
            Content::Data(bytes) => self.plain = from + HEADER..from + HEADER + bytes,
            Content::Closed => self.state = Reading::Closed,
        }
        Ok(true)
    }

    /// Reads what the socket has; `None` if nothing.
    fn receive(&mut self) -> io::Result<Option<usize>> {
        if self.plain.is_empty() && self.sealed.is_empty() {
            (self.plain, self.sealed) = (0..0, 0..0);
        } else if self.buffer.len() - self.sealed.end < LONGEST {
            // `plain` is empty: nothing is received before it is taken.
            self.buffer.copy_within(self.sealed.clone(), 0);
            (self.plain, self.sealed) = (0..0, 0..self.sealed.len());
        }
        let room = self.sealed.end..;
        let read = self.socket.try_read(&mut self.buffer[room])?;
        if let Some(bytes) = read {
            self.sealed.end += bytes;
            // It was all the room: more is waiting.
            if self.sealed.end == self.buffer.len() && self.sealed.end < MOST_ROOM {
                self.buffer.resize(MOST_ROOM, 0);
            }
        }
        Ok(read)
    }
}

impl LineWriter {
    /// Seals the first part of a frame: header and payload share a record. Returns how much of `payload`
    /// was taken. To be flushed.
    pub(in super::super) fn begin(&mut self, header: &[u8], payload: &[u8]) -> io::Result<usize> {
        let taken = payload.len().min(CONTENT - header.len());
        self.push(&[header, &payload[..taken]])?;
        Ok(taken + self.seal(&payload[taken..], BATCH - 1)?)
    }

    /// Likewise for the next part.
    pub(in super::super) fn proceed(&mut self, payload: &[u8]) -> io::Result<usize> {
        self.seal(payload, BATCH)
    }

    /// Sends a frame as far as the socket takes it. The rest is to be flushed.
    pub(in super::super) fn send_now(&mut self, header: &[u8], payload: &[u8]) -> io::Result<Left> {
        let mut sent = self.begin(header, payload)?;
        while sent < payload.len() {
            sent += self.proceed(&payload[sent..])?;
        }
        self.try_flush()
    }

    fn seal(&mut self, payload: &[u8], records: usize) -> io::Result<usize> {
        for part in payload.chunks(CONTENT).take(records) {
            self.push(&[part])?;
        }
        Ok(payload.len().min(records * CONTENT))
    }

    fn push(&mut self, content: &[&[u8]]) -> io::Result<()> {
        self.out.push_back(self.sealer.seal(content)?);
        Ok(())
    }

    /// Ends the stream after all that was sent.
    pub(in super::super) async fn end(&mut self) -> io::Result<()> {
        if !self.ended {
            self.push(&[])?;
            self.ended = true;
        }
        self.flush().await
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended && self.out.is_empty()
    }

    /// Writes what the socket takes now.
    fn try_flush(&mut self) -> io::Result<Left> {
        while !self.out.is_empty() {
            match self.write() {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Left::Some),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Left::Nothing)
    }

    fn write(&self) -> io::Result<usize> {
        let mut parts = [IoSlice::new(&[]); BATCH + 1];
        let mut count = 0;
        for (part, record) in parts.iter_mut().zip(&self.out) {
            let from = if count == 0 { self.written } else { 0 };
            *part = IoSlice::new(&record[from..]);
            count += 1;
        }
        match count {
            1 => self.socket.stream.try_write(&parts[0]),
            _ => self.socket.stream.try_write_vectored(&parts[..count]),
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        while let Some(first) = self.out.front() {
            if self.written < first.len() {
                return;
            }
            self.written -= first.len();
            self.out.pop_front();
        }
    }

    /// Waits until the socket has taken everything.
    pub(in super::super) async fn flush(&mut self) -> io::Result<()> {
        while self.try_flush()? == Left::Some {
            self.socket.stream.writable().await?;
        }
        // So that a peer who is always ready does not keep other tasks waiting.
        tokio::task::consume_budget().await;
        Ok(())
    }

    /// Sends one byte before any frame.
    pub(super) async fn say(&mut self, byte: u8) -> io::Result<()> {
        self.push(&[&[byte]])?;
        self.flush().await
    }
}

/// The sockets of all direct connections of a node, to break them when it stops.
#[derive(Default)]
pub(super) struct Sockets(Mutex<Registered>);

#[derive(Default)]
struct Registered {
    stopped: bool,
    next: u64,
    open: HashMap<u64, Weak<TcpStream>>,
}

/// A socket that its node knows.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    id: u64,
    registry: Arc<Sockets>,
}

impl Sockets {
    /// `None` when the node has stopped.
    pub(super) fn register(self: &Arc<Self>, stream: TcpStream) -> Option<Socket> {
        let stream = Arc::new(stream);
        let mut registered = self.lock();
        if registered.stopped {
            return None;
        }
        registered.next += 1;
        let id = registered.next;
        registered.open.insert(id, Arc::downgrade(&stream));
        Some(Socket {
            stream,
            id,
            registry: self.clone(),
        })
    }

    /// Breaks all connections and takes no more.
    pub(super) fn stop(&self) {
        let open = {
            let mut registered = self.lock();
            registered.stopped = true;
            std::mem::take(&mut registered.open)
        };
        for stream in open.into_values().filter_map(|stream| stream.upgrade()) {
            // Fails for what is broken already.
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Both);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    /// Reads once; `None` if nothing is there.
    ///
    /// A read that does not fill its buffer has emptied the socket. Linux says so when more comes,
    /// so the socket counts as not ready at once, and the next wait costs no read that finds nothing
    /// (tokio does this in `poll_read`, but not in `try_read`).
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut bytes = None;
        let room = buffer.len();
        let read = self.stream.try_io(Interest::READABLE, || {
            let got = (&*SockRef::from(&*self.stream)).read(buffer)?;
            bytes = Some(got);
            match cfg!(target_os = "linux") && 0 < got && got < room {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(()),
            }
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.try_read(buffer),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(bytes),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.registry.lock().open.remove(&self.id);
    }
}
