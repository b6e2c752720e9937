//! The gateway's HTTP interface, in front of a whole network of processes.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Net, Records, assert_agrees, floats, request};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_right_errors_are_typed_and_no_money_is_lost() {
    let net = Net::up(3, &[]);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let registry = net.registry().await;
    let issued = registry.total_issuance().await.unwrap();

    metadata(&net, &http).await;
    for (model, n) in [("breast-cancer", 5), ("digits", 3)] {
        json_and_binary_agree(&net, &http, model, n).await;
    }
    let before = net.receipts().len();
    bad_input_is_refused(&net, &http).await;
    assert_eq!(
        net.receipts().len(),
        before,
        "a refused request must not leave a receipt"
    );

    // After all that, service is as before.
    json_and_binary_agree(&net, &http, "digits", 1).await;
    let paid = net.settled().await;
    assert!(paid.0 > 0);
    assert_eq!(registry.total_issuance().await.unwrap(), issued);
    cli_commands(&net);
}

async fn get(http: &reqwest::Client, url: String) -> Value {
    let response = http.get(&url).send().await.unwrap();
    assert!(
        response.status().is_success(),
        "{url}: {}",
        response.status()
    );
    response.json().await.unwrap()
}

async fn metadata(net: &Net, http: &reqwest::Client) {
    let server = get(http, net.gateway("/v2")).await;
    assert_eq!(server["name"], "ai-link");
    assert!(
        server["extensions"]
            .as_array()
            .unwrap()
            .contains(&json!("binary_tensor_data"))
    );
    assert_eq!(
        get(http, net.gateway("/v2/health/live")).await["live"],
        true
    );
    assert_eq!(
        get(http, net.gateway("/v2/health/ready")).await["ready"],
        true
    );
    let model = get(http, net.gateway("/v2/models/digits")).await;
    assert_eq!(model["inputs"][0]["shape"], json!([-1, 1, 8, 8]));
    assert_eq!(model["inputs"][0]["datatype"], "FP32");
    assert_eq!(model["outputs"][0]["shape"], json!([-1, 10]));
    assert_eq!(model["versions"], json!(["1"]));
    let ready = get(http, net.gateway("/v2/models/digits/versions/1/ready")).await;
    assert_eq!(ready["ready"], true);
}

async fn input_name(net: &Net, http: &reqwest::Client, model: &str) -> String {
    let metadata = get(http, net.gateway(&format!("/v2/models/{model}"))).await;
    metadata["inputs"][0]["name"].as_str().unwrap().to_owned()
}

async fn json_and_binary_agree(net: &Net, http: &reqwest::Client, model: &str, n: usize) {
    let records = Records::load(model);
    let input = input_name(net, http, model).await;
    let url = net.gateway(&format!("/v2/models/{model}/infer"));

    let body = request(&records, &input, 0, n);
    let response = http.post(&url).json(&body).send().await.unwrap();
    let status = response.status();
    let answer: Value = response.json().await.unwrap();
    assert!(status.is_success(), "{status} {answer}\n{}", net.logs());
    assert_eq!(answer["parameters"]["level"], "mpc");
    let scores = floats(&answer["outputs"][0]["data"]);
    assert_eq!(answer["outputs"][0]["shape"], json!([n, records.classes]));
    for i in 0..n {
        let at = i * records.classes;
        assert_agrees(&scores[at..at + records.classes], records.scores(i));
    }

    let head = json!({
        "id": "a-1",
        "inputs": [{
            "name": input, "shape": records.batch(n), "datatype": "FP32",
            "parameters": { "binary_data_size": n * records.len() * 4 },
        }],
        "outputs": [{ "name": answer["outputs"][0]["name"], "parameters": { "binary_data": true } }],
    })
    .to_string();
    let mut body = head.clone().into_bytes();
    body.extend(
        records.data[..n * records.len()]
            .iter()
            .flat_map(|v| v.to_le_bytes()),
    );
    let response = http
        .post(&url)
        .header("Inference-Header-Content-Length", head.len())
        .body(body)
        .send()
        .await
        .unwrap();
    assert!(response.status().is_success());
    let length: usize = response.headers()["Inference-Header-Content-Length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let body = response.bytes().await.unwrap();
    let head: Value = serde_json::from_slice(&body[..length]).unwrap();
    assert_eq!(head["id"], "a-1");
    let binary: Vec<f32> = body[length..]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|c| f32::from_le_bytes(*c))
        .collect();
    assert_eq!(binary.len(), n * records.classes);
    for i in 0..n {
        let at = i * records.classes;
        assert_agrees(&binary[at..at + records.classes], records.scores(i));
    }
}

async fn bad_input_is_refused(net: &Net, http: &reqwest::Client) {
    let url = net.gateway("/v2/models/digits/infer");
    let name = input_name(net, http, "digits").await;
    let good = request(&Records::load("digits"), &name, 0, 1);
    let with = |change: fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body["inputs"][0]);
        body.to_string().into_bytes()
    };
    let cases: Vec<(&str, u16, Vec<u8>)> = vec![
        ("not JSON", 400, b"{".to_vec()),
        (
            "another shape",
            400,
            with(|i| {
                i["shape"] = json!([1, 1, 4, 16]);
            }),
        ),
        (
            "too few values",
            400,
            with(|i| i["data"] = json!([1.0, 2.0])),
        ),
        (
            "no records",
            400,
            with(|i| {
                i["shape"] = json!([0, 1, 8, 8]);
                i["data"] = json!([]);
            }),
        ),
        (
            "an unknown input",
            400,
            with(|i| i["name"] = json!("nonsense")),
        ),
        (
            "a type that is none",
            400,
            with(|i| i["datatype"] = json!("FP33")),
        ),
        ("out of range", 400, with(|i| i["data"][0] = json!(1e30))),
    ];
    for (what, status, body) in cases {
        let response = http.post(&url).body(body).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{what}");
        let error: Value = response.json().await.unwrap();
        assert!(
            error["error"].as_str().is_some_and(|e| e.len() > 10),
            "{what}: {error}"
        );
    }

    // NaN has no JSON form: it comes in binary.
    let head = json!({ "inputs": [{
        "name": name, "shape": [1, 1, 8, 8], "datatype": "FP32",
        "parameters": { "binary_data_size": 256 },
    }]})
    .to_string();
    let send = |body: Vec<u8>, length: usize| {
        http.post(&url)
            .header("Inference-Header-Content-Length", length)
            .body(body)
            .send()
    };
    let mut body = head.clone().into_bytes();
    body.extend([f32::NAN; 64].iter().flat_map(|v| v.to_le_bytes()));
    let response = send(body.clone(), head.len()).await.unwrap();
    assert_eq!(response.status().as_u16(), 400);
    let error: Value = response.json().await.unwrap();
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("not a finite number"),
        "{error}"
    );
    // Truncated, and a header that promises more than there is.
    body.truncate(body.len() - 1);
    assert_eq!(
        send(body.clone(), head.len())
            .await
            .unwrap()
            .status()
            .as_u16(),
        400
    );
    assert_eq!(send(body, 1 << 40).await.unwrap().status().as_u16(), 400);

    let huge = vec![b' '; (64 << 20) + 1];
    let response = http.post(&url).body(huge).send().await;
    // The server may answer and close before it has read everything.
    if let Ok(response) = response {
        assert_eq!(response.status().as_u16(), 413);
    }
    for (path, status) in [
        ("/v2/models/no-such-model/infer", 404),
        ("/v2/models/digits/versions/99/infer", 404),
        ("/v2/models/Bad%20Name/infer", 400),
    ] {
        let response = http
            .post(net.gateway(path))
            .json(&good)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
}

/// Commands that need a network with some history.
fn cli_commands(net: &Net) {
    let models = net.json(&["model", "list"]);
    let published = 2 + usize::from(cfg!(feature = "fhe"));
    assert_eq!(models["models"].as_array().unwrap().len(), published);
    let model = net.json(&["model", "show", "digits"]);
    assert_eq!(model["versions"][0]["version"], 1);

    let records = Records::load("breast-cancer");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks/models");
    let input = root.join("breast-cancer/records.npy");
    let output = net.path().join("y.npy");
    let answer = net.json(&[
        "infer",
        "--model",
        "breast-cancer",
        "--input",
        input.to_str().unwrap(),
        "--output",
        output.to_str().unwrap(),
    ]);
    assert_eq!(answer["outputs"][0]["shape"], json!([records.dims[0], 2]));
    let file = npyz::NpyFile::new(std::fs::File::open(output).unwrap()).unwrap();
    let scores: Vec<f32> = file.into_vec().unwrap();
    for i in 0..records.dims[0] {
        assert_agrees(&scores[i * 2..i * 2 + 2], records.scores(i));
    }

    let id = answer["parameters"]["receipt"].as_str().unwrap();
    let shown = net.json(&["receipt", "show", id]);
    assert_eq!(shown["records"], json!(records.dims[0]));
    assert_eq!(net.json(&["receipt", "verify", id])["verified"], true);
    let path = net
        .path()
        .join(format!("gateway/data/receipts/{id}.receipt"));
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let forged = net.path().join("forged.receipt");
    std::fs::write(&forged, bytes).unwrap();
    let verdict = net.run(&["receipt", "verify", forged.to_str().unwrap(), "--json"]);
    assert!(matches!(verdict.status.code(), Some(1 | 3)), "{verdict:?}");

    let balances = net.json(&["balance", "--explain"]);
    let client = balances["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|a| a["name"] == "client");
    assert!(client.unwrap()["explanation"].as_array().unwrap().len() >= 3);
    assert_eq!(net.json(&["doctor"])["healthy"], true);
    let wrong = net.run(&["infer", "--model", "digits"]);
    assert_eq!(wrong.status.code(), Some(2));
}
