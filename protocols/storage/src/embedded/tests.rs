//! What only the embedded store promises: crash safety, mending, sharing, limits.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::fid::FidRule;
use crate::layout::FRAGMENTS;
use crate::object::ObjectName;
use crate::store::ObjectStore as _;

const ALICE: Account = Account([1; 32]);
const BOB: Account = Account([2; 32]);

/// Fragments of 64 bytes, segments of 256.
fn small() -> StoreConfig {
    let geometry = Geometry::with_fragment(64);
    StoreConfig {
        geometry,
        max_object: 100_000,
        ..StoreConfig::default()
    }
}

async fn open(dir: &TempDir) -> EmbeddedStore {
    EmbeddedStore::open(dir.path(), small()).await.unwrap()
}

fn name(text: &str) -> ObjectName {
    text.parse().unwrap()
}

fn options() -> PutOptions {
    PutOptions::named(name("object"))
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

async fn put(store: &EmbeddedStore, bytes: &[u8]) -> Stored {
    store
        .for_owner(ALICE)
        .put_bytes(bytes, options())
        .await
        .unwrap()
}

async fn read(store: &EmbeddedStore, fid: Fid) -> Result<Vec<u8>, StorageError> {
    store.get(fid, None).await?.into_vec(1 << 30).await
}

/// All fragment files of a store.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for shelf in fs::read_dir(dir.join("fragments")).unwrap() {
        for file in fs::read_dir(shelf.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.sort();
    files
}

fn staged(dir: &Path) -> usize {
    fs::read_dir(dir.join("staging")).unwrap().count()
}

#[tokio::test]
async fn a_small_object_takes_little_room_at_real_sizes() {
    let dir = TempDir::new().unwrap();
    let store = EmbeddedStore::open(dir.path(), StoreConfig::default())
        .await
        .unwrap();
    let model = bytes(20_000);
    let stored = put(&store, &model).await;
    assert_eq!(FidRule::DeOss.fid(&stored.segments), Some(stored.fid));
    // One data fragment and eight of parity; three fragments are zeros.
    assert_eq!(files(dir.path()).len(), 9);
    assert!(store.occupied() <= 9 * 20_000, "{}", store.occupied());
    let on_disk: u64 = files(dir.path())
        .iter()
        .map(|f| fs::metadata(f).unwrap().len())
        .sum();
    assert_eq!(store.occupied(), on_disk);
    assert_eq!(read(&store, stored.fid).await.unwrap(), model);
    // What is served as a fragment is whole.
    let location = &store.locate(stored.fid).await.unwrap()[7];
    let fragment = store.fragment(stored.fid, location.hash).await.unwrap();
    assert_eq!(fragment.len() as u64, FRAGMENT_SIZE);
    assert_eq!(ContentHash::of(&fragment), location.hash);
}

#[tokio::test]
async fn objects_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let stored = put(&store, &bytes(1000)).await;
    let occupied = store.occupied();
    drop(store);
    let store = open(&dir).await;
    assert_eq!(store.occupied(), occupied);
    assert_eq!(read(&store, stored.fid).await.unwrap(), bytes(1000));
    assert_eq!(store.list_of(ALICE, Page::first()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = TempDir::new().unwrap();
    let _store = open(&dir).await;
    let error = EmbeddedStore::open(dir.path(), small()).await.unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
}

#[tokio::test]
async fn other_sizes_are_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir).await);
    let error = EmbeddedStore::open(dir.path(), StoreConfig::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, OpenError::OtherFormat { found: 64, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn four_fragments_are_enough_and_reading_mends() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let object = bytes(256);
    let stored = put(&store, &object).await;
    let hashes: Vec<ContentHash> = store
        .locate(stored.fid)
        .await
        .unwrap()
        .iter()
        .map(|at| at.hash)
        .collect();
    let files = &store.inner.files;
    let originals: Vec<Vec<u8>> = hashes
        .iter()
        .map(|hash| fs::read(path(dir.path(), *hash)).unwrap())
        .collect();
    let mut subsets = (0..15).cycle();
    for mask in 0..1_u32 << FRAGMENTS {
        // Every fifteenth of the 495 subsets: the disk is slow, and the codec's test takes them all.
        if mask.count_ones() != 4 || subsets.next() != Some(0) {
            continue;
        }
        // Of the eight lost ones some are missing, some changed, some too long.
        for (index, hash) in hashes
            .iter()
            .enumerate()
            .filter(|(index, _)| mask >> index & 1 == 0)
        {
            match index % 3 {
                0 => files.remove(*hash).unwrap(),
                1 => fs::write(path(dir.path(), *hash), b"changed").unwrap(),
                _ => fs::write(path(dir.path(), *hash), [1; 65]).unwrap(),
            }
        }
        let report = store.repair(stored.fid).await.unwrap();
        assert_eq!(
            report,
            RepairReport {
                checked: 12,
                restored: 8
            },
            "subset {mask:012b}"
        );
        for (hash, original) in hashes.iter().zip(&originals) {
            assert_eq!(&fs::read(path(dir.path(), *hash)).unwrap(), original);
        }
    }
    // Reading alone mends what it meets.
    files.remove(hashes[2]).unwrap();
    files.remove(hashes[3]).unwrap();
    assert_eq!(
        store.locate(stored.fid).await.unwrap()[2].state,
        FragmentState::Missing
    );
    assert_eq!(read(&store, stored.fid).await.unwrap(), object);
    assert_eq!(
        store.locate(stored.fid).await.unwrap()[2].state,
        FragmentState::Present
    );
    assert!(files.contains(hashes[3]));
    assert_eq!(staged(dir.path()), 0);
}

#[tokio::test]
async fn nine_lost_fragments_are_reported_with_numbers() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let stored = put(&store, &bytes(600)).await;
    // Of the second segment.
    for at in &store.locate(stored.fid).await.unwrap()[FRAGMENTS..][..9] {
        store.inner.files.remove(at.hash).unwrap();
    }
    let error = read(&store, stored.fid).await.unwrap_err();
    assert!(
        matches!(
            error,
            StorageError::Unrecoverable {
                segment: 1,
                have: 3,
                need: 4,
                ..
            }
        ),
        "{error:?}"
    );
    // The first segment is intact, and a range of it is readable.
    let range = (0..256).try_into().unwrap();
    let part = store
        .get(stored.fid, Some(range))
        .await
        .unwrap()
        .into_vec(256)
        .await
        .unwrap();
    assert_eq!(part, bytes(600)[..256]);
}

#[tokio::test]
async fn equal_fragments_are_shared_and_counted() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    // The first segments are equal, the second ones differ.
    let (mut one, mut two) = (bytes(512), bytes(512));
    one[300] = 1;
    two[300] = 2;
    let one = put(&store, &one).await;
    let after_one = files(dir.path());
    let two = put(&store, &two).await;
    assert_eq!(one.segments[0], two.segments[0]);
    // One data fragment and the eight of parity are new.
    assert_eq!(files(dir.path()).len(), after_one.len() + 9);
    assert_eq!(
        store.delete_as(ALICE, two.fid).await.unwrap(),
        Deleted::Removed
    );
    assert_eq!(files(dir.path()), after_one);
    assert!(read(&store, one.fid).await.is_ok());
    assert_eq!(
        store.delete_as(ALICE, one.fid).await.unwrap(),
        Deleted::Removed
    );
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    assert_eq!(store.occupied(), 0);
}

#[tokio::test]
async fn repeated_segments_and_zeros_are_stored_once() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let segment = bytes(256);
    let object = [&segment[..], &[0; 256], &segment, &segment, &[0; 100]].concat();
    let stored = put(&store, &object).await;
    assert_eq!(stored.segments.len(), 5);
    assert_eq!(files(dir.path()).len(), FRAGMENTS);
    assert_eq!(read(&store, stored.fid).await.unwrap(), object);
    assert_eq!(
        store.delete_as(ALICE, stored.fid).await.unwrap(),
        Deleted::Removed
    );
    assert_eq!(files(dir.path()).len(), 0);
}

#[tokio::test]
async fn the_last_owner_takes_the_object_along() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let stored = put(&store, &bytes(300)).await;
    let again = store
        .for_owner(BOB)
        .put_bytes(&bytes(300), options())
        .await
        .unwrap();
    assert_eq!(stored, again);
    assert_eq!(store.stat(stored.fid).await.unwrap().owners.len(), 2);
    assert_eq!(
        store.delete_as(ALICE, stored.fid).await.unwrap(),
        Deleted::Released
    );
    assert_eq!(store.list_of(ALICE, Page::first()).await.unwrap(), []);
    assert_eq!(read(&store, stored.fid).await.unwrap(), bytes(300));
    assert_eq!(
        store.delete_as(BOB, stored.fid).await.unwrap(),
        Deleted::Removed
    );
    assert!(matches!(
        read(&store, stored.fid).await,
        Err(StorageError::NotFound { .. })
    ));
}

#[tokio::test]
async fn storing_again_mends() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let stored = put(&store, &bytes(256)).await;
    for at in store.locate(stored.fid).await.unwrap() {
        store.inner.files.remove(at.hash).unwrap();
    }
    assert!(matches!(
        read(&store, stored.fid).await,
        Err(StorageError::Unrecoverable { .. })
    ));
    assert_eq!(put(&store, &bytes(256)).await.fid, stored.fid);
    assert_eq!(read(&store, stored.fid).await.unwrap(), bytes(256));
    assert_eq!(
        store.delete_as(ALICE, stored.fid).await.unwrap(),
        Deleted::Removed
    );
    assert_eq!(store.occupied(), 0);
}

#[tokio::test]
async fn what_a_crash_leaves_is_swept() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let kept = put(&store, &bytes(256)).await;
    let before = files(dir.path());
    drop(store);
    // Killed while writing: fragments in staging.
    fs::create_dir(dir.path().join("staging/17")).unwrap();
    fs::write(dir.path().join("staging/17/0-0"), b"half").unwrap();
    // Killed between renaming and the index: fragments that no object has.
    let orphan = path(dir.path(), ContentHash([0xab; 32]));
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, b"orphan").unwrap();
    // A file of somebody else.
    let foreign = dir.path().join("fragments/ab/README");
    fs::write(&foreign, b"keep me").unwrap();

    let store = open(&dir).await;
    assert_eq!(staged(dir.path()), 0);
    assert!(!orphan.exists());
    fs::remove_file(foreign).unwrap();
    assert_eq!(files(dir.path()), before);
    assert_eq!(read(&store, kept.fid).await.unwrap(), bytes(256));
}

#[tokio::test]
async fn a_failed_or_dropped_put_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;

    let items: [std::io::Result<_>; 2] = [
        Ok(bytes::Bytes::from(bytes(700))),
        Err(std::io::ErrorKind::BrokenPipe.into()),
    ];
    let failing = tokio_util::io::StreamReader::new(futures::stream::iter(items));
    let error = store
        .put_as(ALICE, ByteSource::new(failing), options())
        .await
        .unwrap_err();
    assert!(matches!(error, StorageError::Source(_)), "{error:?}");

    // Two segments arrive, then nothing more: the put waits until it is dropped.
    let (mut writer, reader) = tokio::io::duplex(64);
    let feed = async {
        tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes(512))
            .await
            .unwrap();
        while staged(dir.path()) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        result = store.put_as(ALICE, ByteSource::new(reader), options()) => panic!("{result:?}"),
        () = feed => {}
    }
    // Work that was under way when the put was dropped ends on its own.
    while staged(dir.path()) != 0 || store.inner.staged.load(Ordering::Relaxed) != 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(files(dir.path()).len(), 0);
    assert_eq!(store.occupied(), 0);
    assert_eq!(store.list_of(ALICE, Page::first()).await.unwrap(), []);
}

#[tokio::test]
async fn a_full_store_refuses_and_recovers() {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig {
        capacity: 2000,
        ..small()
    };
    let store = EmbeddedStore::open(dir.path(), config).await.unwrap();
    // A segment takes 12 times 64 bytes.
    let first = put(&store, &bytes(512)).await;
    assert_eq!(store.occupied(), 2 * 768);
    let other: Vec<u8> = bytes(256).iter().map(|byte| byte ^ 0x55).collect();
    let full = store
        .for_owner(BOB)
        .put_bytes(&other, options())
        .await
        .unwrap_err();
    assert!(
        matches!(full, StorageError::Full { capacity: 2000 }),
        "{full:?}"
    );
    assert_eq!(staged(dir.path()), 0);
    assert_eq!(
        store.delete_as(ALICE, first.fid).await.unwrap(),
        Deleted::Removed
    );
    let second = store
        .for_owner(BOB)
        .put_bytes(&other, options())
        .await
        .unwrap();
    assert_eq!(read(&store, second.fid).await.unwrap(), other);
}

#[tokio::test]
async fn limits_must_make_sense() {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig {
        max_object: 1 << 40,
        ..StoreConfig::default()
    };
    let error = EmbeddedStore::open(dir.path(), config).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Limit {
                what: "max_object",
                ..
            }
        ),
        "{error:?}"
    );
    let config = StoreConfig {
        max_puts: 0,
        ..StoreConfig::default()
    };
    let error = EmbeddedStore::open(dir.path(), config).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Limit {
                what: "max_puts",
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn both_rules_name_the_same_segments() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let options = PutOptions {
        name: name("object"),
        rule: FidRule::Retriever,
        policy: None,
    };
    let object = bytes(700);
    let b = store
        .put_as(ALICE, object.as_slice().into(), options)
        .await
        .unwrap();
    let a = put(&store, &object).await;
    assert_eq!(a.segments, b.segments);
    assert_ne!(a.fid, b.fid);
    assert_eq!(
        store.delete_as(ALICE, a.fid).await.unwrap(),
        Deleted::Removed
    );
    assert_eq!(read(&store, b.fid).await.unwrap(), object);
}

/// Killed at any time, a store has every object whose put returned. The child process is this test
/// itself, told by a variable to store objects until it is killed.
#[test]
fn acknowledged_objects_survive_a_kill() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    const VARIABLE: &str = "AI_LINK_STORAGE_TEST_CHILD";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    if let Some(dir) = std::env::var_os(VARIABLE) {
        return runtime.block_on(async {
            let store = EmbeddedStore::open(
                PathBuf::from(dir),
                StoreConfig {
                    durability: Durability::Forced,
                    ..small()
                },
            )
            .await
            .unwrap();
            for seed in 0..100_000_u32 {
                let object: Vec<u8> = bytes(700).iter().map(|b| b ^ seed as u8).collect();
                let object = [&seed.to_le_bytes()[..], &object].concat();
                println!("stored {}", put(&store, &object).await.fid);
            }
        });
    }

    for kills_after in [1, 4, 9] {
        let dir = TempDir::new().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["acknowledged_objects_survive_a_kill", "--nocapture"])
            .env(VARIABLE, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while acknowledged.len() < kills_after {
            let line = lines.next().expect("the child ended by itself").unwrap();
            if let Some((_, fid)) = line.rsplit_once("stored ") {
                acknowledged.push(fid.parse::<Fid>().unwrap());
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();

        runtime.block_on(async {
            let store = open(&dir).await;
            for fid in &acknowledged {
                assert_eq!(read(&store, *fid).await.unwrap().len(), 704);
            }
            // Nothing is left of what was not finished, and the books are right.
            assert_eq!(staged(dir.path()), 0);
            let mut referenced = std::collections::BTreeSet::new();
            for object in store.list_of(ALICE, Page::first()).await.unwrap() {
                for at in store.locate(object.fid).await.unwrap() {
                    assert_ne!(at.state, FragmentState::Missing);
                    if at.state == FragmentState::Present {
                        referenced.insert(path(dir.path(), at.hash));
                    }
                }
            }
            assert_eq!(files(dir.path()), Vec::from_iter(referenced));
            let on_disk: u64 = files(dir.path())
                .iter()
                .map(|f| fs::metadata(f).unwrap().len())
                .sum();
            assert_eq!(store.occupied(), on_disk);
        });
    }
}

fn path(dir: &Path, hash: ContentHash) -> PathBuf {
    let text = hash.to_string();
    dir.join("fragments").join(&text[..2]).join(&text)
}
