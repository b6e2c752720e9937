//! The HTTP interface of DeOSS gateways, v0.4: what client and server have in common.
//!
//! Answers are HTTP 200 even for errors, with an envelope `{"code", "msg", "data"}`; only bodies of
//! objects (200 or 206, `application/octet-stream`) come bare.
//!
//! Differences from DeOSS, all of them ours:
//!
//! - Accounts may be ed25519 keys as well as sr25519 ones, see [`auth`](crate::Authorizer).
//! - `PUT /object` takes `Location-Policy`, and says `policy_kept` if it did.
//! - `GET /file/metadata` also tells `segments`, so that a client can verify ranges.
//! - `GET /file/list` takes `After` and `Limit`, and tells `file_name`.
//! - `GET /file/open` takes the standard `Range` header as well as `Content-Range`.
//! - `GET /file/location` also tells every `fragments` entry, with its hash and state.
//! - `DELETE /file` answers `{"result"}`; there is no block whose hash could be told.
//! - Codes 413 and 507 in the envelope: object too large, store full.
//! - Reading fragments needs no authorisation.
//! - `PUT /resume` takes a chunk that was sent before, at its place.
//! - Not there: `PUT /files`.

/// Header with the location policy of an object, as JSON. Not known to DeOSS.
pub(crate) const LOCATION_POLICY: &str = "location-policy";

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod envelope;
pub(crate) mod range;
