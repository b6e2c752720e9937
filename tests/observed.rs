//! What operators and applications can see of a network that works: metrics of every daemon, the operator's page, why a
//! job was matched as it was, and what one would cost.
#![allow(clippy::unwrap_used)]

mod common;

use ai_link_observe::exposition::Exposition;
use common::{Net, Records, request};
use serde_json::Value;

async fn text(http: &reqwest::Client, url: &str) -> String {
    let response = http.get(url).send().await.unwrap();
    assert!(
        response.status().is_success(),
        "{url}: {}",
        response.status()
    );
    response.text().await.unwrap()
}

/// The metrics of every process that serves any, by its name.
async fn scrape(net: &Net, http: &reqwest::Client) -> Vec<(String, Exposition, String)> {
    let status = net.json(&["dev", "status"]);
    let mut all = Vec::new();
    for process in status["processes"].as_array().unwrap() {
        let Some(url) = process["metrics"].as_str() else {
            continue;
        };
        let name = process["name"].as_str().unwrap().to_owned();
        let text = text(http, url).await;
        let read = Exposition::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
        all.push((name, read, text));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_seen_by_its_operators_and_explained_to_its_client() {
    let net = Net::up(4, &["--storage-nodes", "12"]);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let records = Records::load("digits");
    let mut jobs = Vec::new();
    for i in 0..3 {
        let url = net.gateway("/v2/models/digits/infer");
        let body = request(&records, "image", i, 1);
        let answer = http.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}\n{}", net.logs());
        let answer: Value = answer.json().await.unwrap();
        jobs.push(answer["parameters"]["receipt"].as_str().unwrap().to_owned());
    }
    let url = net.gateway("/v2/models/no-such/infer");
    let body = request(&records, "image", 0, 1);
    assert_eq!(
        http.post(url).json(&body).send().await.unwrap().status(),
        404
    );
    let paid = net.settled().await;

    metrics(&net, &http).await;
    explained(&net, &jobs[0]);
    estimated(&net);
    page(&net, &http, paid).await;
}

async fn metrics(net: &Net, http: &reqwest::Client) {
    let all = scrape(net, http).await;
    let names: Vec<_> = all.iter().map(|(name, ..)| name.as_str()).collect();
    for daemon in [
        "coordinator",
        "gateway",
        "storage",
        "storage-node-0",
        "storage-node-11",
        "worker-0",
        "worker-3",
    ] {
        assert!(
            names.contains(&daemon),
            "{daemon} serves no metrics: {names:?}"
        );
    }
    let ids: Vec<String> = ["client", "coordinator", "operator-0", "worker-0"]
        .iter()
        .flat_map(|name| {
            let key = net.key(name);
            [key.account().to_string(), key.peer_id().to_string()]
        })
        .collect();
    let (mut sessions, mut puts, mut occupied) = (0.0, 0.0, 0.0);
    for (name, read, text) in &all {
        for id in &ids {
            assert!(!text.contains(id), "{name} tells {id}");
        }
        for model in ["digits", "breast-cancer"] {
            assert!(!text.contains(model), "{name} tells {model}");
        }
        let of = |metric: &str, labels: &[(&str, &str)]| {
            let sum = read.sum(metric, labels);
            sum.unwrap_or_else(|| panic!("{name} has no {metric}{labels:?}\n{text}"))
        };
        assert!(of("process_resident_memory_bytes", &[]) > 1e6);
        // Of every triple: what was attempted is what succeeded, failed, or is under way.
        for (family, samples) in &read.families {
            let Some(triple) = family.strip_suffix("_attempted") else {
                continue;
            };
            assert!(!samples.samples.is_empty(), "{family}");
            let attempted = of(&format!("{family}_total"), &[]);
            let succeeded = of(&format!("{triple}_succeeded_total"), &[]);
            let failed = of(&format!("{triple}_failed_total"), &[]);
            assert!(
                succeeded + failed <= attempted + 1.0,
                "{name} {triple}: {attempted} {succeeded} {failed}"
            );
        }
        match name.as_str() {
            "coordinator" => {
                let mpc = [("level", "mpc")];
                assert_eq!(of("ai_link_coordinator_jobs_succeeded_total", &mpc), 3.0);
                assert_eq!(of("ai_link_coordinator_job_seconds_count", &mpc), 3.0);
                assert_eq!(
                    of("ai_link_coordinator_workers", &[("presence", "fresh")]),
                    4.0
                );
                assert!(of("ai_link_coordinator_settlements_succeeded_total", &[]) >= 1.0);
                assert!(of("ai_link_peers", &[("path", "direct")]) >= 5.0);
            }
            "gateway" => {
                let infer = [("route", "infer")];
                assert_eq!(of("ai_link_gateway_requests_attempted_total", &infer), 4.0);
                assert_eq!(of("ai_link_gateway_requests_succeeded_total", &infer), 3.0);
                let missing = [("route", "infer"), ("reason", "not_found")];
                assert_eq!(of("ai_link_gateway_requests_failed_total", &missing), 1.0);
                assert_eq!(
                    of("ai_link_gateway_answer_seconds_count", &[("level", "mpc")]),
                    3.0
                );
            }
            "storage" => {
                let put = [("operation", "put")];
                assert!(
                    of("ai_link_storage_requests_succeeded_total", &put) >= 1.0,
                    "{text}"
                );
            }
            name if name.starts_with("storage-node") => {
                let put = [("operation", "put")];
                puts += of("ai_link_storage_requests_succeeded_total", &put);
                occupied += of("ai_link_storage_occupied_bytes", &[]);
                assert!(of("ai_link_storage_capacity_bytes", &[]) > 0.0);
            }
            _ => {
                let mpc = [("level", "mpc")];
                sessions += of("ai_link_worker_sessions_succeeded_total", &mpc);
                assert_eq!(of("ai_link_worker_capacity_sessions", &[]), 8.0);
                assert!(of("ai_link_worker_announcements_succeeded_total", &[]) >= 2.0);
            }
        }
    }
    // Three jobs, three workers each.
    assert_eq!(sessions, 9.0);
    // Packages are shorter than a quarter of a segment: three of twelve fragments are padding, which no node is sent. So
    // one node may have nothing, but not nine of them.
    assert!(puts >= 18.0, "{puts}");
    assert!(occupied > 0.0);
}

fn explained(net: &Net, job: &str) {
    let explained = net.json(&["explain", job]);
    assert_eq!(explained["job"], job);
    let decision = &explained["decisions"][0];
    assert_eq!(decision["model"], "digits");
    assert_eq!(decision["candidates"].as_array().unwrap().len(), 4);
    let verdict = |kind: &str| {
        let all = decision["candidates"].as_array().unwrap().iter();
        all.filter(|c| c["verdict"].get(kind).is_some()).count()
    };
    assert_eq!((verdict("Chosen"), verdict("Passed")), (3, 1), "{decision}");
    let text = net.run(&["explain", job]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for part in [
        "settled in epoch",
        "chosen",
        "passed",
        "points",
        "owns the model",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    // To its client alone.
    let owner = net.path().join("keys/owner.key");
    let other = net.run(&["explain", job, "--key", owner.to_str().unwrap()]);
    assert_eq!(other.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&other.stdout).contains("digits"));
}

fn estimated(net: &Net) {
    let before = net.receipts().len();
    let estimate = net.json(&["estimate", "digits", "--records", "2"]);
    assert_eq!(
        (&estimate["level"], &estimate["records"]),
        (&"mpc".into(), &2.into())
    );
    // Three workers at 0.002, the coordinator's 0.001, and the owner's price of two records.
    let number = |value: &Value| -> f64 {
        value
            .as_str()
            .unwrap()
            .trim_end_matches(" AIL")
            .parse()
            .unwrap()
    };
    let money = &estimate["money"];
    let price = number(&money["price"]);
    assert!(
        (price - 0.007 - number(&money["owner"])).abs() < 1e-9,
        "{money}"
    );
    assert!(estimate["work"]["seconds"].as_f64().unwrap() > 0.0);
    assert!(estimate["work"]["bytes_up"].as_f64().unwrap() > 1000.0);
    assert_eq!(net.receipts().len(), before, "nothing was asked for");
    let again = net.json(&["estimate", "digits", "--records", "2"]);
    assert_eq!(again["money"], estimate["money"], "nothing is reserved");
    // No group of nine workers is among four: said, with reasons, and exit code 3.
    let none = net.run(&["estimate", "digits", "--evaluators", "8"]);
    assert_eq!(none.status.code(), Some(3), "{none:?}");
    let trees = net.json(&["estimate", "breast-cancer-trees", "--level", "fhe"]);
    assert!(trees["work"]["bootstraps"].as_u64().unwrap() > 0);
    assert!(trees["accuracy"].as_str().unwrap().contains("agreed"));
}

async fn page(net: &Net, http: &reqwest::Client, paid: ai_link_wire::Planck) {
    let status = net.json(&["dev", "status"]);
    let all = status["processes"].as_array().unwrap();
    let page = all.iter().find_map(|p| p["dashboard"].as_str()).unwrap();
    let html = text(http, page).await;
    assert!(html.contains("AI-LINK coordinator"), "{html}");
    let state = text(http, &format!("{page}api/state")).await;
    let state: ai_link_coordinator::state::State = serde_json::from_str(&state).unwrap();
    assert_eq!(state.workers.items.len(), 4);
    assert!(
        state
            .workers
            .items
            .iter()
            .all(|w| w.link.is_some() && w.bond.is_some())
    );
    let settled: u128 = state.epochs.iter().map(|epoch| epoch.amount.0).sum();
    assert_eq!(settled, paid.0);
    let earned: u128 = state.earnings.items.iter().map(|e| e.total.0).sum();
    assert_eq!(earned, paid.0, "all that was paid was earned by somebody");
    assert_eq!(state.recent.iter().filter(|r| r.price.is_some()).count(), 3);
}
