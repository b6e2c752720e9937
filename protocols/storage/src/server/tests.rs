//! The server as other clients of DeOSS see it, and under bad manners.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use reqwest::header::{HeaderMap, RANGE};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::contract::{Bench, bytes, options, signer, store_config};
use crate::fid::{ContentHash, Fid};
use crate::http::auth::{RequestSigner, sign_request};
use crate::object::Stored;
use crate::store::ObjectStore;

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn stored(bench: &Bench, object: &[u8]) -> Stored {
    let owner = bench.embedded.for_owner(signer(1).account());
    owner.put_bytes(object, options("an object")).await.unwrap()
}

async fn get(bench: &Bench, path: &str) -> reqwest::Response {
    client()
        .get(format!("{}{path}", bench.url))
        .send()
        .await
        .unwrap()
}

async fn json(bench: &Bench, path: &str) -> Value {
    let response = get(bench, path).await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

fn signed(method: Method, path: &str) -> HeaderMap {
    let deadline = std::time::SystemTime::now() + Duration::from_secs(60);
    sign_request(&signer(1), method.as_str(), path, deadline)
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn answers_have_the_shape_of_deoss() {
    let bench = Bench::new().await;
    let account = signer(1).account().to_string();
    let version: String = get(&bench, "/version").await.json().await.unwrap();
    assert!(version.starts_with("ai-link-storage/"));

    let path = "/object/hello.txt";
    let put = client()
        .put(format!("{}{path}", bench.url))
        .headers(signed(Method::PUT, path))
        .body("hello world");
    let response = put.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["code"], 200);
    let fid = answer["data"]["fid"].as_str().unwrap().to_owned();

    let answer = json(&bench, &format!("/file/metadata/{fid}")).await;
    assert_eq!(answer["data"]["fid"], fid.as_str());
    assert_eq!(answer["data"]["size"], 11);
    assert_eq!(
        answer["data"]["owner"],
        json!([{ "user": account, "file_name": "hello.txt" }])
    );

    let answer = json(&bench, &format!("/file/list?Account={account}")).await;
    assert_eq!(
        answer["data"],
        json!([{ "territory": "", "fid": fid, "size": 11, "file_name": "hello.txt" }])
    );
    let by_header = client()
        .get(format!("{}/file/list", bench.url))
        .header("Account", &account);
    let by_header: Value = by_header.send().await.unwrap().json().await.unwrap();
    assert_eq!(by_header, answer);

    let response = get(&bench, &format!("/file/download/{fid}")).await;
    assert_eq!(
        response.headers()["content-type"],
        "application/octet-stream"
    );
    assert_eq!(response.headers()["content-length"], "11");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.bytes().await.unwrap(), "hello world");

    let path = format!("/file/{fid}");
    let delete = client().delete(format!("{}{path}", bench.url));
    let response = delete
        .headers(signed(Method::DELETE, &path))
        .send()
        .await
        .unwrap();
    assert_eq!(
        response.json::<Value>().await.unwrap()["data"]["result"],
        "removed"
    );
    let answer = json(&bench, &format!("/file/metadata/{fid}")).await;
    assert_eq!(answer["code"], 404);
}

#[tokio::test]
async fn both_range_headers_work() {
    let bench = Bench::new().await;
    let object = bytes(10_000, 1);
    let fid = stored(&bench, &object).await.fid;
    for (header, value, range) in [
        ("Content-Range", "bytes=0-0", 0..1),
        ("Content-Range", "bytes=4000-5000", 4000..5001),
        ("Range", "bytes=9000-", 9000..10_000),
        ("Range", "bytes=-1", 9_999..10_000),
        ("Range", "bytes=9999-99999", 9_999..10_000),
    ] {
        let request = client().get(format!("{}/file/open/{fid}.bin", bench.url));
        let response = request.header(header, value).send().await.unwrap();
        assert_eq!(response.status(), 206, "{value}");
        let expected = format!("bytes {}-{}/10000", range.start, range.end - 1);
        assert_eq!(response.headers()["content-range"], expected.as_str());
        assert_eq!(response.bytes().await.unwrap(), object[range]);
    }
    let whole = get(&bench, &format!("/file/open/{fid}")).await;
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.bytes().await.unwrap(), object);
    for value in ["bytes=10000-", "bytes=2-1", "bytes=0-1,5-6", "pages=1"] {
        let request = client().get(format!("{}/file/open/{fid}", bench.url));
        let response = request.header(RANGE, value).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.json::<Value>().await.unwrap()["code"],
            416,
            "{value}"
        );
    }
}

#[tokio::test]
async fn fragments_are_served_whole() {
    let bench = Bench::new().await;
    let fid = stored(&bench, b"short").await.fid;
    for at in bench.embedded.locate(fid).await.unwrap() {
        let path = format!("/fragment/download?fid={fid}&fragment={}", at.hash);
        let fragment = get(&bench, &path).await.bytes().await.unwrap();
        assert_eq!(fragment.len(), 1024);
        assert_eq!(ContentHash::of(&fragment), at.hash);
    }
    let other = Fid([1; 32]);
    for path in [
        format!("/fragment/download?fid={fid}&fragment={other}"),
        format!("/fragment/download?fid={other}&fragment={other}"),
    ] {
        assert_eq!(json(&bench, &path).await["code"], 404);
    }
}

#[tokio::test]
async fn nonsense_is_refused_in_an_envelope() {
    let bench = Bench::new().await;
    for (path, code) in [
        ("/", 404),
        ("/file", 404),
        ("/nothing/here", 404),
        ("/file/metadata/xyz", 400),
        ("/file/metadata/%FF%FE", 400),
        ("/file/download/..%2F..%2Fetc%2Fpasswd", 400),
        ("/file/list", 400),
        ("/file/list?Account=nobody", 400),
        ("/file/list?Account=5&Limit=-1", 400),
        ("/fragment/download", 400),
        ("/fragment/download?fid=1&fragment=2", 400),
        // A route, but not for GET.
        ("/object/name", 404),
    ] {
        assert_eq!(json(&bench, path).await["code"], code, "{path}");
    }
}

#[tokio::test]
async fn changes_must_be_signed() {
    let bench = Bench::new().await;
    let object = bytes(100, 1);
    let fid = stored(&bench, &object).await.fid;
    let put = |path: &str, headers: HeaderMap| {
        client()
            .put(format!("{}{path}", bench.url))
            .headers(headers)
            .body("hello world")
    };
    let mut forged = signed(Method::PUT, "/object/name");
    forged.insert("account", signer(2).account().to_string().parse().unwrap());
    let delete = client()
        .delete(format!("{}/file/{fid}", bench.url))
        .headers(signed(Method::PUT, "/object/name"));
    for request in [
        put("/object/name", HeaderMap::new()),
        put("/object/name", forged),
        put("/object/other", signed(Method::PUT, "/object/name")),
        client().delete(format!("{}/file/{fid}", bench.url)),
        delete,
    ] {
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["code"], 403, "{answer}");
    }
    let answer = put("/object/ab", signed(Method::PUT, "/object/ab"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], 400);
    assert_eq!(
        bench
            .embedded
            .get(fid, None)
            .await
            .unwrap()
            .into_vec(100)
            .await
            .unwrap(),
        object
    );
    let owned = bench
        .embedded
        .list_of(signer(1).account(), crate::object::Page::first())
        .await;
    assert_eq!(owned.unwrap().len(), 1);
}

#[tokio::test]
async fn uploads_that_find_no_slot_are_refused() {
    let server = ServerConfig {
        max_uploads: 1,
        ..ServerConfig::default()
    };
    let bench = Bench::with(store_config(), server).await;
    // The first one takes the slot and holds it.
    let (mut writer, reader) = tokio::io::duplex(64);
    let first = bench.http().with_signer(signer(1));
    let first = tokio::spawn(async move {
        first
            .put(crate::stream::ByteSource::new(reader), options("slow"))
            .await
    });
    writer.write_all(&bytes(64, 1)).await.unwrap();
    let second = bench.http().with_signer(signer(2));
    // It holds it as soon as it has arrived, which is not at once.
    let refused = loop {
        match second.put_bytes(&bytes(10, 2), options("second")).await {
            Ok(stored) => second.delete(stored.fid).await.unwrap(),
            Err(error) => break error,
        };
    };
    assert!(
        matches!(refused, crate::error::StorageError::Busy),
        "{refused:?}"
    );
    drop(writer);
    assert_eq!(first.await.unwrap().unwrap().size, 64);
    second
        .put_bytes(&bytes(10, 2), options("second"))
        .await
        .unwrap();
}

/// Sends raw bytes and reads until the server closes.
async fn raw(bench: &Bench, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(bench.url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset is as good as an end here.
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

#[tokio::test]
async fn an_upload_that_stops_half_way_stores_nothing() {
    let server = ServerConfig {
        idle_timeout: Duration::from_millis(200),
        ..ServerConfig::default()
    };
    let bench = Bench::with(store_config(), server).await;
    let headers: String = signed(Method::PUT, "/object/half")
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()))
        .collect();
    let head =
        format!("PUT /object/half HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 9000\r\n\r\n");
    // Stands still until the server gives up on it.
    let stalled = raw(&bench, &[head.as_bytes(), &[7; 5000]].concat()).await;
    let text = String::from_utf8_lossy(&stalled).into_owned();
    assert!(!text.contains("\"code\":200"), "{text}");
    let list = bench
        .embedded
        .list_of(signer(1).account(), crate::object::Page::first())
        .await;
    assert_eq!(list.unwrap(), []);
    assert_eq!(bench.embedded.occupied(), 0);
}

#[tokio::test]
async fn long_heads_are_refused() {
    let bench = Bench::new().await;
    let head = format!(
        "GET /version HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let answer = raw(&bench, head.as_bytes()).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_lost_object_is_refused_before_its_body_begins() {
    let bench = Bench::new().await;
    let fid = stored(&bench, &bytes(1000, 1)).await.fid;
    std::fs::remove_dir_all(bench.dir.path().join("fragments")).unwrap();
    assert_eq!(
        json(&bench, &format!("/file/download/{fid}")).await["code"],
        500
    );
}

#[tokio::test]
async fn an_object_that_is_lost_half_way_does_not_look_complete() {
    let bench = Bench::new().await;
    let fid = stored(&bench, &bytes(9_000, 1)).await.fid;
    // The last segment.
    for at in &bench.embedded.locate(fid).await.unwrap()[24..] {
        let text = at.hash.to_string();
        let _ = std::fs::remove_file(
            bench
                .dir
                .path()
                .join("fragments")
                .join(&text[..2])
                .join(&text),
        );
    }
    let response = get(&bench, &format!("/file/download/{fid}")).await;
    assert_eq!(response.headers()["content-length"], "9000");
    response.bytes().await.unwrap_err();
    let error = bench.http().get_bytes(fid, 9_000).await.unwrap_err();
    assert!(
        matches!(error, crate::error::StorageError::Transport(_)),
        "{error:?}"
    );
}

/// Sends one chunk of a resumable upload; gives the HTTP status and the answer.
async fn resume(bench: &Bench, range: &str, body: &[u8]) -> (u16, Value) {
    let path = "/resume/a%20thing";
    let response = client()
        .put(format!("{}{path}", bench.url))
        .headers(signed(Method::PUT, path))
        .header("Content-Range", format!("bytes {range}"))
        .body(body.to_vec())
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    if status == 308 {
        assert_eq!(
            response.headers()["content-range"],
            format!("bytes {range}")
        );
    }
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn chunks_may_be_sent_again_and_must_follow_each_other() {
    let bench = Bench::new().await;
    let object = bytes(10_000, 1);
    assert_eq!(
        resume(&bench, "0-3999/10000", &object[..4000]).await,
        (308, Value::Null)
    );
    // A gap, a short and a long chunk, and no range at all.
    for (range, body) in [
        ("5000-9999/10000", &object[5000..]),
        ("4000-7999/10000", &object[4000..7000]),
        ("4000-4099/10000", &object[4000..5000]),
        ("nonsense", &object[..10]),
    ] {
        let (status, answer) = resume(&bench, range, body).await;
        assert_eq!((status, &answer["code"]), (200, &json!(400)), "{range}");
    }
    // What was sent already comes again, with more.
    assert_eq!(
        resume(&bench, "2000-5999/10000", &object[2000..6000])
            .await
            .0,
        308
    );
    assert_eq!(resume(&bench, "0-3999/10000", &object[..4000]).await.0, 308);
    let (_, answer) = resume(&bench, "6000-9999/10000", &object[6000..]).await;
    let fid: Fid = answer["data"]["fid"].as_str().unwrap().parse().unwrap();
    assert_eq!(bench.http().get_bytes(fid, 10_000).await.unwrap(), object);
    // The answer was lost.
    let (_, again) = resume(&bench, "6000-9999/10000", &object[6000..]).await;
    assert_eq!(again, answer);
}

#[tokio::test]
async fn files_are_sent_in_chunks() {
    let bench = Bench::new().await;
    let config = crate::client::HttpStoreConfig {
        geometry: crate::contract::GEOMETRY,
        chunk: 3000,
        ..Default::default()
    };
    let store = crate::client::HttpStore::with_config(&bench.url, config).unwrap();
    let store = store.with_signer(signer(1));
    for length in [1, 2999, 3000, 3001, 50_000] {
        let object = bytes(length, length as u8);
        let path = bench.dir.path().join("file");
        std::fs::write(&path, &object).unwrap();
        let mut file = tokio::fs::File::open(&path).await.unwrap();
        let stored = store.put_file(&mut file, options("a file")).await.unwrap();
        assert_eq!(store.get_bytes(stored.fid, 50_000).await.unwrap(), object);
    }
}

#[tokio::test]
async fn forms_are_taken() {
    let bench = Bench::new().await;
    let object = bytes(9000, 2);
    let head = "--xyz\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhi\r\n--xyz\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"form.bin\"\r\n\r\n";
    let body = [head.as_bytes(), &object, b"\r\n--xyz--\r\n"].concat();
    let send = |body: Vec<u8>| {
        client()
            .put(format!("{}/file", bench.url))
            .headers(signed(Method::PUT, "/file"))
            .header("Content-Type", "multipart/form-data; boundary=xyz")
            .body(body)
            .send()
    };
    let answer: Value = send(body).await.unwrap().json().await.unwrap();
    let fid: Fid = answer["data"]["fid"].as_str().unwrap().parse().unwrap();
    assert_eq!(bench.http().get_bytes(fid, 9000).await.unwrap(), object);
    let owners = bench.http().stat(fid).await.unwrap().owners;
    assert_eq!(owners[0].name.as_str(), "form.bin");
    let cut = [head.as_bytes(), &object[..100]].concat();
    let answer: Value = send(cut).await.unwrap().json().await.unwrap();
    assert_eq!(answer["code"], 400, "{answer}");
}

#[tokio::test]
async fn location_policies_are_kept_or_refused() {
    use crate::location::{LocationPolicy, Site};
    let site = Site {
        country: "FR".parse().unwrap(),
        region: None,
        position: None,
        evidence: Default::default(),
    };
    let config = crate::embedded::StoreConfig {
        site: Some(site),
        ..store_config()
    };
    let bench = Bench::with(config, ServerConfig::default()).await;
    let store = bench.http().with_signer(signer(1));
    let eu = options("object").within(LocationPolicy::european_union());
    let fid = store.put_bytes(&bytes(10, 1), eu).await.unwrap().fid;
    let at = store.locate(fid).await.unwrap();
    assert_eq!(at[0].site.as_ref().unwrap().country.to_string(), "FR");
    let us = LocationPolicy::from_json(r#"{"allow-countries": ["US"]}"#).unwrap();
    let error = store
        .put_bytes(&bytes(10, 2), options("object").within(us))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("it is in FR"), "{error}");
    // A policy that is none is refused, never ignored.
    let path = "/object/thing";
    let put = client()
        .put(format!("{}{path}", bench.url))
        .headers(signed(Method::PUT, path))
        .header("Location-Policy", r#"{"allow-countries": ["Narnia"]}"#)
        .body("x");
    let answer: Value = put.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["code"], 400, "{answer}");
}
