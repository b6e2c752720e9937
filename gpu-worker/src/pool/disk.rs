//! The few things that pools do with files, each whole or not done at all after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// What is being written ends in this until it is complete.
pub(super) const PART: &str = "part";

/// Writes a file that is there in full, or not at all, whatever crashes. Durable once its directory is
/// [synchronised](sync).
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_added_extension(PART);
    point()?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename(&part, path)
}

/// Gives a file or directory another name, in one step.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    point()?;
    fs::rename(from, to)
}

/// What was renamed, created or removed in `dir` before this survives a crash after it.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    point()?;
    File::open(dir)?.sync_all()
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    point()?;
    fs::remove_file(path)
}

/// Makes a directory that only its owner can read.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    point()?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Removes a directory and what is in it.
pub(super) fn remove_dir(path: &Path) -> io::Result<()> {
    point()?;
    fs::remove_dir_all(path)
}

/// Where a test may crash the machine: from there on nothing works.
#[cfg(not(test))]
fn point() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use crash::point;

#[cfg(test)]
pub(super) mod crash {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
        static PASSED: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn point() -> io::Result<()> {
        match LEFT.get() {
            Some(0) => return Err(io::Error::other("the machine is down")),
            Some(left) => LEFT.set(Some(left - 1)),
            None => {}
        }
        PASSED.set(PASSED.get() + 1);
        Ok(())
    }

    /// Crashes this thread's machine after `points` more operations.
    pub(crate) fn after(points: u64) {
        LEFT.set(Some(points));
    }

    /// Starts it again; says how many operations there have been.
    pub(crate) fn restart() -> u64 {
        LEFT.set(None);
        PASSED.replace(0)
    }

    /// Whether it is down.
    pub(crate) fn is_down() -> bool {
        LEFT.get() == Some(0)
    }
}
