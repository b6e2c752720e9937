//! Every family against `transformers`: logits, greedy continuations, vectors; see `data/generate.py`.

use std::path::{Path, PathBuf};

use ai_link_lm::schedule::Limits;
use ai_link_lm::{
    Checkpoint, Embedder, Engine, Event, Files, Generate, LanguageModel, Prompt, Reason, Sampling,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Continued {
    prompt: String,
    ids: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
}

#[derive(Deserialize)]
struct Embedded {
    text: String,
    ids: Vec<u32>,
    vector: Vec<f32>,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn files(folder: &Path) -> Files {
    Files::read(folder).expect("the checkpoint is there")
}

fn language(name: &str) -> LanguageModel {
    match Checkpoint::load(files(&data(name))).expect("it loads") {
        Checkpoint::Language(model) => model,
        other => panic!("{name} is a language model, not {other:?}"),
    }
}

fn embedder(folder: &Path) -> Embedder {
    match Checkpoint::load(files(folder)).expect("it loads") {
        Checkpoint::Embedding(model) => model,
        other => panic!("an embedding model, not {other:?}"),
    }
}

fn reference<T: for<'a> Deserialize<'a>>(path: &Path) -> Vec<T> {
    let text = std::fs::read(path).expect("the reference is there");
    serde_json::from_slice(&text).expect("the reference is JSON")
}

fn text(prompt: &str, max_tokens: usize, sampling: Sampling) -> Generate {
    Generate {
        prompt: Prompt::Text(prompt.into()),
        max_tokens: Some(max_tokens),
        stop: vec![],
        sampling,
    }
}

/// Largest difference from the reference, over its largest logit.
fn off(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let most = wanted.iter().fold(0f32, |m, w| m.max(w.abs()));
    let off = found.iter().zip(wanted).map(|(f, w)| (f - w).abs());
    off.fold(0f32, f32::max) / most
}

fn check(name: &str, tolerance: f32) {
    let model = language(name);
    for said in reference::<Continued>(&data(name).join("reference.json")) {
        assert_eq!(
            model.tokens(&said.prompt).expect("it is text"),
            said.ids,
            "{name}"
        );
        let logits = model.logits(&said.ids).expect("the model runs");
        let off = off(&logits, &said.logits);
        assert!(
            off <= tolerance,
            "{name}, `{}`: logits are off by {off}",
            said.prompt
        );
        if tolerance < 1e-3 {
            let greedy = model
                .continued(&said.ids, said.greedy.len())
                .expect("the model runs");
            assert_eq!(greedy, said.greedy, "{name}, `{}`", said.prompt);
        }
    }
}

#[test]
fn llama_is_what_transformers_computes() {
    check("llama", 2e-4);
}

#[test]
fn qwen2_is_what_transformers_computes() {
    check("qwen2", 2e-4);
}

#[test]
fn qwen3_is_what_transformers_computes() {
    check("qwen3", 2e-4);
}

#[test]
fn gpt2_is_what_transformers_computes() {
    check("gpt2", 2e-4);
}

#[test]
fn llama_from_gguf_is_what_transformers_computes() {
    check("llama-gguf", 2e-4);
}

/// Activations are rounded to eight bits too: the reference rounds weights only.
#[test]
fn quantised_gguf_is_near_what_transformers_computes_with_its_weights() {
    check("llama-gguf-q8", 0.05);
    check("qwen2-gguf-q8", 0.05);
}

#[test]
fn vectors_are_those_of_transformers_alone_and_together() {
    vectors(&data("bert"), &data("bert/reference.json"), 2e-4);
}

/// The real sentence-transformer: `AI_LINK_MINILM=FOLDER cargo test --release -p ai-link-lm -- --ignored minilm`.
#[test]
#[ignore = "needs the model's folder in AI_LINK_MINILM"]
fn minilm_makes_the_vectors_of_transformers() {
    let folder =
        std::env::var_os("AI_LINK_MINILM").expect("AI_LINK_MINILM names the model's folder");
    vectors(Path::new(&folder), &data("minilm.json"), 2e-5);
}

fn vectors(folder: &Path, said: &Path, tolerance: f32) {
    let model = embedder(folder);
    let said = reference::<Embedded>(said);
    let texts: Vec<String> = said.iter().map(|s| s.text.clone()).collect();
    let together = model.embed(&texts).expect("the model runs");
    assert_eq!(together.len(), said.len());
    for ((said, found), text) in said.iter().zip(&together).zip(&texts) {
        assert_eq!(found.tokens, said.ids.len());
        let cosine: f32 = found
            .vector
            .iter()
            .zip(&said.vector)
            .map(|(a, b)| a * b)
            .sum();
        assert!(1.0 - cosine < tolerance, "`{text}`: cosine {cosine}");
        assert!(
            off(&found.vector, &said.vector) < 10.0 * tolerance,
            "`{text}`"
        );
        let alone = model
            .embed(std::slice::from_ref(text))
            .expect("the model runs");
        assert!(
            off(&alone[0].vector, &found.vector) < 1e-5,
            "`{text}` alone"
        );
    }
}

/// Many at once, some leaving in the middle: each answer is what it is alone.
#[test]
fn batched_is_single() {
    for name in ["llama", "gpt2", "qwen3"] {
        let limits = Limits {
            running: 5,
            prompt_tokens: 4,
            ..Limits::default()
        };
        let alone = Engine::start(language(name), limits).expect("it starts");
        let busy = Engine::start(language(name), limits).expect("it starts");
        let requests: Vec<Generate> = (0..12u64)
            .map(|i| {
                let sampling = Sampling {
                    seed: i,
                    temperature: 0.8,
                    ..Sampling::default()
                };
                text(
                    &"random ".repeat(1 + i as usize % 5),
                    4 + 3 * i as usize,
                    sampling,
                )
            })
            .collect();
        let wanted: Vec<_> = requests
            .iter()
            .map(|r| {
                alone
                    .generate(r.clone())
                    .and_then(|a| a.blocking_text())
                    .expect("it answers")
            })
            .collect();
        let answers: Vec<_> = requests
            .iter()
            .map(|r| busy.generate(r.clone()).expect("it is taken"))
            .collect();
        let cancelled = busy
            .generate(text("def", 200, Sampling::default()))
            .expect("it is taken");
        drop(cancelled);
        for (answer, wanted) in answers.into_iter().zip(wanted) {
            assert_eq!(
                answer.blocking_text().expect("it answers"),
                wanted,
                "{name}"
            );
        }
    }
}

#[test]
fn pieces_are_whole_characters_and_stop_strings_are_not_given_out() {
    let engine = Engine::start(language("llama"), Limits::default()).expect("it starts");
    let whole = engine
        .generate(text("déjà vu", 60, Sampling::greedy()))
        .and_then(|a| a.blocking_text());
    let (whole, done) = whole.expect("it answers");
    assert_eq!((done.reason, done.answer_tokens), (Reason::Length, 60));
    let stop: String = whole.chars().skip(10).take(3).collect();
    let first = whole.find(&stop).expect("it is from there");
    let request = Generate {
        stop: vec![stop.clone()],
        ..text("déjà vu", 60, Sampling::greedy())
    };
    let mut answer = engine.generate(request).expect("it is taken");
    let (mut cut, mut reason, mut pieces) = (String::new(), None, 0);
    while let Some(event) = answer.blocking_next() {
        match event.expect("it goes on") {
            Event::Text(text) => {
                pieces += 1;
                cut.push_str(&text);
            }
            Event::Done(done) => reason = Some(done.reason),
        }
    }
    assert_eq!(cut, whole[..first]);
    assert_eq!(reason, Some(Reason::Stop));
    assert!(pieces > 1, "it came in pieces");
}

#[test]
fn a_conversation_goes_through_the_template() {
    let engine = Engine::start(language("llama"), Limits::default()).expect("it starts");
    let messages = serde_json::json!([{"role": "user", "content": "hi"}]);
    let chat = Generate {
        prompt: Prompt::Chat {
            messages,
            tools: None,
        },
        ..text("", 8, Sampling::greedy())
    };
    let chat = engine
        .generate(chat)
        .and_then(|a| a.blocking_text())
        .expect("it answers");
    let same = engine.generate(text(
        "<|user|>hi<|end|><|assistant|>",
        8,
        Sampling::greedy(),
    ));
    assert_eq!(
        chat,
        same.and_then(|a| a.blocking_text()).expect("it answers")
    );
}

#[test]
fn queues_are_bounded_and_long_prompts_are_refused() {
    let limits = Limits {
        running: 1,
        waiting: 1,
        ..Limits::default()
    };
    let engine = Engine::start(language("llama"), limits).expect("it starts");
    let long = engine.generate(text(&"x ".repeat(400), 1, Sampling::greedy()));
    assert!(matches!(
        long,
        Err(ai_link_lm::GenerateError::TooLong { most: 255, .. })
    ));
    let empty = engine.generate(text("", 1, Sampling::greedy()));
    assert!(matches!(empty, Err(ai_link_lm::GenerateError::Empty)));
    // One runs, one waits in the scheduler, one in the channel; of these some must be told to wait.
    let taken: Vec<_> = (0..40)
        .map(|_| engine.generate(text("x", 250, Sampling::greedy())))
        .collect();
    assert!(
        taken
            .iter()
            .any(|t| matches!(t, Err(ai_link_lm::GenerateError::Busy { .. })))
    );
    for answer in taken.into_iter().flatten() {
        answer.blocking_text().expect("what is taken is answered");
    }
}
