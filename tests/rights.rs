//! Rights in a model, through the whole network: who may use it, who owns it, who is paid.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Output;
use std::time::Duration;

use common::Net;
use serde_json::Value;

fn infer(net: &Net) -> Output {
    let records = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benchmarks/models/digits/calibration.npy"
    );
    net.run(&["infer", "--model", "digits", "--input", records, "--json"])
}

fn works(net: &Net, when: &str) {
    let output = infer(net);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{when}: {errors}");
}

fn refused(net: &Net, when: &str, why: [&str; 2]) {
    let output = infer(net);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{when}: it was not refused");
    assert!(why.iter().all(|w| errors.contains(w)), "{when}: {errors}");
}

fn planck(net: &Net, key: &str) -> u128 {
    let balance = net.json(&["balance", key]);
    balance["accounts"][0]["total_planck"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// A coordinator reads what owners laid down about every second.
fn until_read() {
    std::thread::sleep(Duration::from_secs(3));
}

#[test]
fn terms_decide_who_is_matched_and_a_sale_decides_who_is_paid() {
    let net = Net::up(3, &[]);
    works(&net, "without terms");

    // For those with a grant; the refusal says what is missing.
    net.json(&["model", "license", "digits", "--access", "granted"]);
    until_read();
    refused(&net, "without a grant", ["403 Forbidden", "must grant"]);
    net.json(&["model", "grant", "digits", "client"]);
    works(&net, "with a grant");
    let grants = net.json(&["model", "grant", "digits"]);
    assert_eq!(grants["grants"].as_array().unwrap().len(), 1);
    net.json(&["model", "grant", "digits", "client", "--revoke"]);
    refused(
        &net,
        "after the grant was revoked",
        ["403 Forbidden", "must grant"],
    );

    // Not for commerce, which is what the gateway says its jobs are for.
    let terms = ["--access", "anyone", "--purpose", "non-commercial"];
    net.json(&[&["model", "license", "digits"][..], &terms].concat());
    until_read();
    refused(&net, "for commerce", ["403 Forbidden", "no commercial use"]);
    let anything = ["model", "license", "digits", "--purpose", "commercial"];
    net.json(&anything);

    // Taken back, there being no other version.
    net.json(&["model", "standing", "digits", "1", "yanked"]);
    until_read();
    refused(&net, "of a yanked version", ["410 Gone", "yanked"]);
    net.json(&["model", "standing", "digits", "1", "current"]);
    until_read();
    works(&net, "of a version that is current again");

    // Sold to an operator, who owes a quarter of the price to the author.
    let offer = ["--to", "operator-0", "--price", "2.5"];
    net.json(&[&["model", "transfer", "digits"][..], &offer].concat());
    let accept = ["--accept", "--price", "2.5", "--as", "operator-0"];
    net.json(&[&["model", "transfer", "digits"][..], &accept].concat());
    net.json(&["model", "price", "digits", "0.05", "--as", "operator-0"]);
    let refusal = net.run(&["model", "price", "digits", "2"]);
    let errors = String::from_utf8_lossy(&refusal.stderr).into_owned();
    assert!(errors.contains("Models::NotOwner"), "{errors}");

    let history = net.json(&["model", "history", "digits"]);
    let events: Vec<&Value> = history["events"].as_array().unwrap().iter().collect();
    assert_eq!(events[0]["version"], 1);
    assert_eq!(events[1]["price"], "2.5 AIL");
    let share = ["--share", "owner=25", "--as", "operator-0"];
    net.json(&[&["model", "royalties", "digits"][..], &share].concat());
    let before = (planck(&net, "owner"), planck(&net, "operator-0"));
    // At once: a coordinator that is still behind the chain names others to be paid, and is asked again.
    works(&net, "after the sale");
    let history = net.json(&["model", "history", "digits"]);
    assert_eq!(history["royalties"][0]["millionths"], 250_000);
    // 128 records at 0.05 AIL each: a quarter of it is the author's, the rest the buyer's. Earlier jobs, of 128 records
    // at 0.001 AIL, may be settled as late.
    let (quarter, earlier) = (1_600_000_000_000, 128_000_000_000);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let owner = planck(&net, "owner") - before.0;
        let operator = planck(&net, "operator-0") - before.1;
        if owner >= quarter {
            assert_eq!((owner - quarter) % earlier, 0, "{owner}");
            // Three quarters, and what an operator gets for its worker.
            assert!(operator >= 3 * quarter, "{operator} beside {owner}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "nobody was paid");
        std::thread::sleep(Duration::from_millis(500));
    }
}
