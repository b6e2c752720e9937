//! One party's part of what was dealt for one session, and its encryption.

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{PoolError, PoolId};
use crate::keys::{SEED_BYTES, Secret32};
use crate::party::Party;

/// The dealer's: seed of the input masks, masks of the output. An evaluator's: seed shared with the
/// dealer, corrections of all steps where it receives some.
pub(crate) struct Entry {
    pub(crate) secret: Secret32,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

const TAIL: usize = 16;
const TAG: usize = 16;

/// The key of a party's part of a pool.
pub(super) fn key(node: &Secret32, id: &PoolId, owner: Party) -> Secret32 {
    let label = owner.to_string();
    node.derive(
        &id.digest(),
        &[b"ai-link/mpc/pool-key/v1/", label.as_bytes()],
    )
}

fn associated(id: &PoolId, owner: Party, index: u64) -> Vec<u8> {
    let label = owner.to_string();
    [&id.digest()[..], &index.to_be_bytes(), label.as_bytes()].concat()
}

fn nonce(index: u64, tail: &[u8]) -> XNonce {
    let mut nonce = XNonce::default();
    nonce[..8].copy_from_slice(&index.to_be_bytes());
    nonce[8..].copy_from_slice(tail);
    nonce
}

impl Entry {
    /// Bytes that an entry with a body of `body` bytes takes in a store.
    pub(crate) fn sealed_bytes(body: usize) -> u64 {
        (TAIL + SEED_BYTES + body + TAG) as u64
    }

    /// Tail of the nonce, encrypted secret and body, tag.
    pub(super) fn seal(&self, key: &Secret32, id: &PoolId, owner: Party, index: u64) -> Vec<u8> {
        let label = b"ai-link/mpc/pool-nonce/v1";
        let drawn = self.secret.derive(&id.entry(index), &[label]);
        let (tail, _) = drawn.as_bytes().split_at(TAIL);
        let mut sealed = Vec::with_capacity(Self::sealed_bytes(self.body.len()) as usize);
        sealed.extend_from_slice(tail);
        sealed.extend_from_slice(self.secret.as_bytes());
        sealed.extend_from_slice(&self.body);
        let cipher = XChaCha20Poly1305::new(key.as_bytes().into());
        let tag = cipher
            .encrypt_in_place_detached(
                &nonce(index, tail),
                &associated(id, owner, index),
                &mut sealed[TAIL..],
            )
            .expect("messages are below the limit of 2^38 bytes, qed");
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Undoes [`seal`](Self::seal).
    pub(super) fn open(
        mut sealed: Zeroizing<Vec<u8>>,
        key: &Secret32,
        id: &PoolId,
        owner: Party,
        index: u64,
    ) -> Result<Self, PoolError> {
        let damaged = PoolError::Damaged { index };
        if sealed.len() < TAIL + SEED_BYTES + TAG {
            return Err(damaged);
        }
        let end = sealed.len() - TAG;
        let tag = *Tag::from_slice(&sealed[end..]);
        sealed.truncate(end);
        let (tail, text) = sealed.split_at_mut(TAIL);
        let cipher = XChaCha20Poly1305::new(key.as_bytes().into());
        let opened = cipher.decrypt_in_place_detached(
            &nonce(index, tail),
            &associated(id, owner, index),
            text,
            &tag,
        );
        if opened.is_err() {
            return Err(damaged);
        }
        let mut secret = Zeroizing::new([0; SEED_BYTES]);
        secret.copy_from_slice(&text[..SEED_BYTES]);
        let body = Zeroizing::new(text[SEED_BYTES..].to_vec());
        Ok(Self {
            secret: Secret32::new(*secret),
            body,
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
            body: Zeroizing::new(b"corrections".to_vec()),
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
            let bytes = Zeroizing::new(bytes.to_vec());
            Entry::open(bytes, &of(id, owner), id, owner, index)
        };
        let opened = open(&sealed, &id(), owner, 7).unwrap();
        assert_eq!(opened.body.as_slice(), b"corrections");
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
        let bytes = Zeroizing::new(sealed.clone());
        assert!(Entry::open(bytes, &other_node, &id(), owner, 7).is_err());
        // Another attempt at the same index has another nonce.
        let again = entry(2).seal(&of(&id(), owner), &id(), owner, 7);
        assert_ne!(again[..TAIL], sealed[..TAIL]);
    }
}
