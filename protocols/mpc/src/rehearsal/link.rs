//! Links of a process that take as long as those of a network.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ai_link_program::LinkProfile;

use crate::party::Party;

/// Messages under way on one link at most.
const QUEUE: usize = 64;
/// The last part of a wait is not slept through: a sleeping thread wakes up too late.
const AWAKE: Duration = Duration::from_micros(150);
/// How long a sender waits for room before it looks at the deadline.
const NAP: Duration = Duration::from_micros(200);

/// All parties of a rehearsal.
const PARTIES: [Party; 4] = [
    Party::Client,
    Party::Dealer,
    Party::EVALUATOR_0,
    Party::EVALUATOR_1,
];

/// A message, and when its last byte is there.
type Sent = (Instant, Vec<u8>);

/// All links, until parties take their ends.
pub(super) struct Wires(Mutex<HashMap<Party, Ends>>);

/// One party's ends of its links.
pub(super) struct Ends {
    profile: LinkProfile,
    out: HashMap<Party, Outgoing>,
    incoming: HashMap<Party, Receiver<Sent>>,
}

struct Outgoing {
    /// When the last byte of what was sent has left.
    free: Instant,
    sender: SyncSender<Sent>,
}

/// What came of waiting.
pub(super) enum Received {
    Message(Vec<u8>),
    Late,
    Closed,
}

impl Wires {
    pub(super) fn new(profile: LinkProfile) -> Self {
        let now = Instant::now();
        let none = || Ends {
            profile,
            out: HashMap::new(),
            incoming: HashMap::new(),
        };
        let mut all: HashMap<Party, Ends> = PARTIES.iter().map(|p| (*p, none())).collect();
        for from in PARTIES {
            for to in PARTIES.into_iter().filter(|to| *to != from) {
                let (sender, receiver) = sync_channel(QUEUE);
                let outgoing = Outgoing { free: now, sender };
                if let Some(ends) = all.get_mut(&from) {
                    ends.out.insert(to, outgoing);
                }
                if let Some(ends) = all.get_mut(&to) {
                    ends.incoming.insert(from, receiver);
                }
            }
        }
        Self(Mutex::new(all))
    }

    /// The ends of `party`, which has none after that.
    pub(super) fn ends(&self, party: Party) -> Ends {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&party).expect("each party plays once, qed")
    }
}

impl Ends {
    /// Queues a message; whether there was room in time. One that nobody takes is dropped.
    pub(super) fn send(&mut self, to: Party, payload: Vec<u8>, until: Instant) -> bool {
        let Some(out) = self.out.get_mut(&to) else {
            return true;
        };
        let bits = 8.0 * payload.len() as f64;
        let rate = self.profile.bandwidth_bits.max(1) as f64;
        out.free = out.free.max(Instant::now()) + Duration::from_secs_f64(bits / rate);
        let mut sent = (out.free + self.profile.round_trip / 2, payload);
        loop {
            match out.sender.try_send(sent) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return true,
                Err(TrySendError::Full(_)) if Instant::now() >= until => return false,
                Err(TrySendError::Full(back)) => sent = back,
            }
            thread::sleep(NAP);
        }
    }

    /// The next message of a party, once it is there.
    pub(super) fn receive(&mut self, from: Party, until: Instant) -> Received {
        let Some(link) = self.incoming.get(&from) else {
            return Received::Closed;
        };
        let left = until.saturating_duration_since(Instant::now());
        let (due, payload) = match link.recv_timeout(left) {
            Ok(sent) => sent,
            Err(RecvTimeoutError::Timeout) => return Received::Late,
            Err(RecvTimeoutError::Disconnected) => return Received::Closed,
        };
        if due > until {
            return Received::Late;
        }
        wait(due);
        Received::Message(payload)
    }
}

/// Returns at `due`, as exactly as threads can.
fn wait(due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match left.checked_sub(AWAKE) {
            Some(asleep) if !asleep.is_zero() => thread::sleep(asleep),
            _ => thread::yield_now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(round_trip: Duration, bandwidth_bits: u64) -> LinkProfile {
        LinkProfile {
            round_trip,
            bandwidth_bits,
            cores: 1,
        }
    }

    /// Never early: half a round trip after the last byte, and one message behind the other.
    #[test]
    fn messages_take_their_time() {
        let wires = Wires::new(profile(Duration::from_millis(10), 8_000_000));
        let [mut client, mut dealer] = [Party::Client, Party::Dealer].map(|p| wires.ends(p));
        let began = Instant::now();
        let until = began + Duration::from_secs(60);
        assert!(client.send(Party::Dealer, vec![1; 5000], until));
        assert!(client.send(Party::Dealer, vec![2; 5000], until));
        for (byte, ms) in [(1, 10), (2, 15)] {
            let Received::Message(payload) = dealer.receive(Party::Client, until) else {
                panic!("no message");
            };
            assert_eq!(payload, vec![byte; 5000]);
            assert!(began.elapsed() >= Duration::from_millis(ms));
        }
        drop(client);
        assert!(matches!(
            dealer.receive(Party::Client, until),
            Received::Closed
        ));
    }

    #[test]
    fn nobody_waits_for_ever() {
        let wires = Wires::new(profile(Duration::ZERO, 1 << 40));
        let [mut client, mut dealer] = [Party::Client, Party::Dealer].map(|p| wires.ends(p));
        let until = Instant::now() + Duration::from_millis(20);
        assert!(matches!(
            dealer.receive(Party::Client, until),
            Received::Late
        ));
        // A full queue is bounded too.
        let sent = (0..=QUEUE).map(|_| client.send(Party::Dealer, vec![0], until));
        assert_eq!(sent.filter(|sent| *sent).count(), QUEUE);
    }
}
