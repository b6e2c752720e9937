//! Sealing and opening as readers: wrap the source of a put, or the result of a get.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use zeroize::{Zeroize, Zeroizing};

use super::{CHUNK, DataKey, HEADER, MAGIC, Opener, SealError, Sealer, TAG};

/// Reads plaintext and gives the sealed object.
pub struct SealingReader<R> {
    source: R,
    gather: Gather,
    /// `None` once the last chunk is sealed.
    sealer: Option<Sealer>,
    output: Output,
}

/// Reads a sealed object and gives plaintext. Errors of kind [`io::ErrorKind::InvalidData`] carry a
/// [`SealError`]; after one, and before the end, what was read must not be acted upon as a whole.
pub struct OpeningReader<R> {
    source: R,
    gather: Gather,
    state: OpenState,
    output: Output,
}

enum OpenState {
    Header(DataKey),
    Chunks(Opener),
    Done,
    Failed(SealError),
}

/// Collects a number of bytes and one more, which tells whether they are the last.
struct Gather {
    bytes: Zeroizing<Vec<u8>>,
    filled: usize,
}

/// Bytes waiting to be taken.
#[derive(Default)]
struct Output {
    bytes: Zeroizing<Vec<u8>>,
    taken: usize,
}

impl<R: AsyncRead + Unpin> SealingReader<R> {
    /// Seals what `source` gives under a fresh key, which is returned with the reader.
    ///
    /// # Errors
    ///
    /// [`SealError::NoEntropy`].
    pub fn new(source: R) -> Result<(DataKey, Self), SealError> {
        let (key, header, sealer) = Sealer::new()?;
        let gather = Gather::new(CHUNK + 1);
        let output = Output {
            bytes: Zeroizing::new(header.to_vec()),
            taken: 0,
        };
        Ok((
            key,
            Self {
                source,
                gather,
                sealer: Some(sealer),
                output,
            },
        ))
    }
}

impl<R: AsyncRead + Unpin> OpeningReader<R> {
    /// Opens what `source` gives with `key`.
    pub fn new(key: DataKey, source: R) -> Self {
        let gather = Gather::new(CHUNK + TAG + 1);
        Self {
            source,
            gather,
            state: OpenState::Header(key),
            output: Output::default(),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for SealingReader<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.output.give(buffer) || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let Some(mut sealer) = this.sealer.take() else {
                return Poll::Ready(Ok(()));
            };
            let gathered = this.gather.poll(&mut this.source, CHUNK + 1, cx);
            let Poll::Ready(gathered) = gathered else {
                this.sealer = Some(sealer);
                return Poll::Pending;
            };
            // On an error the sealer stays taken: the object ends here, without its last chunk.
            let sealed = match gathered? {
                // There is a byte behind this chunk, so it is not the last.
                count if count > CHUNK => {
                    let sealed = sealer.next(&this.gather.bytes[..CHUNK]).map_err(invalid)?;
                    this.gather.consume(CHUNK);
                    this.sealer = Some(sealer);
                    sealed
                }
                count => {
                    let sealed = sealer.last(&this.gather.bytes[..count]).map_err(invalid)?;
                    this.gather.consume(count);
                    sealed
                }
            };
            this.output = Output {
                bytes: Zeroizing::new(sealed),
                taken: 0,
            };
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for OpeningReader<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.output.give(buffer) || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match &this.state {
                OpenState::Done => return Poll::Ready(Ok(())),
                OpenState::Failed(error) => return Poll::Ready(Err(invalid(*error))),
                OpenState::Header(_) | OpenState::Chunks(_) => {}
            }
            if let Err(error) = ready!(this.poll_step(cx))? {
                this.state = OpenState::Failed(error);
            }
        }
    }
}

impl<R: AsyncRead + Unpin> OpeningReader<R> {
    /// Reads and opens the next piece.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Result<(), SealError>>> {
        let wanted = match self.state {
            OpenState::Header(_) => HEADER,
            _ => CHUNK + TAG + 1,
        };
        let count = ready!(self.gather.poll(&mut self.source, wanted, cx))?;
        Poll::Ready(Ok(self.step(count)))
    }

    fn step(&mut self, count: usize) -> Result<(), SealError> {
        match std::mem::replace(&mut self.state, OpenState::Done) {
            OpenState::Header(key) => {
                let header = self.gather.bytes[..count].first_chunk::<HEADER>();
                let Some(header) = header else {
                    let begun = count.min(MAGIC.len());
                    let known = self.gather.bytes[..begun] == MAGIC[..begun];
                    let truncated = SealError::Truncated {
                        bytes: count as u64,
                    };
                    return Err(if known {
                        truncated
                    } else {
                        SealError::NotSealed
                    });
                };
                self.state = OpenState::Chunks(Opener::new(&key, header)?);
                self.gather.consume(HEADER);
            }
            OpenState::Chunks(mut opener) if count > CHUNK + TAG => {
                let bytes = opener.next(&self.gather.bytes[..CHUNK + TAG])?;
                self.gather.consume(CHUNK + TAG);
                self.output = Output { bytes, taken: 0 };
                self.state = OpenState::Chunks(opener);
            }
            OpenState::Chunks(opener) => {
                let bytes = opener.last(&self.gather.bytes[..count])?;
                self.gather.consume(count);
                self.output = Output { bytes, taken: 0 };
            }
            ended @ (OpenState::Done | OpenState::Failed(_)) => self.state = ended,
        }
        Ok(())
    }
}

impl Gather {
    fn new(capacity: usize) -> Self {
        Self {
            bytes: Zeroizing::new(vec![0; capacity]),
            filled: 0,
        }
    }

    /// Reads until there are `wanted` bytes or the source ends; gives the number there is.
    fn poll(
        &mut self,
        source: &mut (impl AsyncRead + Unpin),
        wanted: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        while self.filled < wanted {
            let mut buffer = ReadBuf::new(&mut self.bytes[self.filled..wanted]);
            ready!(Pin::new(&mut *source).poll_read(cx, &mut buffer))?;
            match buffer.filled().len() {
                0 => break,
                count => self.filled += count,
            }
        }
        Poll::Ready(Ok(self.filled))
    }

    fn consume(&mut self, count: usize) {
        self.bytes.copy_within(count..self.filled, 0);
        self.filled -= count;
    }
}

impl Output {
    /// Gives what fits; tells whether anything was given.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = &self.bytes[self.taken..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.bytes.len() && self.taken > 0 {
            self.bytes.zeroize();
            self.taken = 0;
        }
        count > 0
    }
}

impl<R> fmt::Debug for SealingReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingReader(..)")
    }
}

impl<R> fmt::Debug for OpeningReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpeningReader(..)")
    }
}

fn invalid(error: SealError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
