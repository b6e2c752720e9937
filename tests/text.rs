//! Language models at level `mpc` through a network of processes: vectors and text as Candle makes them in the clear, and
//! nothing of a text outside the application.
#![allow(clippy::unwrap_used)]

#[path = "../src/capture.rs"]
#[allow(dead_code)]
mod capture;
mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ai_link_lm::schedule::Limits;
use ai_link_lm::{Checkpoint, Done, Engine, Files, Generate, Prompt, Sampling};
use ai_link_text::{Sentences, Text};
use capture::Needles;
use common::Net;
use common::session::program;
use serde_json::{Value, json};

const TEXTS: [&str; 5] = [
    "my account number is four seven one one",
    "the quick brown fox",
    "a",
    "jumps over the lazy dog and runs away",
    "0 1 2 3 4 5",
];

fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("gpu-worker/lm/tests/data")
        .join(name)
}

fn loaded(name: &str) -> Checkpoint {
    Checkpoint::load(Files::read(&checkpoint(name)).unwrap()).unwrap()
}

fn publish(net: &Net, family: &str, name: &str, more: &[&str]) {
    let texts = net.path().join("texts.txt");
    std::fs::write(&texts, TEXTS.join("\n")).unwrap();
    let path = checkpoint(family);
    let args = [
        &["model", "publish", path.to_str().unwrap(), "--name", name],
        &["--calibration", texts.to_str().unwrap()][..],
        more,
    ];
    let published = net.json(&args.concat());
    assert_eq!(published["levels"][0], "mpc");
}

async fn post(net: &Net, path: &str, body: &Value, headers: &[(&str, &str)]) -> reqwest::Response {
    let builder = reqwest::Client::builder().no_proxy();
    let http = builder.timeout(Duration::from_secs(300)).build().unwrap();
    let request = headers
        .iter()
        .fold(http.post(net.gateway(path)), |r, (k, v)| r.header(*k, *v));
    request.json(body).send().await.unwrap()
}

async fn answered(net: &Net, path: &str, body: &Value) -> (reqwest::header::HeaderMap, Value) {
    let response = post(net, path, body, &[]).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let answer: Value = response.json().await.unwrap();
    assert!(status.is_success(), "{status} {answer}\n{}", net.logs());
    assert_eq!(headers["ai-link-level"], "mpc");
    (headers, answer)
}

async fn refused(net: &Net, path: &str, body: &Value, headers: &[(&str, &str)]) -> (u16, String) {
    let response = post(net, path, body, headers).await;
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    (status, message.to_owned())
}

fn embedded(answer: &Value) -> Vec<Vec<f32>> {
    let data = answer["data"].as_array().unwrap().iter();
    let vectors = data.map(|entry| common::floats(&entry["embedding"]));
    vectors.collect()
}

/// The vectors are Candle's, to `most` in each number.
fn assert_candles(found: &[Vec<f32>], most: f32) {
    let Checkpoint::Embedding(candle) = loaded("bert") else {
        panic!("bert is an encoder");
    };
    let wanted = candle.embed(&TEXTS.map(str::to_owned)).unwrap();
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found.len(), wanted.vector.len());
        let product = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let lengths = product(found, found) * product(&wanted.vector, &wanted.vector);
        let cosine = product(found, &wanted.vector) / lengths.sqrt();
        assert!(cosine > 0.9999, "{cosine}");
        for (a, b) in found.iter().zip(&wanted.vector) {
            assert!((a - b).abs() < most, "{a} {b}");
        }
    }
}

/// Everything that is in a record of this text, in every form: its words, and the rows that are shared.
fn needles(net: &Net, sentences: &Sentences, program: &ai_link_program::Program) -> Needles {
    let mut needles = Needles::default();
    for text in TEXTS.iter().filter(|text| text.len() > 8) {
        needles.add("text", text.as_bytes().to_vec());
        let batch = sentences.batch(&[(*text).to_owned()]).unwrap();
        let row = sentences.size();
        let rows = &batch.inputs[0][..row * usize::try_from(batch.tokens).unwrap()];
        needles.values("row", rows);
        let whole = program.encode_input(0, &batch.inputs[0]).unwrap();
        needles.ring("row", &whole[..rows.len()]);
    }
    assert!(needles.len() > 1000, "{} {}", needles.len(), net.logs());
    needles
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_candles_and_no_word_leaves_the_application() {
    let net = Net::bare(3, &["--capture"]);
    publish(&net, "bert", "tiny-bert", &["--positions", "48"]);
    let body = json!({"model": "tiny-bert", "input": TEXTS});
    let (headers, answer) = answered(&net, "/v1/embeddings", &body).await;
    let found = embedded(&answer);
    assert_candles(&found, 5e-4);
    // Five texts in three records: one job, one receipt.
    assert_eq!(net.receipts().len(), 1);
    let receipt = headers["ai-link-receipt"].to_str().unwrap();
    let shown = net.json(&["receipt", "show", receipt]);
    assert_eq!(shown["level"], "mpc");
    assert!(shown["records"].as_u64().unwrap() < 5, "{shown}");

    // The gateway alone knows the tokenizer's work.
    let files = ai_link_text::read_directory(&checkpoint("bert")).unwrap();
    let files: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    let shape = ai_link_program::hub::Shape {
        positions: 48,
        chunk: 48,
        lookup: ai_link_program::hub::Lookup::Rows,
    };
    let half = Text::from_bytes(&ai_link_text::pack(&files, shape).unwrap()).unwrap();
    let Text::Sentences(sentences) = half else {
        panic!("bert is an encoder");
    };
    let program = program(&net, "tiny-bert").await;
    let mut needles = needles(&net, &sentences, &program);
    found.iter().for_each(|v| needles.values("vector", v));
    net.settled().await;
    let processes = net.network()["processes"].clone();
    let names = processes.as_array().unwrap().iter();
    let names = names.map(|name| name.as_str().unwrap());
    let others = names.filter(|name| *name != "gateway");
    let places: Vec<PathBuf> = others.map(|name| net.path().join(name)).collect();
    let findings = needles.search(&places).unwrap();
    assert!(findings.found.is_empty(), "{:?}", findings.found);
    assert!(
        findings.files > 10 && findings.bytes > 1_000_000,
        "{findings:?}"
    );
    // The same search finds what is there.
    let control = net.path().join("control");
    std::fs::create_dir(&control).unwrap();
    std::fs::write(control.join("file"), TEXTS[0]).unwrap();
    assert_eq!(needles.search(&[control]).unwrap().found.len(), 1);

    // What cannot be done is refused, and nothing is done at another level instead.
    let long = json!({"model": "tiny-bert", "input": "fox ".repeat(60)});
    let (status, why) = refused(&net, "/v1/embeddings", &long, &[]).await;
    assert!(status == 400 && why.contains("tokens"), "{status} {why}");
    for level in ["sealed", "fhe"] {
        let asked = [("AI-Link-Level", level)];
        let (status, why) = refused(&net, "/v1/embeddings", &body, &asked).await;
        assert_eq!(status, 400, "{why}");
    }
    let wrong = json!({"model": "tiny-bert", "prompt": "a", "max_tokens": 1});
    let (status, why) = refused(&net, "/v1/completions", &wrong, &[]).await;
    assert!(status == 400 && why.contains("makes vectors"), "{why}");
    assert_eq!(net.receipts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_tables_are_looked_up_under_sharing() {
    let net = Net::bare(3, &[]);
    let private = ["--positions", "48", "--weights", "private"];
    publish(&net, "bert", "own-bert", &private);
    let body = json!({"model": "own-bert", "input": TEXTS});
    let (_, answer) = answered(&net, "/v1/embeddings", &body).await;
    assert_candles(&embedded(&answer), 2e-3);
}

/// What the engine says in the clear.
fn direct(family: &str, prompt: &str, tokens: usize) -> (String, Done) {
    let Checkpoint::Language(model) = loaded(family) else {
        panic!("{family} is a decoder");
    };
    let engine = Engine::start(model, Limits::default()).unwrap();
    let request = Generate {
        prompt: Prompt::Text(prompt.to_owned()),
        max_tokens: Some(tokens),
        stop: vec![],
        sampling: Sampling::greedy(),
    };
    engine.generate(request).unwrap().blocking_text().unwrap()
}

/// `lm_sharing.rs` shows token by token that another one is chosen only where the first two are nearer to each other than
/// the error; for these prompts they never are.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_tokens_are_candles() {
    let net = Net::bare(3, &[]);
    for (family, prompt) in [("gpt2", "hello"), ("llama", "0 1 2 3")] {
        let name = format!("tiny-{family}");
        let precise = ["--positions", "48", "--function-bits", "14"];
        publish(&net, family, &name, &precise);
        let (wanted, done) = tokio::task::spawn_blocking(move || direct(family, prompt, 32))
            .await
            .unwrap();
        let before = net.receipts().len();
        let mut body = json!({
            "model": name, "prompt": prompt, "max_tokens": 32, "temperature": 0, "stream": true,
            "stream_options": {"include_usage": true},
        });
        let response = post(&net, "/v1/completions", &body, &[]).await;
        assert_eq!(response.headers()["ai-link-level"], "mpc", "{}", net.logs());
        let text = response.text().await.unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let (done_marks, events): (Vec<&str>, Vec<&str>) = lines.partition(|l| *l == "[DONE]");
        assert_eq!(done_marks.len(), 1, "{text}\n{}", net.logs());
        let events: Vec<Value> = events
            .iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect();
        let pieces: Vec<&str> = events
            .iter()
            .filter_map(|event| event["choices"][0]["text"].as_str())
            .collect();
        assert_eq!(pieces.concat(), wanted, "{family}");
        let usage = &events.last().unwrap()["usage"];
        assert_eq!(usage["completion_tokens"], done.answer_tokens, "{family}");
        assert_eq!(usage["prompt_tokens"], done.prompt_tokens);
        // A job a token, the prompt within the first, each with a receipt; a token that ends the answer is one too.
        let made = net.receipts().len() - before;
        let said = done.answer_tokens;
        assert!(made == said || made == said + 1, "{made} {said}");
        assert!(done.prompt_tokens <= 8);
        assert!(said > 8, "{family} says something: {said}");
        let ends = events
            .iter()
            .filter_map(|e| e["ai_link"]["receipts"].as_array());
        assert_eq!(ends.map(Vec::len).collect::<Vec<_>>(), [made]);

        // Whole, and cut by a stop string.
        body["stream"] = json!(false);
        body["max_tokens"] = json!(4);
        let (_, answer) = answered(&net, "/v1/completions", &body).await;
        let short = answer["choices"][0]["text"].as_str().unwrap();
        assert!(wanted.starts_with(short), "{wanted:?} {short:?}");
        assert_eq!(answer["ai_link"]["receipts"].as_array().unwrap().len(), 4);
    }
    let chat = json!({"model": "tiny-gpt2", "messages": [{"role": "user", "content": "a"}]});
    let (status, why) = refused(&net, "/v1/chat/completions", &chat, &[]).await;
    assert!(status == 400 && why.contains("template"), "{status} {why}");
}
