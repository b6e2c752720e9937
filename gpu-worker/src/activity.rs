//! Whether anybody waits for this worker: what is done in the background looks here first.

use std::sync::Arc;

use ai_link_wire::UnixMillis;
use tokio::sync::watch;

use crate::pool::demand::Occupation;

/// Counts the sessions that run, or wait for their streams.
#[derive(Debug)]
pub struct Activity {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    running: u32,
    idle_since: UnixMillis,
}

/// A session. Dropped when it is over.
#[derive(Debug)]
pub struct Running {
    activity: Arc<Activity>,
}

impl Activity {
    /// Nothing runs.
    pub fn new(now: UnixMillis) -> Arc<Self> {
        let state = State {
            running: 0,
            idle_since: now,
        };
        Arc::new(Self {
            state: watch::Sender::new(state),
        })
    }

    /// A session begins.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.state.send_modify(|state| state.running += 1);
        Running {
            activity: Arc::clone(self),
        }
    }

    /// What goes on.
    pub fn occupation(&self) -> Occupation {
        let state = *self.state.borrow();
        match state.running {
            0 => Occupation::IdleSince(state.idle_since),
            _ => Occupation::Busy,
        }
    }

    /// Tells of every begin and end from now on.
    pub fn watch(&self) -> Changes {
        Changes(self.state.subscribe())
    }

    /// Returns when no session runs.
    pub async fn idle(&self) {
        // The sender is `self`, so it is not gone.
        let _ = self.state.subscribe().wait_for(|s| s.running == 0).await;
    }
}

/// Begins and ends of sessions.
#[derive(Debug)]
pub struct Changes(watch::Receiver<State>);

impl Changes {
    /// Returns when a session began or ended since the last call.
    pub async fn next(&mut self) {
        // An error would mean that the worker is gone, and with it whoever asks.
        let _ = self.0.changed().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.activity.state.send_modify(|state| {
            state.running = state.running.saturating_sub(1);
            state.idle_since = UnixMillis::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_is_when_the_last_session_is_over() {
        let activity = Activity::new(UnixMillis(7));
        assert_eq!(activity.occupation(), Occupation::IdleSince(UnixMillis(7)));
        let mut changes = activity.watch();
        let first = activity.begin();
        let second = activity.begin();
        changes.next().await;
        assert_eq!(activity.occupation(), Occupation::Busy);
        drop(first);
        changes.next().await;
        assert_eq!(activity.occupation(), Occupation::Busy);
        let idle = tokio::spawn({
            let activity = Arc::clone(&activity);
            async move { activity.idle().await }
        });
        tokio::task::yield_now().await;
        assert!(!idle.is_finished());
        drop(second);
        assert!(idle.await.is_ok());
        assert!(matches!(activity.occupation(), Occupation::IdleSince(t) if t > UnixMillis(7)));
    }
}
