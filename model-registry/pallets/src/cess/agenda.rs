//! What falls due at a block, done when its turn comes, a bounded number a block.

use alloc::vec::Vec;

/// The most blocks that are looked at while one block is made.
const BLOCKS: u32 = 64;

/// Handles what is due at blocks from `cursor` to `now`, at most `limit` entries, and gives the first
/// block that is not done with. `due` lists up to so many entries of a block; `handle` must take its
/// entry off the agenda, or put it on that of a later block than `now`.
pub(super) fn advance<K>(
    mut cursor: u32,
    now: u32,
    limit: usize,
    due: impl Fn(u32, usize) -> Vec<K>,
    mut handle: impl FnMut(u32, K),
) -> u32 {
    let mut left = limit;
    for _ in 0..BLOCKS {
        if cursor > now || left == 0 {
            break;
        }
        let entries = due(cursor, left);
        let is_last = entries.len() < left;
        left -= entries.len().min(left);
        for entry in entries {
            handle(cursor, entry);
        }
        if !is_last {
            break;
        }
        cursor = cursor.saturating_add(1);
    }
    cursor
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, vec};

    use super::*;

    #[test]
    fn all_is_done_in_order_and_a_bounded_number_at_a_time() {
        let mut agenda: BTreeSet<(u32, u32)> = (0..10)
            .flat_map(|at| (0..3).map(move |k| (at, k)))
            .collect();
        let (mut cursor, mut done, mut turns) = (0, vec![], 0);
        while cursor <= 9 {
            let before = done.len();
            let snapshot = agenda.clone();
            let due = |at, limit| {
                let of = snapshot.iter().filter(|(block, _)| *block == at);
                of.map(|(_, key)| *key).take(limit).collect()
            };
            cursor = advance(cursor, 9, 4, due, |at, key| {
                assert!(agenda.remove(&(at, key)));
                done.push((at, key));
            });
            assert!(done.len() - before <= 4);
            turns += 1;
            assert!(turns < 100);
        }
        assert!(agenda.is_empty());
        assert!(done.is_sorted());
        // Nothing is due: the cursor follows, but not at any cost.
        assert_eq!(advance(10, 20, 4, |_, _| Vec::<u32>::new(), |_, _| ()), 21);
        assert_eq!(
            advance(0, 1_000, 4, |_, _| Vec::<u32>::new(), |_, _| ()),
            BLOCKS
        );
    }
}
