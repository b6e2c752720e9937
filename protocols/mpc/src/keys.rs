//! Ephemeral key agreement between dealer and evaluators, and what is derived from it.
//!
//! X25519 (RFC 7748) gives a shared secret; HKDF-SHA256 (RFC 5869), salted with the session digest
//! and labelled with the pair's role and both public keys, gives the seed of that pair. The public
//! keys travel over a channel that the transport authenticates (libp2p: noise or TLS), so there is
//! no second authentication here. Keys live for one session.

use std::fmt;

use ai_link_program::fixed::Program;
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::error::MpcError;
use crate::party::{EvaluatorIndex, Party};

/// Bytes of a public key on the wire.
pub(crate) const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of the client's input seed on the wire.
pub(crate) const SEED_BYTES: usize = 32;

/// What dealer and evaluator tell each other first: a public key and, where weights are private,
/// the tag of the sharing that they have parts of.
pub(crate) struct KeyMessage {
    tag: Option<[u8; 32]>,
}

impl KeyMessage {
    pub(crate) fn new(sharing: Option<&[u8; 32]>, session: &[u8; 32]) -> Self {
        Self {
            tag: sharing.map(|sharing| crate::weights::tag(sharing, session)),
        }
    }

    /// Its size, which only depends on whether weights are private.
    pub(crate) fn bytes(program: &Program) -> usize {
        match program.parameters().is_empty() {
            true => PUBLIC_KEY_BYTES,
            false => PUBLIC_KEY_BYTES + 32,
        }
    }

    pub(crate) fn compose(&self, public: &[u8; PUBLIC_KEY_BYTES]) -> Vec<u8> {
        let tag = self.tag.iter().flatten();
        public.iter().chain(tag).copied().collect()
    }

    /// The public key in a message of the right size, if the tag is this side's.
    pub(crate) fn parse<'a>(
        &self,
        payload: &'a [u8],
        from: Party,
    ) -> Result<&'a [u8; PUBLIC_KEY_BYTES], MpcError> {
        let (key, tag) = payload
            .split_first_chunk()
            .expect("the size was checked, qed");
        match tag == self.tag.as_ref().map_or(&[][..], |tag| tag) {
            true => Ok(key),
            false => Err(MpcError::OtherSharing { from }),
        }
    }
}

/// 32 secret bytes: wiped when dropped, never printed.
#[derive(Clone)]
pub struct Secret32(Zeroizing<[u8; 32]>);

impl Secret32 {
    /// Takes 32 bytes that must come from a cryptographic generator and be used for one session.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for hashing or sending.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// HKDF-SHA256 with this as input key, `salt`, and the concatenation of `info`.
    pub(crate) fn derive(&self, salt: &[u8; 32], info: &[&[u8]]) -> Self {
        let mut out = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(salt), self.as_bytes())
            .expand_multi_info(info, out.as_mut())
            .expect("32 bytes is below the HKDF limit of 255 * 32, qed");
        Self(out)
    }
}

impl fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret32(..)")
    }
}

/// One side's ephemeral X25519 key.
pub(crate) struct Ephemeral {
    secret: StaticSecret,
    public: PublicKey,
}

impl Ephemeral {
    /// The key that `owner` uses towards `evaluator` (its own index if the owner is the evaluator).
    pub(crate) fn new(
        entropy: &Secret32,
        session: &[u8; 32],
        owner: Party,
        evaluator: EvaluatorIndex,
    ) -> Self {
        let label = format!("{owner} with {}", evaluator.party());
        let bytes = entropy.derive(session, &[b"ai-link/mpc/ephemeral/v1/", label.as_bytes()]);
        let secret = StaticSecret::from(*bytes.as_bytes());
        Self {
            public: PublicKey::from(&secret),
            secret,
        }
    }

    pub(crate) fn public(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.public.to_bytes()
    }

    /// The seed that dealer (a worker or the client) and `evaluator` share. `dealer` and `worker` are both public keys in
    /// that order, so that both sides bind the same transcript.
    pub(crate) fn agree(
        &self,
        theirs: &[u8; PUBLIC_KEY_BYTES],
        from: Party,
        session: &[u8; 32],
        evaluator: EvaluatorIndex,
    ) -> Result<Secret32, MpcError> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*theirs));
        if !shared.was_contributory() {
            return Err(MpcError::WeakPublicKey { from });
        }
        let mine = self.public();
        let (dealer, worker) = match from {
            Party::Evaluator(_) => (&mine, theirs),
            Party::Dealer | Party::Client => (theirs, &mine),
        };
        let label = format!("dealer-{}", evaluator.party());
        Ok(Secret32::new(shared.to_bytes()).derive(
            session,
            &[
                b"ai-link/mpc/pair-seed/v1/",
                label.as_bytes(),
                dealer,
                worker,
            ],
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pair(session: [u8; 32], index: EvaluatorIndex) -> (Ephemeral, Ephemeral) {
        let dealer = Ephemeral::new(&Secret32::new([1; 32]), &session, Party::Dealer, index);
        let evaluator = Ephemeral::new(&Secret32::new([2; 32]), &session, index.party(), index);
        (dealer, evaluator)
    }

    #[test]
    fn both_sides_agree_and_sessions_and_roles_differ() {
        let mut seen = Vec::new();
        for session in [[7; 32], [8; 32]] {
            for index in [EvaluatorIndex::ZERO, EvaluatorIndex::ONE] {
                let (d, e) = pair(session, index);
                let at_dealer = d
                    .agree(&e.public(), index.party(), &session, index)
                    .unwrap();
                let at_eval = e
                    .agree(&d.public(), Party::Dealer, &session, index)
                    .unwrap();
                assert_eq!(at_dealer.as_bytes(), at_eval.as_bytes());
                assert!(!seen.contains(at_dealer.as_bytes()));
                seen.push(*at_dealer.as_bytes());
            }
        }
    }

    #[test]
    fn small_order_keys_are_refused() {
        let (d, _) = pair([7; 32], EvaluatorIndex::ZERO);
        let refused = d.agree(&[0; 32], Party::EVALUATOR_0, &[7; 32], EvaluatorIndex::ZERO);
        assert!(matches!(
            refused,
            Err(MpcError::WeakPublicKey {
                from: Party::EVALUATOR_0
            })
        ));
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", Secret32::new([0x41; 32])), "Secret32(..)");
    }
}
