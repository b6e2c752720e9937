//! What comes through arrives as it was sent; what was cut, moved, sent twice or changed is named as that, on both sides.

use ai_link_sealed::{
    ChunkError, Last, Opener, Sealer, SessionError, WorkerKey, accept, open, package,
};
use ai_link_wire::{Digest, Identity, UnixMillis};
use proptest::prelude::*;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const TICKET: Digest = Digest([7; 32]);

/// Both ends of both directions.
struct Both {
    request: (Sealer, Opener),
    answer: (Sealer, Opener),
}

fn both() -> Both {
    let identity = Identity::generate();
    let key = WorkerKey::generate(&identity, NOW).expect("there is randomness");
    let worker = identity.peer_key();
    let (client, opening) = open(key.signed(), worker, TICKET, NOW).expect("the key is good");
    let server = accept(&key, worker, TICKET, &opening).expect("the opening is good");
    Both {
        request: (client.request, server.request),
        answer: (server.answer, client.answer.begin(&server.nonce)),
    }
}

fn sealed(sealer: &mut Sealer, parts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let seal = |(i, part): (usize, &Vec<u8>)| {
        let last = match i + 1 == parts.len() {
            true => Last::Yes,
            false => Last::No,
        };
        sealer.seal(part, last).expect("it is short")
    };
    parts.iter().enumerate().map(seal).collect()
}

fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8)
}

proptest! {
    #[test]
    fn what_is_sent_arrives(request in parts(), answer in parts()) {
        let Both { request: up, answer: down } = both();
        for ((mut sealer, mut opener), parts) in [(up, request), (down, answer)] {
            for (chunk, part) in sealed(&mut sealer, &parts).iter().zip(&parts) {
                prop_assert!(opener.finish().is_err());
                prop_assert_eq!(chunk.len(), Sealer::chunk_bytes(part.len()));
                prop_assert_eq!(&opener.open(chunk).expect("it is genuine").bytes, part);
            }
            prop_assert_eq!(opener.finish(), Ok(()));
            prop_assert_eq!(sealer.seal(b"", Last::No), Err(ChunkError::Ended));
        }
    }

    #[test]
    fn a_cut_stream_is_cut(parts in parts(), keep in 0usize..7) {
        let keep = keep % parts.len();
        let Both { request, answer } = both();
        for (mut sealer, mut opener) in [request, answer] {
            for chunk in &sealed(&mut sealer, &parts)[..keep] {
                opener.open(chunk).expect("it is genuine");
            }
            prop_assert_eq!(opener.finish(), Err(ChunkError::Cut { received: keep as u32 }));
        }
    }

    #[test]
    fn what_is_moved_repeated_or_left_out_is_named(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 3..8), at in 0usize..100) {
        let at = at % (parts.len() - 1);
        let (due, other) = (at as u32, at as u32 + 1);
        let Both { request, answer } = both();
        for (mut sealer, opener) in [request, answer] {
            let chunks = sealed(&mut sealer, &parts);
            let mut opener = opener;
            for chunk in &chunks[..at] {
                opener.open(chunk).expect("it is genuine");
            }
            if at > 0 {
                // A twin, since an opener that found an error stays there.
                let again = ChunkError::Replayed { found: due - 1, expected: due };
                let mut twin = both().answer.1;
                prop_assert_eq!(twin.open(&chunks[0]), Err(ChunkError::Forged { index: 0 }), "of another session");
                prop_assert_eq!(opener.open(&chunks[at - 1]), Err(again));
                prop_assert_eq!(opener.open(&chunks[at]), Err(again), "nothing after it is believed");
                prop_assert_eq!(opener.finish(), Err(again));
            } else {
                let missing = ChunkError::Missing { found: other, expected: due };
                prop_assert_eq!(opener.open(&chunks[1]), Err(missing));
                prop_assert_eq!(opener.open(&chunks[0]), Err(missing), "nothing after it is believed");
            }
        }
    }

    #[test]
    fn nothing_follows_the_last_chunk(parts in parts()) {
        let Both { request, answer } = both();
        for (mut sealer, mut opener) in [request, answer] {
            let chunks = sealed(&mut sealer, &parts);
            for chunk in &chunks {
                opener.open(chunk).expect("it is genuine");
            }
            let again = opener.open(&chunks[0]);
            prop_assert_eq!(again, Err(ChunkError::AfterLast { found: 0 }));
        }
    }

    #[test]
    fn a_changed_byte_is_an_error(parts in parts(), at: prop::sample::Index, bit in 0u8..8) {
        let Both { request, answer } = both();
        for (mut sealer, mut opener) in [request, answer] {
            let mut chunk = sealed(&mut sealer, &parts).swap_remove(0);
            let at = at.index(chunk.len());
            chunk[at] ^= 1 << bit;
            prop_assert!(opener.open(&chunk).is_err());
        }
    }

    #[test]
    fn whatever_comes_is_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let Both { request: (_, mut up), answer: (_, mut down) } = both();
        prop_assert!(up.open(&bytes).is_err() && down.open(&bytes).is_err());
    }

    #[test]
    fn packages_round_trip_and_anything_else_is_an_error(
        files in prop::collection::btree_map("[a-z]{1,6}(/[a-z.]{3,6}x)?", prop::collection::vec(any::<u8>(), 0..50), 1..6),
        cut: prop::sample::Index,
        noise in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let named = files.iter().map(|(n, b)| (n.as_str(), b.as_slice()));
        let packed = package::pack(named.clone()).expect("the names are good");
        prop_assert_eq!(package::files(&packed).expect("it was packed"), named.collect::<Vec<_>>());
        let whole = package::files(&packed[..cut.index(packed.len())]);
        prop_assert!(whole.is_err() || whole.is_ok_and(|w| w.len() < files.len()));
        let noise = [package::MAGIC.as_slice(), &noise].concat();
        if let Ok(files) = package::files(&noise) {
            prop_assert_eq!(package::pack(files), Ok(noise));
        }
    }
}

#[test]
fn a_session_is_bound_to_its_ticket_its_worker_and_its_key() {
    let identity = Identity::generate();
    let worker = identity.peer_key();
    let key = WorkerKey::generate(&identity, NOW).expect("there is randomness");
    let (mut client, opening) = open(key.signed(), worker, TICKET, NOW).expect("the key is good");
    let chunk = client
        .request
        .seal(b"prompt", Last::Yes)
        .expect("it is short");
    let forged = Err(ChunkError::Forged { index: 0 });
    let other = Identity::generate().peer_key();
    let next = WorkerKey::generate(&identity, NOW).expect("there is randomness");
    for (key, worker, ticket) in [
        (&key, worker, Digest([8; 32])),
        (&key, other, TICKET),
        (&next, worker, TICKET),
    ] {
        let mut half = accept(key, worker, ticket, &opening).expect("the opening is a point");
        assert_eq!(half.request.open(&chunk), forged);
    }
    let mut half = accept(&key, worker, TICKET, &opening).expect("the opening is good");
    assert_eq!(
        half.request.open(&chunk).expect("it is genuine").bytes,
        b"prompt"
    );
    // The nonce of another answer.
    let reply = half.answer.seal(b"token", Last::Yes).expect("it is short");
    assert_eq!(client.answer.begin(&[0; 32]).open(&reply), forged);
}

#[test]
fn keys_of_others_old_ones_and_weak_points_are_refused() {
    let identity = Identity::generate();
    let worker = identity.peer_key();
    let key = WorkerKey::generate(&identity, NOW).expect("there is randomness");
    let other = Identity::generate().peer_key();
    assert!(matches!(
        open(key.signed(), other, TICKET, NOW),
        Err(SessionError::Key(_))
    ));
    let hour = std::time::Duration::from_secs(3601);
    let late = open(key.signed(), worker, TICKET, NOW.saturating_add(hour));
    assert!(matches!(late, Err(SessionError::Key(_))));
    assert!(!key.is_due(NOW) && key.is_due(NOW.saturating_add(hour / 2)));
    assert!(matches!(
        accept(&key, worker, TICKET, &[0; 32]),
        Err(SessionError::Point)
    ));
}
