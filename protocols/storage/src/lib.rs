//! CESS storage: segments, fragments, fids, the embedded store and client-side encryption.
#![forbid(unsafe_code)]

mod account;
mod client;
mod config;
#[cfg(test)]
mod contract;
mod embedded;
mod error;
mod fid;
#[doc(hidden)]
pub mod fuzz;
mod http;
pub mod layout;
mod object;
pub mod seal;
mod server;
mod store;
mod stream;

pub use account::{Account, ParseAccountError};
pub use client::{HttpStore, HttpStoreConfig};
pub use config::{RunError, StorageConfig, StorageLimits, run};
pub use embedded::{EmbeddedStore, OpenError, OwnedStore, RepairReport, StoreConfig};
pub use error::StorageError;
pub use fid::{ContentHash, Fid, FidRule, ParseHashError};
pub use http::auth::{
    Access, AuthError, Authorizer, Claim, Ed25519Authorizer, RequestSigner, SignWith,
};
pub use object::{
    ByteRange, Deleted, EmptyRange, FragmentLocation, FragmentState, ListedObject, ObjectInfo,
    ObjectName, Owner, Page, ParseNameError, PutOptions, Stored,
};
pub use server::{ServerConfig, serve};
pub use store::ObjectStore;
pub use stream::{ByteSource, ObjectStream};
