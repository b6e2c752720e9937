//! What a daemon serves is what was counted, and anything else is refused.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ai_link_observe::exposition::Exposition;
use ai_link_observe::{Counters, Gauges, Label, Metrics, Timings, Triple, label, serve};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

label! {
    enum Level: "level" { Mpc = "mpc", Fhe = "fhe" }
}
label! {
    enum Route: "route" { Infer = "infer", Chat = "chat" }
}
label! {
    enum Why: "reason" { Busy = "busy", Broken = "broken" }
}

fn metrics() -> (Metrics, Triple<(Route, Level), Why>, Timings<Level>) {
    let metrics = Metrics::new("test", "1.2.3");
    let (jobs, taken) = (Triple::default(), Timings::default());
    metrics.triple("jobs", "jobs", &jobs);
    metrics.timings("job", "How long jobs take", &taken);
    let (sent, stock) = (Counters::<()>::default(), Gauges::<Level>::default());
    metrics.counters("sent_bytes", "Bytes sent", &sent);
    metrics.gauges("stock", "What there is", &stock);
    sent.add((), 7);
    metrics.before_reading(move || stock.set(Level::Mpc, 3));
    (metrics, jobs, taken)
}

#[test]
fn every_series_is_there_before_anything_was_counted() {
    let (metrics, ..) = metrics();
    let read = Exposition::parse(&metrics.exposition()).unwrap();
    let attempted = &read.families["ai_link_jobs_attempted"];
    assert_eq!(
        (attempted.kind.as_str(), attempted.samples.len()),
        ("counter", 4)
    );
    assert_eq!(read.families["ai_link_jobs_failed"].samples.len(), 8);
    assert_eq!(read.sum("ai_link_jobs_attempted_total", &[]), Some(0.0));
    assert_eq!(
        read.sum("ai_link_job_seconds_count", &[("level", "fhe")]),
        Some(0.0)
    );
    assert_eq!(
        read.sum(
            "ai_link_build_info",
            &[("role", "test"), ("version", "1.2.3")]
        ),
        Some(1.0)
    );
    assert!(read.sum("process_resident_memory_bytes", &[]).unwrap() > 1e5);
    assert_eq!(
        read.sum("ai_link_jobs_attempted_total", &[("level", "sealed")]),
        None
    );
}

#[test]
fn what_is_read_is_what_was_counted() {
    let (metrics, jobs, taken) = metrics();
    jobs.count((Route::Infer, Level::Mpc), Ok(()));
    jobs.count((Route::Chat, Level::Mpc), Err(Why::Busy));
    jobs.attempt((Route::Chat, Level::Fhe));
    taken.observe(Level::Mpc, Duration::from_millis(30));
    taken.observe(Level::Mpc, Duration::from_secs(3000));
    let read = Exposition::parse(&metrics.exposition()).unwrap();
    assert_eq!(read.sum("ai_link_jobs_attempted_total", &[]), Some(3.0));
    assert_eq!(
        read.sum(
            "ai_link_jobs_succeeded_total",
            &[("route", "infer"), ("level", "mpc")]
        ),
        Some(1.0)
    );
    assert_eq!(
        read.sum(
            "ai_link_jobs_failed_total",
            &[("reason", "busy"), ("route", "chat")]
        ),
        Some(1.0)
    );
    assert_eq!(
        read.sum("ai_link_jobs_failed_total", &[("reason", "broken")]),
        Some(0.0)
    );
    assert_eq!(read.sum("ai_link_sent_bytes_total", &[]), Some(7.0));
    assert_eq!(read.sum("ai_link_stock", &[("level", "mpc")]), Some(3.0));
    let bucket = |le| {
        read.sum(
            "ai_link_job_seconds_bucket",
            &[("level", "mpc"), ("le", le)],
        )
    };
    assert_eq!(
        (bucket("0.02"), bucket("0.05"), bucket("+Inf")),
        (Some(0.0), Some(1.0), Some(2.0))
    );
    assert_eq!(
        read.sum("ai_link_job_seconds_sum", &[("level", "mpc")]),
        Some(3000.03)
    );
}

#[test]
fn labels_are_words() {
    fn check<L: Label>() {
        for value in L::ALL {
            let text = value.text();
            assert!(!text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        }
    }
    check::<Level>();
    check::<Route>();
}

#[test]
fn what_is_no_exposition_is_refused_at_its_line() {
    let good = "# HELP a b.\n# TYPE a counter\na_total{x=\"1\\\"2\"} 3\n# EOF\n";
    let read = Exposition::parse(good).unwrap();
    assert_eq!(read.sum("a_total", &[("x", "1\"2")]), Some(3.0));
    for (line, text) in [
        (1, "a_total 1\n# EOF\n"),
        (1, "# TYPE a summary\n# EOF\n"),
        (2, "# TYPE a counter\na 1\n# EOF\n"),
        (2, "# TYPE a counter\nb_total 1\n# EOF\n"),
        (2, "# TYPE a gauge\na{x=1} 1\n# EOF\n"),
        (2, "# TYPE a gauge\na{x=\"1\",x=\"2\"} 1\n# EOF\n"),
        (2, "# TYPE a gauge\na one\n# EOF\n"),
        (3, "# TYPE a gauge\na 1\na 2\n# EOF\n"),
        (2, "# TYPE a gauge\n# TYPE a gauge\n# EOF\n"),
        (1, "# TYPE a gauge\n"),
        (2, "# EOF\na 1\n"),
    ] {
        assert_eq!(
            Exposition::parse(text).map_err(|e| e.line),
            Err(line),
            "{text}"
        );
    }
}

async fn ask(at: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn it_is_served_on_loopback_and_nothing_else_is() {
    let (metrics, jobs, _) = metrics();
    assert!(
        serve("metrics", None, metrics.clone())
            .await
            .unwrap()
            .is_none()
    );
    let scrape = serve("metrics", Some("0".parse().unwrap()), metrics.clone())
        .await
        .unwrap()
        .unwrap();
    let at = scrape.address();
    jobs.count((Route::Infer, Level::Mpc), Ok(()));
    let answer = ask(
        at,
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    let read = Exposition::parse(body).unwrap();
    assert_eq!(read.sum("ai_link_jobs_succeeded_total", &[]), Some(1.0));
    for (request, host, status) in [
        ("GET /", "127.0.0.1", "404"),
        ("POST /metrics", "127.0.0.1", "405"),
        ("GET /metrics", "evil.example", "421"),
    ] {
        let request = format!(
            "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = ask(at, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    // Taken: an error with the address, not a process without metrics.
    let again = serve("metrics", Some(at.try_into().unwrap()), metrics)
        .await
        .unwrap_err();
    assert_eq!(again.address.address(), at);
    drop(scrape);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(# TYPE a gauge\n)?[a-z#{}\", \\\\=0-9\n]{0,80}") {
        let _ = Exposition::parse(&text);
    }
}
