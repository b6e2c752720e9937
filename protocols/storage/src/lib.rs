//! Storage as CESS does it: models and encrypted inputs are published here, workers pull them.
//!
//! # What there is
//!
//! An [`ObjectStore`] keeps immutable objects and names each by a [`Fid`] that follows from its
//! bytes. Objects are cut, coded and named exactly as in the CESS network ([`layout`]), so that a fid
//! computed here is the fid there. Four kinds of store are here, and one contract test-suite holds
//! for all:
//!
//! - [`EmbeddedStore`], one directory. It survives being killed at any instruction, and the loss or
//!   change of any 8 of each segment's 12 fragments.
//! - [`SpreadStore`], over storage nodes that are processes of their own ([`node`]): the loss of any 8
//!   of an object's 12 nodes. Reads are hedged and verified; repair brings an object back to twelve,
//!   where its location policy permits ([`location`]); nodes prove what they have ([`podr2`]).
//!   What the chain would say about files is behind [`FileBank`].
//! - [`HttpStore`], a client of the HTTP interface of DeOSS gateways, v0.4. [`serve`] offers a store
//!   over that interface, and [`run`] is the whole storage process.
//! - [`RetrieverStore`], a client of CD2N Retriever gateways.
//!
//! For owners of data: [`seal`] encrypts objects before they leave their owner's process, [`grants`]
//! let others open them for a purpose and a time, [`shares`] cuts an input in two of which neither
//! tells anything, and [`mutable`] makes objects that change, of versions that do not. CESS's own
//! encryption options are not used: one has no authentication and shows the key to the gateway, the
//! other loses data.
//!
//! ```
//! # use ai_link_storage::{*, seal};
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # let dir = tempfile::TempDir::new()?;
//! let store = EmbeddedStore::open(dir.path(), StoreConfig::default()).await?;
//! let store = store.for_owner(Account([1; 32]));
//!
//! let (key, sealed) = seal::seal_object(b"an input")?;
//! let stored = store.put_bytes(&sealed, PutOptions::named("input.sealed".parse()?)).await?;
//!
//! let sealed = store.get_bytes(stored.fid, 1 << 20).await?;
//! assert_eq!(*seal::open_object(&key, &sealed)?, b"an input");
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # What a store need not be trusted with
//!
//! *Confidentiality*: sealed objects show their size and nothing else. *Integrity*: what is read is
//! hashed and held against the fid before it is used, so a store can refuse an object or lose it,
//! but not change it. Upwards the same holds: what is stored is hashed on the way, and the fid in
//! the answer must agree.
//!
//! # What is not protected
//!
//! - **The size of an object is not covered by its fid.** CESS pads the last segment with zeros and
//!   hashes that, so a store can add or remove zeros at the end. By the Merkle rule it can also
//!   repeat last segments (`[a]` and `[a, a]` have one fid), because an odd node is paired with
//!   itself. Whoever cares must have the size from elsewhere: sealed objects and model packages
//!   refuse added and missing bytes.
//! - **Availability.** An [`EmbeddedStore`] is one process on one disk; its 12 fragments protect from
//!   decay, not from the loss of the machine. A [`SpreadStore`] survives the loss of nodes, but it is
//!   one process itself; what only it knows (policies, tags) is on its disk alone, the rest on the chain
//!   if it has one.
//! - **Location.** A site is what an operator registered; whether a node is there is as good as the
//!   evidence that the registration names, and nothing here measures it.
//! - **What a grant's recipient does.** Ends, purposes and revocations bind software that keeps to
//!   them; whoever opened an object once has its key.
//! - **The network.** There is no TLS. Signatures on requests cannot be used for other requests
//!   when the client is [`HttpStore`], but for ten minutes they can be repeated for the same one;
//!   bodies are not signed (the fid is compared instead).
//! - **Who reads what.** Reading needs no account. Objects are public or sealed.
//!
//! `unsafe` is in the kernels of the code ([`layout`]) alone.

#![deny(unsafe_code)]

mod account;
mod bank;
mod buffers;
mod client;
mod config;
#[cfg(test)]
mod contract;
mod embedded;
mod error;
mod fid;
#[doc(hidden)]
pub mod fuzz;
pub mod grants;
mod http;
pub mod layout;
pub mod location;
pub mod mutable;
pub mod node;
mod object;
pub mod podr2;
#[doc(hidden)]
pub mod rates;
mod retriever;
pub mod seal;
mod server;
pub mod shares;
mod spread;
mod store;
mod stream;
mod tally;

pub use account::{Account, ParseAccountError};
#[doc(hidden)]
pub use bank::contract as bank_contract;
pub use bank::{
    ActiveFiles, Declared, EmbeddedBank, FileBank, FileRecord, FileState, SegmentHashes,
};
pub use client::{HttpStore, HttpStoreConfig};
pub use config::{
    AuditEntry, ChainEntry, MakeBank, RunError, StorageConfig, StorageLimits, own_record, run,
    spread as open_spread,
};
pub use embedded::{EmbeddedStore, OpenError, RepairReport, StoreConfig};
pub use error::StorageError;
pub use fid::{ContentHash, Fid, FidRule, ParseHashError};
pub use http::auth::{
    Access, AuthError, Authorizer, Claim, RequestSigner, SignWith, SignatureAuthorizer,
    Sr25519Signer,
};
pub use object::{
    ByteRange, Deleted, EmptyRange, FragmentLocation, FragmentState, ListedObject, ObjectInfo,
    ObjectName, Owner, Page, ParseNameError, PutOptions, Stored,
};
pub use retriever::{RetrieverConfig, RetrieverStore};
pub use server::{ServerConfig, serve, serve_mutable};
pub use spread::{AuditReport, FsckReport, SpreadConfig, SpreadRepair, SpreadStore, Tagger};
pub use store::{AccountStore, ObjectStore, OwnedStore};
pub use stream::{ByteSource, ObjectStream};
