//! The public weights of a program, packed once for all sessions that run it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use ai_link_program::fixed::Program;
use ai_link_program::kernels::Weights;

use super::Prepared;

/// Packed constants of one program, by their id. Made when first used, kept as long as the program
/// is, and at most about as large as its constants.
pub(super) struct PackedWeights {
    program: Weak<Program>,
    constants: Vec<OnceLock<Prepared>>,
}

impl PackedWeights {
    /// What is kept for `program`: sessions of the same program share it.
    pub(super) fn of(program: &Arc<Program>) -> Arc<Self> {
        static KEPT: Mutex<Vec<Arc<PackedWeights>>> = Mutex::new(Vec::new());
        // A panic elsewhere leaves the list whole.
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|packed| packed.program.strong_count() > 0);
        let same = |packed: &&Arc<PackedWeights>| packed.program.as_ptr() == Arc::as_ptr(program);
        if let Some(packed) = kept.iter().find(same) {
            return Arc::clone(packed);
        }
        let constants = program.constants().len();
        let packed = Arc::new(Self {
            program: Arc::downgrade(program),
            constants: std::iter::repeat_with(OnceLock::new)
                .take(constants)
                .collect(),
        });
        kept.push(Arc::clone(&packed));
        packed
    }

    /// The packed form of `weights`, which `prepare` makes the first time. `None` if they are not a
    /// constant of this program, which is known by their address: programs do not change.
    pub(super) fn get(
        &self,
        weights: Weights<'_>,
        prepare: impl FnOnce() -> Prepared,
    ) -> Option<&Prepared> {
        let program = self.program.upgrade()?;
        let constant = program.constants().get(weights.id.index())?;
        if !std::ptr::eq(constant.data.as_slice(), weights.data) {
            return None;
        }
        let kept = self.constants.get(weights.id.index())?;
        if kept.get().is_none() {
            // Not inside `get_or_init`: packing uses the thread pool, where another job that waits
            // for the same constant could be what this thread is given to do meanwhile. Who comes
            // second throws its copy away.
            let _ = kept.set(prepare());
        }
        kept.get()
    }
}

impl std::fmt::Debug for PackedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let made = self.constants.iter().filter(|c| c.get().is_some()).count();
        write!(f, "PackedWeights({made} of {})", self.constants.len())
    }
}
