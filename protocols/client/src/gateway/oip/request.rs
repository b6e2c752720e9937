//! Parsing an inference request.

use ai_link_wire::{DealerSeat, Level, Permit};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::datatype::Datatype;
use super::numbers::Numbers;

/// No model has more inputs or outputs, and no tensor more dimensions.
const MAX_TENSORS: usize = 64;
const MAX_DIMS: usize = 8;

/// An inference request as the application meant it.
#[derive(Clone, Debug, PartialEq)]
pub struct InferRequest {
    /// Repeated in the answer.
    pub id: Option<String>,
    /// In the request's order.
    pub inputs: Vec<InputTensor>,
    /// `None`: all outputs, encoded as `default_encoding`.
    pub outputs: Option<Vec<RequestedOutput>>,
    /// For outputs that say nothing themselves.
    pub default_encoding: Encoding,
    /// The privacy level, if the request says so.
    pub level: Option<Level>,
    /// Who should deal, if the request says so.
    pub dealer: Option<DealerSeat>,
    /// How many evaluators there should be, if the request says so.
    pub evaluators: Option<u8>,
}

/// One input, batch first.
#[derive(Clone, Debug, PartialEq)]
pub struct InputTensor {
    /// The model's name for it.
    pub name: String,
    /// Shape with the batch.
    pub dims: Vec<usize>,
    /// Row-major; nothing where there is a permit.
    pub data: Vec<f32>,
    /// The parameter `permit`: workers bring this input from storage, with what its owner gave the application.
    pub permit: Option<Box<Permit>>,
}

/// An output that the application asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestedOutput {
    /// The model's name for it.
    pub name: String,
    /// How to send it.
    pub encoding: Encoding,
}

/// How a tensor is sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Encoding {
    /// Little-endian after the JSON.
    Binary,
    /// In the JSON.
    #[default]
    Json,
}

impl InferRequest {
    /// Parses a body. `json_length` is the header `Inference-Header-Content-Length`, if it was there.
    ///
    /// # Errors
    /// [`RequestError`]: every way in which the request contradicts the protocol or itself.
    pub fn parse(body: &[u8], json_length: Option<usize>) -> Result<Self, RequestError> {
        let length = json_length.unwrap_or(body.len());
        let (json, mut binary) =
            body.split_at_checked(length)
                .ok_or(RequestError::HeaderLength {
                    claimed: length,
                    body: body.len(),
                })?;
        let raw: Raw = serde_json::from_slice(json).map_err(RequestError::Json)?;
        let request = Self::resolve(raw, |input| input.resolve(&mut binary))?;
        match binary.len() {
            0 => Ok(request),
            bytes => Err(RequestError::LeftOver { bytes }),
        }
    }

    /// From what was sent, in whatever form: `resolve` gives each input its elements.
    pub(in crate::gateway) fn resolve(
        raw: Raw,
        resolve: impl FnMut(RawInput) -> Result<InputTensor, RequestError>,
    ) -> Result<Self, RequestError> {
        let count = raw
            .inputs
            .len()
            .max(raw.outputs.as_ref().map_or(0, Vec::len));
        if count > MAX_TENSORS {
            return Err(RequestError::TooManyTensors {
                count,
                limit: MAX_TENSORS,
            });
        }
        let inputs = raw.inputs.into_iter().map(resolve);
        let inputs = inputs.collect::<Result<_, _>>()?;
        let default_encoding = encoding(&raw.parameters, "binary_data_output", Encoding::Json);
        let outputs = raw.outputs.map(|outputs| {
            outputs
                .into_iter()
                .map(|o| RequestedOutput {
                    encoding: encoding(&o.parameters, "binary_data", default_encoding),
                    name: o.name,
                })
                .collect()
        });
        Ok(Self {
            id: raw.id,
            inputs,
            outputs,
            default_encoding,
            level: parameter(&raw.parameters, "level", |v| v.as_str()?.parse().ok())?,
            dealer: parameter(&raw.parameters, "dealer", |v| v.as_str()?.parse().ok())?,
            evaluators: parameter(&raw.parameters, "evaluators", |v| {
                u8::try_from(v.as_u64()?).ok()
            })?,
        })
    }

    /// Names of the inputs that workers bring from storage.
    pub fn stored_inputs(&self) -> impl Iterator<Item = &str> {
        let stored = self.inputs.iter().filter(|input| input.permit.is_some());
        stored.map(|input| input.name.as_str())
    }
}

/// A request as it was sent.
#[derive(Deserialize)]
pub(in crate::gateway) struct Raw {
    pub(in crate::gateway) id: Option<String>,
    #[serde(default)]
    pub(in crate::gateway) parameters: Map<String, Value>,
    pub(in crate::gateway) inputs: Vec<RawInput>,
    pub(in crate::gateway) outputs: Option<Vec<RawOutput>>,
}

/// One of its inputs.
#[derive(Deserialize)]
pub(in crate::gateway) struct RawInput {
    pub(in crate::gateway) name: String,
    pub(in crate::gateway) shape: Vec<u64>,
    pub(in crate::gateway) datatype: String,
    #[serde(default)]
    pub(in crate::gateway) parameters: Map<String, Value>,
    pub(in crate::gateway) data: Option<Numbers>,
}

/// An output that it asks for.
#[derive(Deserialize)]
pub(in crate::gateway) struct RawOutput {
    pub(in crate::gateway) name: String,
    #[serde(default)]
    pub(in crate::gateway) parameters: Map<String, Value>,
}

impl RawInput {
    /// Takes this input's bytes off the front of `binary`, if it is sent that way.
    pub(in crate::gateway) fn resolve(
        self,
        binary: &mut &[u8],
    ) -> Result<InputTensor, RequestError> {
        let input = self.name;
        let Ok(datatype) = self.datatype.parse::<Datatype>() else {
            return Err(RequestError::Datatype {
                input,
                datatype: self.datatype,
            });
        };
        if self.shape.len() > MAX_DIMS {
            return Err(RequestError::Dimensions {
                input,
                found: self.shape.len(),
                limit: MAX_DIMS,
            });
        }
        let elements = self
            .shape
            .iter()
            .try_fold(1usize, |n, d| n.checked_mul(usize::try_from(*d).ok()?))
            .ok_or_else(|| RequestError::Overflow {
                input: input.clone(),
                shape: self.shape.clone(),
            })?;
        let dims = || self.shape.iter().map(|d| *d as usize).collect();
        if let Some(permit) = self.parameters.get("permit") {
            if self.data.is_some() || self.parameters.contains_key("binary_data_size") {
                return Err(RequestError::PermitAndData { input });
            }
            let permit = Permit::deserialize(permit);
            let permit = permit.map_err(|source| RequestError::Permit {
                input: input.clone(),
                source,
            })?;
            return Ok(InputTensor {
                name: input,
                dims: dims(),
                data: Vec::new(),
                permit: Some(Box::new(permit)),
            });
        }
        let data = match (self.parameters.get("binary_data_size"), self.data) {
            (Some(_), Some(_)) => return Err(RequestError::BothEncodings { input }),
            (None, None) => return Err(RequestError::NoData { input }),
            (None, Some(numbers)) => numbers.0,
            (Some(size), None) => {
                let wanted = elements.checked_mul(datatype.size());
                let size = size.as_u64().and_then(|s| usize::try_from(s).ok());
                match (size, wanted) {
                    (Some(size), Some(wanted)) if size == wanted => {}
                    _ => {
                        return Err(RequestError::BinarySize {
                            input,
                            found: size,
                            wanted,
                        });
                    }
                }
                let bytes = size.and_then(|size| binary.split_off(..size)).ok_or(
                    RequestError::Truncated {
                        input: input.clone(),
                    },
                )?;
                datatype.to_f32(bytes)
            }
        };
        if data.len() != elements {
            return Err(RequestError::Elements {
                input,
                found: data.len(),
                shape: self.shape,
            });
        }
        Ok(InputTensor {
            name: input,
            dims: dims(),
            data,
            permit: None,
        })
    }
}

/// A parameter of ours: absent, or readable.
fn parameter<T>(
    parameters: &Map<String, Value>,
    name: &'static str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<Option<T>, RequestError> {
    match parameters.get(name) {
        None => Ok(None),
        Some(value) => read(value)
            .map(Some)
            .ok_or(RequestError::Parameter { name }),
    }
}

fn encoding(parameters: &Map<String, Value>, key: &str, default: Encoding) -> Encoding {
    match parameters.get(key).and_then(Value::as_bool) {
        Some(true) => Encoding::Binary,
        Some(false) => Encoding::Json,
        None => default,
    }
}

/// What is wrong with a request. All are the application's to mend: HTTP 400.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The declared size is not that of the shape.
    #[error("input {input}: binary_data_size is {found:?}, its shape and datatype need {wanted:?}")]
    BinarySize {
        /// The input.
        input: String,
        /// Declared.
        found: Option<usize>,
        /// By shape and datatype.
        wanted: Option<usize>,
    },
    /// JSON and binary at once.
    #[error("input {input} has both `data` and `binary_data_size`; send one")]
    BothEncodings {
        /// The input.
        input: String,
    },
    /// An element type that models do not take.
    #[error("input {input} has datatype {datatype}; use FP32, FP64, BOOL or an integer type")]
    Datatype {
        /// The input.
        input: String,
        /// As sent.
        datatype: String,
    },
    /// Too many dimensions.
    #[error("input {input} has {found} dimensions; at most {limit} are taken")]
    Dimensions {
        /// The input.
        input: String,
        /// As sent.
        found: usize,
        /// Most.
        limit: usize,
    },
    /// The data does not fill the shape.
    #[error("input {input} has {found} elements, which do not fill shape {shape:?}")]
    Elements {
        /// The input.
        input: String,
        /// Sent.
        found: usize,
        /// Declared.
        shape: Vec<u64>,
    },
    /// The header says more than there is.
    #[error("Inference-Header-Content-Length is {claimed}, the body has {body} bytes")]
    HeaderLength {
        /// By the header.
        claimed: usize,
        /// What came.
        body: usize,
    },
    /// The JSON is not a request.
    #[error("the request is not valid: {0}")]
    Json(serde_json::Error),
    /// Bytes that no input claims.
    #[error("{bytes} bytes follow the last binary tensor")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
    /// Neither JSON nor binary.
    #[error("input {input} has neither `data` nor `binary_data_size`")]
    NoData {
        /// The input.
        input: String,
    },
    /// A parameter that is not passed over because the privacy of the input depends on it.
    #[error("the parameter `{name}` cannot be read")]
    Parameter {
        /// Its name.
        name: &'static str,
    },
    /// A permit that is none.
    #[error("input {input}: the parameter `permit` is not a permit")]
    Permit {
        /// The input.
        input: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Workers bring the input, and the application sends it.
    #[error("input {input} has a permit, with which it comes from storage, and data; send one")]
    PermitAndData {
        /// The input.
        input: String,
    },
    /// The shape's product overflows.
    #[error("input {input}: shape {shape:?} is too large")]
    Overflow {
        /// The input.
        input: String,
        /// Declared.
        shape: Vec<u64>,
    },
    /// Too many inputs or outputs.
    #[error("{count} tensors; at most {limit} are taken")]
    TooManyTensors {
        /// Sent.
        count: usize,
        /// Most.
        limit: usize,
    },
    /// The body ends too early.
    #[error("the body ends before the binary data of input {input}")]
    Truncated {
        /// The input.
        input: String,
    },
}

/// Entry point for the fuzzer; the property test below drives it too.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let length = data.first().map(|b| usize::from(*b));
    let _ = InferRequest::parse(data, None);
    let _ = InferRequest::parse(data.get(1..).unwrap_or_default(), length);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn json_and_binary_say_the_same() {
        let json = br#"{"id":"7","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2],[3,4]]}],
            "outputs":[{"name":"y","parameters":{"binary_data":true}},{"name":"z"}]}"#;
        let a = InferRequest::parse(json, None).unwrap();
        let head = br#"{"id":"7","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}}],
            "outputs":[{"name":"y","parameters":{"binary_data":true}},{"name":"z"}]}"#;
        let mut body = head.to_vec();
        for v in [1f32, 2.0, 3.0, 4.0] {
            body.extend(v.to_le_bytes());
        }
        let b = InferRequest::parse(&body, Some(head.len())).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.inputs[0].dims, [2, 2]);
        let outputs = a.outputs.unwrap();
        assert_eq!(outputs[0].encoding, Encoding::Binary);
        assert_eq!(outputs[1].encoding, Encoding::Json);
    }

    #[test]
    fn contradictions_are_typed_errors() {
        let parse = |text: &str| InferRequest::parse(text.as_bytes(), None).unwrap_err();
        let input = |rest: &str| format!(r#"{{"inputs":[{{"name":"x",{rest}}}]}}"#);
        assert!(matches!(parse("{"), RequestError::Json(_)));
        assert!(matches!(
            parse(&input(r#""shape":[2],"datatype":"FP32","data":[1]"#)),
            RequestError::Elements { found: 1, .. }
        ));
        assert!(matches!(
            parse(&input(r#""shape":[1],"datatype":"BYTES","data":[1]"#)),
            RequestError::Datatype { .. }
        ));
        assert!(matches!(
            parse(&input(r#""shape":[1],"datatype":"FP32""#)),
            RequestError::NoData { .. }
        ));
        assert!(matches!(
            parse(&input(
                r#""shape":[18446744073709551615,9],"datatype":"FP32","data":[1]"#
            )),
            RequestError::Overflow { .. }
        ));
        let binary = r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}"#;
        assert!(matches!(
            parse(&input(binary)),
            RequestError::Truncated { .. }
        ));
        let wrong = r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":5}"#;
        assert!(matches!(
            parse(&input(wrong)),
            RequestError::BinarySize { found: Some(5), .. }
        ));
        assert!(matches!(
            InferRequest::parse(b"{}", Some(3)),
            Err(RequestError::HeaderLength {
                claimed: 3,
                body: 2
            })
        ));
        let head = input(r#""shape":[1],"datatype":"FP32","data":[1]"#);
        let body = format!("{head}xyz");
        assert!(matches!(
            InferRequest::parse(body.as_bytes(), Some(head.len())),
            Err(RequestError::LeftOver { bytes: 3 })
        ));
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_never_panic(data: Vec<u8>) {
            fuzz(&data);
        }
    }
}
