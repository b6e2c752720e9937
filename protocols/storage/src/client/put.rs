//! Sending an object.

use std::io;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::stream;
use reqwest::{Body, Method};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::HttpStore;
use crate::error::StorageError;
use crate::fid::FidRule;
use crate::http::LOCATION_POLICY;
use crate::http::envelope::FidData;
use crate::layout::FidHasher;
use crate::object::{PutOptions, Stored};
use crate::stream::ByteSource;

/// Bytes read from the source at a time.
const PIECE: usize = 64 << 10;

/// How the pump ended.
enum Pumped {
    /// Everything was handed over.
    All(FidHasher),
    /// The other side takes no more; it will have said why.
    Refused,
    /// Something failed on this side. The other side sees a body that breaks off, not one that
    /// ends.
    Failed(StorageError),
}

pub(super) async fn put(
    store: &HttpStore,
    mut source: ByteSource<'_>,
    options: PutOptions,
) -> Result<Stored, StorageError> {
    if options.rule != FidRule::DeOss {
        return Err(StorageError::RuleNotOffered { rule: options.rule });
    }
    let mut first = BytesMut::with_capacity(PIECE);
    if source
        .read_buf(&mut first)
        .await
        .map_err(StorageError::Source)?
        == 0
    {
        return Err(StorageError::Empty);
    }

    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    let body = Body::wrap_stream(stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    }));
    let url = store.url(["object", options.name.as_str()]);
    let after = store.config.upload_timeout;
    let mut request = store.signed(Method::PUT, url)?.body(body).timeout(after);
    if let Some(policy) = &options.policy {
        request = request.header(LOCATION_POLICY, policy.to_json());
    }
    let mut answer = pin!(async {
        let response = request.send().await.map_err(|error| {
            if error.is_timeout() && !error.is_connect() {
                StorageError::TimedOut {
                    what: "take the object",
                    after,
                }
            } else {
                StorageError::Transport(error)
            }
        })?;
        store.open::<FidData>(response, None).await
    });
    let mut pump = pin!(pump(store, source, first.freeze(), sender));

    let pumped = tokio::select! {
        // When the body has ended, the pump has too: it is asked first.
        biased;
        pumped = &mut pump => pumped,
        early = &mut answer => {
            early?;
            let what = "it came before the object was sent".to_owned();
            return Err(StorageError::Malformed { what });
        }
    };
    let hasher = match pumped {
        Pumped::All(hasher) => hasher,
        Pumped::Failed(error) => return Err(error),
        Pumped::Refused => {
            answer.await?;
            let what = "it took only a part of the object and is content".to_owned();
            return Err(StorageError::Malformed { what });
        }
    };
    let size = hasher.size();
    // Hash the padding while the other side works.
    let segments = tokio::task::spawn_blocking(move || hasher.finish());
    let (answered, segments) = tokio::join!(answer, segments);
    let FidData {
        fid: answered,
        policy_kept,
    } = answered?;
    let segments = segments.map_err(|error| StorageError::Io {
        doing: "hashed an object",
        source: io::Error::other(error),
    })?;
    let computed = options.rule.fid(&segments).ok_or(StorageError::Empty)?;
    if answered != computed {
        return Err(StorageError::FidChanged { answered, computed });
    }
    store.follows(computed, &options, policy_kept).await?;
    store.active(computed).await?;
    Ok(Stored {
        fid: computed,
        size,
        segments,
    })
}

/// Hands the source to the request and hashes it on the way.
async fn pump(
    store: &HttpStore,
    mut source: ByteSource<'_>,
    first: Bytes,
    sender: mpsc::Sender<io::Result<Bytes>>,
) -> Pumped {
    let limit = store.config.max_object;
    let mut hasher = FidHasher::with_geometry(store.config.geometry);
    let mut piece = first;
    loop {
        hasher.update(&piece);
        let failed = if hasher.size() > limit {
            Some(StorageError::TooLarge { limit })
        } else {
            if sender.send(Ok(piece)).await.is_err() {
                return Pumped::Refused;
            }
            let mut next = BytesMut::with_capacity(PIECE);
            let read = source.read_buf(&mut next).await;
            piece = next.freeze();
            match read {
                Ok(0) => return Pumped::All(hasher),
                Ok(_) => None,
                Err(error) => Some(StorageError::Source(error)),
            }
        };
        if let Some(error) = failed {
            // An error in the body makes the HTTP client cut the connection.
            let _ = sender.send(Err(io::ErrorKind::BrokenPipe.into())).await;
            return Pumped::Failed(error);
        }
    }
}
