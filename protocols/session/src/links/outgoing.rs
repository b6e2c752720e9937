//! What a session sends to one peer.
//!
//! Two evaluators send each other their openings at the same time; if each waited for its own write first,
//! two full buffers would be a deadlock. So whatever does not go out at once is left to a task that writes from
//! a bounded queue. But most openings are small and go out at once, and the way through a queue to a task and back
//! takes longer than the write: as long as the task has nothing to do, small frames are written where they are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ai_link_mpc::buffers::wipe_bytes;
use ai_link_wire::node::{BulkWriter, FrameKind, SentNow, StreamError};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

/// Messages that may wait for one peer's stream. A dealer far ahead of a slow evaluator waits here, not in
/// memory.
const QUEUE: usize = 4;

/// The writing side of a link.
#[derive(Debug)]
pub(super) struct Outgoing {
    writer: Arc<Mutex<BulkWriter>>,
    /// Jobs that the task was given and has not finished. Only this side adds, so that at zero the task waits
    /// and stays waiting.
    behind: Arc<AtomicUsize>,
    jobs: mpsc::Sender<Job>,
    task: JoinHandle<Result<(), StreamError>>,
}

enum Job {
    Frame(FrameKind, Vec<u8>),
    /// The rest of a frame that did not go out at once.
    Rest,
}

/// Why a frame is not sent.
pub(super) enum Unsent {
    /// The task has ended, which it does early only when the stream broke.
    Closed,
    /// The stream broke now.
    Broken(StreamError),
}

impl Outgoing {
    pub(super) fn new(writer: BulkWriter) -> Self {
        let writer = Arc::new(Mutex::new(writer));
        let behind = Arc::new(AtomicUsize::new(0));
        let (jobs, given) = mpsc::channel(QUEUE);
        let task = tokio::spawn(work(writer.clone(), behind.clone(), given));
        Self {
            writer,
            behind,
            jobs,
            task,
        }
    }

    /// Sends a frame, or queues it. Waits only while the queue is full.
    pub(super) async fn send(&mut self, kind: FrameKind, payload: Vec<u8>) -> Result<(), Unsent> {
        let job = match self.send_now(kind, &payload).map_err(Unsent::Broken)? {
            SentNow::All => {
                wipe_bytes(payload);
                return Ok(());
            }
            SentNow::Part => {
                wipe_bytes(payload);
                Job::Rest
            }
            SentNow::Nothing => Job::Frame(kind, payload),
        };
        self.behind.fetch_add(1, Ordering::Relaxed);
        self.jobs.send(job).await.map_err(|_| Unsent::Closed)
    }

    fn send_now(&mut self, kind: FrameKind, payload: &[u8]) -> Result<SentNow, StreamError> {
        // Acquire: what the task wrote is before what is written now.
        if self.behind.load(Ordering::Acquire) > 0 || self.task.is_finished() {
            return Ok(SentNow::Nothing);
        }
        match self.writer.try_lock() {
            Ok(mut writer) => writer.send_now(kind, payload),
            Err(_) => Ok(SentNow::Nothing),
        }
    }

    /// Waits until everything was written, and ends the stream in this direction.
    pub(super) async fn close(self) {
        drop(self.jobs);
        if let Ok(Ok(())) = self.task.await {
            let _ = self.writer.lock().await.close().await;
        }
    }
}

async fn work(
    writer: Arc<Mutex<BulkWriter>>,
    behind: Arc<AtomicUsize>,
    mut jobs: mpsc::Receiver<Job>,
) -> Result<(), StreamError> {
    while let Some(job) = jobs.recv().await {
        let mut writer = writer.lock().await;
        match job {
            Job::Frame(kind, payload) => {
                writer.send(kind, &payload).await?;
                wipe_bytes(payload);
            }
            Job::Rest => writer.flush().await?,
        }
        drop(writer);
        behind.fetch_sub(1, Ordering::Release);
    }
    Ok(())
}
