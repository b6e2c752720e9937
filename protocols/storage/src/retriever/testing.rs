//! The routes of a CD2N Retriever gateway, served from any store, for tests of the client.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Form, Multipart, Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::token_message;
use crate::account::Account;
use crate::error::StorageError;
use crate::fid::{Fid, FidRule};
use crate::http::auth::verifies;
use crate::http::range::{RangeHeader, content_range};
use crate::object::{ByteRange, PutOptions};
use crate::store::AccountStore;

const OK: u16 = 10100;
const UPLOAD_ERROR: u16 = 10110;
const UNAUTHORISED: u16 = 10111;
const NO_SPACE: u16 = 10113;
const DOWNLOAD_ERROR: u16 = 10210;

/// What goes wrong on the way, once each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mishaps {
    /// A chunk is taken and the answer lost.
    pub(crate) lost_answers: u32,
    /// A chunk does not arrive.
    pub(crate) lost_chunks: u32,
    /// The gateway answers with a fid of its own.
    pub(crate) wrong_fid: bool,
}

struct Gateway {
    store: Arc<dyn AccountStore>,
    secret: [u8; 32],
    batches: Mutex<HashMap<String, Batch>>,
    mishaps: Arc<Mutex<Mishaps>>,
}

struct Batch {
    account: Account,
    name: String,
    total: u64,
    received: Vec<u8>,
}

#[derive(Deserialize)]
struct Credentials {
    account: String,
    message: String,
    sign: String,
    exp: u64,
}

#[derive(Deserialize)]
struct Request {
    file_name: String,
    total_size: u64,
    territory: String,
}

pub(crate) fn router(store: Arc<dyn AccountStore>, mishaps: Arc<Mutex<Mishaps>>) -> Router {
    let gateway = Gateway {
        store,
        secret: [77; 32],
        batches: Mutex::default(),
        mishaps,
    };
    Router::new()
        .route("/gateway/gentoken", post(gentoken))
        .route("/gateway/upload/batch/request", post(batch_request))
        .route("/gateway/upload/batch/file", post(batch_file))
        .route("/gateway/upload/file", post(upload_file))
        .route("/gateway/download/{fid}", get(download))
        .route("/gateway/open/{fid}", get(download))
        .layer(DefaultBodyLimit::max(64 << 20))
        .with_state(Arc::new(gateway))
}

fn answer(code: u16, msg: &str, data: Value) -> Response {
    Json(json!({ "code": code, "msg": msg, "data": data })).into_response()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

impl Gateway {
    fn sign(&self, text: &str) -> String {
        hex::encode(sha2::Sha256::digest(
            [&self.secret[..], text.as_bytes()].concat(),
        ))
    }

    fn account(&self, headers: &HeaderMap) -> Option<Account> {
        let token = headers
            .get("token")?
            .to_str()
            .ok()?
            .strip_prefix("Bearer ")?;
        let (text, signature) = token.rsplit_once('.')?;
        let (account, expiry) = text.split_once('.')?;
        let fresh = expiry.parse::<u64>().ok()? > now();
        (self.sign(text) == signature && fresh).then(|| account.parse().unwrap())
    }
}

async fn gentoken(State(gateway): State<Arc<Gateway>>, Form(form): Form<Credentials>) -> Response {
    let Ok(account) = form.account.parse::<Account>() else {
        return answer(UNAUTHORISED, "bad account", Value::Null);
    };
    let mut signature = [0; 64];
    let signed = hex::decode_to_slice(form.sign.trim_start_matches("0x"), &mut signature).is_ok()
        && verifies(account, &token_message(&form.message), &signature);
    let fresh = form
        .message
        .parse::<u64>()
        .is_ok_and(|at| at.abs_diff(now()) < 300);
    if !signed || !fresh || form.exp > 168 {
        return answer(UNAUTHORISED, "bad signature", Value::Null);
    }
    let text = format!("{account}.{}", now() + form.exp * 3600);
    let token = format!("{text}.{}", gateway.sign(&text));
    answer(OK, "success", token.into())
}

async fn batch_request(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Response {
    let Some(account) = gateway.account(&headers) else {
        return answer(UNAUTHORISED, "not authorised", Value::Null);
    };
    assert!(!request.territory.is_empty());
    let mut batches = gateway.batches.lock().unwrap();
    let hash = gateway.sign(&format!("{account}{}{}", request.file_name, batches.len()));
    let batch = Batch {
        account,
        name: request.file_name,
        total: request.total_size,
        received: Vec::new(),
    };
    batches.insert(hash.clone(), batch);
    answer(OK, "success", hash.into())
}

async fn field(mut form: Multipart) -> Vec<u8> {
    while let Some(field) = form.next_field().await.unwrap() {
        if field.name() == Some("file") {
            return field.bytes().await.unwrap().to_vec();
        }
    }
    panic!("a form with a file");
}

async fn batch_file(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    form: Multipart,
) -> Response {
    if gateway.account(&headers).is_none() {
        return answer(UNAUTHORISED, "not authorised", Value::Null);
    }
    let bytes = field(form).await;
    let hash = headers["hash"].to_str().unwrap().to_owned();
    let range = headers[RANGE]
        .to_str()
        .unwrap()
        .strip_prefix("bytes=")
        .unwrap()
        .to_owned();
    let (start, end) = range.split_once('-').unwrap();
    let (start, end): (u64, u64) = (start.parse().unwrap(), end.parse().unwrap());
    if end - start != bytes.len() as u64 {
        return answer(
            UPLOAD_ERROR,
            "the range is not that of the chunk",
            Value::Null,
        );
    }
    {
        let mut mishaps = gateway.mishaps.lock().unwrap();
        if mishaps.lost_chunks > 0 {
            mishaps.lost_chunks -= 1;
            return broken();
        }
    }
    let (name, account, received) = {
        let mut batches = gateway.batches.lock().unwrap();
        let Some(batch) = batches.get_mut(&hash) else {
            return answer(UPLOAD_ERROR, "no such upload", Value::Null);
        };
        // A chunk that was received already is not appended again.
        if start == batch.received.len() as u64 {
            batch.received.extend(bytes);
        }
        let at = batch.received.len() as u64;
        let mut mishaps = gateway.mishaps.lock().unwrap();
        if mishaps.lost_answers > 0 {
            mishaps.lost_answers -= 1;
            return broken();
        }
        if at < batch.total {
            let data = json!({ "chunk_end": at });
            return answer(308, "partial", data);
        }
        (batch.name.clone(), batch.account, batch.received.clone())
    };
    store(&gateway, account, &name, received).await
}

async fn upload_file(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    form: Multipart,
) -> Response {
    match gateway.account(&headers) {
        Some(account) => store(&gateway, account, "file.bin", field(form).await).await,
        None => answer(UNAUTHORISED, "not authorised", Value::Null),
    }
}

async fn store(gateway: &Gateway, account: Account, name: &str, bytes: Vec<u8>) -> Response {
    let Ok(name) = name.parse() else {
        return answer(10112, "invalid name", Value::Null);
    };
    let options = PutOptions {
        rule: FidRule::Retriever,
        ..PutOptions::named(name)
    };
    match gateway
        .store
        .put_as(account, bytes[..].into(), options)
        .await
    {
        Ok(stored) => {
            let wrong = gateway.mishaps.lock().unwrap().wrong_fid;
            let fid = if wrong { Fid([1; 32]) } else { stored.fid };
            let data = json!({ "fid": fid, "chunk_end": stored.size, "file_info": null });
            answer(OK, "success", data)
        }
        Err(StorageError::Full { capacity }) => {
            answer(NO_SPACE, "insufficient space", json!({ "limit": capacity }))
        }
        Err(error) => answer(UPLOAD_ERROR, &error.to_string(), Value::Null),
    }
}

async fn download(
    State(gateway): State<Arc<Gateway>>,
    Path(fid): Path<String>,
    headers: HeaderMap,
) -> Response {
    let refuse =
        |error: &dyn std::fmt::Display| answer(DOWNLOAD_ERROR, &error.to_string(), Value::Null);
    let Ok(fid) = fid.parse::<Fid>() else {
        return refuse(&"invalid fid");
    };
    let size = match gateway.store.stat(fid).await {
        Ok(info) => info.size,
        Err(error) => return refuse(&error),
    };
    let range = headers.get(RANGE).map(|value| value.to_str().unwrap());
    let range = range.map(|range| RangeHeader::parse(range).unwrap().within(size).unwrap());
    let asked = range
        .clone()
        .map(|range| ByteRange::try_from(range).unwrap());
    match gateway.store.get(fid, asked).await {
        Err(error) => refuse(&error),
        Ok(object) => {
            let mut answer = Body::from_stream(object).into_response();
            let headers = answer.headers_mut();
            headers.insert(CONTENT_TYPE, "application/octet-stream".parse().unwrap());
            if let Some(range) = range {
                headers.insert(CONTENT_RANGE, content_range(&range, size).parse().unwrap());
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
            answer
        }
    }
}

/// An answer that breaks off.
fn broken() -> Response {
    let error = std::io::Error::other("the connection is lost");
    let pieces = futures::stream::iter([Ok("{\"code\"".to_owned()), Err(error)]);
    Body::from_stream(pieces).into_response()
}
