//! The envelope around every answer, and how errors travel in it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::range::RangeError;
use crate::error::StorageError;
use crate::fid::Fid;
use crate::object::ParseNameError;

pub(crate) const OK: u16 = 200;
const BAD_REQUEST: u16 = 400;
const FORBIDDEN: u16 = 403;
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;
const TOO_LARGE: u16 = 413;
const RANGE: u16 = 416;
const INTERNAL: u16 = 500;
const FULL: u16 = 507;

const BUSY_MESSAGE: &str = "server busy";
const EMPTY_MESSAGE: &str = "empty file";
const OWNERS_MESSAGE: &str = "too many owners";

/// The most that is kept of the other side's words.
const MAX_MESSAGE: usize = 256;

/// An answer to be written.
#[derive(Debug, Serialize)]
pub(crate) struct Envelope<T> {
    pub(crate) code: u16,
    pub(crate) msg: String,
    pub(crate) data: T,
}

/// An answer as received. `data` is looked at only when `code` says that it is there.
#[derive(Deserialize)]
struct Received {
    code: u16,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    data: serde_json::Value,
}

/// Why an envelope does not hold what was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    /// The other side refused.
    #[error("refused with code {code}: {message}")]
    Refused {
        code: u16,
        message: String,
        limit: Option<u64>,
    },
    /// It is not an envelope with such data.
    #[error("{0}")]
    Malformed(String),
}

/// What a refusal has to say besides words.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RefusalData {
    /// The limit that was passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u64>,
}

/// `data` of an answer to a put.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FidData {
    pub(crate) fid: Fid,
    /// Whether the location policy of the request was followed. Not known to DeOSS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy_kept: Option<bool>,
}

/// `data` of an answer to a delete.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeletedData {
    pub(crate) result: DeletedResult,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeletedResult {
    Released,
    Removed,
}

/// `data` of an answer to a question about an object.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) fid: Fid,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) owner: Vec<OwnerData>,
    /// Not known to DeOSS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) segments: Option<Vec<crate::fid::ContentHash>>,
}

/// Accounts and names are kept as text: gateways hold accounts and names of all kinds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnerData {
    pub(crate) user: String,
    pub(crate) file_name: String,
}

/// An element of `data` of an answer to a list.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListEntry {
    #[serde(default)]
    pub(crate) territory: String,
    pub(crate) fid: Fid,
    pub(crate) size: u64,
    /// Not known to DeOSS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file_name: Option<String>,
}

/// A value of `data` of an answer to a locate; its key is "N batch fragments", N from 1 to 12.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionData {
    /// In hex; nothing if there is no such version.
    pub(crate) manifest: Option<String>,
}

/// The versions of a mutable object.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionsData {
    pub(crate) versions: Vec<u64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// Who holds fragment N of every segment.
    pub(crate) account: String,
    /// Where that is. Not known to DeOSS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) site: Option<crate::location::Site>,
    /// The fragments, by segment. Not known to DeOSS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fragments: Option<Vec<BatchFragment>>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchFragment {
    pub(crate) hash: crate::fid::ContentHash,
    pub(crate) state: crate::object::FragmentState,
}

/// Key of a [`Batch`].
pub(crate) fn batch_key(index: usize) -> String {
    format!("{} batch fragments", index + 1)
}

/// Takes the data out of an envelope.
pub(crate) fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, EnvelopeError> {
    let received: Received = serde_json::from_slice(bytes)
        .map_err(|error| EnvelopeError::Malformed(format!("it is not an envelope ({error})")))?;
    if received.code != OK {
        let limit =
            serde_json::from_value(received.data).map_or(None, |RefusalData { limit }| limit);
        let mut message = received.msg;
        let cut = (0..=MAX_MESSAGE)
            .rev()
            .find(|at| message.is_char_boundary(*at));
        message.truncate(cut.unwrap_or(0));
        return Err(EnvelopeError::Refused {
            code: received.code,
            message,
            limit,
        });
    }
    serde_json::from_value(received.data)
        .map_err(|error| EnvelopeError::Malformed(format!("its data is of another kind ({error})")))
}

impl EnvelopeError {
    /// The error this stands for, in answer to a request about `fid`, if it was about one.
    pub(crate) fn into_storage_error(self, fid: Option<Fid>) -> StorageError {
        let (code, message, limit) = match self {
            Self::Malformed(what) => return StorageError::Malformed { what },
            Self::Refused {
                code,
                message,
                limit,
            } => (code, message, limit),
        };
        match (code, message.as_str(), fid, limit) {
            (BAD_REQUEST, EMPTY_MESSAGE, ..) => StorageError::Empty,
            (FORBIDDEN, BUSY_MESSAGE, ..) => StorageError::Busy,
            (FORBIDDEN, ..) => StorageError::NoPermission { reason: message },
            (NOT_FOUND, _, Some(fid), _) => StorageError::NotFound { fid },
            (TOO_LARGE, .., Some(limit)) => StorageError::TooLarge { limit },
            (FULL, .., Some(capacity)) => StorageError::Full { capacity },
            (_, OWNERS_MESSAGE, _, Some(limit)) => StorageError::TooManyOwners {
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            },
            _ => StorageError::Refused { code, message },
        }
    }
}

/// An error as it is told to the other side: what concerns the server alone stays there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: String,
    pub(crate) limit: Option<u64>,
}

impl Refusal {
    fn new(code: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            limit: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(BAD_REQUEST, message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(FORBIDDEN, message)
    }

    pub(crate) fn busy() -> Self {
        Self::new(FORBIDDEN, BUSY_MESSAGE)
    }

    pub(crate) fn not_found(message: &str) -> Self {
        Self::new(NOT_FOUND, message)
    }

    /// Another version of a mutable object was published first.
    pub(crate) fn overtaken(found: u64) -> Self {
        Self::new(CONFLICT, format!("overtaken by version {found}"))
    }

    pub(crate) fn full() -> Self {
        Self::new(FULL, "no space left in the store")
    }

    pub(crate) fn no_route() -> Self {
        Self::new(NOT_FOUND, "Not found")
    }

    pub(crate) fn internal() -> Self {
        Self::new(INTERNAL, "system error")
    }

    pub(crate) fn is_internal(&self) -> bool {
        self.code == INTERNAL
    }

    pub(crate) fn timed_out() -> Self {
        Self::new(BAD_REQUEST, "the request took too long")
    }
}

impl From<&StorageError> for Refusal {
    fn from(error: &StorageError) -> Self {
        match error {
            StorageError::Busy => Self::busy(),
            StorageError::Empty => Self::bad_request(EMPTY_MESSAGE),
            StorageError::NoPermission { reason } => Self::forbidden(reason.as_str()),
            StorageError::NotFound { .. } => Self::new(NOT_FOUND, "file not found"),
            StorageError::RangeNotSatisfiable { .. } => {
                Self::new(RANGE, RangeError::Value.to_string())
            }
            StorageError::Placement { .. }
            | StorageError::PolicyNotOffered { .. }
            | StorageError::OtherPolicy { .. }
            | StorageError::OtherSize { .. } => Self::new(CONFLICT, error.to_string()),
            StorageError::Unrecoverable { .. } => Self::new(INTERNAL, error.to_string()),
            StorageError::Source(_) => Self::bad_request("the body was cut short"),
            StorageError::TooLarge { limit } => Self {
                limit: Some(*limit),
                ..Self::new(TOO_LARGE, "file too large")
            },
            StorageError::Full { capacity } => Self {
                limit: Some(*capacity),
                ..Self::new(FULL, "no space left in the store")
            },
            StorageError::TooManyOwners { limit } => Self {
                limit: Some(*limit as u64),
                ..Self::new(BAD_REQUEST, OWNERS_MESSAGE)
            },
            _ => Self::internal(),
        }
    }
}

impl From<RangeError> for Refusal {
    fn from(error: RangeError) -> Self {
        Self::new(RANGE, error.to_string())
    }
}

impl From<ParseNameError> for Refusal {
    fn from(error: ParseNameError) -> Self {
        Self::bad_request(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn errors_survive_the_way() {
        let fid = Fid([3; 32]);
        for error in [
            StorageError::Busy,
            StorageError::Empty,
            StorageError::NotFound { fid },
            StorageError::TooLarge { limit: 7 },
            StorageError::Full { capacity: 8 },
            StorageError::TooManyOwners { limit: 9 },
            StorageError::NoPermission {
                reason: "no".to_owned(),
            },
        ] {
            let Refusal {
                code,
                message,
                limit,
            } = Refusal::from(&error);
            let json = serde_json::to_vec(&Envelope {
                code,
                msg: message,
                data: RefusalData { limit },
            });
            let back = open::<FidData>(&json.unwrap())
                .unwrap_err()
                .into_storage_error(Some(fid));
            assert_eq!(back.to_string(), error.to_string());
        }
    }

    #[test]
    fn inner_errors_are_not_told() {
        let error = StorageError::Io {
            doing: "wrote /secret/path",
            source: std::io::Error::other("disk on fire"),
        };
        let refusal = Refusal::from(&error);
        assert_eq!(refusal, Refusal::new(500, "system error"));
    }

    #[test]
    fn envelopes_of_gateways() {
        let reply = br#"{"code":404,"msg":"Not found","data":null}"#;
        let error = open::<FidData>(reply).unwrap_err();
        assert_eq!(
            error,
            EnvelopeError::Refused {
                code: 404,
                message: "Not found".into(),
                limit: None
            }
        );
        let reply = br#"{"code":403,"msg":"please purchase territory first","data":"x"}"#;
        let error = open::<FidData>(reply).unwrap_err().into_storage_error(None);
        assert!(
            matches!(error, StorageError::NoPermission { reason } if reason.contains("territory"))
        );
        let reply = br#"{"code":200,"msg":"ok","data":{"fid":"short"}}"#;
        assert!(matches!(
            open::<FidData>(reply),
            Err(EnvelopeError::Malformed(_))
        ));
        let long = format!(r#"{{"code":500,"msg":"{}","data":null}}"#, "é".repeat(1000));
        let EnvelopeError::Refused { message, .. } = open::<FidData>(long.as_bytes()).unwrap_err()
        else {
            panic!("refused");
        };
        assert_eq!(message.len(), 256);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_envelope_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = open::<Metadata>(&bytes);
        }

        #[test]
        fn any_refusal_is_understood(code: u16, msg in "\\PC{0,300}", limit: Option<u64>) {
            prop_assume!(code != OK);
            let json = serde_json::to_vec(&Envelope { code, msg, data: RefusalData { limit } });
            let result = open::<Metadata>(&json.unwrap());
            let refused = matches!(result, Err(EnvelopeError::Refused { code: c, .. }) if c == code);
            prop_assert!(refused);
        }
    }
}
