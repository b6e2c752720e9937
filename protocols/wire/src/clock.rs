//! The only place of this crate that reads the system clock. Records and checks take
//! [`UnixMillis`] as a parameter, so that tests and replays choose the time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::UnixMillis;

impl UnixMillis {
    /// The system's wall clock. A clock set before 1970 reads as 0, which every expiry check
    /// treats as "not yet valid".
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
