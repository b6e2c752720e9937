//! The client against servers that lie, cut, stall and ramble, and against the manners of DeOSS.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::contract::{Bench, GEOMETRY, bytes, options, signer};
use crate::fid::ContentHash;
use crate::layout::FidHasher;

/// A server that answers every request with a function.
async fn fake(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> HttpStore {
    let answer = Arc::new(answer);
    let router = Router::new().fallback(move |request: Request| {
        let answer = Arc::clone(&answer);
        async move {
            let response = answer(&request);
            // Take the body, as polite servers do.
            let _ = axum::body::to_bytes(request.into_body(), 1 << 20).await;
            response
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = HttpStoreConfig {
        geometry: GEOMETRY,
        idle_timeout: Duration::from_millis(300),
        ..HttpStoreConfig::default()
    };
    HttpStore::with_config(&url, config)
        .unwrap()
        .with_signer(signer(1))
}

fn reply(data: Value) -> Response {
    envelope_with(json!({ "code": 200, "msg": "ok", "data": data }))
}

fn envelope_with(json: Value) -> Response {
    Response::builder()
        .header("content-type", "application/json; charset=utf-8")
        .body(Body::from(json.to_string()))
        .unwrap()
}

fn binary(status: u16, bytes: Vec<u8>) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/octet-stream")
        .body(Body::from(bytes))
        .unwrap()
}

fn segments_of(object: &[u8]) -> Vec<ContentHash> {
    let mut hasher = FidHasher::with_geometry(GEOMETRY);
    hasher.update(object);
    hasher.finish()
}

/// A gateway with one object, which it gives as `given`; with or without a segment list.
async fn gateway(object: &[u8], given: Vec<u8>, rule: FidRule, lists: Lists) -> (Fid, HttpStore) {
    let segments = segments_of(object);
    let fid = rule.fid(&segments).unwrap();
    let size = object.len();
    let store = fake(move |request| {
        if request.uri().path().starts_with("/file/metadata/") {
            let mut data = json!({ "fid": fid, "size": size, "owner": [] });
            if let Lists::Segments = lists {
                data["segments"] = json!(segments);
            }
            reply(data)
        } else {
            binary(200, given.clone())
        }
    })
    .await;
    (fid, store)
}

#[derive(Clone, Copy)]
enum Lists {
    Segments,
    Nothing,
}

#[tokio::test]
async fn gateways_of_both_generations_are_read() {
    for rule in FidRule::ALL {
        for lists in [Lists::Segments, Lists::Nothing] {
            for length in [100, 4096, 10_000] {
                let object = bytes(length, 1);
                let (fid, store) = gateway(&object, object.clone(), rule, lists).await;
                assert_eq!(store.get_bytes(fid, 10_000).await.unwrap(), object);
            }
        }
    }
}

#[tokio::test]
async fn every_changed_segment_is_noticed() {
    let object = bytes(10_000, 1);
    for at in [0, 4095, 4096, 9_999] {
        let mut changed = object.clone();
        changed[at] ^= 1;
        let segment = at as u64 / 4096;
        let (fid, store) = gateway(&object, changed.clone(), FidRule::DeOss, Lists::Segments).await;
        let error = store.get_bytes(fid, 10_000).await.unwrap_err();
        assert!(
            matches!(error, StorageError::SegmentMismatch { segment: s, .. } if s == segment),
            "{error:?}"
        );
        let (fid, store) = gateway(&object, changed, FidRule::DeOss, Lists::Nothing).await;
        let error = store.get_bytes(fid, 10_000).await.unwrap_err();
        assert!(
            matches!(error, StorageError::FidMismatch { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn without_a_list_the_end_is_withheld_until_all_is_verified() {
    let object = bytes(10_000, 1);
    let mut changed = object.clone();
    changed[0] ^= 1;
    let (fid, store) = gateway(&object, changed, FidRule::DeOss, Lists::Nothing).await;
    let mut stream = store.get(fid, None).await.unwrap();
    let mut received = 0;
    let error = loop {
        match stream.try_next().await {
            Ok(Some(piece)) => received += piece.len(),
            Ok(None) => panic!("a changed object was delivered"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, StorageError::FidMismatch { .. }),
        "{error:?}"
    );
    assert_eq!(received, 8192);
}

#[tokio::test]
async fn shorter_and_longer_bodies_are_noticed() {
    let object = bytes(10_000, 1);
    for length in [0, 1, 4096, 9_999, 10_001, 20_000] {
        let mut given = object.clone();
        given.resize(length, 7);
        for lists in [Lists::Segments, Lists::Nothing] {
            let (fid, store) = gateway(&object, given.clone(), FidRule::DeOss, lists).await;
            let error = store.get_bytes(fid, 10_000).await.unwrap_err();
            assert!(
                matches!(error, StorageError::Malformed { .. }),
                "{length}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn ranges_need_a_list_unless_there_is_one_segment() {
    let range = || Some((10..20).try_into().unwrap());
    let object = bytes(10_000, 1);
    let (fid, store) = gateway(&object, object.clone(), FidRule::DeOss, Lists::Nothing).await;
    let error = store.get(fid, range()).await.unwrap_err();
    assert!(
        matches!(error, StorageError::SegmentsUnknown { .. }),
        "{error:?}"
    );
    let object = bytes(4_000, 1);
    let (fid, store) = gateway(&object, object.clone(), FidRule::DeOss, Lists::Nothing).await;
    let part = store
        .get(fid, range())
        .await
        .unwrap()
        .into_vec(10)
        .await
        .unwrap();
    assert_eq!(part, object[10..20]);
}

#[tokio::test]
async fn only_the_segments_of_a_range_are_fetched() {
    let object = bytes(20_000, 1);
    let segments = segments_of(&object);
    let fid = FidRule::DeOss.fid(&segments).unwrap();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, given) = (Arc::clone(&asked), object.clone());
    let store = fake(move |request| {
        if request.uri().path().starts_with("/file/metadata/") {
            return reply(json!({ "fid": fid, "size": 20_000, "segments": segments }));
        }
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("range"), header("content-range"));
        seen.lock().unwrap().push(header("range"));
        let mut response = binary(206, given[4096..12_288].to_vec());
        let value = "bytes 4096-12287/20000".parse().unwrap();
        response.headers_mut().insert("content-range", value);
        response
    })
    .await;
    let range = (5_000..9_000).try_into().unwrap();
    let part = store
        .get(fid, Some(range))
        .await
        .unwrap()
        .into_vec(10_000)
        .await
        .unwrap();
    assert_eq!(part, object[5_000..9_000]);
    // Another range than was asked for is refused.
    let range = (0..100).try_into().unwrap();
    let error = store.get(fid, Some(range)).await.unwrap_err();
    assert!(matches!(error, StorageError::Malformed { .. }), "{error:?}");
    assert_eq!(*asked.lock().unwrap(), ["bytes=4096-12287", "bytes=0-4095"]);
}

#[tokio::test]
async fn lying_metadata_is_refused() {
    let object = bytes(10_000, 1);
    let segments = segments_of(&object);
    let fid = FidRule::DeOss.fid(&segments).unwrap();
    let mut wrong = segments.clone();
    wrong[1] = ContentHash([1; 32]);
    for (data, expected) in [
        (
            json!({ "fid": Fid([1; 32]), "size": 10_000, "segments": segments }),
            "is about",
        ),
        (
            json!({ "fid": fid, "size": 0, "segments": [] }),
            "no object has 0 bytes",
        ),
        (json!({ "fid": fid, "size": u64::MAX }), "no object has"),
        (
            json!({ "fid": fid, "size": 20_000, "segments": segments }),
            "has not 3 segments",
        ),
        (
            json!({ "fid": fid, "size": 10_000, "segments": wrong }),
            "do not hash to",
        ),
        (json!({ "fid": fid, "size": -1 }), "another kind"),
        (json!(null), "another kind"),
    ] {
        let answer = data.clone();
        let store = fake(move |_| reply(answer.clone())).await;
        let error = store.get(fid, None).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{data}: {error}");
    }
}

#[tokio::test]
async fn what_deoss_says_is_understood() {
    let fid = Fid([1; 32]);
    for (code, message, expected) in [
        (404, "Not found", "there is no object"),
        (403, "server busy", "busy"),
        (403, "please purchase territory first", "territory"),
        (416, "invalid range value", "code 416"),
        (500, "system error", "system error"),
        (400, "invalid fid", "invalid fid"),
    ] {
        let json = json!({ "code": code, "msg": message, "data": null });
        let store = fake(move |_| envelope_with(json.clone())).await;
        for error in [
            store.stat(fid).await.unwrap_err(),
            store.get(fid, None).await.unwrap_err(),
            store.delete(fid).await.unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains(expected), "{message}: {text}");
        }
    }
    let store = fake(|_| binary(502, b"<html>Bad Gateway".to_vec())).await;
    let error = store.stat(fid).await.unwrap_err().to_string();
    assert!(error.contains("502"), "{error}");
}

#[tokio::test]
async fn an_error_instead_of_an_object_is_an_error() {
    let object = bytes(100, 1);
    let fid = FidRule::DeOss.fid(&segments_of(&object)).unwrap();
    let store = fake(move |request| {
        if request.uri().path().starts_with("/file/metadata/") {
            reply(json!({ "fid": fid, "size": 100 }))
        } else {
            envelope_with(json!({ "code": 403, "msg": "server busy", "data": null }))
        }
    })
    .await;
    let error = store.get(fid, None).await.unwrap_err();
    assert!(matches!(error, StorageError::Busy), "{error:?}");
}

#[tokio::test]
async fn a_foreign_fid_after_a_put_is_refused() {
    let store = fake(|_| reply(json!({ "fid": Fid([7; 32]) }))).await;
    let error = store
        .put_bytes(&bytes(100, 1), options("object"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::FidChanged { answered, .. } if answered == Fid([7; 32])),
        "{error:?}"
    );
}

#[tokio::test]
async fn endless_answers_are_cut() {
    let store = fake(|_| {
        let piece = Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 1 << 16]));
        Response::new(Body::from_stream(futures::stream::repeat_with(move || {
            piece
                .as_ref()
                .map(bytes::Bytes::clone)
                .map_err(|_| std::io::Error::other("never"))
        })))
    })
    .await;
    let error = store.stat(Fid([1; 32])).await.unwrap_err();
    assert!(matches!(error, StorageError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn silence_ends_in_an_error() {
    let store = fake(|_| {
        Response::new(Body::from_stream(futures::stream::pending::<
            std::io::Result<bytes::Bytes>,
        >()))
    })
    .await;
    let error = store.stat(Fid([1; 32])).await.unwrap_err();
    assert!(matches!(error, StorageError::TimedOut { .. }), "{error:?}");

    // Accepts, and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = HttpStoreConfig {
        idle_timeout: Duration::from_millis(100),
        ..HttpStoreConfig::default()
    };
    let store = HttpStore::with_config(&url, config).unwrap();
    let error = store.stat(Fid([1; 32])).await.unwrap_err();
    assert!(matches!(error, StorageError::TimedOut { .. }), "{error:?}");
    drop(listener);
    let error = store.stat(Fid([1; 32])).await.unwrap_err();
    assert!(matches!(error, StorageError::Transport(_)), "{error:?}");
}

#[tokio::test]
async fn own_limits_hold_before_those_of_the_other_side() {
    let bench = Bench::new().await;
    let config = HttpStoreConfig {
        geometry: GEOMETRY,
        max_object: 50,
        ..HttpStoreConfig::default()
    };
    let small = HttpStore::with_config(&bench.url, config)
        .unwrap()
        .with_signer(signer(1));
    let error = small
        .put_bytes(&bytes(51, 1), options("object"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::TooLarge { limit: 50 }),
        "{error:?}"
    );
    let large = bench.http().with_signer(signer(1));
    assert_eq!(large.list(Page::first()).await.unwrap(), []);
    let fid = large
        .put_bytes(&bytes(51, 1), options("object"))
        .await
        .unwrap()
        .fid;
    let error = small.get(fid, None).await.unwrap_err();
    assert!(
        matches!(error, StorageError::TooLarge { limit: 50 }),
        "{error:?}"
    );
}

#[tokio::test]
async fn without_a_signer_a_store_can_be_read_only() {
    let bench = Bench::new().await;
    let store = bench.http();
    for error in [
        store
            .put_bytes(b"object", options("object"))
            .await
            .unwrap_err(),
        store.delete(Fid([1; 32])).await.unwrap_err(),
        store.list(Page::first()).await.unwrap_err(),
    ] {
        assert!(matches!(error, StorageError::NoSigner), "{error:?}");
    }
    let options = PutOptions {
        rule: FidRule::Retriever,
        ..options("object")
    };
    let error = store
        .put(b"object".as_slice().into(), options)
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::RuleNotOffered { .. }),
        "{error:?}"
    );
}

#[test]
fn addresses_are_checked() {
    for url in [
        "",
        "127.0.0.1:1",
        "https://example.org",
        "ftp://example.org",
        "data:text/plain,x",
    ] {
        let error = HttpStore::new(url).unwrap_err();
        assert!(
            matches!(error, StorageError::BaseUrl { .. }),
            "{url}: {error:?}"
        );
    }
    let store = HttpStore::new("http://example.org/gate/").unwrap();
    assert_eq!(
        store.url(["object", "a b?/ü"]).path(),
        "/gate/object/a%20b%3F%2F%C3%BC"
    );
}

proptest! {
    #[test]
    fn paths_keep_their_shape(name in "\\PC{1,40}") {
        let store = HttpStore::new("http://example.org").unwrap();
        let url = store.url(["object", &name]);
        // "." and ".." are the only segments that a URL drops.
        if name != "." && name != ".." {
            prop_assert_eq!(url.path_segments().unwrap().count(), 2);
        }
        prop_assert_eq!(url.query(), None);
    }
}
