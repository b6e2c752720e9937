#![allow(clippy::unwrap_used)]

use ai_link_mpc::Secret32;
use ai_link_mpc::weights::{share, share_bytes};
use ai_link_program::fixed::{Parameters, ProgramBuilder};
use ai_link_wire::{
    AccountId, Commitment, DealerSeat, Fid, GroupMember, Host, JobId, Level, ModelVersion, Planck,
    SignatureBytes, UnixMillis,
};

use super::*;

const COMMITMENT: Commitment = Commitment([3; 32]);

fn worker(i: usize) -> Identity {
    Identity::derive(b"hosting", &format!("worker-{i}"))
}

/// A program with private weights and the three parts of a sharing, drawn from `seed`.
fn shared(seed: u8) -> (Arc<Program>, Digest, [Vec<u8>; 3]) {
    let mut b = ProgramBuilder::new("private");
    let x = b.input_bounded("x", &[16], 10, 14);
    let w = b.parameter("w", &[16, 4], 10, 20);
    let z = b.linear_shared(x, w, None);
    let z = b.trunc(z, 11);
    b.output("z", z);
    let program = b.finish().unwrap();
    let values = vec![(0..64).map(|i| i * 7919 - 100_000).collect()];
    let parameters = Parameters::new(&program, values).unwrap();
    let shared = share(&program, &parameters, &Secret32::new([seed; 32])).unwrap();
    let [zero, one] = &shared.evaluators;
    let parts = [zero.to_bytes(), one.to_bytes(), shared.mask.to_bytes()];
    let parts = parts.map(|part| part.to_vec());
    (Arc::new(program), Digest(shared.mask.sharing()), parts)
}

fn hosting(sharing: Digest, version: u32) -> Signed<Hosting> {
    let owner = Identity::derive(b"hosting", "owner");
    let record = Hosting {
        owner: owner.account(),
        model: "private-digits".parse().unwrap(),
        version: ModelVersion(version),
        commitment: COMMITMENT,
        sharing,
        group: [0, 1, 2].map(|i| Host {
            peer: worker(i).peer_key(),
            operator: AccountId([i as u8; 32]),
        }),
    };
    record.check().unwrap();
    Signed::sign(&owner, record, UnixMillis(0), UnixMillis(1)).unwrap()
}

fn ticket(sharing: Digest) -> Ticket {
    let members = Role::TRIO.into_iter().enumerate();
    Ticket {
        job: JobId([1; 16]),
        attempt: 0,
        client: AccountId([100; 32]),
        coordinator: AccountId([101; 32]),
        model: "private-digits".parse().unwrap(),
        version: ModelVersion(1),
        commitment: COMMITMENT,
        manifest: Fid([1; 32]),
        level: Level::Mpc,
        dealer: DealerSeat::Worker,
        evaluators: 2,
        sharing: Some(sharing),
        inputs: Vec::new(),
        batch: 1,
        group: members
            .map(|(i, role)| GroupMember {
                role,
                peer: worker(i).peer_key(),
                operator: AccountId([i as u8; 32]),
                addresses: Vec::new(),
            })
            .collect(),
        price: Planck(0),
        payouts: Vec::new(),
        deadline: UnixMillis(1),
        terms_signature: SignatureBytes([0; 64]),
    }
}

fn open(dir: &Path, i: usize, limit: u64) -> Arc<HostedStore> {
    let store = HostedStore::open(dir.to_path_buf(), &worker(i), Bytes(limit));
    Arc::new(store.unwrap())
}

fn keep(store: &Arc<HostedStore>, signed: &Signed<Hosting>, role: Role, part: &[u8]) {
    let room = store.reserve(part.len()).unwrap();
    let record = signed.verify_at_any_time().unwrap();
    store.store(signed, record, role, part, room).unwrap();
}

#[tokio::test]
async fn a_part_survives_reopening_encrypted_and_serves_its_own_tickets_only() {
    let dir = tempfile::tempdir().unwrap();
    let (program, sharing, parts) = shared(1);
    for (i, role) in Role::TRIO.into_iter().enumerate() {
        let home = dir.path().join(i.to_string());
        assert_eq!(
            parts[i].len(),
            match role {
                Role::Dealer => ai_link_mpc::weights::mask_bytes(),
                Role::Evaluator(_) => share_bytes(&program),
            }
        );
        keep(
            &open(&home, i, 1 << 20),
            &hosting(sharing, 1),
            role,
            &parts[i],
        );
        // Not in the clear.
        for file in fs::read_dir(&home).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            let secret = &parts[i][parts[i].len() - 16..];
            assert!(!bytes.windows(16).any(|w| w == secret), "{role}");
        }
        let store = open(&home, i, 1 << 20);
        assert_eq!(**store.part(&sharing).unwrap().1, parts[i]);
        let announced = store.announced();
        assert_eq!(announced.len(), 1);
        assert_eq!((announced[0].sharing, announced[0].role), (sharing, role));
        assert!(announced[0].group.contains(&worker(i).peer_key()));

        let ticket = ticket(sharing);
        let weights = store.load(&ticket, role, &program).await.unwrap();
        assert!(matches!(
            (role, weights),
            (Role::Dealer, Weights::Mask(_)) | (Role::Evaluator(_), Weights::Share(_))
        ));
        // A copy of the package under another name; another version; workers in other places; another sharing.
        for change in [
            (|t: &mut Ticket| t.model = "copied-digits".parse().unwrap()) as fn(&mut Ticket),
            |t| t.version = ModelVersion(2),
            |t| t.commitment = Commitment([4; 32]),
            |t| t.group.swap(0, 1),
            |t| t.sharing = Some(Digest([9; 32])),
        ] {
            let mut other = ticket.clone();
            change(&mut other);
            let refused = store.load(&other, role, &program).await;
            assert!(matches!(refused, Err(HostedError::NotKept { .. })));
        }
        let other_role = if role == Role::Dealer {
            Role::EVALUATOR_0
        } else {
            Role::Dealer
        };
        let refused = store.load(&ticket, other_role, &program).await;
        assert!(matches!(refused, Err(HostedError::NotKept { .. })));
    }
}

#[tokio::test]
async fn the_disk_of_another_worker_is_of_no_use() {
    let dir = tempfile::tempdir().unwrap();
    let (program, sharing, parts) = shared(1);
    let signed = hosting(sharing, 1);
    keep(
        &open(dir.path(), 0, 1 << 20),
        &signed,
        Role::EVALUATOR_0,
        &parts[0],
    );
    // Worker 1 is in the group too, so that its store takes the file for one of its own.
    let thief = open(dir.path(), 1, 1 << 20);
    assert!(matches!(
        thief.part(&sharing),
        Err(HostedError::Damaged { .. })
    ));
    let refused = thief
        .load(&ticket(sharing), Role::EVALUATOR_1, &program)
        .await;
    assert!(matches!(refused, Err(HostedError::Damaged { .. })));
    // A stranger does not even count it.
    assert!(open(dir.path(), 7, 1 << 20).announced().is_empty());
}

#[test]
fn what_is_kept_is_bounded_and_replaced_by_a_new_sharing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, first, parts) = shared(1);
    let need = sealed::sealed_bytes(sealed::MAX_RECORD, parts[0].len());
    let store = open(dir.path(), 0, 2 * need);
    assert!(matches!(
        store.reserve(2 * parts[0].len() + 2 * sealed::MAX_RECORD),
        Err(HostedError::Full { free, limit, .. }) if free == limit
    ));
    // Room that is promised is not promised twice, and comes back.
    let one = store.reserve(parts[0].len()).unwrap();
    let two = store.reserve(parts[0].len()).unwrap();
    assert!(matches!(
        store.reserve(parts[0].len()),
        Err(HostedError::Full { free: 0, .. })
    ));
    drop((one, two));
    keep(&store, &hosting(first, 1), Role::EVALUATOR_0, &parts[0]);
    let (_, second, parts) = shared(2);
    assert_ne!(first, second);
    keep(&store, &hosting(second, 1), Role::EVALUATOR_0, &parts[0]);
    let sharings: Vec<_> = store.announced().iter().map(|h| h.sharing).collect();
    assert_eq!(sharings, [second]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    // Another version is another model.
    let (_, third, parts) = shared(3);
    keep(&store, &hosting(third, 2), Role::EVALUATOR_0, &parts[0]);
    assert_eq!(store.announced().len(), 2);
    assert!(store.bytes().0 <= 2 * need);
}

#[test]
fn files_that_are_not_whole_are_not_counted_on() {
    let dir = tempfile::tempdir().unwrap();
    let (_, sharing, parts) = shared(1);
    keep(
        &open(dir.path(), 0, 1 << 20),
        &hosting(sharing, 1),
        Role::EVALUATOR_0,
        &parts[0],
    );
    let path = dir.path().join(format!("{sharing}.part"));
    let whole = fs::read(&path).unwrap();
    fs::write(dir.path().join("half.tmp"), &whole[..100]).unwrap();
    fs::write(dir.path().join("junk.part"), b"junk").unwrap();
    let store = open(dir.path(), 0, 1 << 20);
    assert_eq!(store.announced().len(), 1);
    assert!(!dir.path().join("half.tmp").exists());
    // Damaged behind its head: announced, and refused when it is needed.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(
        open(dir.path(), 0, 1 << 20).part(&sharing),
        Err(HostedError::Damaged { .. })
    ));
}
