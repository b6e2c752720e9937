//! The chain to polkadot.js, which nobody prepared for it.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use ai_link_devchain::{DevChain, Genesis};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node, and `npm install` in model-registry/devchain/tests/js"]
async fn polkadot_js_connects_reads_and_submits() {
    let directory = tempfile::tempdir().unwrap();
    let chain = DevChain::open(directory.path(), &Genesis::development()).unwrap();
    let chain = chain
        .serve((Ipv4Addr::LOCALHOST, 0).into(), None)
        .await
        .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js/transfer.js");
    let url = chain.url().to_owned();
    let running = move || Command::new("node").arg(script).arg(url).output();
    let output = tokio::task::spawn_blocking(running).await.unwrap().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{out}\n{err}");
    println!("{out}");
    chain.stop().await.unwrap();
}
