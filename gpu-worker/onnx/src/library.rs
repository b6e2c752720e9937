//! Where ONNX Runtime's library is looked for.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The variable that names the library's file, as other programs that use ONNX Runtime read it.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// What whoever runs this program wants models to be executed by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Library {
    /// ONNX Runtime when its library is found and can be used, the built-in back-end otherwise.
    #[default]
    Auto,
    /// The built-in back-end.
    BuiltIn,
    /// ONNX Runtime from this file and nothing else: when it cannot be used, that is an error.
    At(PathBuf),
}

/// The files that [`Library::Auto`] tries, best first: the one that [`LIBRARY_VARIABLE`] names and no other, or
/// what the system's loader finds under the usual names.
pub(crate) fn candidates() -> Vec<PathBuf> {
    match env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => vec![path.into()],
        None => usual_names(),
    }
}

fn usual_names() -> Vec<PathBuf> {
    let plain = format!(
        "{}onnxruntime{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    );
    let numbered = cfg!(all(unix, not(target_vendor = "apple"))).then(|| format!("{plain}.1"));
    std::iter::once(plain)
        .chain(numbered)
        .map(PathBuf::from)
        .collect()
}

/// Whether the system's loader searches its directories for this name.
pub(crate) fn is_searched_for(path: &Path) -> bool {
    path.file_name() == Some(path.as_os_str())
}

/// The version in the name of the file, `1.32.0` in `libonnxruntime.so.1.32.0`, following links, when it fits the
/// `1.minor` that the library itself tells.
pub(crate) fn version(path: &Path, minor: u32) -> String {
    let told = format!("1.{minor}");
    let file = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let exact = name.find(&format!("{told}.")).map(|at| {
        let digits = |c: char| c == '.' || c.is_ascii_digit();
        let rest = &name[at..];
        let end = rest.find(|c| !digits(c)).unwrap_or(rest.len());
        rest[..end].trim_end_matches('.').to_owned()
    });
    exact.unwrap_or(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_off_the_file_only_when_they_fit() {
        for (file, minor, wanted) in [
            ("/x/libonnxruntime.so.1.32.0", 32, "1.32.0"),
            ("/x/libonnxruntime.1.23.2.dylib", 23, "1.23.2"),
            ("/x/libonnxruntime.so.1.31.0", 32, "1.32"),
            ("libonnxruntime.so", 20, "1.20"),
            ("/x/libonnxruntime.so.1.3", 3, "1.3"),
        ] {
            assert_eq!(version(Path::new(file), minor), wanted, "{file}");
        }
    }

    #[test]
    fn only_bare_names_are_searched_for() {
        assert!(is_searched_for(Path::new("libonnxruntime.so")));
        for path in [
            "./libonnxruntime.so",
            "a/libonnxruntime.so",
            "/libonnxruntime.so",
            "",
        ] {
            assert!(!is_searched_for(Path::new(path)), "{path}");
        }
    }
}
