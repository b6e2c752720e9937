//! Where the processes of a run are.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};

use super::who::Who;

/// One process's place.
pub(super) struct Place {
    /// What to put before its command line.
    pub(super) enter: Vec<OsString>,
    /// Where it listens.
    pub(super) ip: IpAddr,
}

/// Everybody's place.
pub(super) struct Places([Place; 4]);

impl Places {
    /// This machine's loopback.
    pub(super) fn loopback() -> Self {
        Self(Who::ALL.map(|_| Place {
            enter: Vec::new(),
            ip: Ipv4Addr::LOCALHOST.into(),
        }))
    }

    /// Places in the order of [`Who::ALL`].
    pub(super) fn new(places: [Place; 4]) -> Self {
        Self(places)
    }

    /// The place of a party.
    pub(super) fn of(&self, who: Who) -> &Place {
        &self.0[who as usize]
    }
}
