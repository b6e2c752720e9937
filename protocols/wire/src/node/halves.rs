//! The two halves of a libp2p stream, used by two tasks at once.
//!
//! A stream of yamux keeps one waker for the queue to its connection, and reading (which grants the
//! peer more room) and writing both leave theirs there. With a task for each half the one that came
//! first is never woken again, and a session whose parties send each other megabytes stands still. So
//! here whatever wakes the stream wakes both halves: one of them for nothing, now and then.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::io::{AsyncRead, AsyncWrite};
use futures::task::AtomicWaker;

/// Splits a stream.
pub(super) fn split<S>(stream: S) -> (ReadHalf<S>, WriteHalf<S>) {
    let shared = Arc::new(Shared {
        stream: Mutex::new(stream),
        waiting: Arc::default(),
    });
    (ReadHalf(shared.clone()), WriteHalf(shared))
}

/// The receiving half.
pub(super) struct ReadHalf<S>(Arc<Shared<S>>);

/// The sending half.
pub(super) struct WriteHalf<S>(Arc<Shared<S>>);

struct Shared<S> {
    /// Held for one poll at a time, which copies and does not wait.
    stream: Mutex<S>,
    waiting: Arc<Waiting>,
}

/// The tasks of the halves.
#[derive(Default)]
struct Waiting {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

impl<S: Unpin> Shared<S> {
    fn poll<T>(&self, poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let both = Waker::from(self.waiting.clone());
        let mut stream: MutexGuard<'_, S> =
            self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        poll(Pin::new(&mut *stream), &mut Context::from_waker(&both))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadHalf<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.waiting.reader.register(context.waker());
        self.0.poll(|stream, both| stream.poll_read(both, buffer))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteHalf<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.waiting.writer.register(context.waker());
        self.0.poll(|stream, both| stream.poll_write(both, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.waiting.writer.register(context.waker());
        self.0.poll(|stream, both| stream.poll_flush(both))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.waiting.writer.register(context.waker());
        self.0.poll(|stream, both| stream.poll_close(both))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Has one place for a waker, whoever polls; the `n`th poll of each kind is ready.
    #[derive(Default)]
    struct OnePlace {
        waker: Option<Waker>,
        ready: Arc<AtomicUsize>,
    }

    impl OnePlace {
        fn poll(&mut self, context: &Context<'_>) -> Poll<io::Result<usize>> {
            if self.ready.load(Ordering::SeqCst) > 0 {
                return Poll::Ready(Ok(1));
            }
            self.waker = Some(context.waker().clone());
            Poll::Pending
        }
    }

    impl AsyncRead for OnePlace {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.as_mut().poll(context)
        }
    }

    impl AsyncWrite for OnePlace {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.as_mut().poll(context)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn one_waker_wakes_both_halves() {
        let stream = OnePlace::default();
        let ready = stream.ready.clone();
        let (mut reader, mut writer) = split(stream);
        let shared = reader.0.clone();
        let reading = tokio::spawn(async move { reader.read(&mut [0]).await });
        let writing = tokio::spawn(async move { writer.write(&[0]).await });
        // Both have polled, and the second has taken the place of the first.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        ready.store(1, Ordering::SeqCst);
        let waker = shared.stream.lock().unwrap().waker.take();
        waker.expect("someone waits").wake();
        assert_eq!(reading.await.unwrap().unwrap(), 1);
        assert_eq!(writing.await.unwrap().unwrap(), 1);
    }
}
