//! Keys that are being received: piece by piece, each checked when it comes, across broken streams.
//!
//! A state machine: no sockets, no clock. What has come of a key whose stream broke waits in memory for a while, for the
//! same client alone, so that nobody else can spoil it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ai_link_fhe::{KeyId, KeyUpload, ParameterSet};
use ai_link_wire::{AccountId, Digest, FheJob, FheRefusal, KeyPiece, UnixMillis};

/// Keys received at once or waiting for the rest: each takes the memory of a whole key, 31 MB at most.
const MAX_PARTIAL: usize = 8;
/// How long the pieces of a key wait for the rest.
const WAITS_FOR: Duration = Duration::from_secs(10 * 60);

type Name = (AccountId, KeyId);

/// All keys that are not complete.
#[derive(Debug, Default)]
pub struct Uploads {
    /// Those that a stream brings now.
    active: BTreeSet<Name>,
    /// Those whose stream broke, and since when they wait.
    waiting: BTreeMap<Name, (Receiving, UnixMillis)>,
}

/// A key on its way.
#[derive(Debug)]
pub struct Receiving {
    client: AccountId,
    id: KeyId,
    set: ParameterSet,
    pieces: Vec<Digest>,
    upload: KeyUpload,
}

impl Uploads {
    /// Begins to receive the key that `job` announces, or goes on where a stream of the same client broke.
    ///
    /// # Errors
    /// [`FheRefusal::Key`] when no key of the set has so many pieces; [`FheRefusal::Busy`] when this client sends this key
    /// on another stream already, or too many keys are on their way.
    pub fn begin(
        &mut self,
        client: AccountId,
        set: ParameterSet,
        job: &FheJob,
        now: UnixMillis,
    ) -> Result<Receiving, FheRefusal> {
        let wanted = KeyUpload::count(set);
        if job.pieces.len() != wanted {
            return Err(FheRefusal::key(format!(
                "a key of {set} has {wanted} pieces, {} were announced",
                job.pieces.len()
            )));
        }
        self.expire(now);
        let name = (client, KeyId::from_bytes(job.key.0));
        if self.active.contains(&name) {
            return Err(FheRefusal::busy("this key is being sent on another stream"));
        }
        let known = self.waiting.remove(&name).map(|(known, _)| known);
        let same = |r: &Receiving| r.set == set && r.pieces == job.pieces;
        let receiving = match known.filter(same) {
            Some(known) => known,
            None => {
                self.make_room()?;
                Receiving {
                    client,
                    id: name.1,
                    set,
                    pieces: job.pieces.clone(),
                    upload: KeyUpload::new(set, name.1),
                }
            }
        };
        self.active.insert(name);
        Ok(receiving)
    }

    /// The stream broke: what has come is kept for a while.
    pub fn put_aside(&mut self, receiving: Receiving, now: UnixMillis) {
        let name = (receiving.client, receiving.id);
        if self.active.remove(&name) {
            self.waiting.insert(name, (receiving, now));
        }
    }

    /// The key is complete, or of no use.
    pub fn done(&mut self, client: AccountId, id: KeyId) {
        self.active.remove(&(client, id));
    }

    /// Names of keys that are being received now.
    pub fn active(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.active.iter().map(|(_, id)| *id)
    }

    fn expire(&mut self, now: UnixMillis) {
        self.waiting
            .retain(|_, (_, since)| now.saturating_since(*since) < WAITS_FOR);
    }

    /// Drops what waits longest when there is too much.
    fn make_room(&mut self) -> Result<(), FheRefusal> {
        if self.active.len() + self.waiting.len() < MAX_PARTIAL {
            return Ok(());
        }
        let oldest = self.waiting.iter().min_by_key(|(_, (_, since))| *since);
        let oldest = *oldest
            .ok_or_else(|| FheRefusal::busy("too many keys are being received"))?
            .0;
        self.waiting.remove(&oldest);
        Ok(())
    }
}

impl Receiving {
    /// Indices of pieces that have not come.
    pub fn missing(&self) -> Vec<u16> {
        self.upload.missing().map(|piece| piece as u16).collect()
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// [`FheRefusal::Piece`] when it is not the one announced, of another size, or came already.
    pub fn accept(&mut self, piece: KeyPiece<'_>) -> Result<(), FheRefusal> {
        let KeyPiece { index, bytes } = piece;
        let refused = FheRefusal::Piece { piece: index };
        let announced = self.pieces.get(usize::from(index)) == Some(&Digest::of(bytes));
        if !announced || !self.upload.missing().any(|m| m == usize::from(index)) {
            return Err(refused);
        }
        let accepted = self.upload.accept(index.into(), bytes);
        accepted.map_err(|_| refused)
    }

    /// The key's bytes, when all have come and have the announced name.
    ///
    /// # Errors
    /// [`FheRefusal::Key`].
    pub fn finish(self) -> Result<Vec<u8>, FheRefusal> {
        let bytes = self
            .upload
            .finish()
            .map_err(|e| FheRefusal::key(crate::chain(&e)))?;
        match ai_link_fhe::EvaluationKey::inspect(&bytes) {
            Ok((set, _)) if set == self.set => Ok(bytes),
            Ok((set, _)) => Err(FheRefusal::key(format!(
                "it is of parameter set {set}, {} was announced",
                self.set
            ))),
            Err(error) => Err(FheRefusal::key(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ai_link_fhe::{ClientKey, Entropy};
    use std::sync::OnceLock;

    const NOW: UnixMillis = UnixMillis(1_000_000);
    const SET: ParameterSet = ParameterSet::Ring1024;

    fn client(n: u8) -> AccountId {
        AccountId([n; 32])
    }

    /// A real key, made once.
    fn key() -> &'static [u8] {
        static KEY: OnceLock<Vec<u8>> = OnceLock::new();
        KEY.get_or_init(|| ClientKey::generate(SET, Entropy::new([5; 32])).evaluation)
    }

    fn job(key: &[u8], id: KeyId) -> FheJob {
        FheJob {
            key: Digest(*id.as_bytes()),
            set: SET.code(),
            pieces: KeyUpload::pieces(key).map(Digest::of).collect(),
            salt: Digest([0; 32]),
        }
    }

    fn send(receiving: &mut Receiving, key: &[u8], pieces: &[u16]) {
        for index in pieces {
            let bytes = KeyUpload::pieces(key).nth(usize::from(*index)).unwrap();
            let piece = KeyPiece {
                index: *index,
                bytes,
            };
            receiving.accept(piece).unwrap();
        }
    }

    #[test]
    fn a_broken_upload_goes_on_where_it_was() {
        let (key, id) = (key(), KeyId::of(key()));
        let job = job(key, id);
        let mut uploads = Uploads::default();
        let mut first = uploads.begin(client(1), SET, &job, NOW).unwrap();
        let all = first.missing();
        assert_eq!(all.len(), KeyUpload::count(SET));
        send(&mut first, key, &all[..10]);
        assert!(uploads.active().eq([id]));
        let twice = uploads.begin(client(1), SET, &job, NOW);
        assert!(matches!(twice, Err(FheRefusal::Busy(_))));
        uploads.put_aside(first, NOW);
        assert_eq!(uploads.active().count(), 0);
        // Another client starts anew: what the first one sent is not its.
        let other = uploads.begin(client(2), SET, &job, NOW).unwrap();
        assert_eq!(other.missing(), all);
        let mut again = uploads.begin(client(1), SET, &job, NOW).unwrap();
        assert_eq!(again.missing(), all[10..]);
        send(&mut again, key, &all[10..]);
        assert_eq!(again.finish().unwrap(), key);
        uploads.done(client(1), id);
        // And a while later it would have started anew, too.
        uploads.put_aside(other, NOW);
        let later = NOW.saturating_add(WAITS_FOR);
        let late = uploads.begin(client(2), SET, &job, later).unwrap();
        assert_eq!(late.missing(), all);
    }

    #[test]
    fn pieces_that_are_not_the_announced_ones_are_refused() {
        let (key, id) = (key(), KeyId::of(key()));
        let mut uploads = Uploads::default();
        let mut receiving = uploads.begin(client(1), SET, &job(key, id), NOW).unwrap();
        let pieces: Vec<&[u8]> = KeyUpload::pieces(key).collect();
        let mut damaged = pieces[0].to_vec();
        damaged[100] ^= 1;
        let cut = &pieces[0][1..];
        for (index, bytes) in [
            (0, damaged.as_slice()),
            (0, cut),
            (1, pieces[0]),
            (pieces.len() as u16, pieces[0]),
            (u16::MAX, pieces[0]),
        ] {
            let refused = receiving.accept(KeyPiece { index, bytes });
            assert_eq!(refused, Err(FheRefusal::Piece { piece: index }));
        }
        send(&mut receiving, key, &[0]);
        let index = 0;
        let twice = receiving.accept(KeyPiece {
            index,
            bytes: pieces[0],
        });
        assert_eq!(twice, Err(FheRefusal::Piece { piece: 0 }));
        assert!(
            matches!(receiving.finish(), Err(FheRefusal::Key(_))),
            "pieces are missing"
        );
    }

    #[test]
    fn keys_of_another_name_size_or_set_are_refused() {
        let key = key();
        let mut uploads = Uploads::default();
        // Every piece as announced, and still not the key of that name.
        let foreign = job(key, KeyId::from_bytes([1; 32]));
        let mut receiving = uploads.begin(client(1), SET, &foreign, NOW).unwrap();
        let all = receiving.missing();
        send(&mut receiving, key, &all);
        assert!(matches!(receiving.finish(), Err(FheRefusal::Key(_))));
        // Right size and name, and it says that it is of another set.
        let mut other = key.to_vec();
        other[4] = ParameterSet::Ring2048.code();
        let relabelled = job(&other, KeyId::of(&other));
        let mut receiving = uploads.begin(client(1), SET, &relabelled, NOW).unwrap();
        send(&mut receiving, &other, &all);
        assert!(matches!(receiving.finish(), Err(FheRefusal::Key(_))));
        // Too few and too many pieces: refused before anything is allocated.
        let id = KeyId::of(key);
        for change in [-1i32, 1] {
            let mut job = job(key, id);
            match change {
                1 => job.pieces.push(Digest([0; 32])),
                _ => drop(job.pieces.pop()),
            }
            let refused = uploads.begin(client(3), SET, &job, NOW).unwrap_err();
            assert!(matches!(refused, FheRefusal::Key(_)));
        }
        let set = ParameterSet::Ring2048;
        let refused = uploads.begin(client(3), set, &job(key, id), NOW);
        assert!(matches!(refused, Err(FheRefusal::Key(_))));
    }

    #[test]
    fn only_so_many_are_received_at_once() {
        let (key, id) = (key(), KeyId::of(key()));
        let job = job(key, id);
        let mut uploads = Uploads::default();
        let mut active: Vec<_> = (0..MAX_PARTIAL as u8)
            .map(|n| uploads.begin(client(n), SET, &job, NOW).unwrap())
            .collect();
        let refused = uploads.begin(client(99), SET, &job, NOW);
        assert!(matches!(refused, Err(FheRefusal::Busy(_))));
        // One whose stream broke gives way.
        uploads.put_aside(active.pop().unwrap(), NOW);
        assert!(uploads.begin(client(99), SET, &job, NOW).is_ok());
    }
}
