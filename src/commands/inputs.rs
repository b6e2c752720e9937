//! Where the inputs of a job come from: files, or storage.
//!
//! `[NAME=]FILE.npy` is read here. `[NAME=]cess:FID` does what fits the object: with a permit of its owner, workers pull
//! its shares and this application never sees it; what is this application's own, or was granted to it, is fetched,
//! opened and put together here, and masked afresh for the job.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ai_link_storage::grants::{Grant, Purpose};
use ai_link_storage::{Account, Fid};
use ai_link_wire::{Identity, Permit};

use super::context::Context;
use super::data::Data;
use super::oip::Input;
use super::published;
use crate::cli::{Global, Infer};
use crate::npy;
use crate::output::Failure;

/// The largest permit file.
const MAX_PERMIT: u64 = 1 << 20;

/// An input, and what was done to have it.
pub(super) struct Resolved {
    pub(super) name: String,
    pub(super) input: Input,
    pub(super) from: From,
}

/// Where an input is from.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// A file.
    File,
    /// Storage: opened here.
    Opened,
    /// Storage: in shares that workers pull.
    Pulled,
}

impl From {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Opened => "storage, opened here",
            Self::Pulled => "storage, in shares that workers pull",
        }
    }
}

/// The inputs that `args` name, in the order of `names`.
pub(super) async fn resolve(
    global: &Global,
    args: &Infer,
    names: Vec<String>,
) -> Result<Vec<Resolved>, Failure> {
    let sources = assign(&names, &args.input)?;
    let papers = Papers::read(&args.permit)?;
    let mut resolved = Vec::with_capacity(names.len());
    for (name, source) in names.into_iter().zip(sources) {
        let (input, from) = match source.strip_prefix("cess:") {
            None => {
                let array = npy::read(Path::new(&source)).map_err(Failure::failed)?;
                (Input::Here(array), From::File)
            }
            Some(text) => {
                let fid: Fid = text
                    .parse()
                    .map_err(|e| Failure::usage(format!("{source:?}: {e}")))?;
                stored(global, args, &papers, fid).await?
            }
        };
        resolved.push(Resolved { name, input, from });
    }
    Ok(resolved)
}

/// Which source each of the model's inputs has: by name, or all by their order.
fn assign(names: &[String], given: &[String]) -> Result<Vec<String>, Failure> {
    if names.len() != given.len() {
        return Err(Failure::usage(format!(
            "the model has {} inputs ({}), {} were given",
            names.len(),
            names.join(", "),
            given.len()
        )));
    }
    let named = |text: &'_ String| {
        let (name, source) = text.split_once('=')?;
        let known = names.iter().position(|known| known == name)?;
        Some((known, source.to_owned()))
    };
    let by_name: Vec<_> = given.iter().filter_map(named).collect();
    if by_name.is_empty() {
        return Ok(given.to_vec());
    }
    let mut sources = vec![None; names.len()];
    for (at, source) in by_name {
        sources[at] = Some(source);
    }
    let all: Option<Vec<String>> = sources.into_iter().collect();
    all.ok_or_else(|| {
        let names = names.join(", ");
        Failure::usage(format!(
            "give each input once, all by name or none: {names}"
        ))
    })
}

/// What others gave this application.
struct Papers {
    permits: Vec<Permit>,
    grants: Vec<Grant>,
}

impl Papers {
    fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let (mut permits, mut grants) = (Vec::new(), Vec::new());
        for path in paths {
            let bad = |what: String| Failure::usage(format!("{}: {what}", path.display()));
            let size = fs::metadata(path).map_err(|e| bad(e.to_string()))?.len();
            if size > MAX_PERMIT {
                return Err(bad(format!("a permit has at most {MAX_PERMIT} bytes")));
            }
            let bytes = fs::read(path).map_err(|e| bad(e.to_string()))?;
            if let Ok(grant) = Grant::from_bytes(&bytes) {
                grants.push(grant);
                continue;
            }
            let permit = serde_json::from_slice(&bytes);
            permits.push(permit.map_err(|e| bad(format!("neither a permit nor a grant: {e}")))?);
        }
        Ok(Self { permits, grants })
    }

    fn permit(&self, input: Fid) -> Option<&Permit> {
        let is_it = |permit: &&Permit| {
            let record = permit.record.verify_at_any_time();
            record.is_ok_and(|record| record.masked.0 == input.0)
        };
        self.permits.iter().find(is_it)
    }
}

async fn stored(
    global: &Global,
    args: &Infer,
    papers: &Papers,
    fid: Fid,
) -> Result<(Input, From), Failure> {
    if let Some(permit) = papers.permit(fid) {
        return Ok((Input::Stored(Box::new(permit.clone())), From::Pulled));
    }
    let context = Context::load(global)?;
    let data = Data::open(&context, None)?;
    let bytes = if let Some(grant) = papers.grants.iter().find(|grant| grant.object() == fid) {
        let registry = context.registry().await?;
        let model = published::commitment(&registry, &args.model, args.version).await?;
        let me = Identity::load(&context.network.client_key).map_err(Failure::failed)?;
        let asked = Purpose::ModelBy {
            model: model.0,
            asker: Account(me.account().0),
        };
        let key = grant.open(&data.recipient_key(None)?, asked, SystemTime::now(), &[]);
        data.opened(fid, key.map_err(Failure::failed)?).await?
    } else if let Some(record) = data.record(fid)? {
        let record = record.verify_at_any_time().map_err(Failure::failed)?;
        let array = data.combined(Fid(record.seed.0), fid).await?;
        return Ok((Input::Here(array), From::Opened));
    } else {
        data.get_sealed(fid).await.map_err(|failure| {
            failure.with_hint("with `--permit FILE` of its owner, workers can bring it, or this application open it")
        })?
    };
    let array = npy::parse(&bytes).map_err(Failure::failed)?;
    Ok((Input::Here(array), From::Opened))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn inputs_are_given_by_name_or_by_order() {
        let names = ["a".to_owned(), "b".to_owned()];
        let given = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
            assign(&names, &texts).ok()
        };
        assert_eq!(given(&["x.npy", "cess:1"]).unwrap(), ["x.npy", "cess:1"]);
        assert_eq!(
            given(&["b=cess:1", "a=x.npy"]).unwrap(),
            ["x.npy", "cess:1"]
        );
        // A file name may have the sign in it.
        assert_eq!(given(&["c=1.npy", "y.npy"]).unwrap(), ["c=1.npy", "y.npy"]);
        assert!(given(&["a=x.npy", "a=y.npy"]).is_none());
        assert!(given(&["a=x.npy", "y.npy"]).is_none());
        assert!(given(&["x.npy"]).is_none());
    }
}
