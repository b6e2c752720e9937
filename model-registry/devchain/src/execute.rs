//! Calls into the runtime, which is linked into this process and executed natively.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sp_runtime::traits::BlakeTwo256;
use sp_state_machine::{Ext, OverlayedChanges};

use crate::nodes::State;

/// Changes on top of a state, not in it yet.
pub(crate) type Overlay = OverlayedChanges<BlakeTwo256>;

/// Why the runtime gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// There is no such call.
    #[error("the runtime has no call `{method}`")]
    UnknownMethod {
        /// The name asked for.
        method: String,
    },
    /// The runtime gave up, as it does on arguments it cannot decode.
    #[error("the runtime panicked in `{method}`: {message}")]
    Panicked {
        /// The call.
        method: String,
        /// What it said.
        message: String,
    },
    /// The answer does not have the type that the call promises.
    #[error("the runtime's answer to `{method}` cannot be decoded")]
    Answer {
        /// The call.
        method: &'static str,
        /// What the decoder said.
        #[source]
        source: codec::Error,
    },
}

/// Executes `method` with SCALE-encoded `arguments` on `state` with `overlay`. Changes go to the
/// overlay; if the runtime panics, none of them stay.
pub(crate) fn execute(
    state: &State<'_>,
    overlay: &mut Overlay,
    method: &str,
    arguments: &[u8],
) -> Result<Vec<u8>, ExecuteError> {
    let depth = overlay.transaction_depth();
    overlay.start_transaction();
    let mut ext = Ext::new(overlay, state, None);
    // Unwind safety: everything the closure may leave half done is in the overlay, which is rolled
    // back below; externalities are taken off the thread by a guard.
    let answer = catch_unwind(AssertUnwindSafe(|| {
        sp_externalities::set_and_run_with_externalities(&mut ext, || {
            ai_link_runtime::api::dispatch(method, arguments)
        })
    }));
    match answer {
        Ok(Some(answer)) if overlay.transaction_depth() == depth + 1 => {
            overlay
                .commit_transaction()
                .map_err(|_| ExecuteError::Panicked {
                    method: method.to_owned(),
                    message: "it closed a storage transaction that it did not open".to_owned(),
                })?;
            Ok(answer)
        }
        other => {
            while overlay.transaction_depth() > depth && overlay.rollback_transaction().is_ok() {}
            Err(match other {
                Ok(None) => ExecuteError::UnknownMethod {
                    method: method.to_owned(),
                },
                Ok(Some(_)) => ExecuteError::Panicked {
                    method: method.to_owned(),
                    message: "it left storage transactions open".to_owned(),
                },
                Err(panic) => ExecuteError::Panicked {
                    method: method.to_owned(),
                    message: message_of(panic.as_ref()),
                },
            })
        }
    }
}

/// [`execute`] with a typed answer.
pub(crate) fn call<T: codec::DecodeAll>(
    state: &State<'_>,
    overlay: &mut Overlay,
    method: &'static str,
    arguments: &[u8],
) -> Result<T, ExecuteError> {
    let answer = execute(state, overlay, method, arguments)?;
    T::decode_all(&mut answer.as_slice()).map_err(|source| ExecuteError::Answer { method, source })
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no message".to_owned())
}
