//! Which group evaluates a job: what must not collude for the input to stay secret.

use std::fmt;

use ai_link_wire::{DealerSeat, Level, Role};

/// Who deals, and how many evaluators there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Who deals.
    pub dealer: DealerSeat,
    /// Evaluators: 2 to 8.
    pub evaluators: u8,
}

impl Default for Group {
    /// Two evaluators and a worker that deals.
    fn default() -> Self {
        Self {
            dealer: DealerSeat::Worker,
            evaluators: 2,
        }
    }
}

impl Group {
    /// Of level `fhe`: one worker, and nothing is dealt.
    pub const ONE_WORKER: Self = Self {
        dealer: DealerSeat::Worker,
        evaluators: 1,
    };

    /// Whether there are such groups under masked evaluation.
    pub fn exists(self) -> bool {
        Role::of_group(Level::Mpc, self.evaluators, self.dealer).is_some()
    }

    /// Whether an input is at least as safe in this group as in `other`.
    ///
    /// Where the client deals, all evaluators must collude, so that more are better. Where a worker deals it takes the
    /// dealer and any evaluator, so that more are worse, and every such group is weaker than one where the client deals.
    pub fn protects_like(self, other: Self) -> bool {
        match (self.dealer, other.dealer) {
            (DealerSeat::Client, DealerSeat::Client) => self.evaluators >= other.evaluators,
            (DealerSeat::Client, DealerSeat::Worker) => true,
            (DealerSeat::Worker, DealerSeat::Client) => false,
            (DealerSeat::Worker, DealerSeat::Worker) => self.evaluators <= other.evaluators,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dealer, evaluators } = self;
        write!(f, "{evaluators} evaluators with the {dealer} dealing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(dealer: DealerSeat, evaluators: u8) -> Group {
        Group { dealer, evaluators }
    }

    #[test]
    fn groups_are_ordered_by_who_must_collude() {
        use DealerSeat::{Client, Worker};
        // From weak to strong.
        let chain = [
            group(Worker, 8),
            group(Worker, 3),
            group(Worker, 2),
            group(Client, 2),
            group(Client, 3),
            group(Client, 8),
        ];
        for (i, a) in chain.iter().enumerate() {
            assert!(a.exists());
            for (j, b) in chain.iter().enumerate() {
                assert_eq!(a.protects_like(*b), i >= j, "{a} and {b}");
            }
        }
        for evaluators in [0, 1, 9, 255] {
            assert!(!group(Client, evaluators).exists());
            assert!(!group(Worker, evaluators).exists());
        }
    }
}
