//! Between gRPC's messages and what both interfaces work with.

use std::collections::HashMap;

use axum::body::Bytes;
use serde_json::{Map, Value};

use super::messages::{
    InferInputTensor, InferOutputTensor, InferParameter, InferTensorContents, ModelInferRequest,
    ModelInferResponse, ParameterChoice,
};
use crate::gateway::GatewayError;
use crate::gateway::oip::{
    Answer, InferRequest, Numbers, Raw, RawInput, RawOutput, RequestError, Values,
};

/// How tensors are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In `raw_input_contents` and `raw_output_contents`.
    Raw,
    /// In the `contents` of each tensor.
    Typed,
}

/// The request, and the form in which its answer is sent: that of its inputs.
pub(super) fn request(sent: ModelInferRequest) -> Result<(InferRequest, Form), GatewayError> {
    let ModelInferRequest {
        id,
        parameters,
        inputs,
        outputs,
        raw_input_contents,
        ..
    } = sent;
    let form = match inputs.iter().any(|input| input.contents.is_some()) {
        true => Form::Typed,
        false => Form::Raw,
    };
    let mut contents = raw_input_contents.into_iter();
    let mut binary = Vec::new();
    let mut raws = Vec::with_capacity(inputs.len().min(contents.len().max(1)));
    for input in inputs {
        let raw = raw_input(input, &mut contents)?;
        binary.push(raw.1);
        raws.push(raw.0);
    }
    let left: usize = contents.map(|bytes| bytes.len()).sum();
    if left > 0 {
        let error = RequestError::LeftOver { bytes: left };
        return Err(GatewayError::Request(error));
    }
    let asked = outputs.into_iter().map(|output| RawOutput {
        name: output.name,
        parameters: values(output.parameters),
    });
    let asked: Vec<_> = asked.collect();
    let raw = Raw {
        id: Some(id).filter(|id| !id.is_empty()),
        parameters: values(parameters),
        inputs: raws,
        outputs: Some(asked).filter(|asked| !asked.is_empty()),
    };
    let mut binary = binary.into_iter();
    let request = InferRequest::resolve(raw, |input| {
        let bytes = binary.next().unwrap_or_default();
        input.resolve(&mut &bytes[..])
    });
    Ok((request.map_err(GatewayError::Request)?, form))
}

/// An input as REST would send it, and its bytes if it is sent as such.
fn raw_input(
    input: InferInputTensor,
    contents: &mut impl Iterator<Item = Bytes>,
) -> Result<(RawInput, Bytes), GatewayError> {
    let InferInputTensor {
        name,
        datatype,
        shape,
        parameters,
        contents: typed,
    } = input;
    let sizes: Result<Vec<u64>, _> = shape.iter().map(|size| u64::try_from(*size)).collect();
    let shape = sizes.map_err(|_| GatewayError::NegativeSize {
        name: name.clone(),
        found: shape,
    })?;
    let mut parameters = values(parameters);
    // Its size is told by the message.
    parameters.remove("binary_data_size");
    // A permit is an object, which parameters here have no form for: it is sent as its JSON.
    if let Some(permit) = parameters.get_mut("permit")
        && let Some(parsed) = permit.as_str().and_then(|p| serde_json::from_str(p).ok())
    {
        *permit = parsed;
    }
    let mut bytes = Bytes::new();
    let data = match typed {
        Some(typed) => Some(Numbers(elements(typed, &datatype))),
        None if parameters.contains_key("permit") => None,
        None => {
            if let Some(raw) = contents.next() {
                parameters.insert("binary_data_size".into(), raw.len().into());
                bytes = raw;
            }
            None
        }
    };
    let input = RawInput {
        name,
        shape,
        datatype,
        parameters,
        data,
    };
    Ok((input, bytes))
}

/// Elements from the field that belongs to the datatype. Of datatypes that are not taken there are none, and the checks
/// that follow say so.
fn elements(contents: InferTensorContents, datatype: &str) -> Vec<f32> {
    let c = contents;
    match datatype {
        "FP32" => c.fp32_contents,
        "FP64" => c.fp64_contents.iter().map(|v| *v as f32).collect(),
        "BOOL" => c
            .bool_contents
            .iter()
            .map(|v| f32::from(u8::from(*v)))
            .collect(),
        "INT8" | "INT16" | "INT32" => c.int_contents.iter().map(|v| *v as f32).collect(),
        "INT64" => c.int64_contents.iter().map(|v| *v as f32).collect(),
        "UINT8" | "UINT16" | "UINT32" => c.uint_contents.iter().map(|v| *v as f32).collect(),
        "UINT64" => c.uint64_contents.iter().map(|v| *v as f32).collect(),
        _ => Vec::new(),
    }
}

fn values(parameters: HashMap<String, InferParameter>) -> Map<String, Value> {
    let value = |parameter: InferParameter| match parameter.parameter_choice {
        None => Value::Null,
        Some(ParameterChoice::Bool(value)) => value.into(),
        Some(ParameterChoice::Int64(value)) => value.into(),
        Some(ParameterChoice::Uint64(value)) => value.into(),
        Some(ParameterChoice::Double(value)) => value.into(),
        Some(ParameterChoice::String(value)) => value.into(),
    };
    let each = parameters.into_iter();
    each.map(|(name, parameter)| (name, value(parameter)))
        .collect()
}

/// The answer as it is sent.
pub(super) fn response(answer: Answer, form: Form) -> ModelInferResponse {
    let mut raw_output_contents = Vec::new();
    let outputs = answer.outputs.into_iter().map(|tensor| {
        let datatype = tensor.values.datatype().to_string();
        let contents = match form {
            Form::Raw => {
                raw_output_contents.push(tensor.values.to_le_bytes());
                None
            }
            Form::Typed => Some(match tensor.values {
                Values::F32(values) => InferTensorContents {
                    fp32_contents: values,
                    ..Default::default()
                },
                Values::I64(values) => InferTensorContents {
                    int64_contents: values,
                    ..Default::default()
                },
            }),
        };
        let shape = tensor.dims.iter().map(|size| i64::try_from(*size));
        InferOutputTensor {
            name: tensor.name,
            datatype,
            shape: shape.map(|size| size.unwrap_or(i64::MAX)).collect(),
            parameters: HashMap::new(),
            contents,
        }
    });
    let outputs = outputs.collect();
    ModelInferResponse {
        model_name: answer.model,
        model_version: answer.version,
        id: answer.id.unwrap_or_default(),
        parameters: parameters(answer.parameters),
        outputs,
        raw_output_contents,
    }
}

fn parameters(values: Map<String, Value>) -> HashMap<String, InferParameter> {
    let choice = |value: Value| match value {
        Value::Bool(value) => ParameterChoice::Bool(value),
        Value::String(value) => ParameterChoice::String(value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => ParameterChoice::Int64(value),
            (None, Some(value)) => ParameterChoice::Uint64(value),
            (None, None) => ParameterChoice::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        other => ParameterChoice::String(other.to_string()),
    };
    let parameter = |value| InferParameter {
        parameter_choice: Some(choice(value)),
    };
    let each = values.into_iter();
    each.map(|(name, value)| (name, parameter(value))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ai_link_wire::{DealerSeat, Level};
    use serde_json::json;

    use super::*;
    use crate::gateway::oip::{AnswerTensor, Encoding};

    fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
        InferInputTensor {
            name: name.into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            ..Default::default()
        }
    }

    fn sent(inputs: Vec<InferInputTensor>, raw: &[&[u8]]) -> ModelInferRequest {
        ModelInferRequest {
            model_name: "m".into(),
            inputs,
            raw_input_contents: raw
                .iter()
                .map(|bytes| Bytes::copy_from_slice(bytes))
                .collect(),
            ..Default::default()
        }
    }

    #[test]
    fn raw_and_typed_contents_say_what_json_says() {
        let json = br#"{"id": "7", "parameters": {"level": "mpc", "dealer": "client", "evaluators": 3}, "inputs": [
            {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, -2]},
            {"name": "y", "shape": [2], "datatype": "INT16", "data": [3, 256]}],
            "outputs": [{"name": "z"}]}"#;
        let wanted = InferRequest::parse(json, None).unwrap();
        let also = |mut request: ModelInferRequest| {
            let choice = |c| InferParameter {
                parameter_choice: Some(c),
            };
            request.id = "7".into();
            request.parameters.extend([
                (
                    "level".to_owned(),
                    choice(ParameterChoice::String("mpc".into())),
                ),
                (
                    "dealer".to_owned(),
                    choice(ParameterChoice::String("client".into())),
                ),
                ("evaluators".to_owned(), choice(ParameterChoice::Int64(3))),
            ]);
            request
                .outputs
                .push(super::super::messages::InferRequestedOutputTensor {
                    name: "z".into(),
                    ..Default::default()
                });
            request
        };
        let (mut x, mut y) = (input("x", "FP32", &[1, 2]), input("y", "INT16", &[2]));
        let raw = sent(
            vec![x.clone(), y.clone()],
            &[&[0, 0, 192, 63, 0, 0, 0, 192], &[3, 0, 0, 1]],
        );
        assert_eq!(request(also(raw)).unwrap(), (wanted.clone(), Form::Raw));
        x.contents = Some(InferTensorContents {
            fp32_contents: vec![1.5, -2.0],
            ..Default::default()
        });
        y.contents = Some(InferTensorContents {
            int_contents: vec![3, 256],
            ..Default::default()
        });
        let typed = sent(vec![x, y], &[]);
        assert_eq!(request(also(typed)).unwrap(), (wanted.clone(), Form::Typed));
        assert_eq!(
            (wanted.level, wanted.dealer),
            (Some(Level::Mpc), Some(DealerSeat::Client))
        );
    }

    #[test]
    fn what_does_not_fit_is_the_error_that_rest_gives() {
        let fails = |inputs, raw: &[&[u8]]| request(sent(inputs, raw)).unwrap_err();
        let x = |shape: &[i64]| vec![input("x", "FP32", shape)];
        use RequestError as E;
        let of = |error| match error {
            GatewayError::Request(error) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(of(fails(x(&[2]), &[])), E::NoData { .. }));
        let short = of(fails(x(&[2]), &[&[0; 4]]));
        assert!(matches!(
            short,
            E::BinarySize {
                found: Some(4),
                wanted: Some(8),
                ..
            }
        ));
        assert!(matches!(
            of(fails(x(&[1]), &[&[0; 4], &[0; 9]])),
            E::LeftOver { bytes: 9 }
        ));
        let bytes = of(fails(vec![input("x", "BYTES", &[1])], &[&[0; 4]]));
        assert!(matches!(bytes, E::Datatype { .. }));
        assert!(matches!(
            of(fails(x(&[i64::MAX, 9]), &[&[0; 4]])),
            E::Overflow { .. }
        ));
        assert!(matches!(
            fails(x(&[-1]), &[&[0; 4]]),
            GatewayError::NegativeSize { .. }
        ));
        let mut both = input("x", "FP32", &[1]);
        both.contents = Some(InferTensorContents {
            fp32_contents: vec![1.0],
            ..Default::default()
        });
        assert!(matches!(
            of(fails(vec![both.clone()], &[&[0; 4]])),
            E::LeftOver { bytes: 4 }
        ));
        both.datatype = "INT64".into();
        assert!(matches!(
            of(fails(vec![both], &[])),
            E::Elements { found: 0, .. }
        ));
        let many = (0..65).map(|_| input("x", "FP32", &[0])).collect();
        assert!(matches!(
            of(fails(many, &[&[][..]; 65])),
            E::TooManyTensors { count: 65, .. }
        ));
    }

    #[test]
    fn an_answer_takes_the_form_of_its_request() {
        let answer = Answer {
            model: "m".into(),
            version: "3".into(),
            id: Some("7".into()),
            parameters: json!({"level": "mpc", "attempts": 1})
                .as_object()
                .unwrap()
                .clone(),
            outputs: vec![AnswerTensor {
                name: "y".into(),
                dims: vec![1, 2],
                values: Values::I64(vec![1, -1]),
                encoding: Encoding::Json,
            }],
        };
        let raw = response(answer.clone(), Form::Raw);
        let wanted: Vec<u8> = [1i64, -1].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(raw.raw_output_contents, [wanted]);
        assert_eq!(
            (raw.outputs[0].datatype.as_str(), &raw.outputs[0].contents),
            ("INT64", &None)
        );
        assert_eq!(raw.outputs[0].shape, [1, 2]);
        let attempts = raw.parameters["attempts"].parameter_choice.clone();
        assert_eq!(attempts, Some(ParameterChoice::Int64(1)));
        let typed = response(answer, Form::Typed);
        assert!(typed.raw_output_contents.is_empty());
        let contents = typed.outputs[0].contents.as_ref().unwrap();
        assert_eq!(contents.int64_contents, [1, -1]);
    }
}
