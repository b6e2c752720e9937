//! When to deal ahead.

/// What the node does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Nothing that a client waits for.
    Idle,
    /// A session runs or is about to.
    Busy,
}

/// Sessions dealt before the load is looked at again, as a share of the limit.
const STEP: usize = 8;

/// How many entries to deal now into a pool of `level` that should hold `limit`.
///
/// None while a client waits: dealing takes all cores and the links. Otherwise some, so that what
/// comes meanwhile does not wait for long, and more when the pool is nearly empty.
pub fn refill(level: usize, limit: usize, load: Load) -> usize {
    let missing = limit.saturating_sub(level);
    let step = match level < limit.div_ceil(4) {
        true => limit.div_ceil(STEP / 2),
        false => limit.div_ceil(STEP),
    };
    match load {
        Load::Busy => 0,
        Load::Idle => missing.min(step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_fill_up_when_idle_and_never_beyond() {
        for limit in 0..40 {
            let (mut level, mut calls) = (0, 0);
            loop {
                assert_eq!(refill(level, limit, Load::Busy), 0);
                let more = refill(level, limit, Load::Idle);
                assert!(level + more <= limit);
                if more == 0 {
                    break;
                }
                level += more;
                calls += 1;
            }
            assert_eq!(level, limit);
            assert!(calls <= STEP, "{limit} takes {calls} calls");
            assert_eq!(refill(limit + 3, limit, Load::Idle), 0);
        }
    }
}
