//! The asynchronous shell: moves a machine's messages over links until it is finished.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use tokio::task::JoinError;

use crate::error::MpcError;
use crate::party::Party;
use crate::session::{Machine, Transmit};
use crate::work::Work;

/// Connections to the other parties of a session.
///
/// `send` must not wait until the peer *reads*: both evaluators send a large opening before they
/// read the other's, and two that wait for each other never finish. Writing what the system takes at
/// once, and a task per link that writes the rest from a queue of two messages, is enough: an evaluator sends its peer message `n + 1` only after
/// it has read the peer's message `n`. When the queue is full, wait; only the dealer gets there,
/// and no one waits for the dealer in turn.
pub trait Links: Send {
    /// Queues a message.
    fn send(
        &mut self,
        to: Party,
        payload: Vec<u8>,
    ) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// The next message of a party, which must have exactly `bytes` bytes.
    fn recv(
        &mut self,
        from: Party,
        bytes: usize,
    ) -> impl Future<Output = Result<Vec<u8>, LinkError>> + Send;
}

/// A link failed; what it says is the transport's own error.
#[derive(Debug, thiserror::Error)]
#[error("the link failed")]
pub struct LinkError(#[from] Box<dyn std::error::Error + Send + Sync>);

impl LinkError {
    /// Wraps a transport's error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// What a party was doing when a session broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Sending a message to the peer.
    Sending,
    /// Waiting for a message of the peer.
    Receiving,
}

/// A session did not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The computation panicked: a bug here, not the peer's fault.
    #[error("the computation of {party} panicked")]
    Crashed {
        /// Who was computing.
        party: Party,
        /// The panic.
        #[source]
        source: JoinError,
    },
    /// The deadline passed.
    #[error("the deadline passed while {activity:?} with {peer}")]
    Deadline {
        /// The other side.
        peer: Party,
        /// What was going on.
        activity: Activity,
    },
    /// The connection to a peer failed.
    #[error("the link to {peer} failed while {activity:?}")]
    Link {
        /// The other side.
        peer: Party,
        /// What was going on.
        activity: Activity,
        /// The transport's error.
        #[source]
        source: LinkError,
    },
    /// A peer's message broke the protocol.
    #[error("the message of {peer} breaks the protocol")]
    Protocol {
        /// Who sent the message.
        peer: Party,
        /// What is wrong with it.
        #[source]
        source: MpcError,
    },
    /// The machine neither waits for anything nor is finished: it had failed before.
    #[error("{party} cannot continue; start another session")]
    Stuck {
        /// Who.
        party: Party,
    },
}

impl DriveError {
    /// The peer with whom the session broke, if one was involved.
    pub fn peer(&self) -> Option<Party> {
        match self {
            Self::Deadline { peer, .. } | Self::Link { peer, .. } | Self::Protocol { peer, .. } => {
                Some(*peer)
            }
            Self::Crashed { .. } | Self::Stuck { .. } => None,
        }
    }
}

/// Runs `machine` to its end. Heavy computation happens on blocking threads, [light](Work) computation
/// here, since going to another thread and back would take longer.
///
/// The machine is returned when it is finished, for its outputs and statistics; on an error it is
/// dropped, and with it all material of the session.
pub async fn drive<M: Machine + 'static>(
    mut machine: M,
    links: &mut impl Links,
    deadline: Instant,
) -> Result<M, DriveError> {
    let party = machine.party();
    let deadline = tokio::time::Instant::from_std(deadline);
    let mut message: Option<(Party, Vec<u8>)> = None;
    loop {
        if let Some((from, payload)) = message.take() {
            let work = machine.work_to_handle();
            let handled;
            (machine, handled) = run(machine, work, move |m| m.handle(from, payload)).await?;
            handled.map_err(|source| DriveError::Protocol { peer: from, source })?;
        }
        let work = machine.work_to_transmit();
        let transmit;
        (machine, transmit) = run(machine, work, M::poll_transmit).await?;
        if let Some(Transmit { to, payload }) = transmit {
            let at = (to, Activity::Sending);
            within(deadline, at, links.send(to, payload)).await?;
        } else if machine.is_finished() {
            return Ok(machine);
        } else if let Some(expected) = machine.next_expected() {
            let at = (expected.from, Activity::Receiving);
            let payload = within(deadline, at, links.recv(expected.from, expected.bytes)).await?;
            message = Some((expected.from, payload));
        } else {
            return Err(DriveError::Stuck { party });
        }
    }
}

/// Lets the machine compute where it should.
async fn run<M: Machine + 'static, T: Send + 'static>(
    mut machine: M,
    work: Work,
    call: impl FnOnce(&mut M) -> T + Send + 'static,
) -> Result<(M, T), DriveError> {
    let party = machine.party();
    let computing = move || {
        let result = call(&mut machine);
        (machine, result)
    };
    let done = match work {
        Work::Heavy => tokio::task::spawn_blocking(computing).await,
        // A panic must not go further here than it does there.
        Work::Light => match catch_unwind(AssertUnwindSafe(computing)) {
            Ok(done) => Ok(done),
            Err(panic) => Err(as_join_error(panic).await),
        },
    };
    done.map_err(|source| DriveError::Crashed { party, source })
}

/// Only a task makes a [`JoinError`].
async fn as_join_error(panic: Box<dyn std::any::Any + Send>) -> JoinError {
    let task = tokio::spawn(async move { resume_unwind(panic) });
    match task.await {
        Err(error) => error,
        Ok(never) => never,
    }
}

async fn within<T>(
    deadline: tokio::time::Instant,
    (peer, activity): (Party, Activity),
    work: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, DriveError> {
    match tokio::time::timeout_at(deadline, work).await {
        Err(_) => Err(DriveError::Deadline { peer, activity }),
        Ok(done) => done.map_err(|source| DriveError::Link {
            peer,
            activity,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Expected, Stats};
    use crate::testing::channel_links;

    /// Fails in the middle of its work.
    struct Faulty {
        work: Work,
        stats: Stats,
    }

    impl Machine for Faulty {
        fn party(&self) -> Party {
            Party::Dealer
        }

        fn next_expected(&self) -> Option<Expected> {
            None
        }

        fn handle(&mut self, _from: Party, _payload: Vec<u8>) -> Result<(), MpcError> {
            Ok(())
        }

        fn work_to_transmit(&self) -> Work {
            self.work
        }

        fn poll_transmit(&mut self) -> Option<Transmit> {
            panic!("a defect")
        }

        fn is_finished(&self) -> bool {
            false
        }

        fn stats(&self) -> &Stats {
            &self.stats
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error_wherever_the_work_is_done() {
        for work in [Work::Light, Work::Heavy] {
            let [_, mut links, ..] = channel_links();
            let machine = Faulty {
                work,
                stats: Stats::default(),
            };
            let soon = Instant::now() + std::time::Duration::from_secs(60);
            let error = drive(machine, &mut links, soon).await.map(drop);
            let Err(DriveError::Crashed { party, source }) = error else {
                panic!("{work:?}: {error:?}")
            };
            assert_eq!(party, Party::Dealer);
            assert!(source.is_panic(), "{work:?}");
        }
    }
}
