//! What the processes of a run read: files in a folder that only this user can open.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ai_link_mpc::Secret32;
use ai_link_mpc::weights::{self, WeightMask, WeightShare};
use ai_link_program::Program;
use ai_link_wire::codec;
use anyhow::Context as _;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::agreement::Reference;
use super::cache::FILE;
use super::random;
use super::seat::Hosted;
use super::who::Who;
use super::workload::Workload;

const PROGRAM: &str = "program";
const INPUTS: &str = "inputs";
const REFERENCE: &str = "reference";

/// The folder, removed with this.
pub(super) struct RunDir {
    dir: TempDir,
    /// Names the sharing of private weights.
    pub(super) sharing: Option<[u8; 32]>,
}

impl RunDir {
    /// Writes everybody's files; private weights are shared here, as their owner does.
    pub(super) fn write(workload: &Workload) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("there is no folder for temporary files")?;
        let write = |name: &str, bytes: &[u8]| {
            fs::write(dir.path().join(name), bytes).with_context(|| format!("writing {name}"))
        };
        let program = &workload.program;
        write(PROGRAM, &codec::encode(&**program, FILE)?)?;
        write(INPUTS, &codec::encode(&workload.inputs, FILE)?)?;
        write(REFERENCE, &codec::encode(&workload.reference, FILE)?)?;
        let mut sharing = None;
        if !program.parameters().is_empty() {
            let entropy = Secret32::new(random()?);
            let shared = weights::share(program, &workload.parameters, &entropy)?;
            sharing = Some(shared.mask.sharing());
            write(&weights_of(Who::Dealer), &shared.mask.to_bytes())?;
            for (who, share) in [Who::Evaluator0, Who::Evaluator1]
                .into_iter()
                .zip(&shared.evaluators)
            {
                write(&weights_of(who), &share.to_bytes())?;
            }
        }
        Ok(Self { dir, sharing })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn weights_of(who: Who) -> String {
    format!("weights-{}", who.name())
}

/// The folder as a party reads it.
pub(super) struct Files(pub(super) PathBuf);

impl Files {
    fn read(&self, name: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let path = self.0.join(name);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Zeroizing::new(bytes))
    }

    /// The program.
    pub(super) fn program(&self) -> anyhow::Result<Arc<Program>> {
        Ok(Arc::new(codec::decode(&self.read(PROGRAM)?, FILE)?))
    }

    /// The client's inputs.
    pub(super) fn inputs(&self) -> anyhow::Result<Vec<Vec<f32>>> {
        Ok(codec::decode(&self.read(INPUTS)?, FILE)?)
    }

    /// What the float model answers to them.
    pub(super) fn reference(&self) -> anyhow::Result<Reference> {
        Ok(codec::decode(&self.read(REFERENCE)?, FILE)?)
    }

    /// A worker's part of private weights.
    pub(super) fn weights(&self, who: Who, program: &Program) -> anyhow::Result<Hosted> {
        if program.parameters().is_empty() {
            return Ok(Hosted::Public);
        }
        let bytes = self.read(&weights_of(who))?;
        Ok(match who.evaluator() {
            None => Hosted::Mask(Arc::new(WeightMask::from_bytes(&bytes, program)?)),
            Some(_) => Hosted::Share(Arc::new(WeightShare::from_bytes(&bytes, program)?)),
        })
    }
}
