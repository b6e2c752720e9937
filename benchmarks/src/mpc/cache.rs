//! Compiled models of the zoo, kept beside the executable.
//!
//! Planning a ResNet takes the float model several times over. What comes out depends on the options and on the code,
//! so the cache is named by both: by a digest of the executable, and another build's cache is removed. Files of users
//! are never kept: their weights may be secrets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ai_link_program::{Parameters, PlanOptions, Program};
use ai_link_wire::{Limit, codec};
use anyhow::Context as _;
use benchmarks::zoo::Model;
use sha2::{Digest, Sha256};

use super::agreement::Reference;
use super::workload::Workload;

/// Largest file that is read.
pub(super) const FILE: Limit = Limit::bytes(2 << 30);

/// A place for one compiled model.
pub(super) struct Cache {
    dir: PathBuf,
}

/// What is kept.
pub(super) struct Kept {
    pub(super) program: Arc<Program>,
    pub(super) parameters: Parameters,
    pub(super) reference: Reference,
}

const PROGRAM: &str = "program";
const PARAMETERS: &str = "parameters";
const REFERENCE: &str = "reference";

impl Cache {
    /// The place of `model` planned with `options`.
    pub(super) fn of(model: Model, options: &PlanOptions) -> anyhow::Result<Self> {
        let exe = std::env::current_exe().context("the executable has no path")?;
        let code = Sha256::digest(fs::read(&exe).context("the executable cannot be read")?);
        let all = exe.with_file_name("benchmarks-cache");
        let this = all.join(hex::encode(&code[..8]));
        remove_others(&all, &this).context("an old cache cannot be removed")?;
        let options = Sha256::digest(format!("{options:?}"));
        let name = format!("{model}-{}", hex::encode(&options[..8]));
        Ok(Self {
            dir: this.join(name),
        })
    }

    /// What was written before, if it was.
    pub(super) fn read(&self) -> anyhow::Result<Option<Kept>> {
        let program = match fs::read(self.dir.join(PROGRAM)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("the cache cannot be read"),
        };
        let program: Program = codec::decode(&program, FILE)?;
        let parameters = Parameters::from_bytes(&fs::read(self.dir.join(PARAMETERS))?, &program)?;
        let reference = codec::decode(&fs::read(self.dir.join(REFERENCE))?, FILE)?;
        Ok(Some(Kept {
            program: Arc::new(program),
            parameters,
            reference,
        }))
    }

    /// Keeps a workload: whole or not at all.
    pub(super) fn write(&self, made: &Workload) -> anyhow::Result<()> {
        let parent = self.dir.parent().context("the cache has no folder")?;
        fs::create_dir_all(parent)?;
        let dir = tempfile::tempdir_in(parent)?;
        fs::write(
            dir.path().join(PROGRAM),
            codec::encode(&*made.program, FILE)?,
        )?;
        fs::write(dir.path().join(PARAMETERS), &*made.parameters.to_bytes())?;
        fs::write(
            dir.path().join(REFERENCE),
            codec::encode(&made.reference, FILE)?,
        )?;
        // Another process may have been faster; what it wrote is the same.
        match fs::rename(dir.path(), &self.dir) {
            Err(_) if self.dir.exists() => Ok(()),
            done => done.context("the cache cannot be written"),
        }
    }
}

fn remove_others(all: &Path, this: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path != this {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                done => done?,
            }
        }
    }
    Ok(())
}
