//! One connection.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

/// How long the head of a request may take, also the first one on a kept connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the head of a request may be, in bytes.
const MAX_HEAD: usize = 32 << 10;

/// Answers requests until the other side leaves, stands still for `idle`, or `stopping` closes.
pub(super) async fn serve(
    stream: TcpStream,
    router: Router,
    idle: Duration,
    mut stopping: watch::Receiver<()>,
) {
    let stream = TokioIo::new(IdleLimited::new(stream, idle));
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(stream, service)
    );
    let result = tokio::select! {
        result = &mut connection => result,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// A stream that fails when neither direction moves for some time. Without it, a client that stops
/// reading would keep its connection, and its slot, for ever.
struct IdleLimited<S> {
    stream: S,
    idle: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl<S> IdleLimited<S> {
    fn new(stream: S, idle: Duration) -> Self {
        Self {
            stream,
            idle,
            sleep: Box::pin(tokio::time::sleep(idle)),
        }
    }

    /// Passes on what a direction did and keeps the time.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        moved: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.sleep.as_mut().reset(Instant::now() + self.idle);
            return moved;
        }
        self.sleep
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for IdleLimited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let moved = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watch(cx, moved)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for IdleLimited<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, moved)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, moved)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Flushing a socket moves nothing.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn standing_still_ends_a_stream_and_moving_keeps_it() {
        let (mut near, far) = tokio::io::duplex(8);
        // Each pause is a tenth of the limit, all together are more than the limit.
        let limit = Duration::from_secs(1);
        let mut far = IdleLimited::new(far, limit);
        for _ in 0..12 {
            tokio::time::sleep(limit / 10).await;
            near.write_u8(1).await.unwrap();
            assert_eq!(far.read_u8().await.unwrap(), 1);
        }
        let error = far.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // The other side does not read.
        let error = far.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
