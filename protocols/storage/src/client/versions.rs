//! Versions of mutable objects behind HTTP. What comes is not trusted: [`Mutable`](crate::mutable::Mutable) checks every
//! manifest against its owner's key.

use async_trait::async_trait;
use reqwest::Method;

use super::HttpStore;
use crate::error::StorageError;
use crate::http::envelope::{VersionData, VersionsData};
use crate::mutable::{Manifest, MutableError, MutableId, Versions};

/// What a gateway answers when another version was published first.
const CONFLICT: u16 = 409;

impl HttpStore {
    fn mutable_url(&self, id: MutableId, more: Option<&str>) -> reqwest::Url {
        let id = hex::encode(id.0);
        match more {
            None => self.url(["mutable", &id]),
            Some(more) => self.url(["mutable", &id, more]),
        }
    }

    async fn manifest(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Option<Manifest>, MutableError> {
        let VersionData { manifest } = self.ask(request, None).await?;
        let Some(text) = manifest else {
            return Ok(None);
        };
        let bytes = hex::decode(text).map_err(|_| StorageError::Malformed {
            what: "the manifest is not hex".to_owned(),
        })?;
        Ok(Some(Manifest::from_bytes(&bytes)?))
    }
}

#[async_trait]
impl Versions for HttpStore {
    async fn latest(&self, id: MutableId) -> Result<Option<Manifest>, MutableError> {
        let request = self.http.get(self.mutable_url(id, None));
        self.manifest(request).await
    }

    async fn version(&self, id: MutableId, version: u64) -> Result<Option<Manifest>, MutableError> {
        let url = self.mutable_url(id, Some(&version.to_string()));
        self.manifest(self.http.get(url)).await
    }

    async fn list(&self, id: MutableId) -> Result<Vec<u64>, StorageError> {
        let request = self.http.get(self.mutable_url(id, Some("list")));
        let VersionsData { versions } = self.ask(request, None).await?;
        match versions.is_sorted_by(|a, b| a < b) {
            true => Ok(versions),
            false => Err(StorageError::Malformed {
                what: "its versions are not in order".to_owned(),
            }),
        }
    }

    async fn swap(&self, expected: u64, next: &Manifest) -> Result<(), MutableError> {
        let url = self.mutable_url(next.id(), Some(&expected.to_string()));
        let request = self.signed(Method::PUT, url)?.body(next.to_bytes());
        match self.manifest(request).await {
            Ok(Some(published)) if published == *next => Ok(()),
            Ok(_) => Err(StorageError::Malformed {
                what: "another manifest was published than was sent".to_owned(),
            }
            .into()),
            Err(MutableError::Store(StorageError::Refused { code, message }))
                if code == CONFLICT =>
            {
                // "overtaken by version N"
                let found = message
                    .rsplit(' ')
                    .next()
                    .and_then(|word| word.parse().ok());
                Err(match found {
                    Some(found) => MutableError::Conflict { expected, found },
                    None => StorageError::Refused { code, message }.into(),
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn forget(&self, id: MutableId, version: u64) -> Result<(), StorageError> {
        let url = self.mutable_url(id, Some(&version.to_string()));
        let request = self.signed(Method::DELETE, url)?;
        let VersionData { .. } = self.ask(request, None).await?;
        Ok(())
    }
}
