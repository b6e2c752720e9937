//! The routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Multipart, Path, Query, State};
use axum::http::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::io::StreamReader;

use super::resume::{Partials, resume};
use super::{ServerConfig, transfer, versions};
use crate::account::Account;
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::http::LOCATION_POLICY;
use crate::http::auth::{ACCOUNT, Authorizer, Claim, MESSAGE, SIGNATURE};
use crate::http::body::with_idle_limit;
use crate::http::envelope::{
    Batch, BatchFragment, DeletedData, DeletedResult, Envelope, FidData, ListEntry, Metadata, OK,
    OwnerData, Refusal, RefusalData, batch_key,
};
use crate::http::range::{RangeHeader, content_range};
use crate::location::LocationPolicy;
use crate::mutable::Versions;
use crate::object::{ByteRange, Deleted, ObjectName, Page, PutOptions};
use crate::store::AccountStore;
use crate::stream::ByteSource;

/// What `GET /version` says.
const VERSION: &str = concat!(
    "ai-link-storage/",
    env!("CARGO_PKG_VERSION"),
    " (DeOSS v0.4)"
);

pub(super) type Answer = Result<Response, Refusal>;

/// What all handlers share.
pub(super) struct App {
    pub(super) store: Box<dyn AccountStore>,
    authorizer: Box<dyn Authorizer>,
    pub(super) config: ServerConfig,
    pub(super) uploads: Arc<Semaphore>,
    pub(super) partials: Partials,
    downloads: Arc<Semaphore>,
    /// Where mutable objects have their versions, if this server has such objects.
    pub(super) versions: Option<Arc<dyn Versions>>,
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(rename = "Account")]
    account: Option<String>,
    #[serde(rename = "After")]
    after: Option<Fid>,
    #[serde(rename = "Limit")]
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct FragmentQuery {
    fid: Fid,
    fragment: ContentHash,
}

impl App {
    pub(super) fn new(
        store: impl AccountStore,
        authorizer: impl Authorizer,
        config: ServerConfig,
    ) -> Self {
        Self {
            store: Box::new(store),
            authorizer: Box::new(authorizer),
            uploads: Arc::new(Semaphore::new(config.max_uploads)),
            partials: Partials::default(),
            downloads: Arc::new(Semaphore::new(config.max_downloads)),
            versions: None,
            config,
        }
    }

    pub(super) fn with_versions(mut self, versions: Arc<dyn Versions>) -> Self {
        self.versions = Some(versions);
        self
    }

    pub(super) fn into_router(self) -> Router {
        Router::new()
            .route("/version", get(version))
            .route("/object/{name}", put(put_object))
            .route("/resume/{name}", put(resume))
            .route("/file", put(put_form))
            .route("/file/download/{fid}", get(download))
            .route("/file/open/{fid}", get(open))
            .route("/file/metadata/{fid}", get(metadata))
            .route("/file/location/{fid}", get(location))
            .route("/file/list", get(list))
            .route("/file/{fid}", delete(delete_file))
            .route("/fragment/download", get(download_fragment))
            .route("/mutable/{id}", get(versions::latest))
            .route(
                "/mutable/{id}/{version}",
                get(versions::version)
                    .put(versions::publish)
                    .delete(versions::forget),
            )
            // Bodies are read as streams, with limits of their own.
            .layer(DefaultBodyLimit::disable())
            .fallback(no_route)
            .method_not_allowed_fallback(no_route)
            .with_state(Arc::new(self))
    }

    pub(super) fn authorize(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Account, Refusal> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let claim = Claim {
            method: method.as_str(),
            path: uri.path(),
            account: header(ACCOUNT),
            message: header(MESSAGE),
            signature: header(SIGNATURE),
        };
        self.authorizer
            .authorize(&claim, SystemTime::now())
            .map_err(|error| Refusal::forbidden(error.to_string()))
    }
}

async fn version() -> Json<&'static str> {
    Json(VERSION)
}

async fn no_route() -> Refusal {
    Refusal::no_route()
}

async fn put_object(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let body = with_idle_limit(Box::pin(body.into_data_stream()), app.config.idle_timeout);
    let mut body = StreamReader::new(Box::pin(body));
    let upload = async {
        let owner = app.authorize(&method, &uri, &headers)?;
        let name: ObjectName = text(name)?.parse()?;
        let limit = app.store.max_object();
        if announced_size(&headers).is_some_and(|size| size > limit) {
            return Err(Refusal::from(&StorageError::TooLarge { limit }));
        }
        let _slot = slot(&app.uploads)?;
        let options = PutOptions {
            policy: policy(&headers)?,
            ..PutOptions::named(name)
        };
        let kept = options.policy.is_some();
        let put = app.store.put_as(owner, ByteSource::new(&mut body), options);
        match tokio::time::timeout(app.config.upload_timeout, put).await {
            Ok(stored) => Ok(FidData {
                fid: stored.map_err(told)?.fid,
                policy_kept: kept.then_some(true),
            }),
            Err(_) => Err(Refusal::timed_out()),
        }
    };
    let result = upload.await;
    if result.is_err() {
        transfer::drain(&mut body).await;
    }
    Ok(success(result?))
}

/// `PUT /file`: the field `file` of a form; its file name is the object's.
async fn put_form(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Answer {
    let invalid = || Refusal::bad_request("invalid form file");
    let owner = app.authorize(&method, &uri, &headers)?;
    let policy = policy(&headers)?;
    let mut form = form.map_err(|_| invalid())?;
    let _slot = slot(&app.uploads)?;
    while let Some(field) = form.next_field().await.map_err(|_| invalid())? {
        if field.name() != Some("file") {
            continue;
        }
        let name = headers.get("filename").and_then(|name| name.to_str().ok());
        let name: ObjectName = name.or(field.file_name()).ok_or_else(invalid)?.parse()?;
        let kept = policy.is_some();
        let options = PutOptions {
            policy,
            ..PutOptions::named(name)
        };
        let body = with_idle_limit(Box::pin(field), app.config.idle_timeout);
        let source = ByteSource::new(StreamReader::new(Box::pin(body)));
        let put = app.store.put_as(owner, source, options);
        let stored = tokio::time::timeout(app.config.upload_timeout, put).await;
        let stored = stored.map_err(|_| Refusal::timed_out())?.map_err(told)?;
        return Ok(success(FidData {
            fid: stored.fid,
            policy_kept: kept.then_some(true),
        }));
    }
    Err(invalid())
}

async fn delete_file(
    State(app): State<Arc<App>>,
    fid: Result<Path<String>, PathRejection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let owner = app.authorize(&method, &uri, &headers)?;
    let fid = parse_fid(&text(fid)?)?;
    let result = match app.store.delete_as(owner, fid).await.map_err(told)? {
        Deleted::Removed => DeletedResult::Removed,
        Deleted::Released => DeletedResult::Released,
    };
    Ok(success(DeletedData { result }))
}

async fn download(State(app): State<Arc<App>>, fid: Result<Path<String>, PathRejection>) -> Answer {
    let fid = parse_fid(&text(fid)?)?;
    let mut answer = send(&app, fid, None).await?;
    answer
        .headers_mut()
        .insert(CONTENT_DISPOSITION, "attachment".parse().map_err(internal)?);
    Ok(answer)
}

async fn open(
    State(app): State<Arc<App>>,
    fid: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Answer {
    // Something like ".png" may follow, for browsers.
    let text = text(fid)?;
    let fid = parse_fid(text.split_once('.').map_or(text.as_str(), |(fid, _)| fid))?;
    let range = headers
        .get(RANGE)
        .or(headers.get(CONTENT_RANGE))
        .map(|value| RangeHeader::parse(value.to_str().unwrap_or_default()))
        .transpose()?;
    send(&app, fid, range).await
}

async fn metadata(State(app): State<Arc<App>>, fid: Result<Path<String>, PathRejection>) -> Answer {
    let info = app
        .store
        .stat(parse_fid(&text(fid)?)?)
        .await
        .map_err(told)?;
    let owner = info.owners.into_iter().map(|owner| OwnerData {
        user: owner.account.to_string(),
        file_name: owner.name.to_string(),
    });
    Ok(success(Metadata {
        fid: info.fid,
        size: info.size,
        owner: owner.collect(),
        segments: info.segments,
    }))
}

async fn location(State(app): State<Arc<App>>, fid: Result<Path<String>, PathRejection>) -> Answer {
    let locations = app
        .store
        .locate(parse_fid(&text(fid)?)?)
        .await
        .map_err(told)?;
    let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
    for at in locations {
        let batch = batches
            .entry(batch_key(usize::from(at.index)))
            .or_insert_with(|| Batch {
                account: at.node,
                site: at.site,
                fragments: Some(Vec::new()),
            });
        let fragment = BatchFragment {
            hash: at.hash,
            state: at.state,
        };
        batch.fragments.get_or_insert_default().push(fragment);
    }
    Ok(success(batches))
}

async fn list(
    State(app): State<Arc<App>>,
    query: Result<Query<ListQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let Query(query) = query.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let header = headers.get(ACCOUNT).and_then(|value| value.to_str().ok());
    let account = query.account.as_deref().or(header).unwrap_or_default();
    let account: Account = account
        .parse()
        .map_err(|_| Refusal::bad_request("invalid account"))?;
    let page = Page {
        after: query.after,
        limit: query.limit.unwrap_or(Page::MAX),
    };
    let objects = app.store.list_of(account, page).await.map_err(told)?;
    let entries = objects.into_iter().map(|object| ListEntry {
        territory: String::new(),
        fid: object.fid,
        size: object.size,
        file_name: object.name.map(String::from),
    });
    Ok(success(entries.collect::<Vec<_>>()))
}

async fn download_fragment(
    State(app): State<Arc<App>>,
    query: Result<Query<FragmentQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let _slot = slot(&app.downloads)?;
    let bytes = app
        .store
        .fragment(query.fid, query.fragment)
        .await
        .map_err(told)?;
    binary(StatusCode::OK, bytes.len() as u64, Body::from(bytes))
}

/// Sends an object or a range of it.
async fn send(app: &App, fid: Fid, range: Option<RangeHeader>) -> Answer {
    let slot = slot(&app.downloads)?;
    // Nothing is read before the stream is asked for bytes.
    let mut object = app.store.get(fid, None).await.map_err(told)?;
    let size = object.object_size();
    let mut status = StatusCode::OK;
    if let Some(header) = range {
        let missed = || {
            Refusal::from(&StorageError::RangeNotSatisfiable {
                fid,
                start: size,
                size,
            })
        };
        let range = header.within(size).ok_or_else(missed)?;
        let range = ByteRange::try_from(range).map_err(|_| missed())?;
        object = app.store.get(fid, Some(range)).await.map_err(told)?;
        status = StatusCode::PARTIAL_CONTENT;
    }
    let range = object.range();
    let body = transfer::body(object, slot, app.config.idle_timeout)
        .await
        .map_err(told)?;
    let mut answer = binary(status, range.end - range.start, body)?;
    if status == StatusCode::PARTIAL_CONTENT {
        let value = content_range(&range, size).parse().map_err(internal)?;
        answer.headers_mut().insert(CONTENT_RANGE, value);
    }
    Ok(answer)
}

fn binary(status: StatusCode, length: u64, body: Body) -> Answer {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, length)
        // Objects are anybody's bytes: a browser must not guess that they are a page.
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(body)
        .map_err(internal)
}

pub(super) fn success(data: impl Serialize) -> Response {
    Json(Envelope {
        code: OK,
        msg: "success".to_owned(),
        data,
    })
    .into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let data = RefusalData { limit: self.limit };
        Json(Envelope {
            code: self.code,
            msg: self.message,
            data,
        })
        .into_response()
    }
}

pub(super) fn slot(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(slots)
        .try_acquire_owned()
        .map_err(|_| Refusal::busy())
}

/// What is told of an error; the rest goes to the log.
pub(super) fn told(error: StorageError) -> Refusal {
    let refusal = Refusal::from(&error);
    if refusal.is_internal() {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, "a request failed");
    }
    refusal
}

pub(super) fn internal(error: impl std::fmt::Display) -> Refusal {
    tracing::error!(%error, "an answer could not be made");
    Refusal::internal()
}

pub(super) fn text(path: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    path.map(|Path(text)| text)
        .map_err(|error| Refusal::bad_request(error.body_text()))
}

/// The location policy in a request. A bad one is refused, never ignored.
pub(super) fn policy(headers: &HeaderMap) -> Result<Option<LocationPolicy>, Refusal> {
    let Some(value) = headers.get(LOCATION_POLICY) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    LocationPolicy::from_json(text)
        .map(Some)
        .map_err(|error| Refusal::bad_request(error.to_string()))
}

fn parse_fid(text: &str) -> Result<Fid, Refusal> {
    text.parse()
        .map_err(|_| Refusal::bad_request("invalid fid"))
}

fn announced_size(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
