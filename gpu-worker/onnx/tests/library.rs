//! Libraries that cannot be used are told apart, and do no harm. One test: a process holds one library at most.
//!
//! What pretends to be ONNX Runtime here is written in C and built by the compiler that Rust links with.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

use ai_link_onnx::{BUILT_IN, Library, LibraryError, NamedTensor, Runtime};
use common::{data, library, say};

/// `OrtGetApiBase` gives a table with the two functions that ONNX Runtime's begins with.
const PRETENDER: &str = r#"
    struct base { const void *(*get)(unsigned); const char *(*version)(void); };
    static const void *get(unsigned version) { (void)version; return 0; }
    static const char *version(void) { return VERSION; }
    static const struct base table = { get, version };
    const struct base *OrtGetApiBase(void) { return TABLE; }
"#;

#[test]
fn what_cannot_be_used_is_passed_over_with_a_reason() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx-library");
    std::fs::create_dir_all(&dir).unwrap();
    let built = |name: &str, version: &str, table: &str| {
        let source = dir.join("source.c");
        std::fs::write(&source, PRETENDER).unwrap();
        compile(
            dir.as_path(),
            name,
            &[
                &format!("-DVERSION=\"{version}\""),
                &format!("-DTABLE={table}"),
            ],
        )
    };
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };

    let absent = dir.join("absent.so");
    assert!(matches!(fails(&absent), LibraryError::Absent { path } if path == absent));
    let unheard = Path::new("libunheard-of-by-any-loader.so");
    assert!(matches!(fails(unheard), LibraryError::Absent { .. }));
    let garbage = file("garbage.so", b"\x7fELF and nothing more");
    assert!(matches!(fails(&garbage), LibraryError::Broken { .. }));
    assert!(matches!(fails(&dir), LibraryError::Absent { .. }));

    std::fs::write(
        dir.join("source.c"),
        "int nothing_of_onnx_runtime(void) { return 0; }",
    )
    .unwrap();
    let foreign = compile(&dir, "foreign.so", &[]);
    assert!(matches!(fails(&foreign), LibraryError::Foreign { path } if path == foreign));
    let old = built("old.so", "1.16.3", "&table");
    let error = fails(&old);
    assert!(matches!(&error, LibraryError::TooOld { version, .. } if version == "1.16.3"));
    assert!(
        error
            .to_string()
            .ends_with("is ONNX Runtime 1.16.3, and 1.17 or newer is needed"),
        "{error}"
    );
    // `ort` panics on it, which is caught.
    let empty = built("empty.so", "1.30.0", "0");
    assert!(matches!(fails(&empty), LibraryError::Broken { .. }));

    built_in_works();

    // None of these is in the way of one that works.
    if let Some(good) = library() {
        let runtime = Runtime::onnx_runtime(&good, NonZeroUsize::MIN).unwrap();
        assert_eq!(runtime.backend().name, "onnxruntime");
        assert_eq!(runtime.library(), Some(&good));
        assert_eq!(runs_on(&runtime), [3.0]);
        Runtime::onnx_runtime(&good, NonZeroUsize::MIN).unwrap();
        let error = fails(&old);
        assert!(
            matches!(&error, LibraryError::Another { held, .. } if *held == good),
            "{error:?}"
        );
        assert_eq!(runs_on(&runtime), [3.0]);
    } else {
        say("SKIPPED the library that works");
        // Accepted by its version, useless, and then held for good.
        let useless = built("useless.so", "1.30.0", "&table");
        assert!(matches!(fails(&useless), LibraryError::Unusable { path, .. } if path == useless));
        assert!(matches!(fails(&old), LibraryError::Unusable { path, .. } if path == useless));
        built_in_works();
    }
}

/// As the operator who demands it sees it.
fn fails(path: &Path) -> LibraryError {
    Runtime::open(&Library::At(path.into()), NonZeroUsize::MIN).unwrap_err()
}

fn built_in_works() {
    let opened = Runtime::open(&Library::BuiltIn, NonZeroUsize::MIN).unwrap();
    assert_eq!(opened.runtime.backend(), &BUILT_IN);
    assert_eq!(runs_on(&opened.runtime), [3.0]);
}

fn runs_on(runtime: &Runtime) -> Vec<f32> {
    let session = runtime.load(&data("several.onnx")).unwrap();
    let tensor = |name: &str| NamedTensor {
        name: name.into(),
        dims: vec![1, 3],
        data: vec![1.0; 3],
    };
    session
        .run(&[tensor("a"), tensor("b")])
        .unwrap()
        .remove(0)
        .data
}

fn compile(dir: &Path, name: &str, defines: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .arg(&path)
        .args(defines)
        .arg(dir.join("source.c"));
    assert!(cc.status().unwrap().success());
    path
}
