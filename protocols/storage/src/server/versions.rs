//! The routes of mutable objects: manifests, published by compare-and-swap.
//!
//! ```text
//! GET    /mutable/{id}              the latest manifest
//! GET    /mutable/{id}/list         versions that are there, oldest first
//! GET    /mutable/{id}/{version}    one manifest
//! PUT    /mutable/{id}/{expected}   publishes the manifest in the body, if the latest is `expected` (0: none)
//! DELETE /mutable/{id}/{version}    forgets one that is not the latest
//! ```
//!
//! Manifests travel as hex in the usual envelope, and up as they are. Writes need the signature of the account that owns
//! the object; the manifest is signed by itself as well, so a server can lose versions, but not make one.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::HeaderMap;
use axum::http::{Method, Uri};

use super::handlers::{Answer, App, slot, success, told};
use crate::http::envelope::{Refusal, VersionData, VersionsData};
use crate::mutable::{Manifest, MutableError, MutableId, Versions};

type Which = Result<Path<(String, String)>, PathRejection>;

pub(super) async fn latest(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Answer {
    let id = parse_id(&super::handlers::text(id)?)?;
    found(app.versions()?.latest(id).await.map_err(refused)?)
}

pub(super) async fn version(State(app): State<Arc<App>>, which: Which) -> Answer {
    let Path((id, which)) = which.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let id = parse_id(&id)?;
    let versions = app.versions()?;
    if which == "list" {
        let versions = versions.list(id).await.map_err(told)?;
        return Ok(success(VersionsData { versions }));
    }
    let version = parse_version(&which)?;
    found(versions.version(id, version).await.map_err(refused)?)
}

pub(super) async fn publish(
    State(app): State<Arc<App>>,
    which: Which,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let Path((id, expected)) = which.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let (id, expected) = (parse_id(&id)?, parse_version(&expected)?);
    let owner = app.authorize(&method, &uri, &headers)?;
    let _slot = slot(&app.uploads)?;
    let reading = to_bytes(body, Manifest::MAX_BYTES);
    let bytes = tokio::time::timeout(app.config.idle_timeout, reading).await;
    let bytes = bytes.map_err(|_| Refusal::timed_out())?;
    let bytes =
        bytes.map_err(|_| Refusal::bad_request("the manifest is too long, or cut short"))?;
    let manifest = Manifest::from_bytes(&bytes).map_err(|error| refused(error.into()))?;
    if manifest.id() != id || manifest.owner() != owner {
        return Err(Refusal::forbidden("the manifest is of another object"));
    }
    let versions = app.versions()?;
    versions.swap(expected, &manifest).await.map_err(refused)?;
    found(Some(manifest))
}

pub(super) async fn forget(
    State(app): State<Arc<App>>,
    which: Which,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let Path((id, version)) = which.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let (id, version) = (parse_id(&id)?, parse_version(&version)?);
    let owner = app.authorize(&method, &uri, &headers)?;
    let versions = app.versions()?;
    let manifest = versions.version(id, version).await.map_err(refused)?;
    let none = || refused(MutableError::NoVersion { version });
    let manifest = manifest.ok_or_else(none)?;
    if manifest.owner() != owner {
        return Err(Refusal::forbidden("the object is another account's"));
    }
    versions.forget(id, version).await.map_err(told)?;
    found(Some(manifest))
}

fn found(manifest: Option<Manifest>) -> Answer {
    let manifest = manifest.map(|manifest| hex::encode(manifest.to_bytes()));
    Ok(success(VersionData { manifest }))
}

/// Whoever asked for it hears what another writer did.
fn refused(error: MutableError) -> Refusal {
    match error {
        MutableError::Conflict { found, .. } => Refusal::overtaken(found),
        MutableError::Store(error) => told(error),
        error @ (MutableError::NoVersion { .. } | MutableError::Stale { .. }) => {
            Refusal::not_found(&error.to_string())
        }
        MutableError::TooManyVersions { .. } => Refusal::full(),
        MutableError::Manifest(error) => Refusal::bad_request(error.to_string()),
    }
}

fn parse_id(text: &str) -> Result<MutableId, Refusal> {
    let mut id = [0; 32];
    hex::decode_to_slice(text, &mut id).map_err(|_| Refusal::bad_request("invalid id"))?;
    Ok(MutableId(id))
}

fn parse_version(text: &str) -> Result<u64, Refusal> {
    text.parse()
        .map_err(|_| Refusal::bad_request("invalid version"))
}

impl App {
    fn versions(&self) -> Result<&dyn Versions, Refusal> {
        self.versions.as_deref().ok_or_else(Refusal::no_route)
    }
}
