//! Which privacy level a job is done at. Decided here, before anything leaves, and never lowered.

use ai_link_wire::Level;

/// How little must be trusted: more is safer.
fn strength(level: Level) -> u8 {
    match level {
        Level::Fhe => 2,
        Level::Mpc => 1,
        Level::Sealed => 0,
    }
}

/// Whether data is at least as safe at `level` as at `least`.
pub fn protects_like(level: Level, least: Level) -> bool {
    strength(level) >= strength(least)
}

/// The level of a job for a model that is offered at `offered`, where `served` are the levels of this build.
///
/// What was asked for is taken as it is, or refused. Where nothing was asked, it is `least` (what the configuration
/// demands), or if the model is not offered at that, the one just above it.
///
/// # Errors
/// [`LevelProblem`].
pub fn resolve(
    asked: Option<Level>,
    least: Level,
    offered: &[Level],
    served: &[Level],
) -> Result<Level, LevelProblem> {
    let listed = || offered.to_vec();
    if let Some(asked) = asked {
        if !protects_like(asked, least) {
            return Err(LevelProblem::Weaker { asked, least });
        }
        if !offered.contains(&asked) {
            let offered = listed();
            return Err(LevelProblem::NotOffered { asked, offered });
        }
        return match served.contains(&asked) {
            true => Ok(asked),
            false => Err(LevelProblem::NotServed { level: asked }),
        };
    }
    let enough = offered.iter().filter(|level| protects_like(**level, least));
    let mut enough: Vec<Level> = enough.copied().collect();
    enough.sort_by_key(|level| strength(*level));
    let first = enough.first().copied();
    let found = enough.into_iter().find(|level| served.contains(level));
    match (found, first) {
        (Some(level), _) => Ok(level),
        (None, Some(level)) => Err(LevelProblem::NotServed { level }),
        (None, None) => {
            let offered = listed();
            Err(LevelProblem::NoneEnough { least, offered })
        }
    }
}

/// Why no level will do. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelProblem {
    /// The model is offered only at levels that protect less than the configuration demands.
    #[error("the model is offered at {}; the configuration demands {least} or more", list(.offered))]
    NoneEnough {
        /// As configured.
        least: Level,
        /// The model's.
        offered: Vec<Level>,
    },
    /// The model is not offered at the level asked for, and no other is taken instead.
    #[error("the model is not offered at level {asked}; it is at {}", list(.offered))]
    NotOffered {
        /// As asked.
        asked: Level,
        /// The model's.
        offered: Vec<Level>,
    },
    /// This build does not serve the level, and no other is taken instead.
    #[error("level {level} is not served by this build")]
    NotServed {
        /// The level.
        level: Level,
    },
    /// Asked for less than the configuration demands.
    #[error(
        "level {asked} would protect the input less than {least}, which the configuration demands"
    )]
    Weaker {
        /// As asked.
        asked: Level,
        /// As configured.
        least: Level,
    },
}

fn list(levels: &[Level]) -> String {
    let each: Vec<String> = levels.iter().map(ToString::to_string).collect();
    match each.is_empty() {
        true => "no level".into(),
        false => each.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Level::{Fhe, Mpc, Sealed};

    const SERVED: [Level; 2] = [Mpc, Fhe];

    #[test]
    fn what_is_asked_for_is_done_or_refused() {
        let both = [Mpc, Fhe];
        assert_eq!(resolve(Some(Fhe), Mpc, &both, &SERVED), Ok(Fhe));
        assert_eq!(resolve(Some(Mpc), Mpc, &both, &SERVED), Ok(Mpc));
        assert_eq!(
            resolve(Some(Fhe), Mpc, &[Mpc], &SERVED),
            Err(LevelProblem::NotOffered {
                asked: Fhe,
                offered: vec![Mpc]
            })
        );
        assert_eq!(
            resolve(Some(Mpc), Fhe, &both, &SERVED),
            Err(LevelProblem::Weaker {
                asked: Mpc,
                least: Fhe
            })
        );
        assert_eq!(
            resolve(Some(Fhe), Mpc, &both, &[Mpc]),
            Err(LevelProblem::NotServed { level: Fhe })
        );
    }

    #[test]
    fn without_a_wish_it_is_the_least_that_is_enough() {
        assert_eq!(resolve(None, Mpc, &[Fhe, Mpc], &SERVED), Ok(Mpc));
        assert_eq!(resolve(None, Mpc, &[Fhe], &SERVED), Ok(Fhe));
        assert_eq!(resolve(None, Fhe, &[Fhe, Mpc], &SERVED), Ok(Fhe));
        assert_eq!(resolve(None, Sealed, &[Sealed, Fhe], &SERVED), Ok(Fhe));
        assert_eq!(
            resolve(None, Mpc, &[Fhe], &[Mpc]),
            Err(LevelProblem::NotServed { level: Fhe })
        );
        for offered in [vec![], vec![Mpc], vec![Sealed, Mpc]] {
            let none = LevelProblem::NoneEnough {
                least: Fhe,
                offered: offered.clone(),
            };
            assert_eq!(resolve(None, Fhe, &offered, &SERVED), Err(none));
        }
    }

    /// Over all inputs: never weaker than asked, configured or offered.
    #[test]
    fn nothing_is_ever_lowered() {
        let subsets = |bits: u8| {
            let inside = |level: &&Level| bits & level.bit() != 0;
            Level::ALL
                .iter()
                .filter(inside)
                .copied()
                .collect::<Vec<_>>()
        };
        let wishes = [None, Some(Fhe), Some(Mpc), Some(Sealed)];
        for (offered, served) in (0..8).flat_map(|o| (0..8).map(move |s| (o, s))) {
            let (offered, served) = (subsets(offered), subsets(served));
            for (asked, least) in wishes.iter().flat_map(|w| Level::ALL.map(|l| (*w, l))) {
                if let Ok(level) = resolve(asked, least, &offered, &served) {
                    assert!(asked.is_none_or(|asked| asked == level));
                    assert!(protects_like(level, least));
                    assert!(offered.contains(&level) && served.contains(&level));
                }
            }
        }
    }
}
