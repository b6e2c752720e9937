//! Connections between two streams, at the side that opens the next.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use libp2p::PeerId;
use tokio::time::Instant;

use super::line::Line;

/// How often the connections that nobody took are looked at.
const SWEEP: Duration = Duration::from_secs(5);

/// A bounded set of idle connections.
pub(super) struct Idle {
    total: usize,
    per_peer: usize,
    keep: Duration,
    parked: Mutex<Parked>,
}

#[derive(Default)]
struct Parked {
    stopped: bool,
    /// By peer, the longest idle first.
    lines: HashMap<PeerId, Vec<(Instant, Line)>>,
}

impl Idle {
    pub(super) fn new(total: usize, per_peer: usize, keep: Duration) -> Self {
        Self {
            total,
            per_peer,
            keep,
            parked: Mutex::default(),
        }
    }

    /// Keeps a connection for the next stream to `peer`; hangs up when there are enough.
    pub(super) fn park(&self, peer: PeerId, line: Line) {
        let refused = {
            let mut parked = self.lock();
            let all: usize = parked.lines.values().map(Vec::len).sum();
            let stopped = parked.stopped;
            let of_peer = parked.lines.get(&peer).map_or(0, Vec::len);
            if stopped || all >= self.total || of_peer >= self.per_peer {
                Some(line)
            } else {
                let since = Instant::now();
                parked.lines.entry(peer).or_default().push((since, line));
                None
            }
        };
        if let Some(line) = refused {
            line.hang_up();
        }
    }

    /// The connection that was used last, if one is alive.
    pub(super) fn take(&self, peer: PeerId) -> Option<Line> {
        let mut parked = self.lock();
        let lines = parked.lines.get_mut(&peer)?;
        let mut found = None;
        while let Some((since, mut line)) = lines.pop() {
            // What is said on an idle connection is that it ends.
            if since.elapsed() < self.keep && line.is_quiet() {
                found = Some(line);
                break;
            }
        }
        if lines.is_empty() {
            parked.lines.remove(&peer);
        }
        found
    }

    /// Drops all and keeps none from now on.
    pub(super) fn stop(&self) {
        let mut parked = self.lock();
        parked.stopped = true;
        parked.lines.clear();
    }

    fn sweep(&self) -> bool {
        let mut over = Vec::new();
        let mut parked = self.lock();
        for lines in parked.lines.values_mut() {
            let (kept, ended): (Vec<_>, Vec<_>) = std::mem::take(lines)
                .into_iter()
                .partition(|(since, _)| since.elapsed() < self.keep);
            over.extend(ended);
            *lines = kept;
            lines.retain_mut(|(_, line)| line.is_quiet());
        }
        parked.lines.retain(|_, lines| !lines.is_empty());
        let goes_on = !parked.stopped;
        drop(parked);
        for (_, line) in over {
            line.hang_up();
        }
        goes_on
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what was idle for too long, until the node stops.
pub(super) async fn sweep(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match idle.upgrade() {
            Some(idle) if idle.sweep() => {}
            _ => return,
        }
    }
}
