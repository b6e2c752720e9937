//! What a model's bundle holds for this level: the files of a checkpoint, as they are.
//!
//! ```text
//! magic (8) | for each file: length of the name (2) | name | length (8) | bytes
//! ```
//!
//! Integers are little endian. Names are relative, and no part of one is `..`: nothing is ever written where they say, but
//! whoever unpacks a package by hand should not be surprised.

use thiserror::Error;

/// First bytes of a package, with the version of the format.
pub const MAGIC: [u8; 8] = *b"AILINKS\x01";
/// Files of a package.
const MOST: usize = 256;
/// Bytes of a name.
const LONGEST: usize = 255;

/// Why bytes are no package.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PackageError {
    /// Another kind of file.
    #[error("the bytes do not start like a package of version {}", MAGIC[7])]
    Magic,
    /// They end inside a file.
    #[error("the package ends inside file {file}")]
    Cut {
        /// Which, from 0.
        file: usize,
    },
    /// A name that cannot be.
    #[error("file {file} has a name that is not a relative path of at most {LONGEST} bytes")]
    Name {
        /// Which, from 0.
        file: usize,
    },
    /// Two files of one name, or not in the order of names: a set of files has one package.
    #[error("file {file} is not in the order of names")]
    Order {
        /// Which, from 0.
        file: usize,
    },
    /// Too many, or none.
    #[error("a package has 1 to {MOST} files")]
    Count,
}

/// The files of a package, borrowed.
///
/// # Errors
/// [`PackageError`].
pub fn files(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, PackageError> {
    let mut rest = bytes.strip_prefix(&MAGIC).ok_or(PackageError::Magic)?;
    let mut files: Vec<(&str, &[u8])> = Vec::new();
    while !rest.is_empty() {
        let file = files.len();
        if file == MOST {
            return Err(PackageError::Count);
        }
        let cut = PackageError::Cut { file };
        let (length, after) = rest.split_first_chunk().ok_or_else(|| cut.clone())?;
        let length = usize::from(u16::from_le_bytes(*length));
        let (name, after) = after.split_at_checked(length).ok_or_else(|| cut.clone())?;
        let name = std::str::from_utf8(name).ok().filter(|name| is_name(name));
        let name = name.ok_or(PackageError::Name { file })?;
        if files.last().is_some_and(|(before, _)| *before >= name) {
            return Err(PackageError::Order { file });
        }
        let (length, after) = after.split_first_chunk().ok_or_else(|| cut.clone())?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut.clone())?;
        let (content, after) = after.split_at_checked(length).ok_or(cut)?;
        files.push((name, content));
        rest = after;
    }
    match files.is_empty() {
        true => Err(PackageError::Count),
        false => Ok(files),
    }
}

/// The package of these files.
///
/// # Errors
/// [`PackageError`]: names that cannot be, or twice.
pub fn pack<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Vec<u8>, PackageError> {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_by_key(|(name, _)| *name);
    if files.is_empty() || files.len() > MOST {
        return Err(PackageError::Count);
    }
    let mut bytes = MAGIC.to_vec();
    for (file, (name, content)) in files.iter().enumerate() {
        let length = u16::try_from(name.len()).ok().filter(|_| is_name(name));
        bytes.extend(length.ok_or(PackageError::Name { file })?.to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend((content.len() as u64).to_le_bytes());
        bytes.extend(*content);
    }
    match files.windows(2).position(|w| w[0].0 == w[1].0) {
        Some(file) => Err(PackageError::Order { file: file + 1 }),
        None => Ok(bytes),
    }
}

fn is_name(name: &str) -> bool {
    let parts = || name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    name.len() <= LONGEST && !name.contains(['\\', '\0']) && parts()
}
