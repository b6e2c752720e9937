//! Versions whole, whatever happens beside.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use tempfile::TempDir;

use super::*;
use crate::contract::{bytes, signer, store_config};
use crate::embedded::EmbeddedStore;
use crate::object::Page;

struct Bench {
    _dir: TempDir,
    store: Arc<dyn ObjectStore>,
    versions: Arc<EmbeddedVersions>,
}

impl Bench {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = EmbeddedStore::open(dir.path(), store_config())
            .await
            .unwrap();
        let versions = EmbeddedVersions::open(&dir.path().join("versions.redb")).unwrap();
        Self {
            store: Arc::new(store.for_owner(signer(1).account())),
            versions: Arc::new(versions),
            _dir: dir,
        }
    }

    fn object(&self) -> Mutable {
        let (name, signer) = ("records".parse().unwrap(), Arc::new(signer(1)));
        Mutable::new(self.store.clone(), self.versions.clone(), name, signer)
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

async fn content(object: &Mutable, manifest: &Manifest) -> Vec<u8> {
    object
        .read(manifest, None)
        .try_collect::<Vec<_>>()
        .await
        .unwrap()
        .concat()
}

#[tokio::test]
async fn versions_stay_whole_while_others_are_published() {
    let bench = Bench::new().await;
    let object = bench.object();
    let one = object.create(&bytes(9000, 1), at(1)).await.unwrap();
    // Half of a read, then three edits, then the other half.
    let mut reading = object.read(&one, None);
    let mut read = reading.try_next().await.unwrap().unwrap().to_vec();
    let two = object
        .edit(&one, Edit::Append, b"tail", at(2))
        .await
        .unwrap();
    let three = object
        .edit(&two, Edit::Replace(10..20), b"in the middle", at(3))
        .await
        .unwrap();
    let four = object
        .edit(&three, Edit::Replace(0..5), b"", at(4))
        .await
        .unwrap();
    while let Some(piece) = reading.try_next().await.unwrap() {
        read.extend(piece);
    }
    assert_eq!(read, bytes(9000, 1));
    let mut expected = bytes(9000, 1);
    expected.extend(b"tail");
    assert_eq!(content(&object, &two).await, expected);
    expected.splice(10..20, *b"in the middle");
    assert_eq!(content(&object, &three).await, expected);
    expected.drain(..5);
    assert_eq!(content(&object, &four).await, expected);
    let latest = bench.object().latest().await.unwrap();
    assert_eq!((&latest, latest.size()), (&four, expected.len() as u64));
    let part = object.read(&latest, Some((8990..9000).try_into().unwrap()));
    assert_eq!(
        part.try_collect::<Vec<_>>().await.unwrap().concat(),
        expected[8990..9000]
    );
    assert_eq!(object.list().await.unwrap(), [1, 2, 3, 4]);
    assert_eq!(
        content(&object, &object.version(2).await.unwrap())
            .await
            .len(),
        9004
    );
}

#[tokio::test]
async fn of_two_writers_one_must_look_again() {
    let bench = Bench::new().await;
    let (a, b) = (bench.object(), bench.object());
    let base = a.create(b"base", at(1)).await.unwrap();
    let (left, right) = tokio::join!(
        a.edit(&base, Edit::Append, b" and left", at(2)),
        b.edit(&base, Edit::Append, b" and right", at(2)),
    );
    let (won, lost) = match (left, right) {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
        other => panic!("one of them: {other:?}"),
    };
    assert!(
        matches!(
            lost,
            MutableError::Conflict {
                expected: 1,
                found: 2
            }
        ),
        "{lost:?}"
    );
    assert_eq!(a.latest().await.unwrap(), won);
    // What the other stored for nothing is gone again.
    assert_eq!(bench.store.list(Page::first()).await.unwrap().len(), 2);
    let again = a.create(b"anew", at(3)).await.unwrap_err();
    assert!(matches!(
        again,
        MutableError::Conflict {
            expected: 0,
            found: 2
        }
    ));
}

#[tokio::test]
async fn old_versions_are_collected_with_what_only_they_need() {
    let bench = Bench::new().await;
    let object = bench.object();
    let one = object.create(&bytes(100, 1), at(0)).await.unwrap();
    let two = object
        .edit(&one, Edit::Append, &bytes(100, 2), at(100))
        .await
        .unwrap();
    let three = object
        .edit(&two, Edit::Replace(0..100), &bytes(100, 3), at(200))
        .await
        .unwrap();
    let keep = Duration::from_secs(50);
    assert_eq!(object.collect(keep, at(149)).await.unwrap(), 0);
    assert_eq!(object.collect(keep, at(150)).await.unwrap(), 1);
    // The first bytes are still version two's.
    assert_eq!(bench.store.list(Page::first()).await.unwrap().len(), 3);
    assert_eq!(content(&object, &two).await.len(), 200);
    assert_eq!(object.collect(keep, at(1000)).await.unwrap(), 1);
    assert_eq!(bench.store.list(Page::first()).await.unwrap().len(), 2);
    assert_eq!(
        content(&object, &three).await,
        [bytes(100, 3), bytes(100, 2)].concat()
    );
    assert_eq!(
        object.collect(Duration::ZERO, at(1000)).await.unwrap(),
        0,
        "never the latest"
    );
    let gone = object.version(1).await.unwrap_err();
    assert!(matches!(gone, MutableError::NoVersion { version: 1 }));
}

#[tokio::test]
async fn nobody_else_publishes() {
    let bench = Bench::new().await;
    let object = bench.object();
    let one = object.create(b"mine", at(1)).await.unwrap();
    let stranger = signer(2);
    let refused = one
        .edited(Edit::Append, None, at(2), &stranger)
        .unwrap_err();
    assert_eq!(refused, ManifestError::NotOwner);
    // A second version that a stranger signed, under the same name.
    let forged = Manifest::empty("records".parse().unwrap(), &stranger)
        .edited(Edit::Append, None, at(2), &stranger)
        .unwrap()
        .edited(Edit::Append, None, at(2), &stranger)
        .unwrap();
    // It is of an object of the stranger's, of which there is no first version.
    let error = bench.versions.swap(1, &forged).await.unwrap_err();
    assert!(
        matches!(
            error,
            MutableError::Conflict {
                expected: 1,
                found: 0
            }
        ),
        "{error:?}"
    );
    assert_eq!(object.latest().await.unwrap(), one);
}

/// Gives whatever it likes as the latest version.
struct Lying(Mutex<Option<Manifest>>, Arc<EmbeddedVersions>);

#[async_trait]
impl Versions for Lying {
    async fn latest(&self, id: MutableId) -> Result<Option<Manifest>, MutableError> {
        let told = self.0.lock().unwrap().clone();
        match told {
            Some(manifest) => Ok(Some(manifest)),
            None => self.1.latest(id).await,
        }
    }

    async fn version(&self, id: MutableId, v: u64) -> Result<Option<Manifest>, MutableError> {
        self.1.version(id, v).await
    }

    async fn list(&self, id: MutableId) -> Result<Vec<u64>, StorageError> {
        self.1.list(id).await
    }

    async fn swap(&self, expected: u64, next: &Manifest) -> Result<(), MutableError> {
        self.1.swap(expected, next).await
    }

    async fn forget(&self, id: MutableId, version: u64) -> Result<(), StorageError> {
        self.1.forget(id, version).await
    }
}

#[tokio::test]
async fn stale_and_foreign_manifests_are_noticed() {
    let bench = Bench::new().await;
    let lying = Arc::new(Lying(Mutex::new(None), bench.versions.clone()));
    let (name, owner) = ("records".parse().unwrap(), Arc::new(signer(1)));
    let object = Mutable::new(bench.store.clone(), lying.clone(), name, owner);
    let one = object.create(b"one", at(1)).await.unwrap();
    object
        .edit(&one, Edit::Append, b"two", at(2))
        .await
        .unwrap();
    object.latest().await.unwrap();
    *lying.0.lock().unwrap() = Some(one);
    let stale = object.latest().await.unwrap_err();
    assert!(
        matches!(stale, MutableError::Stale { found: 1, seen: 2 }),
        "{stale:?}"
    );
    let stranger = signer(2);
    let foreign = Manifest::empty("records".parse().unwrap(), &stranger);
    let foreign = foreign
        .edited(Edit::Append, None, at(9), &stranger)
        .unwrap();
    // The same with the owner's account in it.
    let mut forged = foreign.to_bytes();
    forged[16..48].copy_from_slice(&signer(1).account().0);
    let forged = Manifest::from_bytes(&forged).unwrap();
    for (told, expected) in [
        (foreign, ManifestError::OtherObject),
        (forged, ManifestError::Signature),
    ] {
        *lying.0.lock().unwrap() = Some(told);
        let error = object.latest().await.unwrap_err();
        assert!(
            matches!(&error, MutableError::Manifest(e) if *e == expected),
            "{error:?}"
        );
    }
}

/// The same over HTTP: a server with versions, and its client as both store and versions.
#[tokio::test]
async fn versions_are_published_over_http_by_their_owner_alone() {
    let bench = Bench::new().await;
    let dir = TempDir::new().unwrap();
    let store = EmbeddedStore::open(dir.path(), store_config())
        .await
        .unwrap();
    let access = crate::SignatureAuthorizer::new(crate::Access::Anyone);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let versions: Arc<dyn Versions> = bench.versions.clone();
    let serving = tokio::spawn(crate::serve_mutable(
        store,
        versions,
        access,
        listener,
        crate::ServerConfig::default(),
        async move { drop(stopped.await) },
    ));
    let client = |account: u8| {
        let http = crate::contract::http_config();
        let store = crate::HttpStore::with_config(&url, http).unwrap();
        Arc::new(store.with_signer(signer(account)))
    };
    let object = |account: u8| {
        let http = client(account);
        let (name, by) = ("records".parse().unwrap(), Arc::new(signer(account)));
        Mutable::new(http.clone(), http, name, by)
    };
    let mine = object(1);
    assert!(matches!(
        mine.latest().await,
        Err(MutableError::NoVersion { version: 0 })
    ));
    let one = mine.create(b"base", at(1)).await.unwrap();
    let two = mine
        .edit(&one, Edit::Append, b" and more", at(2))
        .await
        .unwrap();
    assert_eq!(content(&mine, &two).await, b"base and more");
    // Who started from the version before must look again, and hears what there is.
    let late = object(1).edit(&one, Edit::Replace(0..4), b"", at(3)).await;
    assert!(matches!(
        late,
        Err(MutableError::Conflict {
            expected: 1,
            found: 2
        })
    ));
    assert_eq!(mine.list().await.unwrap(), [1, 2]);
    // Another account neither publishes nor forgets in the owner's name.
    let stranger = client(2);
    let next = two.edited(Edit::Append, None, at(4), &signer(1)).unwrap();
    assert!(matches!(
        stranger.swap(2, &next).await,
        Err(MutableError::Store(StorageError::NoPermission { .. }))
    ));
    assert!(matches!(
        stranger.forget(mine.id(), 1).await,
        Err(StorageError::NoPermission { .. })
    ));
    assert_eq!(mine.collect(Duration::ZERO, at(9)).await.unwrap(), 1);
    assert_eq!(mine.list().await.unwrap(), [2]);
    assert_eq!(
        content(&mine, &mine.latest().await.unwrap()).await,
        b"base and more"
    );
    stop.send(()).unwrap();
    serving.await.unwrap();
}
