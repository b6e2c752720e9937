//! The back-ends that tests run on.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ai_link_onnx::{LIBRARY_VARIABLE, Library, Runtime};

/// Runs `test` on the built-in back-end, and on ONNX Runtime when the environment names its library.
pub fn on_each(test: impl Fn(&Runtime)) {
    static RUNTIMES: OnceLock<Vec<Runtime>> = OnceLock::new();
    for runtime in RUNTIMES.get_or_init(runtimes) {
        test(runtime);
    }
}

fn runtimes() -> Vec<Runtime> {
    let found = onnx_runtime();
    match &found {
        Some(runtime) => say(&format!(
            "on {} and {}",
            Runtime::built_in().backend(),
            runtime.backend()
        )),
        None => say(&format!(
            "on {} only; SKIPPED on ONNX Runtime: {LIBRARY_VARIABLE} names no library",
            Runtime::built_in().backend()
        )),
    }
    std::iter::once(Runtime::built_in()).chain(found).collect()
}

/// ONNX Runtime, if the environment names it: then it must be usable.
pub fn onnx_runtime() -> Option<Runtime> {
    let library = library()?;
    let threads = NonZeroUsize::new(2).unwrap();
    let opened = Runtime::open(&Library::At(library), threads).unwrap();
    Some(opened.runtime)
}

pub fn library() -> Option<PathBuf> {
    let path = std::env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

/// Also where the test harness shows the output of failed tests only.
pub fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "contract of back-ends: {what}");
}

pub fn data(name: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(name),
    )
    .unwrap()
}
