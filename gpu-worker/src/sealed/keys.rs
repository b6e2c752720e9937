//! The key that requests are encrypted to, and its successor.

use std::sync::{Arc, Mutex, PoisonError};

use ai_link_sealed::{KeyError, WorkerKey};
use ai_link_wire::{Identity, UnixMillis};

/// The current key. Sessions that have begun hold the one they began with; when the last of them ends it is gone.
#[derive(Debug, Default)]
pub struct Keys(Mutex<Option<Arc<WorkerKey>>>);

impl Keys {
    /// The key for a session that begins now.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn current(
        &self,
        identity: &Identity,
        now: UnixMillis,
    ) -> Result<Arc<WorkerKey>, KeyError> {
        // A panic leaves no half-made change: each is a single assignment.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref().filter(|key| !key.is_due(now)) {
            Some(key) => Ok(Arc::clone(key)),
            None => Ok(Arc::clone(
                held.insert(Arc::new(WorkerKey::generate(identity, now)?)),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_is_replaced_before_it_ends() {
        let identity = Identity::generate();
        let (keys, now) = (Keys::default(), UnixMillis::now());
        let key = |at| keys.current(&identity, at).expect("there is randomness");
        let first = key(now);
        assert!(Arc::ptr_eq(
            &first,
            &key(now.saturating_add(Duration::from_secs(60)))
        ));
        let next = key(now.saturating_add(Duration::from_secs(1801)));
        assert!(!Arc::ptr_eq(&first, &next));
    }
}
