//! Inputs whose owner is not the client: shared once, stored, and brought by the workers.
//!
//! Whoever asks for a session need not know its input. The input's owner shares it in two
//! (`ai_link_storage::shares`): share 1 is a seed, and share 2 is `m = x - expand(seed)`. That is
//! the masked form of MASKED-MPC.md, "Sharing", `m = x + lambda` with `lambda = -expand(seed)`: the
//! dealer brings the mask, every evaluator the masked words, and the session goes on as if a client
//! had masked the input. It costs no round and no byte.
//!
//! ```text
//!              seed of share 1            share 2
//!   storage ------------------> dealer    storage ------------------> evaluators
//!                                 |                                      |   ^
//!                                 +-------- corrections ---------------->+   | openings
//!   client  <-------- mask of y --+                                      +---+
//!      ^------------------------------------------ m_y ------------------+
//! ```
//!
//! Ports may be mixed: some stored by one owner, some by another, some of the client's own.
//!
//! # Why nobody learns the input
//! * *An evaluator* holds `m`, which is uniform since the seed is fresh, and then exactly what it
//!   sees in any session.
//! * *The dealer* holds a seed, and sees nothing else that depends on data, as in any session.
//! * *The client* sees `m_y` and `lambda_y`. The latter is a function of masks, which do not
//!   depend on `x`, and `m_y = y + lambda_y`: both can be made up from `y`. So it learns the output,
//!   and what outputs tell about an input.
//! * *Again with the same sharing*: a second session has the same `m` and `lambda`, and every
//!   correction and opening in it is blinded by masks that are fresh, since they come from keys
//!   agreed for this session. A simulator draws `m` once and the rest anew. It is as with the fixed
//!   sharing of private weights ([`weights`](crate::weights)). The output's mask may repeat, where
//!   a program has no interactive step: `lambda_y = W lambda`, still a function of the seed alone.
//!
//! # What must hold
//! * *Who had one share of an input never gets the other*, in no role and in no session: seed and
//!   masked words together are the input. Not the machines but whoever hands out shares sees to it.
//!   For as long as a sharing is used, all that ever dealt with it count as one dealer, and all that
//!   ever evaluated as one evaluator.
//! * *Both shares are of one input*: a client that could have the mask of one input and the masked
//!   words of another evaluated would learn about `x + c` for a `c` of its own. The ticket names the
//!   input's record, which its owner signed, and every worker checks its share against that.
//! * *The client does not deal*: it would have the mask, and need one evaluator to have the input.
//! * *Not from a pool*: its entries have masks of their own.

use zeroize::Zeroizing;

use crate::error::MpcError;
use crate::session::{DealerSeat, SessionSpec};

/// Most input ports of a program of which some are stored.
pub const MAX_PORTS: usize = 64;

/// The input ports that do not come from the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StoredPorts(u64);

impl StoredPorts {
    /// Every input comes from the client.
    pub const NONE: Self = Self(0);

    /// These ports; `None` if one is beyond [`MAX_PORTS`] or named twice.
    pub fn of(ports: impl IntoIterator<Item = usize>) -> Option<Self> {
        ports.into_iter().try_fold(Self::NONE, |set, port| {
            (port < MAX_PORTS && !set.contains(port)).then(|| Self(set.0 | 1 << port))
        })
    }

    /// Whether this port is one of them.
    pub fn contains(self, port: usize) -> bool {
        port < MAX_PORTS && self.0 >> port & 1 == 1
    }

    /// Whether there are none.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// How many.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there are none; see [`is_none`](Self::is_none).
    pub fn is_empty(self) -> bool {
        self.is_none()
    }

    /// In order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_PORTS).filter(move |port| self.contains(*port))
    }
}

/// A worker's part of a stored input: at an evaluator the masked words `m`, at the dealer their
/// mask `lambda`, with `x = m - lambda`. One word per element of the batch, row-major.
pub struct StoredShare {
    /// Which input port it is for.
    pub port: usize,
    /// The words, at the fraction of the port.
    pub words: Zeroizing<Vec<u64>>,
}

impl std::fmt::Debug for StoredShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredShare")
            .field("port", &self.port)
            .field("words", &self.words.len())
            .finish_non_exhaustive()
    }
}

/// Words of a port.
pub(crate) fn port_words(spec: &SessionSpec, port: usize) -> usize {
    let port = &spec.program.inputs()[port];
    spec.program.value(port.value).elements() * spec.batch
}

/// That the session can have these stored inputs.
pub(crate) fn check_ports(spec: &SessionSpec) -> Result<(), MpcError> {
    let inputs = spec.program.inputs().len();
    if let Some(port) = spec.stored.iter().find(|port| *port >= inputs) {
        return Err(MpcError::NoSuchPort { port, inputs });
    }
    match (spec.stored.is_none(), spec.dealer) {
        (false, DealerSeat::Client) => Err(MpcError::StoredGroup),
        _ => Ok(()),
    }
}

/// The shares of a session, one for each stored port, in the order of ports.
pub(crate) fn sorted(
    spec: &SessionSpec,
    mut shares: Vec<StoredShare>,
) -> Result<Vec<StoredShare>, MpcError> {
    shares.sort_by_key(|share| share.port);
    if !spec.stored.iter().eq(shares.iter().map(|share| share.port)) {
        let (expected, found) = (spec.stored.len(), shares.len());
        return Err(MpcError::StoredShares { expected, found });
    }
    for share in &shares {
        let (expected, found) = (port_words(spec, share.port), share.words.len());
        if expected != found {
            let port = spec.program.inputs()[share.port].name.clone();
            return Err(MpcError::InputSize {
                port,
                expected,
                found,
            });
        }
    }
    Ok(shares)
}

/// All ports in order: `own` has those of the client, `shares` the others.
pub(crate) fn merge(
    spec: &SessionSpec,
    mut own: &[u64],
    shares: Vec<StoredShare>,
) -> Zeroizing<Vec<u64>> {
    let ports = spec.program.inputs().len();
    let total = (0..ports).map(|port| port_words(spec, port)).sum();
    let mut all = Zeroizing::new(Vec::with_capacity(total));
    let mut shares = shares.into_iter();
    for port in 0..ports {
        if spec.stored.contains(port) {
            let share = shares.next().expect("one for each stored port, qed");
            all.extend_from_slice(&share.words);
        } else {
            let (these, rest) = own.split_at(port_words(spec, port));
            all.extend_from_slice(these);
            own = rest;
        }
    }
    all
}
