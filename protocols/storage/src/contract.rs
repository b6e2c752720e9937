//! What every [`ObjectStore`] must do. Each kind of store runs all of it.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use ed25519_dalek::{Signer, SigningKey};
use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::account::Account;
use crate::bank::{Declared, EmbeddedBank, FileBank, FileRecord, FileState};
use crate::client::{HttpStore, HttpStoreConfig};
use crate::embedded::{Durability, EmbeddedStore, StoreConfig};
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid, FidRule};
use crate::http::auth::{Access, RequestSigner, SignWith, SignatureAuthorizer};
use crate::layout::{FRAGMENTS, FidHasher, Geometry};
use crate::node::{self, HttpNode, HttpNodeConfig, StorageNode};
use crate::object::{
    ByteRange, Deleted, FragmentLocation, FragmentState, ListedObject, ObjectInfo, Owner, Page,
    PutOptions, Stored,
};
use crate::podr2::FragmentKey;
use crate::retriever::testing::{self as cd2n, Mishaps};
use crate::retriever::{RetrieverConfig, RetrieverStore};
use crate::server::{ServerConfig, serve, serve_router};
use crate::spread::SpreadStore;
use crate::spread::testing::{Nodes, config as spread_config, site};
use crate::store::{AccountStore as _, ObjectStore};
use crate::stream::{ByteSource, ObjectStream};

/// Fragments of 1 KiB, segments of 4 KiB.
pub(crate) const GEOMETRY: Geometry = Geometry::with_fragment(1 << 10);
/// Limits of the stores under test.
const MAX_OBJECT: u64 = 100_000;
const CAPACITY: u64 = 1_000_000;

/// A store and what keeps it alive.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) embedded: EmbeddedStore,
    pub(crate) url: String,
    _stop: oneshot::Sender<()>,
}

/// Signs for a made-up account.
pub(crate) fn signer(seed: u8) -> impl RequestSigner + 'static {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let account = Account(key.verifying_key().to_bytes());
    SignWith::new(account, move |message: &[u8]| key.sign(message).to_bytes())
}

pub(crate) fn store_config() -> StoreConfig {
    StoreConfig {
        geometry: GEOMETRY,
        durability: Durability::Lazy,
        max_object: MAX_OBJECT,
        capacity: CAPACITY,
        ..StoreConfig::default()
    }
}

pub(crate) fn http_config() -> HttpStoreConfig {
    HttpStoreConfig {
        geometry: GEOMETRY,
        ..HttpStoreConfig::default()
    }
}

pub(crate) fn options(name: &str) -> PutOptions {
    PutOptions::named(name.parse().unwrap())
}

pub(crate) fn bytes(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(length)
    .collect()
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(store_config(), ServerConfig::default()).await
    }

    pub(crate) async fn with(store: StoreConfig, server: ServerConfig) -> Self {
        let dir = TempDir::new().unwrap();
        let embedded = EmbeddedStore::open(dir.path(), store).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = embedded.clone();
        tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve(
                served,
                SignatureAuthorizer::default(),
                listener,
                server,
                stopped,
            )
            .await;
        });
        Self {
            dir,
            embedded,
            url,
            _stop: stop,
        }
    }

    pub(crate) fn http(&self) -> HttpStore {
        HttpStore::with_config(&self.url, http_config()).unwrap()
    }
}

/// Twelve nodes in this process, which have as much room together as the other stores.
async fn spread() -> Nodes {
    Nodes::with(12, spread_config(GEOMETRY), CAPACITY / 12, None).await
}

/// A spread store over nodes behind HTTP, itself behind HTTP.
struct Served {
    url: String,
    _stop: Vec<oneshot::Sender<()>>,
    _dir: TempDir,
}

impl Served {
    /// Serves the nodes, and a store over them.
    async fn new(nodes: &Nodes) -> Self {
        let key: Arc<dyn RequestSigner> = Arc::new(signer(99));
        let mut stops = Vec::new();
        let mut members: Vec<(Arc<dyn StorageNode>, _)> = Vec::new();
        for (index, fickle) in nodes.nodes.iter().enumerate() {
            let access = Access::Only(vec![key.account()]);
            let router = node::server::router(fickle.node.clone(), GEOMETRY, access, 4);
            let url = serving(&mut stops, |listener, stopped| {
                serve_router(router, listener, ServerConfig::default(), stopped)
            })
            .await;
            let config = HttpNodeConfig {
                geometry: GEOMETRY,
                ..HttpNodeConfig::default()
            };
            let node = HttpNode::new(&url, fickle.account(), key.clone(), config).unwrap();
            members.push((Arc::new(node), site(index)));
        }
        let dir = TempDir::new().unwrap();
        let bank = EmbeddedBank::open(&dir.path().join("files.redb")).unwrap();
        let config = spread_config(GEOMETRY);
        let store = SpreadStore::open(Arc::new(bank), members, config)
            .await
            .unwrap();
        let url = serving(&mut stops, |listener, stopped| {
            let authorizer = SignatureAuthorizer::default();
            serve(
                store,
                authorizer,
                listener,
                ServerConfig::default(),
                stopped,
            )
        })
        .await;
        Self {
            url,
            _stop: stops,
            _dir: dir,
        }
    }

    fn http(&self) -> HttpStore {
        let config = HttpStoreConfig {
            geometry: GEOMETRY,
            ..HttpStoreConfig::default()
        };
        HttpStore::with_config(&self.url, config).unwrap()
    }
}

/// A CD2N gateway over a spread store, and the chain that its clients ask.
pub(crate) struct Retriever {
    pub(crate) url: String,
    pub(crate) bank: Arc<dyn FileBank>,
    pub(crate) mishaps: Arc<Mutex<Mishaps>>,
    _nodes: Nodes,
    _stop: Vec<oneshot::Sender<()>>,
}

/// The chain as clients see it: when a file is deleted there, storage nodes hear of it and drop it.
struct Heard(EmbeddedBank, SpreadStore);

#[async_trait::async_trait]
impl FileBank for Heard {
    async fn declare(&self, f: Fid, r: FileRecord, o: Owner) -> Result<Declared, StorageError> {
        self.0.declare(f, r, o).await
    }
    async fn report(&self, f: Fid, i: u8, n: Account) -> Result<FileState, StorageError> {
        self.0.report(f, i, n).await
    }
    async fn cancel(&self, fid: Fid) -> Result<(), StorageError> {
        self.0.cancel(fid).await
    }
    async fn deals(&self) -> Result<Vec<Fid>, StorageError> {
        self.0.deals().await
    }
    async fn file(&self, fid: Fid) -> Result<Option<FileRecord>, StorageError> {
        self.0.file(fid).await
    }
    async fn deal(&self, fid: Fid) -> Result<Option<FileRecord>, StorageError> {
        self.0.deal(fid).await
    }
    async fn files(&self, after: Option<Fid>, limit: usize) -> Result<Vec<Fid>, StorageError> {
        self.0.files(after, limit).await
    }
    async fn owners(&self, fid: Fid) -> Result<Vec<Owner>, StorageError> {
        self.0.owners(fid).await
    }
    async fn list(&self, o: Account, p: Page) -> Result<Vec<ListedObject>, StorageError> {
        self.0.list(o, p).await
    }
    async fn delete(&self, fid: Fid, owner: Account) -> Result<Deleted, StorageError> {
        self.1.delete_as(owner, fid).await
    }
    async fn restored(&self, f: Fid, i: u8, n: Account) -> Result<(), StorageError> {
        self.0.restored(f, i, n).await
    }
    async fn tagged(&self, n: Account, key: &FragmentKey) -> Result<(), StorageError> {
        self.0.tagged(n, key).await
    }
    async fn tag(&self, n: Account, f: ContentHash) -> Result<Option<FragmentKey>, StorageError> {
        self.0.tag(n, f).await
    }
}

impl Retriever {
    pub(crate) async fn new() -> Self {
        let nodes = spread().await;
        let mishaps = Arc::default();
        let router = cd2n::router(Arc::new(nodes.store.clone()), Arc::clone(&mishaps));
        let mut stops = Vec::new();
        let url = serving(&mut stops, |listener, stopped| {
            serve_router(router, listener, ServerConfig::default(), stopped)
        })
        .await;
        Self {
            url,
            bank: Arc::new(Heard(nodes.bank.clone(), nodes.store.clone())),
            mishaps,
            _nodes: nodes,
            _stop: stops,
        }
    }

    pub(crate) fn config(&self) -> RetrieverConfig {
        RetrieverConfig {
            geometry: GEOMETRY,
            chunk: 8 << 10,
            max_object: MAX_OBJECT,
            ..RetrieverConfig::default()
        }
    }

    pub(crate) fn store(&self, seed: u8) -> RetrieverStore {
        let signer = Arc::new(signer(seed));
        RetrieverStore::new(&self.url, self.config(), signer, self.bank.clone()).unwrap()
    }

    /// The same, for tests that do not care by which rule fids are computed.
    fn by_its_rule(&self, seed: u8) -> ByItsRule {
        ByItsRule(self.store(seed))
    }
}

struct ByItsRule(RetrieverStore);

#[async_trait::async_trait]
impl ObjectStore for ByItsRule {
    async fn put(&self, source: ByteSource<'_>, o: PutOptions) -> Result<Stored, StorageError> {
        let options = PutOptions {
            rule: FidRule::Retriever,
            ..o
        };
        self.0.put(source, options).await
    }
    async fn get(&self, f: Fid, range: Option<ByteRange>) -> Result<ObjectStream, StorageError> {
        self.0.get(f, range).await
    }
    async fn stat(&self, fid: Fid) -> Result<ObjectInfo, StorageError> {
        self.0.stat(fid).await
    }
    async fn list(&self, page: Page) -> Result<Vec<ListedObject>, StorageError> {
        self.0.list(page).await
    }
    async fn delete(&self, fid: Fid) -> Result<Deleted, StorageError> {
        self.0.delete(fid).await
    }
    async fn locate(&self, fid: Fid) -> Result<Vec<FragmentLocation>, StorageError> {
        self.0.locate(fid).await
    }
}

/// Runs a server on a free port until its stop is dropped; gives its URL.
pub(crate) async fn serving<F: Future<Output = ()> + Send + 'static>(
    stops: &mut Vec<oneshot::Sender<()>>,
    server: impl FnOnce(TcpListener, BoxFuture<'static, ()>) -> F,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    stops.push(stop);
    tokio::spawn(server(listener, Box::pin(async { drop(stopped.await) })));
    url
}

/// The same tests for every kind of store: a function that makes two handles of one store, for two
/// accounts.
macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(
                #[tokio::test]
                async fn $test() {
                    let bench = super::Bench::new().await;
                    let store = |seed| {
                        use super::RequestSigner;
                        bench.embedded.for_owner(super::signer(seed).account())
                    };
                    super::$test(&store(1), &store(2)).await;
                }
            )*
        }

        mod spread {
            $(
                #[tokio::test]
                async fn $test() {
                    use super::RequestSigner;
                    let nodes = super::spread().await;
                    let store = |seed| nodes.store.for_owner(super::signer(seed).account());
                    super::$test(&store(1), &store(2)).await;
                }
            )*
        }

        mod spread_over_http {
            $(
                #[tokio::test]
                async fn $test() {
                    let nodes = super::spread().await;
                    let served = super::Served::new(&nodes).await;
                    let store = |seed| served.http().with_signer(super::signer(seed));
                    super::$test(&store(1), &store(2)).await;
                }
            )*
        }

        mod retriever {
            $(
                #[tokio::test]
                async fn $test() {
                    let bench = super::Retriever::new().await;
                    super::$test(&bench.by_its_rule(1), &bench.by_its_rule(2)).await;
                }
            )*
        }

        mod http {
            $(
                #[tokio::test]
                async fn $test() {
                    let bench = super::Bench::new().await;
                    let store = |seed| bench.http().with_signer(super::signer(seed));
                    super::$test(&store(1), &store(2)).await;
                }
            )*
        }
    };
}

contract!(
    objects_come_back_whole,
    ranges_come_back_exactly,
    fids_are_those_of_the_layout,
    unknown_objects_are_not_found,
    empty_objects_are_refused,
    too_large_objects_are_refused,
    a_full_store_refuses,
    failing_sources_store_nothing,
    owners_share_and_only_owners_delete,
    lists_are_paged_and_ordered,
    fragments_are_located,
    reads_are_limited,
    stores_work_side_by_side,
);

async fn objects_come_back_whole(store: &dyn ObjectStore, other: &dyn ObjectStore) {
    for length in [1, 1023, 1024, 4095, 4096, 4097, 8192, 50_000] {
        let object = bytes(length, length as u8);
        let stored = store.put_bytes(&object, options("object")).await.unwrap();
        assert_eq!(stored.size, length as u64);
        for reader in [store, other] {
            assert_eq!(
                reader.get_bytes(stored.fid, length as u64).await.unwrap(),
                object
            );
        }
        let info = other.stat(stored.fid).await.unwrap();
        assert_eq!((info.fid, info.size), (stored.fid, length as u64));
        assert_eq!(info.segments, Some(stored.segments));
        assert_eq!(info.owners.len(), 1);
        assert_eq!(info.owners[0].name.as_str(), "object");
    }
}

async fn ranges_come_back_exactly(store: &dyn ObjectStore, _: &dyn ObjectStore) {
    let object = bytes(10_000, 3);
    let fid = store
        .put_bytes(&object, options("object"))
        .await
        .unwrap()
        .fid;
    let edges = [
        0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 9_998, 9_999,
    ];
    for start in edges {
        for end in edges.into_iter().chain([10_000, 10_001, u64::MAX]) {
            let Ok(range) = ByteRange::try_from(start..end) else {
                continue;
            };
            let stream = store.get(fid, Some(range)).await.unwrap();
            assert_eq!(stream.object_size(), 10_000);
            let end = end.min(10_000);
            assert_eq!(stream.range(), start..end);
            let part = stream.into_vec(10_000).await.unwrap();
            assert_eq!(part, object[start as usize..end as usize], "{start}..{end}");
        }
    }
    for start in [10_000, 10_001, u64::MAX - 1] {
        let range = ByteRange::try_from(start..u64::MAX).unwrap();
        let error = store.get(fid, Some(range)).await.unwrap_err();
        assert!(
            matches!(error, StorageError::RangeNotSatisfiable { size: 10_000, start: s, .. } if s == start),
            "{error:?}"
        );
    }
}

async fn fids_are_those_of_the_layout(store: &dyn ObjectStore, _: &dyn ObjectStore) {
    for length in [10, 4096, 4097, 20_000] {
        let object = bytes(length, 5);
        let mut hasher = FidHasher::with_geometry(GEOMETRY);
        hasher.update(&object);
        let segments = hasher.finish();
        let stored = store.put_bytes(&object, options("object")).await.unwrap();
        assert_eq!(stored.segments, segments);
        assert!(FidRule::matching(stored.fid, &segments).is_some());
    }
}

async fn unknown_objects_are_not_found(store: &dyn ObjectStore, _: &dyn ObjectStore) {
    let fid = Fid([9; 32]);
    let not_found = |error| matches!(error, StorageError::NotFound { fid: f } if f == fid);
    assert!(not_found(store.get(fid, None).await.unwrap_err()));
    assert!(not_found(store.stat(fid).await.unwrap_err()));
    assert!(not_found(store.delete(fid).await.unwrap_err()));
    assert!(not_found(store.locate(fid).await.unwrap_err()));
    assert_eq!(store.list(Page::first()).await.unwrap(), []);
}

async fn empty_objects_are_refused(store: &dyn ObjectStore, _: &dyn ObjectStore) {
    let error = store.put_bytes(b"", options("object")).await.unwrap_err();
    assert!(matches!(error, StorageError::Empty), "{error:?}");
}

async fn too_large_objects_are_refused(store: &dyn ObjectStore, _: &dyn ObjectStore) {
    let largest = bytes(MAX_OBJECT as usize, 1);
    // Three times the size, and it fits.
    let stored = store.put_bytes(&largest, options("object")).await.unwrap();
    assert_eq!(
        store.get_bytes(stored.fid, MAX_OBJECT).await.unwrap(),
        largest
    );
    let larger = bytes(MAX_OBJECT as usize + 1, 1);
    let error = store
        .put_bytes(&larger, options("object"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::TooLarge { limit: MAX_OBJECT }),
        "{error:?}"
    );
    assert_eq!(store.list(Page::first()).await.unwrap().len(), 1);
}

async fn a_full_store_refuses(store: &dyn ObjectStore, _: &dyn ObjectStore) {
    let mut stored = Vec::new();
    let error = loop {
        let object = bytes(90_000, stored.len() as u8);
        match store.put_bytes(&object, options("object")).await {
            Ok(object) => stored.push(object.fid),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, StorageError::Full { capacity } if capacity.abs_diff(CAPACITY) < 100),
        "{error:?}"
    );
    assert_eq!(stored.len(), 3);
    assert_eq!(store.delete(stored[0]).await.unwrap(), Deleted::Removed);
    store
        .put_bytes(&bytes(90_000, 77), options("object"))
        .await
        .unwrap();
}

async fn failing_sources_store_nothing(store: &dyn ObjectStore, _: &dyn ObjectStore) {
    let items: [std::io::Result<_>; 2] = [
        Ok(bytes::Bytes::from(bytes(9_000, 1))),
        Err(std::io::ErrorKind::ConnectionReset.into()),
    ];
    let source = tokio_util::io::StreamReader::new(futures::stream::iter(items));
    let error = store
        .put(ByteSource::new(source), options("object"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StorageError::Source(e) if e.kind() == std::io::ErrorKind::ConnectionReset),
        "{error:?}"
    );
    assert_eq!(store.list(Page::first()).await.unwrap(), []);
}

async fn owners_share_and_only_owners_delete(store: &dyn ObjectStore, other: &dyn ObjectStore) {
    let object = bytes(5_000, 1);
    let fid = store.put_bytes(&object, options("mine")).await.unwrap().fid;
    let error = other.delete(fid).await.unwrap_err();
    assert!(
        matches!(error, StorageError::NoPermission { .. }),
        "{error:?}"
    );
    assert_eq!(
        other
            .put_bytes(&object, options("also mine"))
            .await
            .unwrap()
            .fid,
        fid
    );
    assert_eq!(other.stat(fid).await.unwrap().owners.len(), 2);
    assert_eq!(store.delete(fid).await.unwrap(), Deleted::Released);
    let error = store.delete(fid).await.unwrap_err();
    assert!(
        matches!(error, StorageError::NoPermission { .. }),
        "{error:?}"
    );
    assert_eq!(store.get_bytes(fid, 5_000).await.unwrap(), object);
    assert_eq!(other.delete(fid).await.unwrap(), Deleted::Removed);
    let error = store.get(fid, None).await.unwrap_err();
    assert!(matches!(error, StorageError::NotFound { .. }), "{error:?}");
}

async fn lists_are_paged_and_ordered(store: &dyn ObjectStore, other: &dyn ObjectStore) {
    let mut fids = Vec::new();
    for seed in 0..5 {
        let name = format!("object {seed} ü%?");
        let object = bytes(10 + usize::from(seed), seed);
        fids.push(store.put_bytes(&object, options(&name)).await.unwrap().fid);
    }
    other
        .put_bytes(&bytes(100, 99), options("another's"))
        .await
        .unwrap();
    let all = store.list(Page::first()).await.unwrap();
    assert!(all.is_sorted_by_key(|object| object.fid));
    for (seed, fid) in fids.iter().enumerate() {
        let listed = all.iter().find(|object| object.fid == *fid).unwrap();
        assert_eq!(listed.size, 10 + seed as u64);
        assert_eq!(
            listed.name.as_ref().unwrap().as_str(),
            format!("object {seed} ü%?")
        );
    }
    let mut paged = Vec::new();
    loop {
        let after = paged
            .last()
            .map(|object: &crate::object::ListedObject| object.fid);
        let page = store.list(Page { after, limit: 2 }).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(all.len(), 5);
}

async fn fragments_are_located(store: &dyn ObjectStore, _: &dyn ObjectStore) {
    // The second segment has 100 bytes in its first fragment and zeros in the next three.
    let fid = store
        .put_bytes(&bytes(4096 + 100, 1), options("object"))
        .await
        .unwrap()
        .fid;
    let locations = store.locate(fid).await.unwrap();
    let places: Vec<_> = locations
        .iter()
        .map(|at| (at.segment, usize::from(at.index)))
        .collect();
    let expected: Vec<_> = (0..2)
        .flat_map(|segment| (0..FRAGMENTS).map(move |index| (segment, index)))
        .collect();
    assert_eq!(places, expected);
    for at in &locations {
        let zero = at.segment == 1 && (1..4).contains(&at.index);
        let state = if zero {
            FragmentState::Zero
        } else {
            FragmentState::Present
        };
        assert_eq!(at.state, state, "{at:?}");
        assert!(!at.node.is_empty());
    }
}

async fn reads_are_limited(store: &dyn ObjectStore, _: &dyn ObjectStore) {
    let fid = store
        .put_bytes(&bytes(5_000, 1), options("object"))
        .await
        .unwrap()
        .fid;
    let error = store.get_bytes(fid, 4_999).await.unwrap_err();
    assert!(
        matches!(error, StorageError::TooLarge { limit: 4_999 }),
        "{error:?}"
    );
}

async fn stores_work_side_by_side(store: &dyn ObjectStore, other: &dyn ObjectStore) {
    let puts = (0..4).map(|seed| async move {
        let object = bytes(9_000, seed % 2);
        let who = if seed < 2 { store } else { other };
        let fid = who.put_bytes(&object, options("object")).await.unwrap().fid;
        assert_eq!(who.get_bytes(fid, 9_000).await.unwrap(), object);
        fid
    });
    let fids = futures::future::join_all(puts).await;
    assert_eq!(fids[..2], fids[2..]);
    let deletes = fids
        .iter()
        .zip([store, store, other, other])
        .map(|(fid, who)| who.delete(*fid));
    let deleted: Vec<_> = futures::future::join_all(deletes)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        deleted
            .iter()
            .filter(|deleted| **deleted == Deleted::Removed)
            .count(),
        2
    );
}
