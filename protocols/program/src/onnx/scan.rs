//! Counts protobuf fields before anything is decoded.
//!
//! A field of two bytes can become a struct of two hundred: without this count, a file within the byte limit could
//! still ask for a hundred times its size in memory.

use super::error::{ImportError, ImportLimits};

const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const LENGTH_DELIMITED: u8 = 2;

/// Fails when the model, its graph and its nodes have more fields than allowed.
pub(super) fn check_entries(model: &[u8], limits: &ImportLimits) -> Result<(), ImportError> {
    let mut count = Count {
        have: 0,
        limit: limits.entries,
    };
    let mut model = Fields(model);
    while let Some((number, graph)) = model.next_field(&mut count)? {
        if number != MODEL_GRAPH {
            continue;
        }
        let mut graph = Fields(graph);
        while let Some((number, node)) = graph.next_field(&mut count)? {
            if number == GRAPH_NODE {
                let mut node = Fields(node);
                while node.next_field(&mut count)?.is_some() {}
            }
        }
    }
    Ok(())
}

struct Count {
    have: usize,
    limit: usize,
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Number and content of the next field; content is empty unless length-delimited.
    fn next_field(&mut self, count: &mut Count) -> Result<Option<(u64, &'a [u8])>, ImportError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        count.have += 1;
        if count.have > count.limit {
            return Err(ImportError::TooLarge {
                what: "number of entries",
                have: count.have,
                limit: count.limit,
            });
        }
        let key = self.varint()?;
        let content = match (key & 7) as u8 {
            0 => {
                self.varint()?;
                &[][..]
            }
            1 => self.skip(8)?,
            LENGTH_DELIMITED => {
                let len = self.varint()?;
                self.skip(usize::try_from(len).map_err(|_| ImportError::Truncated)?)?
            }
            5 => self.skip(4)?,
            // Groups do not occur in onnx.proto.
            _ => return Err(ImportError::Truncated),
        };
        Ok(Some((key >> 3, content)))
    }

    fn varint(&mut self) -> Result<u64, ImportError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ImportError::Truncated)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ImportError::Truncated)
    }

    fn skip(&mut self, len: usize) -> Result<&'a [u8], ImportError> {
        let (content, rest) = self.0.split_at_checked(len).ok_or(ImportError::Truncated)?;
        self.0 = rest;
        Ok(content)
    }
}
