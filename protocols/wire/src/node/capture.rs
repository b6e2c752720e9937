//! Files with everything that a process sent and received, decrypted.
//!
//! A capture that silently misses bytes would prove nothing, so a failed write is an error of the
//! stream or the message that was to be captured.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use libp2p::PeerId;

/// A directory of captures. Several processes may share one.
#[derive(Debug)]
pub(super) struct Capture {
    dir: PathBuf,
}

/// The capture of one stream, or of all control messages with one peer.
#[derive(Clone, Debug)]
pub(super) struct CaptureFile(Arc<Mutex<File>>);

impl Capture {
    pub(super) fn new(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// A new file `<peer>-<n>.bin` with the first free number.
    pub(super) fn file(&self, peer: &PeerId) -> io::Result<CaptureFile> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        for n in 0..100_000_u32 {
            match options.open(self.dir.join(format!("{peer}-{n}.bin"))) {
                Ok(file) => return Ok(CaptureFile(Arc::new(Mutex::new(file)))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(
            "the capture directory has 100000 files of one peer: empty it",
        ))
    }
}

impl CaptureFile {
    /// Appends `parts`, without other bytes between them.
    pub(super) fn append(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().try_for_each(|part| file.write_all(part))
    }
}
