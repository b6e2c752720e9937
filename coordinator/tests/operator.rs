//! What a coordinator's operator can look at: routes, headers, state and metrics of a running process. No browser is
//! needed: the page itself is clicked through by `coordinator/dashboard/check.mjs`.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ai_link_coordinator::state::{STATE_FORMAT, State};
use ai_link_coordinator::{CoordinatorConfig, Ready, run};
use ai_link_devchain::{DevChain, Genesis};
use ai_link_observe::exposition::Exposition;
use ai_link_registry::{Registry, RegistryClient};
use ai_link_wire::node::{Node, NodeConfig};
use ai_link_wire::{
    Bytes, ControlRequest, ControlResponse, Identity, Level, Planck, Region, RoleSet, Signed,
    UnixMillis, WorkerRecord,
};
use tokio::sync::oneshot;

const DEADLINE: Duration = Duration::from_secs(30);

fn party(name: &str) -> Identity {
    Identity::derive(b"operator's eyes", name)
}

/// A coordinator with a worker, whose software is called `software`.
async fn with_coordinator<F: Future<Output = ()>>(
    software: &str,
    look: impl FnOnce(Ready, Node) -> F,
) {
    let dir = tempfile::tempdir().unwrap();
    let endowed = ["coordinator", "operator"]
        .map(|name| (party(name).account().0.into(), Planck::ail(1_000_000).0));
    let genesis = Genesis {
        endowed: endowed.to_vec(),
    };
    let chain = DevChain::open(&dir.path().join("chain"), &genesis).unwrap();
    let chain = chain.serve((Ipv4Addr::LOCALHOST, 0).into(), None).await;
    let chain = chain.unwrap();
    let registry = Registry::connect(chain.url()).await.unwrap();
    let bonds = registry.bond_minimums().await.unwrap();
    let worker = party("worker");
    RegistryClient::new(registry, party("operator"))
        .register_worker(&worker, bonds.worker)
        .await
        .unwrap();
    let key = dir.path().join("coordinator.key");
    party("coordinator").save(&key).unwrap();
    let data = dir.path().join("data");
    let fee = Planck(1_000_000);
    let mut config = CoordinatorConfig::new(key, chain.url(), data, fee, bonds.coordinator);
    config.metrics = Some("0".parse().unwrap());
    config.dashboard = Some("0".parse().unwrap());
    let (ready, listening) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(run(config, ready, async {
        let _ = stopped.await;
    }));
    let ready = tokio::time::timeout(DEADLINE, listening)
        .await
        .unwrap()
        .unwrap();

    let (node, _incoming) = Node::start(NodeConfig::client(worker.clone()))
        .await
        .unwrap();
    let record = WorkerRecord {
        peer: worker.peer_key(),
        operator: party("operator").account(),
        addresses: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()],
        roles: RoleSet::ALL,
        levels: vec![Level::Mpc, Level::Fhe],
        regions: vec![Region::new("eu-de").unwrap()],
        site: None,
        cores: 1,
        memory: Bytes::mib(64),
        cached_models: vec![],
        price_per_job: Planck(5),
        software: software.into(),
    };
    let now = UnixMillis::now();
    let signed = Signed::sign(&worker, record, now, now.saturating_add(DEADLINE)).unwrap();
    let asked = ControlRequest::Register(signed);
    let answer = node
        .request(ready.peer, &ready.addresses, asked, DEADLINE)
        .await;
    assert!(
        matches!(answer, Ok(ControlResponse::Registered { .. })),
        "{answer:?}"
    );
    look(ready, node).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

async fn get(at: SocketAddr, path: &str) -> reqwest::Response {
    let url = format!("http://{at}{path}");
    reqwest::get(url).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_complete_and_asks_nobody_else() {
    with_coordinator("test", |ready, _node| async move {
        let at = ready.dashboard.unwrap();
        let page = get(at, "/").await;
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        // Scripts and styles from here alone, none inline, no frames.
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        let html = page.text().await.unwrap();
        assert!(
            !html.contains("<script>") && !html.contains(" style=") && !html.contains("onclick"),
            "inline"
        );

        // Everything that the page and its scripts name is there, and nothing is anywhere else.
        let mut seen = vec!["/".to_owned()];
        let mut left = vec![html];
        while let Some(text) = left.pop() {
            let allowed = ["http://www.w3.org/2000/svg"];
            let foreign = text.match_indices("http").map(|(i, _)| &text[i..]);
            let foreign = foreign.filter(|t| t.starts_with("http://") || t.starts_with("https://"));
            for found in foreign {
                assert!(
                    allowed.iter().any(|a| found.starts_with(a)),
                    "{}",
                    &found[..60.min(found.len())]
                );
            }
            for name in [
                "style.css",
                "app.js",
                "views.js",
                "map.js",
                "icon.svg",
                "api/state",
            ] {
                let path = format!("/{name}");
                if text.contains(name) && !seen.contains(&path) {
                    let answer = get(at, &path).await;
                    assert_eq!(answer.status(), 200, "{path}");
                    seen.push(path);
                    left.push(answer.text().await.unwrap());
                }
            }
        }
        assert_eq!(seen.len(), 7, "{seen:?}");
        assert_eq!(get(at, "/../Cargo.toml").await.status(), 404);
        assert_eq!(get(at, "/api/state/x").await.status(), 404);

        // A name of a stranger that points here reads nothing.
        let client = reqwest::Client::new();
        let rebound = client.get(format!("http://{at}/api/state"));
        let rebound = rebound.header("host", "evil.example").send().await.unwrap();
        assert_eq!(rebound.status(), 421);
        assert!(!rebound.text().await.unwrap().contains("workers"));
        let written = client
            .post(format!("http://{at}/api/state"))
            .send()
            .await
            .unwrap();
        assert_eq!(written.status(), 405);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_that_of_the_network_and_the_metrics_agree() {
    let hostile = "</script><img src=x onerror=alert(1)>";
    with_coordinator(hostile, |ready, node| async move {
        let at = ready.dashboard.unwrap();
        let answer = get(at, "/api/state").await;
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let state: State = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(
            (state.format, state.coordinator.account),
            (STATE_FORMAT, ready.account)
        );
        let [worker] = state.workers.items.as_slice() else {
            panic!("{:?}", state.workers);
        };
        // Texts come as they are, bounded: the page sets them as text.
        assert_eq!(worker.software, hostile);
        assert_eq!(worker.peer, node.peer_key());
        assert!(worker.link.is_some(), "it is connected");
        assert_eq!(worker.levels, [Level::Mpc, Level::Fhe]);
        assert!(worker.bond.is_some());
        let operator = party("operator").account();
        assert!(state.earnings.items.iter().any(|e| e.account == operator));

        let text = get(ready.metrics.unwrap(), "/metrics")
            .await
            .text()
            .await
            .unwrap();
        let read = Exposition::parse(&text).unwrap();
        let of = |name: &str, labels: &[(&str, &str)]| read.sum(name, labels).unwrap();
        assert_eq!(
            of("ai_link_coordinator_workers", &[("presence", "fresh")]),
            1.0
        );
        let register = [("question", "register")];
        assert_eq!(
            of("ai_link_coordinator_questions_attempted_total", &register),
            1.0
        );
        assert_eq!(
            of("ai_link_coordinator_questions_succeeded_total", &register),
            1.0
        );
        assert_eq!(of("ai_link_peers", &[("path", "direct")]), 1.0);
        assert_eq!(of("ai_link_build_info", &[("role", "coordinator")]), 1.0);
        // Nobody's id, name or text.
        for secret in [
            worker.peer.to_string(),
            operator.to_string(),
            hostile.to_owned(),
        ] {
            assert!(!text.contains(&secret), "{secret}");
        }
    })
    .await;
}
