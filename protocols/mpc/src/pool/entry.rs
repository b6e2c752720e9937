//! One party's part of what was dealt for one session, and its encryption.
//!
//! An entry of a large model has hundreds of megabytes, and whoever wants its session waits until it is
//! open. So it is encrypted in parts of [`PART`] bytes, side by side and in their place, by AES-256-GCM under
//! a key that serves for this entry alone:
//!
//! ```text
//! tail | seed | part 0 | part 1 | ... | tag of the seed | tag of part 0 | tag of part 1 | ...
//! key   = HKDF(key of the pool's part, salt: the entry's session, tail)
//! nonce = number of the text: 0 the seed, 1 part 0, 2 part 1, ...
//! ```
//!
//! Pool, index, owner and length are associated data of each. The tail comes from the seed: another attempt at
//! the same index has another key.

use std::ops::Deref;

use rayon::prelude::*;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use zeroize::Zeroizing;

use super::{PoolError, PoolId};
use crate::buffers::{Wiped, spare_bytes};
use crate::keys::{SEED_BYTES, Secret32};
use crate::party::Party;

/// The dealer's: seed of the input masks, masks of the output. An evaluator's: seed shared with the
/// dealer, corrections of all steps where it receives some.
pub(crate) struct Entry {
    pub(crate) secret: Secret32,
    pub(crate) body: Body,
}

/// What an entry holds besides its seed, with room around it for all that is stored.
pub(crate) struct Body {
    bytes: Wiped,
}

const TAIL: usize = 16;
const HEAD: usize = TAIL + SEED_BYTES;
const TAG: usize = 16;
/// Bytes that are encrypted in one piece.
const PART: usize = 256 << 10;

impl Body {
    /// No bytes yet, but room for `size`: a buffer that grows leaves copies behind that nobody wipes.
    pub(crate) fn with_room(size: usize) -> Self {
        let size = Entry::sealed_bytes(size) as usize;
        let mut bytes = spare_bytes(size);
        bytes.reserve_exact(size);
        bytes.resize(HEAD, 0);
        let bytes = Wiped::from(bytes);
        Self { bytes }
    }

    /// Appends what there is room for.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        debug_assert!(self.bytes.capacity() - self.bytes.len() >= bytes.len());
        self.bytes.extend_from_slice(bytes);
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        let mut body = Self::with_room(bytes.len());
        body.push(bytes);
        body
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[HEAD..]
    }
}

/// The key of a party's part of a pool.
pub(super) fn key(node: &Secret32, id: &PoolId, owner: Party) -> Secret32 {
    let label = owner.to_string();
    node.derive(
        &id.digest(),
        &[b"ai-link/mpc/pool-key/v2/", label.as_bytes()],
    )
}

/// What encrypts one entry.
struct Cipher {
    key: LessSafeKey,
    associated: Vec<u8>,
}

impl Cipher {
    fn new(
        key: &Secret32,
        id: &PoolId,
        owner: Party,
        (index, body): (u64, usize),
        tail: &[u8],
    ) -> Self {
        let label = b"ai-link/mpc/pool-entry-key/v2";
        let secret = key.derive(&id.entry(index), &[label, tail]);
        let key = UnboundKey::new(&AES_256_GCM, secret.as_bytes());
        let key = LessSafeKey::new(key.expect("the key has the length of AES-256, qed"));
        let (index, body) = (index.to_be_bytes(), (body as u64).to_be_bytes());
        let owner = owner.to_string();
        let associated = [&id.digest()[..], &index, &body, owner.as_bytes()].concat();
        Self { key, associated }
    }

    fn nonce(text: usize) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&(text as u64).to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, number: usize, text: &mut [u8]) -> [u8; TAG] {
        let aad = Aad::from(&self.associated);
        let tag = self
            .key
            .seal_in_place_separate_tag(Self::nonce(number), aad, text)
            .expect("texts are below the limit of 2^36 bytes, qed");
        let mut bytes = [0; TAG];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn opens(&self, number: usize, text: &mut [u8], tag: [u8; TAG]) -> bool {
        let aad = Aad::from(&self.associated);
        self.key
            .open_in_place_separate_tag(Self::nonce(number), aad, Tag::from(tag), text, 0..)
            .is_ok()
    }
}

impl Entry {
    /// Bytes that an entry with a body of `body` bytes takes in a store.
    pub(crate) fn sealed_bytes(body: usize) -> u64 {
        (HEAD + body + TAG * (1 + body.div_ceil(PART))) as u64
    }

    /// The body's bytes in an entry that takes `sealed` bytes, if there is such an entry.
    fn body_bytes(sealed: usize) -> Option<usize> {
        let rest = sealed.checked_sub(HEAD + TAG)?;
        let body = rest.checked_sub(TAG * rest.div_ceil(PART + TAG))?;
        (Self::sealed_bytes(body) == sealed as u64).then_some(body)
    }

    /// What a store keeps.
    pub(super) fn seal(self, key: &Secret32, id: &PoolId, owner: Party, index: u64) -> Vec<u8> {
        let label = b"ai-link/mpc/pool-entry-tail/v2";
        let drawn = self.secret.derive(&id.entry(index), &[label]);
        let (tail, _) = drawn.as_bytes().split_at(TAIL);
        let mut bytes = self.body.bytes.into_inner();
        let cipher = Cipher::new(key, id, owner, (index, bytes.len() - HEAD), tail);
        let (head, body) = bytes.split_at_mut(HEAD);
        head[..TAIL].copy_from_slice(tail);
        head[TAIL..].copy_from_slice(self.secret.as_bytes());
        let mut tags = vec![cipher.seal(0, &mut head[TAIL..])];
        let parts = body.par_chunks_mut(PART).enumerate();
        tags.par_extend(parts.map(|(at, part)| cipher.seal(at + 1, part)));
        bytes.extend_from_slice(tags.as_flattened());
        bytes
    }

    /// Undoes [`seal`](Self::seal).
    pub(super) fn open(
        sealed: Vec<u8>,
        key: &Secret32,
        id: &PoolId,
        owner: Party,
        index: u64,
    ) -> Result<Self, PoolError> {
        let damaged = PoolError::Damaged { index };
        let mut bytes = Wiped::from(sealed);
        let Some(body) = Self::body_bytes(bytes.len()) else {
            return Err(damaged);
        };
        let (head, rest) = bytes.split_at_mut(HEAD);
        let (text, tags) = rest.split_at_mut(body);
        let (tags, _) = tags.as_chunks::<TAG>();
        let cipher = Cipher::new(key, id, owner, (index, body), &head[..TAIL]);
        let parts = text.par_chunks_mut(PART).zip(&tags[1..]).enumerate();
        let opened = cipher.opens(0, &mut head[TAIL..], tags[0])
            && parts.all(|(at, (part, tag))| cipher.opens(at + 1, part, *tag));
        if !opened {
            return Err(damaged);
        }
        let mut secret = Zeroizing::new([0; SEED_BYTES]);
        secret.copy_from_slice(&head[TAIL..]);
        bytes.truncate(HEAD + body);
        Ok(Self {
            secret: Secret32::new(*secret),
            body: Body { bytes },
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn id() -> PoolId {
        PoolId {
            program: [1; 32],
            batch: 1,
            sharing: None,
            dealer: [2; 32],
            evaluators: vec![[3; 32], [4; 32]],
            session: [5; 32],
        }
    }

    fn entry(secret: u8) -> Entry {
        Entry {
            secret: Secret32::new([secret; 32]),
            body: Body::from(&b"corrections"[..]),
        }
    }

    #[test]
    fn an_entry_opens_in_its_place_only() {
        let node = Secret32::new([9; 32]);
        let owner = Party::EVALUATOR_0;
        let of = |id: &PoolId, owner| key(&node, id, owner);
        let sealed = entry(1).seal(&of(&id(), owner), &id(), owner, 7);
        assert_eq!(sealed.len() as u64, Entry::sealed_bytes(11));
        assert!(!sealed.windows(11).any(|w| w == b"corrections"));
        let open = |bytes: &[u8], id: &PoolId, owner, index| {
            Entry::open(bytes.to_vec(), &of(id, owner), id, owner, index)
        };
        let opened = open(&sealed, &id(), owner, 7).unwrap();
        assert_eq!(&*opened.body, b"corrections");
        assert_eq!(opened.secret.as_bytes(), &[1; 32]);
        assert!(open(&sealed, &id(), owner, 8).is_err());
        assert!(open(&sealed, &id(), Party::EVALUATOR_1, 7).is_err());
        for change in 0..6 {
            let mut other = id();
            match change {
                0 => other.program[0] ^= 1,
                1 => other.batch += 1,
                2 => other.sharing = Some([0; 32]),
                3 => other.dealer[0] ^= 1,
                4 => other.evaluators.swap(0, 1),
                _ => other.session[0] ^= 1,
            }
            assert!(open(&sealed, &other, owner, 7).is_err(), "change {change}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 0x80;
            assert!(open(&changed, &id(), owner, 7).is_err(), "byte {at}");
            assert!(open(&sealed[..at], &id(), owner, 7).is_err(), "{at} bytes");
        }
        let other_node = key(&Secret32::new([8; 32]), &id(), owner);
        assert!(Entry::open(sealed.clone(), &other_node, &id(), owner, 7).is_err());
        // Another attempt at the same index has another tail, and with it another key.
        let again = entry(2).seal(&of(&id(), owner), &id(), owner, 7);
        assert_ne!(again[..TAIL], sealed[..TAIL]);
    }

    #[test]
    fn entries_of_every_size_come_back_and_their_parts_keep_their_places() {
        let (node, owner) = (Secret32::new([9; 32]), Party::EVALUATOR_0);
        let key = key(&node, &id(), owner);
        for size in [0, 1, PART - 1, PART, PART + 1, 3 * PART, 3 * PART + 5] {
            let body: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let entry = Entry {
                secret: Secret32::new([1; 32]),
                body: Body::from(&body[..]),
            };
            let sealed = entry.seal(&key, &id(), owner, 7);
            assert_eq!(sealed.len() as u64, Entry::sealed_bytes(size));
            assert_eq!(Entry::body_bytes(sealed.len()), Some(size));
            let open = |sealed| Entry::open(sealed, &key, &id(), owner, 7);
            assert!(
                *open(sealed.clone()).unwrap().body == body[..],
                "{size} bytes"
            );
            if size >= 2 * PART {
                // Two whole parts change places, and their tags with them.
                let mut swapped = sealed.clone();
                let (first, rest) = swapped[HEAD..].split_at_mut(PART);
                first.swap_with_slice(&mut rest[..PART]);
                let tags = HEAD + size + TAG;
                let (first, second) = swapped[tags..].split_at_mut(TAG);
                first.swap_with_slice(&mut second[..TAG]);
                assert!(open(swapped).is_err(), "{size} bytes");
            }
        }
        // No entry has a part's tag without a part.
        let tag = Entry::sealed_bytes(PART) as usize;
        assert_eq!(Entry::body_bytes(tag + TAG), None);
    }
}
