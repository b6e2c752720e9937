//! What carries a bulk stream: a stream of libp2p, or a direct connection.

use std::io;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;

use super::direct::{Left, Lent, LineReader, LineWriter};
use super::halves::{ReadHalf, WriteHalf};

/// Bytes that are given to a stream of libp2p at a time.
const STEP: usize = 64 << 10;

/// The receiving half.
pub(super) enum ReadFrom {
    Libp2p(ReadHalf<Stream>),
    Direct(Lent<LineReader>),
}

/// The sending half.
pub(super) enum WriteTo {
    Libp2p(WriteHalf<Stream>),
    Direct(Lent<LineWriter>),
}

impl ReadFrom {
    /// A frame is begun: unless it is ended as well, the connection carries nothing after it.
    pub(super) fn begin_frame(&mut self) {
        if let Self::Direct(line) = self {
            line.begin_frame();
        }
    }

    /// All of a frame was read.
    pub(super) fn end_frame(&mut self) {
        if let Self::Direct(line) = self {
            line.end_frame();
        }
    }

    /// Appends at most `room` bytes; 0 at the end.
    pub(super) async fn read(&mut self, into: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        match self {
            Self::Direct(line) => line.read(into, room).await,
            Self::Libp2p(stream) => {
                let have = into.len();
                into.resize(have + room, 0);
                let read = stream.read(&mut into[have..]).await;
                into.truncate(have + read.as_ref().map_or(0, |bytes| *bytes));
                read
            }
        }
    }
}

impl WriteTo {
    /// Writes the first part of a frame. Returns how much of `payload` it holds.
    pub(super) async fn begin(&mut self, header: &[u8], payload: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(line) => {
                let taken = line.begin(header, payload)?;
                line.flush().await?;
                Ok(taken)
            }
            Self::Libp2p(stream) => {
                let first = &payload[..payload.len().min(STEP)];
                stream.write_all(&[header, first].concat()).await?;
                Ok(first.len())
            }
        }
    }

    /// Writes the next part. Returns how much of `payload` it holds.
    pub(super) async fn proceed(&mut self, payload: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(line) => {
                let taken = line.proceed(payload)?;
                line.flush().await?;
                Ok(taken)
            }
            Self::Libp2p(stream) => {
                let next = &payload[..payload.len().min(STEP)];
                stream.write_all(next).await?;
                Ok(next.len())
            }
        }
    }

    /// Sends a frame as far as that needs no waiting; `None` where that cannot be known.
    pub(super) fn send_now(&mut self, header: &[u8], payload: &[u8]) -> Option<io::Result<Left>> {
        match self {
            Self::Direct(line) => Some(line.send_now(header, payload)),
            Self::Libp2p(_) => None,
        }
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Direct(line) => line.flush().await,
            Self::Libp2p(stream) => stream.flush().await,
        }
    }

    /// Ends this direction.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Direct(line) => line.end().await,
            Self::Libp2p(stream) => stream.close().await,
        }
    }
}
