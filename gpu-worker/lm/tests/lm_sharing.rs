//! What is published for level `mpc` against Candle's forward pass on the same files: the graph in floats, layer by layer,
//! and the program in fixed point. Masked evaluation differs from the latter by a unit a truncation; `tests/text.rs` of
//! the workspace runs it through a network.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use ai_link_lm::{Checkpoint, Files};
use ai_link_program::hub::{self, Lookup, Shape};
use ai_link_program::{Graph, Package, PlanOptions, Program, Tensor};
use ai_link_text::{Causal, Sampling, Sentences, Text, pack};

const POSITIONS: usize = 56;

fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    let files = Files::read(&path).unwrap();
    files
        .iter()
        .map(|(n, b)| (n.to_owned(), b.to_vec()))
        .collect()
}

/// The same with fewer layers.
fn cut(mut files: Vec<(String, Vec<u8>)>, layers: usize) -> Vec<(String, Vec<u8>)> {
    let (_, config) = files.iter_mut().find(|(n, _)| n == "config.json").unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(config).unwrap();
    for field in ["num_hidden_layers", "n_layer"] {
        if !json[field].is_null() {
            json[field] = layers.into();
        }
    }
    *config = json.to_string().into_bytes();
    files
}

fn borrowed(files: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    files
        .iter()
        .map(|(n, b)| (n.as_str(), b.as_slice()))
        .collect()
}

fn made(files: &[(String, Vec<u8>)], lookup: Lookup) -> (Graph, Text) {
    chunked(files, lookup, POSITIONS)
}

fn chunked(files: &[(String, Vec<u8>)], lookup: Lookup, chunk: usize) -> (Graph, Text) {
    let shape = Shape {
        positions: POSITIONS,
        chunk,
        lookup,
    };
    let files = borrowed(files);
    let checkpoint = hub::Checkpoint::open(files.iter().copied()).unwrap();
    let text = Text::from_bytes(&pack(&files, shape).unwrap()).unwrap();
    (checkpoint.graph(shape).unwrap(), text)
}

fn planned(graph: &Graph, text: &Text, texts: &[String]) -> Program {
    let calibration = text.calibration(texts, graph).unwrap();
    let options = PlanOptions {
        function_bits: 12,
        ..PlanOptions::default()
    };
    let package = Package::of_graph("test", graph, &calibration, options).unwrap();
    text.fits(&package.program).unwrap();
    package.program
}

fn texts() -> Vec<String> {
    [
        "the quick brown fox",
        "a",
        "jumps over the lazy dog and runs away",
        "hello world, this is a longer text with more of everything",
        "0 1 2 3 4 5",
    ]
    .map(str::to_owned)
    .into()
}

fn sentences(text: &Text) -> &Sentences {
    match text {
        Text::Sentences(sentences) => sentences,
        Text::Causal(_) => panic!("an encoder was packed"),
    }
}

fn causal(text: &Text) -> &Causal {
    match text {
        Text::Causal(causal) => causal,
        Text::Sentences(_) => panic!("a decoder was packed"),
    }
}

fn tensors(graph: &Graph, inputs: &[Vec<f32>]) -> Vec<Tensor> {
    let ports = graph.inputs().iter().zip(inputs);
    ports
        .map(|(port, data)| {
            let dims = graph.dims(port.value).unwrap();
            let batch = data.len() / dims.iter().product::<usize>();
            Tensor::new([&[batch], dims].concat(), data.clone()).unwrap()
        })
        .collect()
}

fn in_floats(graph: &Graph, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let out = graph.run_f32(&tensors(graph, inputs)).unwrap();
    out.iter().map(|o| o.as_f32().unwrap().to_vec()).collect()
}

fn in_fixed_point(program: &Program, inputs: &[Vec<f32>], batch: usize) -> Vec<Vec<f32>> {
    let words: Vec<Vec<u64>> = (0..inputs.len())
        .map(|port| program.encode_input(port, &inputs[port]).unwrap())
        .collect();
    let out = program.run_clear(&words, batch).unwrap();
    let decoded = out.iter().enumerate().map(|(port, ring)| {
        let output = program.decode_output(port, ring, batch).unwrap();
        output[0].as_f32().unwrap().to_vec()
    });
    decoded.collect()
}

/// The scores of what follows a text, by as many records as it takes.
fn scores(causal: &Causal, words: &str, run: impl Fn(&[Vec<f32>]) -> Vec<Vec<f32>>) -> Vec<f32> {
    let mut answer = causal
        .begin(words, Some(1), Vec::new(), Sampling::greedy())
        .unwrap();
    loop {
        let outputs = run(&answer.record(causal).unwrap());
        let keys = outputs.get(1).map_or(&[][..], Vec::as_slice);
        let continued = answer.take(causal, &outputs[0], keys).unwrap();
        if continued.end.is_some() {
            return outputs[0].clone();
        }
    }
}

fn most(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn an_encoder_gives_candles_vectors_after_each_layer() {
    for layers in 1..=2 {
        let files = cut(files("bert"), layers);
        let Checkpoint::Embedding(candle) =
            Checkpoint::load(files.iter().cloned().collect()).unwrap()
        else {
            panic!("bert is an encoder");
        };
        let want = candle.embed(&texts()).unwrap();
        for lookup in [Lookup::Rows, Lookup::OneHot] {
            let (graph, text) = made(&files, lookup);
            let sentences = sentences(&text);
            let batch = sentences.batch(&texts()).unwrap();
            // Several texts share a record.
            assert!((batch.records as usize) < texts().len());
            assert_eq!(
                batch.tokens,
                want.iter().map(|e| e.tokens as u64).sum::<u64>()
            );
            let got = in_floats(&graph, &batch.inputs);
            let got = sentences.vectors(&batch, &got[0]).unwrap();
            for (got, want) in got.iter().zip(&want) {
                let error = most(got, &want.vector);
                assert!(error < 2e-5, "{layers} layers, {lookup:?}: {error}");
            }
            let program = planned(&graph, &text, &texts());
            let got = in_fixed_point(&program, &batch.inputs, batch.records as usize);
            let got = sentences.vectors(&batch, &got[0]).unwrap();
            for (got, want) in got.iter().zip(&want) {
                let error = most(got, &want.vector);
                assert!(error < 1e-3, "{layers} layers, {lookup:?}: {error}");
            }
        }
    }
}

#[test]
fn decoders_give_candles_scores_after_each_layer() {
    for family in ["gpt2", "llama", "qwen2", "qwen3"] {
        for layers in 1..=2 {
            let files = cut(files(family), layers);
            let Checkpoint::Language(candle) =
                Checkpoint::load(files.iter().cloned().collect()).unwrap()
            else {
                panic!("{family} is a decoder");
            };
            let shapes = [
                (Lookup::Rows, POSITIONS),
                (Lookup::OneHot, POSITIONS),
                (Lookup::Rows, 1),
                (Lookup::Rows, 5),
            ];
            for (lookup, chunk) in shapes {
                let (graph, text) = chunked(&files, lookup, chunk);
                let causal = causal(&text);
                let program = planned(&graph, &text, &texts());
                for words in texts() {
                    let tokens = causal.tokens(&words).unwrap();
                    assert_eq!(tokens, candle.tokens(&words).unwrap());
                    let want = candle.logits(&tokens).unwrap();
                    let what = format!("{family}, {layers} layers, {lookup:?}, {chunk}");
                    let got = scores(causal, &words, |inputs| in_floats(&graph, inputs));
                    let error = most(&got, &want);
                    assert!(error < 2e-4, "{what}: {error}");
                    let got = scores(causal, &words, |inputs| in_fixed_point(&program, inputs, 1));
                    let error = most(&got, &want);
                    assert!(error < 1e-2, "{what}: {error}");
                }
            }
        }
    }
}

/// Wherever a text stands in its record, and whatever stands before it.
#[test]
fn the_likeliest_continuation_is_candles() {
    for family in ["gpt2", "llama", "qwen2", "qwen3"] {
        let files = files(family);
        let Checkpoint::Language(candle) =
            Checkpoint::load(files.iter().cloned().collect()).unwrap()
        else {
            panic!("{family} is a decoder");
        };
        for (chunk, prompt) in [
            (POSITIONS, "hello"),
            (8, "hello"),
            (8, "the quick brown fox"),
            (3, "0 1 2 3"),
        ] {
            let (graph, text) = chunked(&files, Lookup::Rows, chunk);
            let causal = causal(&text);
            let program = planned(&graph, &text, &texts());
            let mut answer = causal
                .begin(prompt, Some(32), Vec::new(), Sampling::greedy())
                .unwrap();
            let (mut said, mut least, mut worst) = (0, f32::INFINITY, 0f32);
            loop {
                let got = in_fixed_point(&program, &answer.record(causal).unwrap(), 1);
                let want = candle.logits(answer.tokens()).unwrap();
                let error = most(&got[0], &want);
                let keys = got.get(1).map_or(&[][..], Vec::as_slice);
                let mut order: Vec<usize> = (0..want.len()).collect();
                order.sort_by(|a, b| want[*b].total_cmp(&want[*a]));
                let gap = want[order[0]] - want[order[1]];
                let continued = answer.take(causal, &got[0], keys).unwrap();
                if answer.said() > said {
                    let chosen = answer.tokens()[answer.tokens().len() - 1] as usize;
                    // Another one only where the first two are nearer to each other than the error.
                    assert!(error < 1e-2, "{family}: {error}");
                    assert!(
                        chosen == order[0] || gap < 2.0 * error,
                        "{family}: {gap} {error}"
                    );
                    (least, worst) = (least.min(gap), worst.max(error));
                    said = answer.said();
                }
                if continued.end.is_some() {
                    break;
                }
            }
            assert!(said > 0, "{family}");
            println!(
                "{family}, chunk {chunk}, {prompt:?}: {said} tokens, error {worst:.1e}, gap {least:.1e}"
            );
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let bert = files("bert");
    let files = borrowed(&bert);
    let checkpoint = hub::Checkpoint::open(files.iter().copied()).unwrap();
    for positions in [0, 65, 1 << 20] {
        let shape = Shape {
            positions,
            chunk: positions,
            lookup: Lookup::Rows,
        };
        assert!(checkpoint.graph(shape).is_err(), "{positions}");
    }
    let (_, text) = made(&bert, Lookup::Rows);
    let sentences = sentences(&text);
    let long = "fox ".repeat(60);
    assert!(sentences.batch(&[long]).is_err());
    // Not its program.
    let (graph, other) = made(&cut(decoder(), 1), Lookup::Rows);
    let program = planned(&graph, &other, &texts());
    assert!(text.fits(&program).is_err());
}

fn decoder() -> Vec<(String, Vec<u8>)> {
    files("gpt2")
}
