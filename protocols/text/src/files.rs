//! A checkpoint's files in a directory.

use std::io;
use std::path::Path;

use crate::part::KEPT;

/// The files of a directory that make a checkpoint for level `mpc`: configurations, tokenizer and `*.safetensors`.
///
/// # Errors
/// What the system says of the first file that cannot be read.
pub fn read_directory(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names: Vec<String> = KEPT.iter().map(|name| (*name).to_owned()).collect();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let weights = name.to_str().filter(|n| n.ends_with(".safetensors"));
        names.extend(weights.map(str::to_owned));
    }
    let mut files = Vec::new();
    for name in names {
        match std::fs::read(path.join(&name)) {
            Ok(bytes) => files.push((name, bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}
