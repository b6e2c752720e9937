//! Attempts, and how they ended.

use crate::family::Counters;
use crate::{Dimensions, Label};

/// Something that is attempted, and then succeeds or fails for one of the reasons `R`, counted by `D`.
///
/// In the exposition of a triple `x`: `x_attempted_total`, `x_succeeded_total`, `x_failed_total{reason=...}`. What was
/// attempted and neither succeeded nor failed is under way. Clones count together.
#[derive(Debug)]
pub struct Triple<D: Dimensions, R: Label> {
    pub(crate) attempted: Counters<D>,
    pub(crate) succeeded: Counters<D>,
    pub(crate) failed: Counters<(R, D)>,
}

impl<D: Dimensions, R: Label> Clone for Triple<D, R> {
    fn clone(&self) -> Self {
        Self {
            attempted: self.attempted.clone(),
            succeeded: self.succeeded.clone(),
            failed: self.failed.clone(),
        }
    }
}

impl<D: Dimensions, R: Label> Default for Triple<D, R> {
    fn default() -> Self {
        Self {
            attempted: Counters::default(),
            succeeded: Counters::default(),
            failed: Counters::default(),
        }
    }
}

impl<D: Dimensions, R: Label> Triple<D, R> {
    /// Counts an attempt.
    pub fn attempt(&self, by: D) {
        self.attempted.add(by, 1);
    }

    /// Counts how an attempt ended.
    pub fn end(&self, by: D, outcome: Result<(), R>) {
        match outcome {
            Ok(()) => self.succeeded.add(by, 1),
            Err(reason) => self.failed.add((reason, by), 1),
        }
    }

    /// Counts an attempt that is over already.
    pub fn count(&self, by: D, outcome: Result<(), R>) {
        self.attempt(by);
        self.end(by, outcome);
    }

    /// Attempts so far.
    pub fn attempted(&self, by: D) -> u64 {
        self.attempted.get(by)
    }

    /// Successes so far.
    pub fn succeeded(&self, by: D) -> u64 {
        self.succeeded.get(by)
    }

    /// Failures so far, for every reason that occurred.
    pub fn failed(&self, by: D) -> Vec<(R, u64)> {
        let count = |reason: &R| (*reason, self.failed.get((*reason, by)));
        let all = R::ALL.iter().map(count);
        all.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::label! {
        enum Door: "door" { Front = "front", Back = "back" }
    }
    crate::label! {
        enum Why: "reason" { Locked = "locked", Gone = "gone" }
    }

    #[test]
    fn what_is_counted_is_what_is_read() {
        let entering = Triple::<Door, Why>::default();
        entering.attempt(Door::Front);
        entering.count(Door::Back, Ok(()));
        entering.clone().count(Door::Back, Err(Why::Locked));
        assert_eq!(entering.attempted(Door::Front), 1);
        assert_eq!(entering.succeeded(Door::Front), 0);
        assert_eq!(entering.failed(Door::Front), []);
        assert_eq!(entering.attempted(Door::Back), 2);
        assert_eq!(entering.succeeded(Door::Back), 1);
        assert_eq!(entering.failed(Door::Back), [(Why::Locked, 1)]);
    }
}
