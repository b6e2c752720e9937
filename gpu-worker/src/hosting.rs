//! Parts of private weights that this worker keeps for model owners.
//!
//! An owner shares the weights of a model among three workers of distinct operators and delivers each its part over
//! an authenticated, encrypted stream, along with a signed [`Hosting`] (see `receive`). A part alone is uniformly
//! random: an evaluator's share tells nothing, and the dealer's part is a seed. Any two parts together are the
//! weights, so a worker believes nobody about who has the others: it checks owner, package and operators on the chain.
//!
//! # At rest
//! One file a part (`sealed`), encrypted under a key from the worker's own secret: who gets the disk of a worker but
//! not its key gets nothing. A part is acknowledged only when file and directory are synced. What is kept is bounded in
//! bytes and in number; a part is replaced when the owner shares the same version again.
//!
//! # What this does not protect
//! Owners pick workers by operators, and distinct operators may be the same people. A worker that loses its part, or
//! refuses, makes the model unavailable until its owner hosts it again; nothing else is lost.

mod receive;
mod sealed;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ai_link_mpc::weights::{WeightError, WeightMask, WeightShare};
use ai_link_program::Program;
use ai_link_session::parties;
use ai_link_wire::{
    Bytes, CodecError, Digest, Heartbeat, HostedWeights, Hosting, Identity, Limit, PeerKey, Role,
    Signed, Ticket, codec,
};
use zeroize::Zeroizing;

use crate::engine::Weights;
use sealed::Key;

pub(crate) use receive::receive;

/// Parts kept ready in memory.
const MAX_LOADED: usize = 8;
/// Most parts that are kept: as many as can be announced.
const MAX_PARTS: usize = Heartbeat::MAX_HOSTED;
const RECORD: Limit = Limit::bytes(sealed::MAX_RECORD);

/// The bounded store of parts.
pub struct HostedStore {
    dir: PathBuf,
    secret: Zeroizing<[u8; 32]>,
    peer: PeerKey,
    limit: Bytes,
    parts: Mutex<Parts>,
    /// Most recently used last. The lock is held across a load, so that a part asked for twice at once is read once.
    loaded: tokio::sync::Mutex<Vec<(Digest, Weights)>>,
}

#[derive(Default)]
struct Parts {
    /// By sharing: a worker has one part of each.
    kept: BTreeMap<Digest, Kept>,
    /// Bytes promised to parts that are being received.
    reserved: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    hosting: Hosting,
    role: Role,
    bytes: u64,
}

/// Room for a part that is being received; given back when dropped.
pub struct Reservation {
    store: Arc<HostedStore>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.lock().reserved -= self.bytes;
    }
}

impl HostedStore {
    /// Opens the store of the worker `identity`, which takes at most `limit` bytes. Files that are not whole are left
    /// alone and not counted on.
    ///
    /// # Errors
    /// [`HostedError::Io`] when the directory cannot be used.
    pub fn open(dir: PathBuf, identity: &Identity, limit: Bytes) -> Result<Self, HostedError> {
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        let peer = identity.peer_key();
        let mut kept = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(at(&dir))? {
            let path = entry.map_err(at(&dir))?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("part") => {}
                // Not whole: the process died while it was written, and nobody was told that it was kept.
                Some("tmp") => {
                    fs::remove_file(&path).map_err(at(&path))?;
                    continue;
                }
                _ => continue,
            }
            match read_head(&path, &peer) {
                Ok((hosting, role)) => {
                    let bytes = fs::metadata(&path).map_err(at(&path))?.len();
                    let part = Kept {
                        hosting,
                        role,
                        bytes,
                    };
                    kept.insert(part.hosting.sharing, part);
                }
                Err(error) => tracing::warn!(
                    path = %path.display(), error = &error as &dyn std::error::Error,
                    "not a part of private weights for this worker"
                ),
            }
        }
        Ok(Self {
            dir,
            secret: identity.secret_seed(),
            peer,
            limit,
            parts: Mutex::new(Parts { kept, reserved: 0 }),
            loaded: tokio::sync::Mutex::default(),
        })
    }

    /// What is kept, for announcements.
    pub fn announced(&self) -> Vec<HostedWeights> {
        let parts = self.lock();
        let announced = parts.kept.values().map(|kept| HostedWeights {
            model: kept.hosting.model.clone(),
            version: kept.hosting.version,
            commitment: kept.hosting.commitment,
            sharing: kept.hosting.sharing,
            role: kept.role,
            group: kept.hosting.peers(),
        });
        announced.take(MAX_PARTS).collect()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> Bytes {
        Bytes(self.lock().bytes())
    }

    /// Sets room aside for a part of `part` bytes.
    ///
    /// # Errors
    /// [`HostedError::Full`] and [`HostedError::TooMany`].
    pub fn reserve(self: &Arc<Self>, part: usize) -> Result<Reservation, HostedError> {
        let need = sealed::sealed_bytes(sealed::MAX_RECORD, part);
        let mut parts = self.lock();
        let taken = parts.bytes().saturating_add(parts.reserved);
        let free = self.limit.0.saturating_sub(taken);
        if need > free {
            let limit = self.limit.0;
            return Err(HostedError::Full { need, free, limit });
        }
        if parts.kept.len() >= MAX_PARTS {
            return Err(HostedError::TooMany);
        }
        parts.reserved += need;
        Ok(Reservation {
            store: Arc::clone(self),
            bytes: need,
        })
    }

    /// Stores a part. When this returns `Ok` it is on disk, and parts of older sharings of the same version are gone.
    ///
    /// The caller has checked that the record holds and the part fits it.
    ///
    /// # Errors
    /// [`HostedError`]; the part may or may not be on disk then, and is not announced.
    pub fn store(
        &self,
        signed: &Signed<Hosting>,
        hosting: &Hosting,
        role: Role,
        part: &[u8],
        _room: Reservation,
    ) -> Result<(), HostedError> {
        let record = codec::encode(signed, RECORD).map_err(HostedError::Record)?;
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).map_err(HostedError::Entropy)?;
        let key = Key::derive(&self.secret, &hosting.sharing, role);
        let file = sealed::seal(&key, &record, nonce, part);
        let path = self.path(&hosting.sharing);
        write_durably(&path, &file).map_err(at(&path))?;
        let kept = Kept {
            hosting: hosting.clone(),
            role,
            bytes: file.len() as u64,
        };
        let mut parts = self.lock();
        parts.kept.insert(hosting.sharing, kept);
        for older in parts.older_than(hosting) {
            let path = self.path(&older);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove an older part");
                }
                _ => drop(parts.kept.remove(&older)),
            }
        }
        Ok(())
    }

    /// What this worker keeps for `ticket`, whose program `program` is and in which it is `role`.
    ///
    /// # Errors
    /// [`HostedError`] when nothing fitting is kept, or it cannot be read.
    pub async fn load(
        &self,
        ticket: &Ticket,
        role: Role,
        program: &Arc<Program>,
    ) -> Result<Weights, HostedError> {
        let Some(sharing) = ticket.sharing else {
            return Ok(Weights::Public);
        };
        let kept = self.lock().kept.get(&sharing).cloned();
        let kept = kept.filter(|kept| fits(kept, ticket, role));
        if kept.is_none() {
            return Err(HostedError::NotKept { sharing });
        }
        let mut loaded = self.loaded.lock().await;
        if let Some(place) = loaded.iter().position(|(known, _)| *known == sharing) {
            let entry = loaded.remove(place);
            let weights = entry.1.clone();
            loaded.push(entry);
            return Ok(weights);
        }
        let path = self.path(&sharing);
        let key = Key::derive(&self.secret, &sharing, role);
        let program = Arc::clone(program);
        let read = move || {
            let file = fs::read(&path).map_err(at(&path))?;
            let part = sealed::open(&key, file).ok_or(HostedError::Damaged { sharing })?;
            parse(role, &part, &program)
        };
        let weights = tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| HostedError::Cancelled)??;
        if loaded.len() >= MAX_LOADED {
            loaded.remove(0);
        }
        loaded.push((sharing, weights.clone()));
        Ok(weights)
    }

    /// The part of `sharing` in the clear, for whoever may see it: the worker itself.
    ///
    /// # Errors
    /// [`HostedError`] when it is not kept, or cannot be read.
    pub fn part(&self, sharing: &Digest) -> Result<(Role, Zeroizing<Vec<u8>>), HostedError> {
        let sharing = *sharing;
        let kept = self.lock().kept.get(&sharing).cloned();
        let role = kept.ok_or(HostedError::NotKept { sharing })?.role;
        let path = self.path(&sharing);
        let file = fs::read(&path).map_err(at(&path))?;
        let key = Key::derive(&self.secret, &sharing, role);
        let part = sealed::open(&key, file).ok_or(HostedError::Damaged { sharing })?;
        Ok((role, part))
    }

    fn path(&self, sharing: &Digest) -> PathBuf {
        self.dir.join(format!("{sharing}.part"))
    }

    /// Also after a panic elsewhere: every change of the index is whole.
    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn bytes(&self) -> u64 {
        self.kept.values().map(|kept| kept.bytes).sum()
    }

    /// Other sharings of the same version by the same owner.
    fn older_than(&self, hosting: &Hosting) -> Vec<Digest> {
        let same = |kept: &&Kept| {
            kept.hosting.sharing != hosting.sharing
                && kept.hosting.owner == hosting.owner
                && kept.hosting.model == hosting.model
                && kept.hosting.version == hosting.version
        };
        let older = self.kept.values().filter(same);
        older.map(|kept| kept.hosting.sharing).collect()
    }
}

impl std::fmt::Debug for HostedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostedStore")
            .field("dir", &self.dir)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Whether a part is that of a ticket: of its model and group, in the same roles. Everyone may publish a copy of a
/// package under another name, so the commitment alone says little.
fn fits(kept: &Kept, ticket: &Ticket, role: Role) -> bool {
    let hosting = &kept.hosting;
    kept.role == role
        && hosting.model == ticket.model
        && hosting.version == ticket.version
        && hosting.commitment == ticket.commitment
        && ticket.group.iter().map(|m| m.peer).eq(hosting.peers())
}

/// Reads a part for `program`.
pub(crate) fn parse(role: Role, part: &[u8], program: &Program) -> Result<Weights, HostedError> {
    match role {
        Role::Dealer => {
            let mask = WeightMask::from_bytes(part, program).map_err(HostedError::Part)?;
            Ok(Weights::Mask(Arc::new(mask)))
        }
        Role::Evaluator(number) => {
            let share = WeightShare::from_bytes(part, program).map_err(HostedError::Part)?;
            if share.index() != parties::index_of(number) {
                return Err(HostedError::OtherRole { role });
            }
            Ok(Weights::Share(Arc::new(share)))
        }
    }
}

fn read_head(path: &Path, peer: &PeerKey) -> Result<(Hosting, Role), HostedError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(at(path))?;
    file.take(sealed::HEAD as u64)
        .read_to_end(&mut head)
        .map_err(at(path))?;
    let not_whole = || HostedError::NotWhole { path: path.into() };
    let record = sealed::record(&head).ok_or_else(not_whole)?;
    let signed: Signed<Hosting> = codec::decode(record, RECORD).map_err(HostedError::Record)?;
    let hosting = signed.verify_at_any_time().map_err(|_| not_whole())?;
    let role = hosting.role_of(peer).ok_or_else(not_whole)?;
    Ok((hosting.clone(), role))
}

/// The file and its name are on disk when this returns.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> HostedError {
    let path = path.to_path_buf();
    move |source| HostedError::Io {
        path: path.clone(),
        source,
    }
}

/// Why a part is not kept, or cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostedError {
    /// The worker is stopping.
    #[error("the worker stopped while the weights were being read")]
    Cancelled,
    /// The file does not open: the disk is damaged, or it is another worker's.
    #[error("the kept part of sharing {sharing} does not open: the disk is damaged")]
    Damaged {
        /// The sharing.
        sharing: Digest,
    },
    /// No randomness, so nothing was written.
    #[error("the operating system gave no randomness")]
    Entropy(#[source] getrandom::Error),
    /// The limit is reached.
    #[error(
        "{need} bytes are needed and {free} of {limit} are free; raise `hosting` in the configuration"
    )]
    Full {
        /// Bytes of the part.
        need: u64,
        /// Bytes left.
        free: u64,
        /// `hosting` in the configuration.
        limit: u64,
    },
    /// The disk failed.
    #[error("the store of private weights failed at {path}", path = .path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Nothing is kept that fits.
    #[error("no part of sharing {sharing} is kept for this model, group and role")]
    NotKept {
        /// The sharing.
        sharing: Digest,
    },
    /// A file that is no part of this worker's.
    #[error("{path} is no part that this worker keeps", path = .path.display())]
    NotWhole {
        /// The file.
        path: PathBuf,
    },
    /// A share of the other evaluator.
    #[error("the share is not that of {role}")]
    OtherRole {
        /// This worker's role.
        role: Role,
    },
    /// Not a part of this program's weights.
    #[error("the bytes are no part of the program's weights")]
    Part(#[source] WeightError),
    /// The record is too long, or none.
    #[error("the owner's record cannot be encoded or read")]
    Record(#[source] CodecError),
    /// As many parts as can be announced.
    #[error("{MAX_PARTS} parts are kept already")]
    TooMany,
}

#[cfg(test)]
mod tests;
