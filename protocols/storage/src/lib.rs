//! CESS storage: segments, fragments, fids, the embedded store and client-side encryption.
#![forbid(unsafe_code)]

mod account;
mod embedded;
mod error;
mod fid;
mod http;
pub mod layout;
mod object;
pub mod seal;
mod store;
mod stream;

pub use account::{Account, ParseAccountError};
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
pub use store::ObjectStore;
pub use stream::{ByteSource, ObjectStream};
