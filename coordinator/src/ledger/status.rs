//! A job in the words of the control protocol.

use ai_link_wire::{AttemptStatus, JobState, JobStatus};

use super::entry::{AttemptPhase, JobEntry, Phase, RefundCause};

impl JobEntry {
    /// The job as its client sees it.
    pub fn status(&self) -> JobStatus {
        let attempts = self.attempts.iter().map(|attempt| AttemptStatus {
            attempt: attempt.attempt,
            group: attempt.group.clone(),
            state: match &attempt.phase {
                AttemptPhase::Completed => self.phase.state(),
                AttemptPhase::Failed { .. } => JobState::Failed,
                AttemptPhase::Open => self.phase.state(),
                AttemptPhase::Superseded => JobState::Refunded {
                    why: "another attempt took its place".into(),
                },
            },
            matched_at: attempt.matched_at,
        });
        let last_failed = self
            .attempts
            .last()
            .is_some_and(|last| matches!(last.phase, AttemptPhase::Failed { .. }));
        let state = match self.phase {
            // Between a failed attempt and the next one.
            Phase::Accepted if last_failed => JobState::Failed,
            phase => phase.state(),
        };
        JobStatus {
            job: self.job,
            state,
            attempts: attempts.collect(),
            price: self.price,
        }
    }
}

impl Phase {
    /// The phase in the words of the control protocol.
    pub fn state(self) -> JobState {
        match self {
            Self::Accepted => JobState::Accepted,
            Self::Completed => JobState::Completed,
            Self::Settled { epoch } => JobState::Settled { epoch },
            Self::Refunded {
                cause: RefundCause::DeadlinePassed,
            } => JobState::Refunded {
                why: "not delivered before its deadline".into(),
            },
            Self::Refunded {
                cause: RefundCause::AttemptsExhausted,
            } => JobState::Refunded {
                why: "every attempt allowed has failed".into(),
            },
        }
    }
}
