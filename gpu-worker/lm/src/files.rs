//! A checkpoint as a set of named files, as the model hub has them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::LoadError;

/// Files that are taken from a checkpoint's directory, beside weights. Everything else (other frameworks' weights,
/// pictures, code) is left.
const KEPT: [&str; 9] = [
    "1_Pooling/config.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// A checkpoint's files by name, with `/` between folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// The files of a directory that make a checkpoint, or a GGUF file with those beside it.
    ///
    /// # Errors
    /// [`LoadError::Io`].
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LoadError::Io { path, source }
        };
        let mut names: Vec<String> = KEPT.iter().map(|n| (*n).to_owned()).collect();
        let mut files = BTreeMap::new();
        let mut path = path;
        if path.is_dir() {
            for entry in std::fs::read_dir(path).map_err(failed(path))? {
                let name = entry.map_err(failed(path))?.file_name();
                let weights = |n: &&str| n.ends_with(".safetensors") || n.ends_with(".gguf");
                names.extend(name.to_str().filter(weights).map(str::to_owned));
            }
        } else {
            let bytes = std::fs::read(path).map_err(failed(path))?;
            files.insert("model.gguf".to_owned(), bytes);
            path = path.parent().unwrap_or(path);
        }
        for name in names {
            let path = path.join(&name);
            match std::fs::read(&path) {
                Ok(bytes) => drop(files.insert(name, bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path)(error)),
            }
        }
        Ok(Self(files))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(n, b)| (n.as_str(), b.as_slice()))
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Those whose names end like this, taken out: weights are large and needed once.
    pub(crate) fn take(&mut self, end: &str) -> Vec<(String, Vec<u8>)> {
        let names: Vec<String> = self
            .0
            .keys()
            .filter(|n| n.ends_with(end))
            .cloned()
            .collect();
        let taken = names.into_iter().filter_map(|n| self.0.remove_entry(&n));
        taken.collect()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, LoadError> {
        let Some(bytes) = self.get(file) else {
            return Ok(None);
        };
        let read = serde_json::from_slice(bytes);
        read.map(Some).map_err(|source| LoadError::Json {
            file: file.to_owned(),
            source,
        })
    }
}

impl FromIterator<(String, Vec<u8>)> for Files {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(files: I) -> Self {
        Self(files.into_iter().collect())
    }
}
