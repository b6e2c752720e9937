//! Level `sealed` through a network of processes: an application, its gateway, and the one worker that it trusts.
#![allow(clippy::unwrap_used)]

mod common;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ai_link_lm::schedule::Limits;
use ai_link_lm::{Checkpoint, Done, Engine, Files, Generate, Prompt, Sampling};
use ai_link_wire::{JobReceipt, Level};
use common::Net;
use serde_json::{Value, json};

const MODEL: &str = "tiny-llama";
const SECRET: &str = "my account number is 4711-0815-2342";

fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("gpu-worker/lm/tests/data")
        .join(name)
}

fn publish(net: &Net, path: &Path, name: &str) {
    let path = path.to_str().unwrap();
    let published = net.json(&[
        "model", "publish", path, "--name", name, "--level", "sealed",
    ]);
    assert_eq!(published["levels"], json!(["sealed"]));
}

fn http() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    builder.timeout(Duration::from_secs(300)).build().unwrap()
}

fn conversation() -> Value {
    json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": SECRET},
    ])
}

fn chat(seed: u64, tokens: u32) -> Value {
    json!({
        "model": MODEL, "messages": conversation(), "seed": seed, "temperature": 0.7, "max_tokens": tokens,
    })
}

/// What the engine says without any network.
fn direct(seed: u64, tokens: usize) -> (String, Done) {
    let files = Files::read(&checkpoint("llama")).unwrap();
    let Checkpoint::Language(model) = Checkpoint::load(files).unwrap() else {
        panic!("it is a language model")
    };
    let engine = Engine::start(model, Limits::default()).unwrap();
    let request = Generate {
        prompt: Prompt::Chat {
            messages: conversation(),
            tools: None,
        },
        max_tokens: Some(tokens),
        stop: vec![],
        sampling: Sampling {
            temperature: 0.7,
            seed,
            ..Sampling::default()
        },
    };
    engine.generate(request).unwrap().blocking_text().unwrap()
}

async fn post(net: &Net, path: &str, body: &Value) -> reqwest::Response {
    http()
        .post(net.gateway(path))
        .json(body)
        .send()
        .await
        .unwrap()
}

async fn answered(net: &Net, path: &str, body: &Value) -> (reqwest::header::HeaderMap, Value) {
    let response = post(net, path, body).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let answer: Value = response.json().await.unwrap();
    assert!(status.is_success(), "{status} {answer}\n{}", net.logs());
    (headers, answer)
}

/// The events of a streamed answer, and whether it said that it was done.
async fn streamed(response: reqwest::Response) -> (Vec<Value>, bool) {
    let text = response.text().await.unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let (done, events): (Vec<&str>, Vec<&str>) = lines.partition(|line| *line == "[DONE]");
    let events = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap());
    (events.collect(), !done.is_empty())
}

/// Every file under a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let each = entries.flat_map(|entry| match entry.path() {
        path if path.is_dir() => files(&path),
        path => vec![path],
    });
    each.collect()
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_chat_is_the_engines_and_nobody_else_sees_it() {
    let net = Net::bare(3, &["--capture"]);
    publish(&net, &checkpoint("llama"), MODEL);
    let (wanted, done) = tokio::task::spawn_blocking(|| direct(7, 60)).await.unwrap();

    // Whole.
    let (headers, answer) = answered(&net, "/v1/chat/completions", &chat(7, 60)).await;
    assert_eq!(answer["choices"][0]["message"]["content"], wanted.as_str());
    assert_eq!(answer["usage"]["completion_tokens"], done.answer_tokens);
    assert_eq!(answer["usage"]["prompt_tokens"], done.prompt_tokens);
    assert_eq!(headers["ai-link-level"], "sealed");
    let receipt = headers["ai-link-receipt"].to_str().unwrap();

    // Streamed.
    let mut body = chat(7, 60);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let (events, ended) = streamed(post(&net, "/v1/chat/completions", &body).await).await;
    assert!(ended, "{events:?}\n{}", net.logs());
    let pieces: Vec<&str> = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(pieces.concat(), wanted);
    assert!(pieces.len() > 5, "it came in pieces");
    assert_eq!(
        events.last().unwrap()["usage"]["total_tokens"],
        done.prompt_tokens + done.answer_tokens
    );

    // The receipt says who it was: the worker that is trusted, and nothing of what was said.
    let paths = net.receipts();
    assert_eq!(paths.len(), 2);
    let trusted = net.key("operator-0").account();
    for path in &paths {
        let signed = ai_link_client::receipts::load(path).unwrap();
        let verified = JobReceipt::check(&signed).unwrap();
        let ticket = verified.ticket();
        assert_eq!((ticket.level, ticket.group.len()), (Level::Sealed, 1));
        assert_eq!(ticket.group[0].operator, trusted);
    }
    assert!(
        paths
            .iter()
            .any(|path| path.to_str().unwrap().contains(receipt))
    );
    assert!(net.settled().await.0 > 0);

    assert!(net.log("worker-0").contains("session done"));

    // What all processes but the gateway saw and wrote: the two answers are long enough to be found.
    assert!(wanted.len() > 20);
    let needles = [
        SECRET.as_bytes(),
        "be brief".as_bytes(),
        &wanted.as_bytes()[..12],
    ];
    for name in [
        "coordinator",
        "storage",
        "chain",
        "worker-0",
        "worker-1",
        "worker-2",
    ] {
        let seen = files(&net.path().join(name));
        let captured: u64 = seen
            .iter()
            .filter_map(|p| p.metadata().ok())
            .map(|m| m.len())
            .sum();
        assert!(
            captured > 1000,
            "{name} wrote nothing: the test would prove nothing"
        );
        for path in seen {
            let bytes = std::fs::read(&path).unwrap_or_default();
            for needle in needles {
                assert!(!holds(&bytes, needle), "{} holds plaintext", path.display());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_text_models_and_errors_are_openais() {
    let net = Net::bare(3, &[]);
    publish(&net, &checkpoint("llama"), MODEL);
    publish(&net, &checkpoint("bert"), "tiny-bert");
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks/models/digits/model.onnx");
    publish(&net, &digits, "digits-clear");

    let (_, models) = {
        let response = http().get(net.gateway("/v1/models")).send().await.unwrap();
        (response.status(), response.json::<Value>().await.unwrap())
    };
    let mut ids: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["digits-clear", "tiny-bert", MODEL]);

    let Checkpoint::Embedding(embedder) =
        Checkpoint::load(Files::read(&checkpoint("bert")).unwrap()).unwrap()
    else {
        panic!("it is an embedding model")
    };
    let texts = ["a small model".to_owned(), "format".to_owned()];
    let wanted = embedder.embed(&texts).unwrap();
    let body = json!({"model": "tiny-bert", "input": texts});
    let (_, answer) = answered(&net, "/v1/embeddings", &body).await;
    for (found, wanted) in answer["data"].as_array().unwrap().iter().zip(&wanted) {
        assert_eq!(common::floats(&found["embedding"]), wanted.vector);
    }

    let body = json!({"model": MODEL, "prompt": "def main", "max_tokens": 5, "temperature": 0});
    let (_, text) = answered(&net, "/v1/completions", &body).await;
    assert_eq!(text["object"], "text_completion");
    assert_eq!(text["usage"]["completion_tokens"], 5);

    // Tensors, with the code of the other levels.
    let image = vec![0.5; 64];
    let body = json!({"inputs": [{"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": image}]});
    let (_, answer) = answered(&net, "/v2/models/digits-clear/infer", &body).await;
    assert_eq!(answer["parameters"]["level"], "sealed");
    // What the worker uses too: it has the same environment.
    let opened = ai_link_onnx::Runtime::open(&ai_link_onnx::Library::Auto, NonZeroUsize::MIN);
    let runtime = opened.unwrap().runtime;
    let session = runtime.load(&std::fs::read(digits).unwrap()).unwrap();
    let log = net.log("worker-0");
    assert!(log.contains(&runtime.backend().to_string()), "{log}");
    let input = ai_link_onnx::NamedTensor {
        name: "image".into(),
        dims: vec![1, 1, 8, 8],
        data: vec![0.5; 64],
    };
    let wanted = &session.run(&[input]).unwrap()[0];
    assert_eq!(common::floats(&answer["outputs"][0]["data"]), wanted.data);

    let before = net.receipts().len();
    let long = "word ".repeat(400);
    for (path, body, status) in [
        (
            "/v1/chat/completions",
            json!({"model": "no-such", "messages": conversation()}),
            404,
        ),
        (
            "/v1/chat/completions",
            json!({"model": MODEL, "messages": []}),
            400,
        ),
        (
            "/v1/chat/completions",
            json!({"model": MODEL, "messages": conversation(), "n": 2}),
            400,
        ),
        (
            "/v1/chat/completions",
            json!({"model": "tiny-bert", "messages": conversation()}),
            400,
        ),
        (
            "/v1/completions",
            json!({"model": MODEL, "prompt": long}),
            400,
        ),
        (
            "/v1/completions",
            json!({"model": MODEL, "prompt": "x", "temperature": 9}),
            400,
        ),
        ("/v1/embeddings", json!({"model": MODEL, "input": "x"}), 400),
        (
            "/v1/embeddings",
            json!({"model": "tiny-bert", "input": [1, 2]}),
            400,
        ),
    ] {
        let response = post(&net, path, &body).await;
        let found = response.status().as_u16();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(found, status, "{path} {body}: {answer}");
        assert!(answer["error"]["message"].is_string() && answer["error"]["type"].is_string());
    }
    assert_eq!(net.receipts().len(), before, "what is refused is not paid");
}

/// A model that takes long for its answers: zeros, so that every token is as likely as any other and none is the end.
fn slow(dir: &Path) {
    let source = checkpoint("llama");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(source.join(name), dir.join(name)).unwrap();
    }
    let (hidden, inner, layers, vocabulary) = (256, 1024, 12, 288);
    let config = json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": 8, "vocab_size": vocabulary, "max_position_embeddings": 8192,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let mut shapes = vec![
        (
            "model.embed_tokens.weight".to_owned(),
            vec![vocabulary, hidden],
        ),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    for layer in 0..layers {
        let parts = [
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![hidden, hidden]),
            ("self_attn.v_proj", vec![hidden, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
        ];
        let named =
            parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape));
        shapes.extend(named);
    }
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in shapes {
        let bytes = 2 * shape.iter().product::<usize>();
        header.insert(
            name,
            json!({"dtype": "F16", "shape": shape, "data_offsets": [end, end + bytes]}),
        );
        end += bytes;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.resize(file.len() + end, 0);
    std::fs::write(dir.join("model.safetensors"), file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_midway_ends_the_answer_with_an_error_and_no_other_takes_its_place()
{
    let net = Net::bare(3, &[]);
    let dir = tempfile::tempdir().unwrap();
    slow(dir.path());
    publish(&net, dir.path(), "slow");
    let body =
        json!({"model": "slow", "messages": conversation(), "max_tokens": 8000, "stream": true});
    let mut response = post(&net, "/v1/chat/completions", &body).await;
    assert!(response.status().is_success());
    let mut text = String::new();
    while text.matches("content").count() < 4 {
        let more = response.chunk().await.unwrap();
        text.push_str(&String::from_utf8_lossy(&more.expect("it goes on")));
    }
    net.kill("worker-0");
    while let Some(more) = response.chunk().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&more));
    }
    assert!(!text.contains("[DONE]"), "it is not done");
    let last = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert!(
        last["error"]["message"]
            .as_str()
            .unwrap()
            .contains("broke off"),
        "{last}"
    );
    assert!(net.receipts().is_empty(), "what broke off is not paid");

    // Two workers offer the level and are not trusted: nobody is asked rather than one of them.
    let body = json!({"model": "slow", "messages": conversation(), "max_tokens": 1});
    let builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20));
    let asked = builder
        .build()
        .unwrap()
        .post(net.gateway("/v1/chat/completions"))
        .json(&body);
    if let Ok(response) = asked.send().await {
        assert!(!response.status().is_success(), "{}", response.status());
    }
    assert!(net.receipts().is_empty());
    for name in ["worker-1", "worker-2"] {
        assert!(!net.log(name).contains("session"), "{name} was asked");
    }
}
