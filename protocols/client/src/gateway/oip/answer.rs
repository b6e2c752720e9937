//! Writing an inference answer.

use serde_json::{Map, Value, json};

use super::datatype::Values;
use super::request::Encoding;

/// An answer before it is encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Name of the model.
    pub model: String,
    /// Version that answered.
    pub version: String,
    /// The request's id.
    pub id: Option<String>,
    /// Level, receipt, attempts: what an application keeps.
    pub parameters: Map<String, Value>,
    /// In the order in which they are sent.
    pub outputs: Vec<AnswerTensor>,
}

/// One output, batch first.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerTensor {
    /// The model's name for it.
    pub name: String,
    /// Shape with the batch.
    pub dims: Vec<usize>,
    /// Row-major.
    pub values: Values,
    /// How to send it.
    pub encoding: Encoding,
}

/// Bytes to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnswerBody {
    /// JSON, followed by tensors if there are binary ones.
    pub bytes: Vec<u8>,
    /// `Inference-Header-Content-Length`, when there are binary tensors.
    pub json_length: Option<usize>,
}

/// Encodes an answer.
///
/// # Errors
/// When JSON has no form for a value: an infinity or NaN in a tensor asked for as JSON.
pub fn encode_answer(answer: &Answer) -> Result<AnswerBody, serde_json::Error> {
    let mut binary = Vec::new();
    let mut outputs = Vec::with_capacity(answer.outputs.len());
    let mut any_binary = false;
    for tensor in &answer.outputs {
        let mut output = json!({
            "name": tensor.name,
            "shape": tensor.dims,
            "datatype": tensor.values.datatype().to_string(),
        });
        match tensor.encoding {
            Encoding::Binary => {
                let bytes = tensor.values.to_le_bytes();
                output["parameters"] = json!({ "binary_data_size": bytes.len() });
                binary.extend(bytes);
                any_binary = true;
            }
            Encoding::Json => {
                output["data"] = match &tensor.values {
                    Values::F32(v) => serde_json::to_value(v)?,
                    Values::I64(v) => serde_json::to_value(v)?,
                }
            }
        }
        outputs.push(output);
    }
    let mut head = json!({
        "model_name": answer.model,
        "model_version": answer.version,
        "parameters": answer.parameters,
        "outputs": outputs,
    });
    if let Some(id) = &answer.id {
        head["id"] = json!(id);
    }
    let mut bytes = serde_json::to_vec(&head)?;
    let json_length = any_binary.then_some(bytes.len());
    bytes.extend(binary);
    Ok(AnswerBody { bytes, json_length })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn binary_tensors_follow_the_json_in_order() {
        let tensor = |name: &str, values, encoding| AnswerTensor {
            name: name.into(),
            dims: vec![1, 2],
            values,
            encoding,
        };
        let answer = Answer {
            model: "m".into(),
            version: "3".into(),
            id: Some("9".into()),
            parameters: Map::new(),
            outputs: vec![
                tensor("p", Values::F32(vec![0.25, 0.75]), Encoding::Binary),
                tensor("q", Values::F32(vec![1.5, 2.0]), Encoding::Json),
                tensor("c", Values::I64(vec![1, -1]), Encoding::Binary),
            ],
        };
        let body = encode_answer(&answer).unwrap();
        let (json, binary) = body.bytes.split_at(body.json_length.unwrap());
        let json: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(json["model_version"], "3");
        assert_eq!(json["id"], "9");
        assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 8);
        assert!(json["outputs"][0].get("data").is_none());
        assert_eq!(json["outputs"][1]["data"], json!([1.5, 2.0]));
        assert_eq!(json["outputs"][2]["datatype"], "INT64");
        let wanted: Vec<u8> = [0.25f32, 0.75]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .chain(1i64.to_le_bytes())
            .chain((-1i64).to_le_bytes())
            .collect();
        assert_eq!(binary, wanted);
    }
}
