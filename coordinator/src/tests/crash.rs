//! One fixed story, with a crash at every commit it makes: before the commit and after it. The
//! parties repeat what was not answered; the end is always the same.

use ai_link_wire::{ControlResponse, JobId, JobState, Refusal, Signed, Ticket};

use super::world::{Chain, Crash, FileStore, Reopen, World, policy};
use crate::ledger::{MemoryStore, Store};
use crate::settlement::Submission;

/// What must not depend on crashes.
#[derive(Debug, PartialEq, Eq)]
struct Ending {
    paid: Vec<(ai_link_wire::AccountId, u128)>,
    escrow: u128,
    paid_jobs: usize,
    states: Vec<JobState>,
}

struct Story<S> {
    world: World<S>,
}

impl<S: Store + Clone + Reopen> Story<S> {
    /// Asks until there is an answer; the coordinator is restarted when it died over it.
    fn insist(&mut self, mut ask: impl FnMut(&mut World<S>) -> ControlResponse) -> ControlResponse {
        for _ in 0..2 {
            let answer = ask(&mut self.world);
            if !matches!(answer, ControlResponse::Refused(Refusal::Internal(_))) {
                return answer;
            }
            self.world.restart();
            self.world.pass(1);
            self.world.everyone_ready();
        }
        panic!("the coordinator fails without a crash");
    }

    fn ticket(&mut self, job: u8, attempt: u32) -> Signed<Ticket> {
        match self.insist(|world| world.matched(0, job, attempt)) {
            ControlResponse::Ticket(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn settle(&mut self) {
        for _ in 0..4 {
            self.world.pass(3_000);
            let Some(drafts) = self.world.poll() else {
                self.world.restart();
                continue;
            };
            for draft in drafts {
                self.world.chain.settle(&draft).unwrap();
                let now = self.world.now;
                self.world
                    .core()
                    .submitted(draft.epoch, Submission::Finalised, now)
                    .unwrap();
            }
        }
    }

    fn tell(mut self) -> (Ending, u32) {
        let first = self.ticket(1, 0);
        self.insist(|world| world.complete(0, &first));
        // Fails once, then delivers.
        let failed = self.ticket(2, 0);
        let dead = super::world::dealer(&failed);
        self.insist(|world| world.fail(0, 2, 0, vec![dead]));
        let second = self.ticket(2, 1);
        self.insist(|world| world.complete(0, &second));
        // Never delivers.
        self.ticket(3, 0);
        self.settle();
        self.world.pass(20_000);
        self.settle();

        let Chain {
            paid,
            escrow,
            paid_jobs,
            ..
        } = self.world.chain.clone();
        let states = [1, 2, 3].map(|job| {
            let entry = self.world.core().ledger().job(&JobId([job; 16])).unwrap();
            match entry.unwrap().status().state {
                // In which batch depends on when the crash was; that it was paid must not.
                JobState::Settled { .. } => JobState::Settled { epoch: 0 },
                other => other,
            }
        });
        // Which workers are paid depends on chance; how much in all does not.
        let ending = Ending {
            paid: vec![(self.world.owner, paid[&self.world.owner])],
            escrow: escrow.values().sum(),
            paid_jobs: paid_jobs.len(),
            states: states.to_vec(),
        };
        let commits = *self.world.store.commits.lock().unwrap();
        (ending, commits)
    }
}

fn story<S: Store + Clone + Reopen>(store: S, crash: Option<(u32, Crash)>) -> (Ending, u32) {
    let mut world = World::new(store, &[0, 1, 2, 3], policy());
    world.everyone_ready();
    *world.store.fuse.lock().unwrap() = crash;
    Story { world }.tell()
}

fn every_crash_point<S: Store + Clone + Reopen>(mut store: impl FnMut() -> S) {
    let (expected, commits) = story(store(), None);
    assert_eq!(expected.paid_jobs, 2);
    assert_eq!(expected.states[0], JobState::Settled { epoch: 0 });
    assert_eq!(expected.states[1], JobState::Settled { epoch: 0 });
    assert!(matches!(expected.states[2], JobState::Refunded { .. }));
    assert!(commits >= 9, "the story makes only {commits} commits");
    for at in 0..commits {
        for when in [Crash::Before, Crash::After] {
            let (ending, _) = story(store(), Some((at, when)));
            assert_eq!(ending, expected, "crash {when:?} commit {at}");
        }
    }
}

#[test]
fn memory() {
    every_crash_point(MemoryStore::default);
}

#[test]
fn disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = 0;
    every_crash_point(|| {
        files += 1;
        FileStore::new(dir.path().join(format!("{files}.redb")))
    });
}
