//! Control messages on the wire: length (u32, little endian), then so many bytes. What they mean is
//! decoded outside, so that garbage gets an answer in words and not a reset.

use std::io;

use async_trait::async_trait;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::request_response;
use libp2p::swarm::StreamProtocol;

use crate::{CodecError, Limit};

/// Reads and writes messages of at most [`Limit::CONTROL`] bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ControlCodec;

#[async_trait]
impl request_response::Codec for ControlCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, request).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, response).await
    }
}

async fn read(io: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length);
    if length as usize > Limit::CONTROL.get() {
        return Err(too_long(length as usize));
    }
    // Grows as bytes arrive, whatever the length claims.
    let mut bytes = Vec::new();
    io.take(length.into()).read_to_end(&mut bytes).await?;
    match bytes.len() == length as usize {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn write(io: &mut (impl AsyncWrite + Unpin + Send), bytes: Vec<u8>) -> io::Result<()> {
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|length| *length as usize <= Limit::CONTROL.get())
        .ok_or_else(|| too_long(bytes.len()))?;
    let mut message = Vec::with_capacity(4 + bytes.len());
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(&bytes);
    io.write_all(&message).await?;
    io.close().await
}

fn too_long(length: usize) -> io::Error {
    let error = CodecError::TooLong {
        length,
        limit: Limit::CONTROL.get(),
    };
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::executor::block_on;
    use futures::io::Cursor;

    use super::*;

    #[test]
    fn messages_round_trip() {
        let mut wire = Cursor::new(Vec::new());
        block_on(write(&mut wire, b"hello".to_vec())).unwrap();
        assert_eq!(wire.get_ref(), b"\x05\0\0\0hello");
        wire.set_position(0);
        assert_eq!(block_on(read(&mut wire)).unwrap(), b"hello");
    }

    #[test]
    fn a_claimed_length_beyond_the_limit_is_refused_before_reading() {
        let mut wire = Cursor::new(vec![0xff; 8]);
        let error = block_on(read(&mut wire)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(wire.position(), 4);
    }

    #[test]
    fn a_message_that_ends_early_is_an_error() {
        let mut wire = Cursor::new(b"\x06\0\0\0hello".to_vec());
        let error = block_on(read(&mut wire)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
