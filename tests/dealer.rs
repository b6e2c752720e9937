//! Applications that deal themselves: no worker knows a mask, and only all evaluators together know anything.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ai_link_client::receipts;
use ai_link_wire::{
    ControlRequest, ControlResponse, DealerSeat, JobReceipt, Refusal, Role, Signed, UnixMillis,
};
use common::session::Manual;
use common::{Net, Records, assert_agrees, floats, request};
use serde_json::{Value, json};

/// Asks for three evaluators and deals itself.
const FLAGS: [&str; 4] = ["--dealer", "client", "--evaluators", "3"];

#[tokio::test(flavor = "multi_thread")]
async fn an_application_deals_itself_and_never_gets_less_than_it_asked_for() {
    let net = Net::up(3, &[]);
    command_line(&net);
    over_http(&net).await;
    refusals(&net).await;
    net.settled().await;
    demanding_gateway(&net).await;
}

fn command_line(net: &Net) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks/models");
    let mut prices = Vec::new();
    for model in ["breast-cancer", "digits"] {
        let records = Records::load(model);
        let input = root.join(model).join("records.npy");
        let output = net.path().join("y.npy");
        let mut args = vec![
            "infer",
            "--model",
            model,
            "--input",
            input.to_str().unwrap(),
        ];
        args.extend(["--output", output.to_str().unwrap()]);
        let worker = net.json(&args);
        args.extend(FLAGS);
        let answer = net.json(&args);
        let file = npyz::NpyFile::new(std::fs::File::open(output).unwrap()).unwrap();
        let scores: Vec<f32> = file.into_vec().unwrap();
        for i in 0..records.dims[0] {
            let at = i * records.classes;
            assert_agrees(&scores[at..at + records.classes], records.scores(i));
        }
        assert_eq!(answer["parameters"]["dealer"], "client");
        assert_eq!(answer["parameters"]["evaluators"], 3);
        assert_eq!(worker["parameters"]["dealer"], "worker");
        assert_eq!(worker["parameters"]["evaluators"], 2);
        prices.push((worker, answer));
    }
    for (worker, own) in prices {
        let verified = |answer: &Value| {
            let id = answer["parameters"]["receipt"].as_str().unwrap();
            let verified = net.json(&["receipt", "verify", id]);
            assert_eq!(verified["verified"], true);
            let path = net
                .path()
                .join(format!("gateway/data/receipts/{id}.receipt"));
            (verified, receipts::load(&path).unwrap())
        };
        let (said, receipt) = verified(&own);
        let promise = said["promise"].as_str().unwrap();
        assert!(
            promise.contains("unless all 3 evaluators collude"),
            "{promise}"
        );
        let receipt = JobReceipt::check(&receipt).unwrap();
        let roles: Vec<Role> = receipt.workers().iter().map(|w| w.role).collect();
        assert_eq!(roles.len(), 3);
        assert!(!roles.contains(&Role::Dealer));
        assert_eq!(receipt.ticket().dealer, DealerSeat::Client);
        // Nobody is paid for dealing: three workers either way, so the same price.
        assert_eq!(own["parameters"]["price"], worker["parameters"]["price"]);
        let (said, receipt) = verified(&worker);
        let promise = said["promise"].as_str().unwrap();
        assert!(
            promise.contains("two of the three workers collude"),
            "{promise}"
        );
        let receipt = JobReceipt::check(&receipt).unwrap();
        assert!(receipt.workers().iter().any(|w| w.role == Role::Dealer));
    }
}

async fn over_http(net: &Net) {
    let records = Records::load("digits");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metadata: Value = http
        .get(net.gateway("/v2/models/digits"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let name = metadata["inputs"][0]["name"].as_str().unwrap();
    let url = net.gateway("/v2/models/digits/infer");
    let plain = request(&records, name, 0, 1);
    let mut with_parameters = plain.clone();
    with_parameters["parameters"] = json!({ "dealer": "client", "evaluators": 2 });
    let asking = [
        http.post(&url).json(&with_parameters),
        http.post(&url)
            .header("AI-Link-Dealer", "client")
            .json(&plain),
    ];
    for asking in asking {
        let response = asking.send().await.unwrap();
        assert!(response.status().is_success());
        let answer: Value = response.json().await.unwrap();
        assert_agrees(&floats(&answer["outputs"][0]["data"]), records.scores(0));
        assert_eq!(answer["parameters"]["dealer"], "client");
        assert_eq!(answer["parameters"]["evaluators"], 2);
    }
    // A wish that is not understood is not passed over.
    for (header, value) in [
        ("AI-Link-Dealer", "me"),
        ("AI-Link-Evaluators", "many"),
        ("AI-Link-Evaluators", "1"),
        ("AI-Link-Evaluators", "9"),
    ] {
        let response = http.post(&url).header(header, value).json(&plain);
        let status = response.send().await.unwrap().status();
        assert_eq!(status.as_u16(), 400, "{header}: {value}");
    }
}

/// Three operators cannot make a group of five.
async fn refusals(net: &Net) {
    let client = Manual::new(net, "client").await;
    let mut request = client.request("digits", 1, Duration::from_secs(30));
    request.dealer = DealerSeat::Client;
    request.evaluators = 5;
    let until = request.deadline;
    let signed = Signed::sign(&client.identity, request, UnixMillis::now(), until).unwrap();
    let answer = client.ask(ControlRequest::Match(signed)).await;
    let expected = Refusal::NotEnoughWorkers { have: 3, need: 5 };
    assert_eq!(answer, ControlResponse::Refused(expected));
}

/// A gateway whose configuration demands that the client deals serves nothing less, whatever a request says.
async fn demanding_gateway(net: &Net) {
    let config = std::fs::read_to_string(net.path().join("gateway/config.toml")).unwrap();
    let data = net.path().join("demanding");
    let mut config: toml::Table = config.parse().unwrap();
    config["listen"] = "127.0.0.1:0".into();
    config.remove("metrics");
    config["client"]["dealer"] = "client".into();
    config["client"]["evaluators"] = 3.into();
    config["client"]["data"] = data.to_str().unwrap().into();
    let path = net.path().join("demanding.toml");
    std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    let ready = net.path().join("demanding.json");
    let process = Command::new(env!("CARGO_BIN_EXE_ai-link"))
        .args(["gateway", "--config"])
        .arg(&path)
        .arg("--ready")
        .arg(&ready)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _process = Running(process);
    let started = Instant::now();
    let url = loop {
        if let Ok(bytes) = std::fs::read(&ready) {
            let ready: Value = serde_json::from_slice(&bytes).unwrap();
            break ready["addresses"][0].as_str().unwrap().to_owned();
        }
        assert!(
            started.elapsed() < Duration::from_secs(40),
            "{}",
            net.logs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let records = Records::load("digits");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metadata: Value = http
        .get(format!("{url}/v2/models/digits"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let name = metadata["inputs"][0]["name"].as_str().unwrap();
    let url = format!("{url}/v2/models/digits/infer");
    let plain = request(&records, name, 0, 1);
    for (header, value) in [("AI-Link-Dealer", "worker"), ("AI-Link-Evaluators", "2")] {
        let response = http.post(&url).header(header, value).json(&plain);
        let response = response.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 400, "{header}: {value}");
        let error: Value = response.json().await.unwrap();
        let text = error["error"].as_str().unwrap();
        assert!(text.contains("would protect the input less"), "{text}");
    }
    let response = http.post(&url).json(&plain).send().await.unwrap();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["parameters"]["dealer"], "client", "{answer}");
    assert_eq!(answer["parameters"]["evaluators"], 3);
    assert_agrees(&floats(&answer["outputs"][0]["data"]), records.scores(0));
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
