//! The client against gateways that lose things or lie.
#![allow(clippy::unwrap_used)]

use super::testing::Mishaps;
use super::*;
use crate::contract::{Retriever, bytes};

fn options() -> PutOptions {
    PutOptions {
        rule: FidRule::Retriever,
        ..PutOptions::named("object".parse().unwrap())
    }
}

#[tokio::test]
async fn chunks_and_answers_may_be_lost() {
    let bench = Retriever::new().await;
    let store = bench.store(1);
    // Several chunks of 8 KiB, some of them sent twice.
    for (lost_answers, lost_chunks) in [(1, 0), (0, 1), (2, 1), (3, 0)] {
        *bench.mishaps.lock().unwrap() = Mishaps {
            lost_answers,
            lost_chunks,
            wrong_fid: false,
        };
        let object = bytes(30_000, (lost_answers * 4 + lost_chunks) as u8);
        let stored = store.put_bytes(&object, options()).await.unwrap();
        assert_eq!(store.get_bytes(stored.fid, 30_000).await.unwrap(), object);
    }
}

#[tokio::test]
async fn what_gateways_say_is_checked() {
    let bench = Retriever::new().await;
    let store = bench.store(1);
    bench.mishaps.lock().unwrap().wrong_fid = true;
    let error = store
        .put_bytes(&bytes(100, 1), options())
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::FidChanged { .. }),
        "{error:?}"
    );
    let other_rule = PutOptions::named("object".parse().unwrap());
    let error = store
        .put_bytes(&bytes(100, 1), other_rule)
        .await
        .unwrap_err();
    assert!(matches!(error, StorageError::RuleNotOffered { .. }));
    let policy = crate::location::LocationPolicy::european_union();
    let error = store
        .put_bytes(&bytes(100, 1), options().within(policy))
        .await
        .unwrap_err();
    assert!(matches!(error, StorageError::PolicyNotOffered { .. }));
}

/// A chain that does not get to know of files.
#[tokio::test]
async fn sent_is_not_stored() {
    let bench = Retriever::new().await;
    let elsewhere = tempfile::TempDir::new().unwrap();
    let bank = crate::bank::EmbeddedBank::open(&elsewhere.path().join("files.redb")).unwrap();
    let config = RetrieverConfig {
        active_within: Duration::from_millis(50),
        ..bench.config()
    };
    let signer = Arc::new(crate::contract::signer(1));
    let store = RetrieverStore::new(&bench.url, config, signer, Arc::new(bank)).unwrap();
    let error = store
        .put_bytes(&bytes(100, 1), options())
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::NotActive { reported: 0, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn strangers_get_no_token() {
    let bench = Retriever::new().await;
    // Says it is somebody else.
    let key = crate::contract::signer(2);
    let account = crate::contract::signer(1).account();
    let forged = crate::http::auth::SignWith::new(account, move |m: &[u8]| key.sign(m));
    let store = RetrieverStore::new(
        &bench.url,
        bench.config(),
        Arc::new(forged),
        bench.bank.clone(),
    );
    let error = store
        .unwrap()
        .put_bytes(&bytes(100, 1), options())
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::NoPermission { .. }),
        "{error:?}"
    );
}

#[test]
fn answers_become_errors() {
    let code = |text: &str| parse_answer(text.as_bytes(), &[DONE]);
    assert!(code(r#"{"code":10100,"msg":"ok","data":1}"#).is_ok());
    let error = code(r#"{"code":10113,"msg":"insufficient space","data":{"limit":5}}"#);
    assert!(matches!(error, Err(StorageError::Full { capacity: 5 })));
    let error = code(r#"{"code":10113,"msg":"insufficient space"}"#);
    assert!(matches!(
        error,
        Err(StorageError::Refused { code: 10113, .. })
    ));
    let error = code(r#"{"code":10111,"msg":"no"}"#);
    assert!(matches!(error, Err(StorageError::NoPermission { .. })));
    let error = code(r#"{"code":-7,"msg":"odd"}"#);
    assert!(matches!(error, Err(StorageError::Refused { .. })));
    assert!(matches!(
        code("<html>"),
        Err(StorageError::Malformed { .. })
    ));
}
