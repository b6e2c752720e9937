//! Open Inference Protocol v2: what is in an inference request and in its answer.
//!
//! REST with JSON, and the binary tensor extension (`Inference-Header-Content-Length`: that many bytes of
//! JSON, then the tensors one after the other, little-endian). Facts from the protocol's specification
//! (`required_api.md`, Triton's `extension_binary_data.md`).

mod answer;
mod datatype;
mod numbers;
mod request;

pub use answer::{Answer, AnswerBody, AnswerTensor, encode_answer};
pub use datatype::{Datatype, Values};
pub(super) use numbers::Numbers;
#[doc(hidden)]
pub use request::fuzz;
pub use request::{Encoding, InferRequest, InputTensor, RequestError, RequestedOutput};
pub(super) use request::{Raw, RawInput, RawOutput};
