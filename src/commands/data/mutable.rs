//! Objects that change: each change is a version, published if nobody published another first.
//!
//! Pieces are stored as they are, for everybody to read: the format of mutable objects has no encryption yet, and nothing
//! is stored in clear without being told to (`--public`).

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ai_link_storage::mutable::{Edit, Manifest, Mutable, MutableError};
use ai_link_storage::{ObjectName, ObjectStore, RequestSigner};
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::Data;
use crate::cli::{Collect, EditArgs, ReadArgs, Remove, Replace};
use crate::output::{Failure, Output};

/// The most bytes of one edit: they are read into memory.
const MAX_EDIT: u64 = 1 << 30;

impl Data {
    fn object(&self, name: &str) -> Result<Mutable, Failure> {
        let name: ObjectName = name
            .parse()
            .map_err(|e| Failure::usage(format!("{name:?}: {e}")))?;
        let store: Arc<dyn ObjectStore> = Arc::new(self.store.clone());
        let versions = Arc::new(self.store.clone());
        let signer: Arc<dyn RequestSigner> = Arc::clone(&self.signer);
        Ok(Mutable::new(store, versions, name, signer))
    }

    pub(super) async fn append(&self, args: EditArgs, output: &Output) -> Result<(), Failure> {
        let bytes = content(&args)?;
        let object = self.object(&args.name)?;
        let now = SystemTime::now();
        let published = match base(&object, args.base).await? {
            None => object.create(&bytes, now).await,
            Some(base) => object.edit(&base, Edit::Append, &bytes, now).await,
        };
        told(&published.map_err(Failure::failed)?, output)
    }

    pub(super) async fn replace(&self, args: Replace, output: &Output) -> Result<(), Failure> {
        let bytes = content(&args.edit)?;
        let (name, base) = (&args.edit.name, args.edit.base);
        self.change(name, base, Some(args.range), &bytes, output)
            .await
    }

    pub(super) async fn remove(&self, args: Remove, output: &Output) -> Result<(), Failure> {
        self.change(&args.name, args.base, args.range, &[], output)
            .await
    }

    /// Puts `bytes` in the place of a range, or of all there is.
    async fn change(
        &self,
        name: &str,
        expected: Option<u64>,
        range: Option<Range<u64>>,
        bytes: &[u8],
        output: &Output,
    ) -> Result<(), Failure> {
        let object = self.object(name)?;
        let none = || Failure::failed(MutableError::NoVersion { version: 0 });
        let base = base(&object, expected).await?.ok_or_else(none)?;
        let edit = Edit::Replace(range.unwrap_or(0..base.size()));
        let published = object.edit(&base, edit, bytes, SystemTime::now()).await;
        told(&published.map_err(Failure::failed)?, output)
    }

    pub(super) async fn versions(&self, name: &str, output: &Output) -> Result<(), Failure> {
        let object = self.object(name)?;
        let mut all = Vec::new();
        for version in object.list().await.map_err(Failure::failed)? {
            let manifest = object.version(version).await.map_err(Failure::failed)?;
            all.push(described(&manifest));
        }
        output.result(&json!({ "versions": all }), |v| {
            let all = v["versions"].as_array().into_iter().flatten();
            let lines: Vec<String> = all.map(line).collect();
            lines.join("\n")
        })
    }

    pub(super) async fn read(&self, args: ReadArgs, output: &Output) -> Result<(), Failure> {
        let object = self.object(&args.name)?;
        let manifest = match args.version {
            None => object.latest().await,
            Some(version) => object.version(version).await,
        };
        let manifest = manifest.map_err(Failure::failed)?;
        let partial = args.output.with_extension("partial");
        let mut file = tokio::fs::File::create(&partial)
            .await
            .map_err(Failure::failed)?;
        let mut pieces = object.read(&manifest, None);
        while let Some(piece) = pieces.try_next().await.map_err(Failure::failed)? {
            file.write_all(&piece).await.map_err(Failure::failed)?;
        }
        file.sync_all().await.map_err(Failure::failed)?;
        // Nothing looks complete before it is.
        tokio::fs::rename(&partial, &args.output)
            .await
            .map_err(Failure::failed)?;
        told(&manifest, output)
    }

    pub(super) async fn collect(&self, args: Collect, output: &Output) -> Result<(), Failure> {
        let object = self.object(&args.name)?;
        let retention = Duration::from_secs(60 * u64::from(args.minutes));
        let gone = object.collect(retention, SystemTime::now()).await;
        let gone = gone.map_err(Failure::failed)?;
        output.result(&json!({ "collected": gone }), |_| {
            format!("{gone} versions collected")
        })
    }
}

/// The version that is to be changed: `expected` if it is named, which must be the latest then, or else whatever is the
/// latest. `None` for an object that is to be made.
async fn base(object: &Mutable, expected: Option<u64>) -> Result<Option<Manifest>, Failure> {
    let latest = match object.latest().await {
        Ok(latest) => Some(latest),
        Err(MutableError::NoVersion { .. }) => None,
        Err(error) => return Err(Failure::failed(error)),
    };
    let found = latest.as_ref().map_or(0, Manifest::version);
    match expected {
        Some(expected) if expected != found => {
            Err(Failure::failed(MutableError::Conflict { expected, found }))
        }
        _ => Ok(latest),
    }
}

fn content(args: &EditArgs) -> Result<Vec<u8>, Failure> {
    let bad =
        |e: std::io::Error| Failure::usage(format!("cannot read {}: {e}", args.file.display()));
    let size = std::fs::metadata(&args.file).map_err(bad)?.len();
    if size > MAX_EDIT {
        return Err(Failure::usage(format!(
            "{} has {size} bytes; an edit has at most {MAX_EDIT}",
            args.file.display()
        )));
    }
    std::fs::read(&args.file).map_err(bad)
}

fn described(manifest: &Manifest) -> Value {
    json!({
        "version": manifest.version(),
        "size": manifest.size(),
        "pieces": manifest.extents().len(),
    })
}

fn line(version: &Value) -> String {
    format!(
        "version {}: {} bytes in {} pieces",
        version["version"], version["size"], version["pieces"]
    )
}

fn told(manifest: &Manifest, output: &Output) -> Result<(), Failure> {
    output.result(&described(manifest), line)
}
