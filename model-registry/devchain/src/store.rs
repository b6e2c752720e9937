//! What outlives the process: blocks and state nodes in one redb file.
//!
//! A block is written in one transaction, so a process that is killed leaves the chain either with
//! the block and its state or without both. redb's commit is copy-on-write with checksums; a torn
//! write is repaired to the last commit when the file is opened.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
};

use ai_link_runtime::Header;
use codec::{Decode, DecodeAll, Encode};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use sp_core::H256;

use crate::nodes::{Node, NodeKey, Nodes, Row, is_intact};

/// Version of the tables below.
const FORMAT: u32 = 1;

const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
const HEADERS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("headers");
const BODIES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("bodies");
const NUMBERS: TableDefinition<'_, [u8; 32], u32> = TableDefinition::new("numbers");
const NODES: TableDefinition<'_, &[u8], (u32, &[u8])> = TableDefinition::new("nodes");
const RELEASES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("releases");

const FORMAT_KEY: &str = "format";
const HEAD_KEY: &str = "head";

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory could not be made.
    #[error("the chain's directory {} cannot be created", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// redb refused or failed.
    #[error("the chain's database failed; if another process has it open, stop that one")]
    Database(#[source] Box<redb::Error>),
    /// The file was written by another version of this software.
    #[error("the chain's database has format {found}, this software reads format {FORMAT}")]
    Format {
        /// Format in the file.
        found: u32,
    },
    /// The content contradicts itself.
    #[error(
        "the chain's database is damaged: {what}; restore a copy or start with an empty directory"
    )]
    Damaged {
        /// What is wrong.
        what: String,
    },
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// A block to be written.
pub(crate) struct BlockRecord<'a> {
    pub(crate) header: &'a Header,
    pub(crate) hash: H256,
    /// Transactions as they were submitted (SCALE, with their length in front).
    pub(crate) body: &'a [Vec<u8>],
    /// New content of the node table.
    pub(crate) rows: &'a [Row],
    /// What this block releases later.
    pub(crate) released: &'a [(NodeKey, u32)],
    /// Blocks whose releases `rows` already carries out.
    pub(crate) leaving: &'a [u32],
}

/// The database.
pub(crate) struct Store {
    database: Database,
}

impl Store {
    /// Opens or creates the database in `directory`, which no other process may have open.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(directory).map_err(|source| StoreError::Directory {
            path: directory.to_owned(),
            source,
        })?;
        let database = Database::create(directory.join("chain.redb"))?;
        let write = database.begin_write()?;
        {
            let mut meta = write.open_table(META)?;
            let found = meta.get(FORMAT_KEY)?.map(|value| value.value());
            match found {
                None => drop(meta.insert(FORMAT_KEY, FORMAT)?),
                Some(FORMAT) => {}
                Some(found) => return Err(StoreError::Format { found }),
            }
            write.open_table(HEADERS)?;
            write.open_table(BODIES)?;
            write.open_table(NUMBERS)?;
            write.open_table(NODES)?;
            write.open_table(RELEASES)?;
        }
        write.commit()?;
        Ok(Self { database })
    }

    /// Number of the highest block, `None` for an empty database.
    pub(crate) fn head(&self) -> Result<Option<u32>, StoreError> {
        let read = self.database.begin_read()?;
        Ok(read
            .open_table(META)?
            .get(HEAD_KEY)?
            .map(|value| value.value()))
    }

    /// Writes a block and makes it the head; on return it is on the disk.
    pub(crate) fn commit(&self, block: &BlockRecord<'_>) -> Result<(), StoreError> {
        let number = block.header.number;
        let write = self.database.begin_write()?;
        {
            write
                .open_table(HEADERS)?
                .insert(number, block.header.encode().as_slice())?;
            write
                .open_table(BODIES)?
                .insert(number, block.body.encode().as_slice())?;
            write.open_table(NUMBERS)?.insert(block.hash.0, number)?;
            let mut nodes = write.open_table(NODES)?;
            for Row { key, node } in block.rows {
                match node {
                    Some((count, value)) => {
                        drop(nodes.insert(key.as_slice(), (*count, value.as_slice()))?);
                    }
                    None => drop(nodes.remove(key.as_slice())?),
                }
            }
            let mut releases = write.open_table(RELEASES)?;
            for old in block.leaving {
                releases.remove(old)?;
            }
            releases.insert(number, block.released.encode().as_slice())?;
            write.open_table(META)?.insert(HEAD_KEY, number)?;
        }
        write.commit()?;
        Ok(())
    }

    /// Number of the block with that hash.
    pub(crate) fn number(&self, hash: H256) -> Result<Option<u32>, StoreError> {
        let read = self.database.begin_read()?;
        Ok(read
            .open_table(NUMBERS)?
            .get(hash.0)?
            .map(|value| value.value()))
    }

    /// Header of a block.
    pub(crate) fn header(&self, number: u32) -> Result<Option<Header>, StoreError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(HEADERS)?;
        let Some(bytes) = table.get(number)? else {
            return Ok(None);
        };
        decode(bytes.value(), || format!("header {number}")).map(Some)
    }

    /// Transactions of a block.
    pub(crate) fn body(&self, number: u32) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(BODIES)?;
        let Some(bytes) = table.get(number)? else {
            return Ok(None);
        };
        decode(bytes.value(), || format!("body {number}")).map(Some)
    }

    /// All nodes. Each is checked against the hash that names it.
    pub(crate) fn nodes(&self) -> Result<Nodes, StoreError> {
        let read = self.database.begin_read()?;
        let mut live = HashMap::new();
        for row in read.open_table(NODES)?.iter()? {
            let (key, value) = row?;
            let key: NodeKey = key.value().to_vec();
            let (count, value) = value.value();
            if !is_intact(&key, value) {
                return Err(StoreError::Damaged {
                    what: format!("state node {} does not have its hash", hex::encode(&key)),
                });
            }
            live.insert(
                key,
                Node {
                    count,
                    value: value.to_vec(),
                },
            );
        }
        let mut waiting = VecDeque::new();
        for row in read.open_table(RELEASES)?.iter()? {
            let (number, released) = row?;
            let number = number.value();
            waiting.push_back((
                number,
                decode(released.value(), || format!("releases {number}"))?,
            ));
        }
        Ok(Nodes::restore(live, waiting))
    }
}

fn decode<T: Decode>(mut bytes: &[u8], name: impl Fn() -> String) -> Result<T, StoreError> {
    T::decode_all(&mut bytes).map_err(|error| StoreError::Damaged {
        what: format!("{} is not readable ({error})", name()),
    })
}
