//! The state of the last blocks, as nodes of their Merkle tries.
//!
//! Consecutive states share almost all of their nodes, so the nodes of all kept states live in one
//! table and each is counted. What a block adds is inserted at once; what it makes superfluous is
//! released only when the block leaves the [window](crate::HISTORY), so that every state inside it
//! can be read. This is the pruning of Substrate's `sc-state-db` with the window as its only mode.

use std::collections::{HashMap, VecDeque};

use sp_core::H256;
use sp_runtime::traits::{BlakeTwo256, Hash as _};
use sp_state_machine::{BackendTransaction, TrieBackend, TrieBackendBuilder, TrieBackendStorage};

use crate::HISTORY;

/// Where a node sits: its path in the trie followed by its hash. The path keeps equal nodes at
/// different places apart, so that each is counted by itself.
pub(crate) type NodeKey = Vec<u8>;

/// A state of the chain that can be read and executed upon.
pub(crate) type State<'a> = TrieBackend<&'a Nodes, BlakeTwo256>;

/// How one block changes the node table.
#[derive(Default)]
pub(crate) struct NodeChanges {
    /// Nodes that the block's state has and its parent's lacks, with the number of uses.
    pub(crate) inserted: Vec<(NodeKey, Vec<u8>, u32)>,
    /// Nodes that the parent's state has and the block's lacks.
    pub(crate) released: Vec<(NodeKey, u32)>,
}

impl NodeChanges {
    /// Sorts a trie transaction, in which positive counts insert and negative ones release.
    pub(crate) fn of(mut transaction: BackendTransaction<BlakeTwo256>) -> Self {
        let mut changes = Self::default();
        for (key, (value, count)) in transaction.drain() {
            match count {
                0 => {}
                1.. => changes.inserted.push((key, value, count.unsigned_abs())),
                _ => changes.released.push((key, count.unsigned_abs())),
            }
        }
        changes
    }
}

/// A counted node.
pub(crate) struct Node {
    pub(crate) count: u32,
    pub(crate) value: Vec<u8>,
}

/// Nodes of all states in the window.
#[derive(Default)]
pub(crate) struct Nodes {
    live: HashMap<NodeKey, Node>,
    /// What the blocks in the window release when they leave it, oldest first.
    waiting: VecDeque<(u32, Vec<(NodeKey, u32)>)>,
}

impl Nodes {
    /// The table as it was stored. `waiting` is in the order of block numbers.
    pub(crate) fn restore(
        live: HashMap<NodeKey, Node>,
        waiting: VecDeque<(u32, Vec<(NodeKey, u32)>)>,
    ) -> Self {
        Self { live, waiting }
    }

    /// Number of nodes held.
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    /// The state whose trie has that root. Reading fails if the root left the window.
    pub(crate) fn state(&self, root: H256) -> State<'_> {
        TrieBackendBuilder::new(self, root).build()
    }

    /// Counts of all nodes that block `number` touches, as they will be after [`Self::apply`]: the
    /// rows a store has to write (`None` = delete) to follow this table.
    pub(crate) fn rows_after(&self, number: u32, changes: &NodeChanges) -> Vec<Row> {
        let mut counts: HashMap<&NodeKey, (i64, Option<&Vec<u8>>)> = HashMap::new();
        for (key, value, count) in &changes.inserted {
            let entry = counts.entry(key).or_insert((0, None));
            entry.0 += i64::from(*count);
            entry.1 = Some(value);
        }
        for (key, count) in self.due(number).flat_map(|(_, released)| released) {
            counts.entry(key).or_insert((0, None)).0 -= i64::from(*count);
        }
        counts
            .into_iter()
            .map(|(key, (delta, value))| {
                let old = self.live.get(key);
                let count = old.map_or(0, |node| i64::from(node.count)) + delta;
                let value = value.or(old.map(|node| &node.value));
                let node = match (u32::try_from(count), value) {
                    (Ok(count @ 1..), Some(value)) => Some((count, value.clone())),
                    _ => None,
                };
                Row {
                    key: key.clone(),
                    node,
                }
            })
            .collect()
    }

    /// Numbers of the blocks that leave the window when block `number` enters it.
    pub(crate) fn leaving(&self, number: u32) -> Vec<u32> {
        self.due(number).map(|(number, _)| *number).collect()
    }

    /// Brings block `number` into the window. `rows` is what [`Self::rows_after`] told for it.
    pub(crate) fn apply(&mut self, number: u32, changes: NodeChanges, rows: Vec<Row>) {
        for Row { key, node } in rows {
            match node {
                Some((count, value)) => self.live.insert(key, Node { count, value }),
                None => self.live.remove(&key),
            };
        }
        let due = self.due(number).count();
        self.waiting.drain(..due);
        self.waiting.push_back((number, changes.released));
    }

    fn due(&self, number: u32) -> impl Iterator<Item = &(u32, Vec<(NodeKey, u32)>)> {
        self.waiting
            .iter()
            .take_while(move |(old, _)| old.saturating_add(HISTORY) <= number)
    }
}

impl TrieBackendStorage<BlakeTwo256> for Nodes {
    fn get(&self, hash: &H256, prefix: (&[u8], Option<u8>)) -> Result<Option<Vec<u8>>, String> {
        let mut key = NodeKey::with_capacity(prefix.0.len() + 1 + hash.0.len());
        key.extend_from_slice(prefix.0);
        key.extend(prefix.1);
        key.extend_from_slice(hash.as_bytes());
        Ok(self.live.get(&key).map(|node| node.value.clone()))
    }
}

/// A line of the stored node table: its new content, or `None` if it goes away.
pub(crate) struct Row {
    pub(crate) key: NodeKey,
    pub(crate) node: Option<(u32, Vec<u8>)>,
}

/// Whether `value` is what `key` names.
pub(crate) fn is_intact(key: &NodeKey, value: &[u8]) -> bool {
    key.ends_with(BlakeTwo256::hash(value).as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn node(seed: u8) -> (NodeKey, Vec<u8>) {
        let value = vec![seed; 40];
        (BlakeTwo256::hash(&value).as_bytes().to_vec(), value)
    }

    fn step(nodes: &mut Nodes, number: u32, changes: NodeChanges) {
        let rows = nodes.rows_after(number, &changes);
        nodes.apply(number, changes, rows);
    }

    fn holds(nodes: &Nodes, seed: u8) -> bool {
        let (key, value) = node(seed);
        let found = nodes.get(&H256::from_slice(&key), (&[], None)).unwrap();
        assert!(found.as_ref().is_none_or(|found| *found == value));
        found.is_some()
    }

    fn insert(seed: u8) -> NodeChanges {
        let (key, value) = node(seed);
        NodeChanges {
            inserted: vec![(key, value, 1)],
            released: Vec::new(),
        }
    }

    fn release(seed: u8) -> NodeChanges {
        NodeChanges {
            inserted: Vec::new(),
            released: vec![(node(seed).0, 1)],
        }
    }

    #[test]
    fn a_released_node_stays_for_the_whole_window() {
        let mut nodes = Nodes::default();
        step(&mut nodes, 0, insert(1));
        step(&mut nodes, 1, release(1));
        for number in 2..=HISTORY {
            step(&mut nodes, number, NodeChanges::default());
            assert!(holds(&nodes, 1), "block {number}");
        }
        step(&mut nodes, HISTORY + 1, NodeChanges::default());
        assert!(!holds(&nodes, 1));
        assert_eq!(nodes.len(), 0);
    }

    #[test]
    fn a_node_that_comes_back_survives_its_earlier_release() {
        let mut nodes = Nodes::default();
        step(&mut nodes, 0, insert(1));
        step(&mut nodes, 1, release(1));
        step(&mut nodes, 2, insert(1));
        for number in 3..=2 * HISTORY {
            step(&mut nodes, number, NodeChanges::default());
        }
        assert!(holds(&nodes, 1));
    }

    #[test]
    fn an_altered_node_is_noticed() {
        let (key, mut value) = node(7);
        assert!(is_intact(&key, &value));
        value[0] ^= 1;
        assert!(!is_intact(&key, &value));
    }
}
