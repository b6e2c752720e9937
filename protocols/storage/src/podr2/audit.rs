//! Who is challenged when, and what follows. Sans-IO: time, randomness and answers go in, what to do
//! comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Challenge, FragmentKey, Proof, PublicKey};
use crate::fid::ContentHash;
use crate::node::NodeId;

/// How an [`Auditor`] goes about it.
#[derive(Clone, Copy, Debug)]
pub struct AuditConfig {
    /// How long after a good answer a fragment is challenged again.
    pub interval: Duration,
    /// How long after a bad or missing one.
    pub retry: Duration,
    /// How long an answer may take.
    pub deadline: Duration,
    /// How many bad or missing answers in a row make a fragment lost.
    pub tolerance: u32,
    /// How many challenges may be open at a time.
    pub open: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(24 * 3600),
            retry: Duration::from_secs(600),
            deadline: Duration::from_secs(60),
            // CESS's SERVICE_FAULT_TOLERANT.
            tolerance: 2,
            open: 4,
        }
    }
}

/// A fragment at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The node.
    pub node: NodeId,
    /// The fragment.
    pub fragment: ContentHash,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// Send this to the node; tell the answer by [`Auditor::answer`].
    Challenge(Subject, Challenge),
    /// The fragment is lost there: rebuild it, elsewhere if the node is gone. It is challenged again
    /// only when it is watched again.
    Repair(Subject),
}

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Proven,
    /// It does not.
    Failed,
    /// Nothing was asked, or it came too late.
    Unasked,
}

/// Challenges fragments on a schedule. Time is counted from any fixed moment.
#[derive(Debug)]
pub struct Auditor {
    config: AuditConfig,
    public: PublicKey,
    watched: BTreeMap<Subject, Watched>,
}

#[derive(Debug)]
struct Watched {
    key: FragmentKey,
    /// When it is due, or when its open challenge runs out.
    at: Duration,
    open: Option<Challenge>,
    failures: u32,
}

impl Auditor {
    /// An auditor that watches nothing.
    pub fn new(config: AuditConfig, public: PublicKey) -> Self {
        Self {
            config,
            public,
            watched: BTreeMap::new(),
        }
    }

    /// Watches a fragment at a node; `key` comes from tags that the tagger signed. The first
    /// challenge is due at once.
    pub fn watch(&mut self, node: NodeId, key: FragmentKey, now: Duration) {
        let subject = Subject {
            node,
            fragment: key.fragment(),
        };
        let watched = Watched {
            key,
            at: now,
            open: None,
            failures: 0,
        };
        self.watched.insert(subject, watched);
    }

    /// Watches a fragment no more: it was deleted or moved.
    pub fn forget(&mut self, subject: Subject) {
        self.watched.remove(&subject);
    }

    /// Whether a fragment is watched at a node.
    pub fn is_watched(&self, subject: Subject) -> bool {
        self.watched.contains_key(&subject)
    }

    /// How many fragments are watched.
    pub fn watched(&self) -> usize {
        self.watched.len()
    }

    /// When [`poll`](Self::poll) has something to do next; `None` if nothing is watched.
    pub fn next_at(&self) -> Option<Duration> {
        self.watched.values().map(|watched| watched.at).min()
    }

    /// What is to be done at `now`. `seed` must be fresh and unpredictable.
    pub fn poll(&mut self, now: Duration, seed: &[u8; 32]) -> Vec<AuditAction> {
        let mut actions = Vec::new();
        let late: Vec<Subject> = self
            .watched
            .iter()
            .filter(|(_, watched)| watched.open.is_some() && watched.at <= now)
            .map(|(subject, _)| *subject)
            .collect();
        for subject in late {
            actions.extend(self.failed(subject, now));
        }
        let mut open = self
            .watched
            .values()
            .filter(|watched| watched.open.is_some())
            .count();
        let mut due: Vec<(Duration, Subject)> = self
            .watched
            .iter()
            .filter(|(_, watched)| watched.open.is_none() && watched.at <= now)
            .map(|(subject, watched)| (watched.at, *subject))
            .collect();
        // The longest due first, so that none starves.
        due.sort();
        for (_, subject) in due {
            if open == self.config.open {
                break;
            }
            if let Some(watched) = self.watched.get_mut(&subject) {
                // One seed serves many: each fragment's challenge depends on what it is for.
                let own = [&seed[..], &subject.node.0, &subject.fragment.0].concat();
                let challenge = Challenge::from_seed(&ContentHash::of(&own).0);
                watched.open = Some(challenge.clone());
                watched.at = now + self.config.deadline;
                open += 1;
                actions.push(AuditAction::Challenge(subject, challenge));
            }
        }
        actions
    }

    /// Takes an answer, or `None` if the node refused or broke off. Gives the verdict, and a repair
    /// if it was one failure too many. Checking takes some hundred milliseconds.
    pub fn answer(
        &mut self,
        subject: Subject,
        proof: Option<&Proof>,
        now: Duration,
    ) -> (Verdict, Option<AuditAction>) {
        let Some(watched) = self.watched.get_mut(&subject) else {
            return (Verdict::Unasked, None);
        };
        let Some(challenge) = &watched.open else {
            return (Verdict::Unasked, None);
        };
        if watched.at <= now {
            return (Verdict::Failed, self.failed(subject, now));
        }
        let holds =
            proof.is_some_and(|proof| proof.verify(&self.public, &watched.key, challenge).is_ok());
        if holds {
            watched.open = None;
            watched.failures = 0;
            watched.at = now + self.config.interval;
            (Verdict::Proven, None)
        } else {
            (Verdict::Failed, self.failed(subject, now))
        }
    }

    fn failed(&mut self, subject: Subject, now: Duration) -> Option<AuditAction> {
        let watched = self.watched.get_mut(&subject)?;
        watched.open = None;
        watched.failures += 1;
        watched.at = now + self.config.retry;
        if watched.failures < self.config.tolerance {
            return None;
        }
        self.watched.remove(&subject);
        Some(AuditAction::Repair(subject))
    }
}
