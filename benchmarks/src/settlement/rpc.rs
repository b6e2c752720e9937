//! The chain's JSON-RPC, asked directly.

use std::time::{Duration, Instant};

use ai_link_registry::BlockHash;
use anyhow::Context as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::{Deserialize, Serialize};
use subxt::rpcs::{RpcClient, rpc_params};

/// How long answers take while many connections ask, each its next question as soon as it has its answer.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    connections: u32,
    questions: usize,
    questions_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Answers that were errors, and connections that were refused.
    lost: u32,
}

pub(super) async fn latency(
    url: &str,
    connections: u32,
    questions: u32,
) -> anyhow::Result<Latency> {
    let mut lost = 0;
    let mut clients = Vec::new();
    for _ in 0..connections {
        match RpcClient::from_insecure_url(url).await {
            Ok(client) => clients.push(client),
            Err(_) => lost += 1,
        }
    }
    let started = Instant::now();
    let asking = clients.iter().map(|client| async move {
        let mut times = Vec::with_capacity(questions as usize);
        let mut lost = 0;
        for _ in 0..questions {
            let started = Instant::now();
            let answer = client.request::<Header>("chain_getHeader", rpc_params![]);
            match answer.await {
                Ok(Header { number }) if number.starts_with("0x") => times.push(started.elapsed()),
                _ => lost += 1,
            }
        }
        (times, lost)
    });
    let mut asking: FuturesUnordered<_> = asking.collect();
    let mut times: Vec<Duration> = Vec::new();
    while let Some((some, failed)) = asking.next().await {
        times.extend(some);
        lost += failed;
    }
    let took = started.elapsed();
    times.sort_unstable();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        let time = times.get(index.min(times.len().saturating_sub(1)));
        time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    Ok(Latency {
        connections,
        questions: times.len(),
        questions_per_s: times.len() as f64 / took.as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
        lost,
    })
}

#[derive(Deserialize)]
struct Header {
    number: String,
}

#[derive(Deserialize)]
struct SignedBlock {
    block: Block,
}

#[derive(Deserialize)]
struct Block {
    /// Hexadecimal.
    extrinsics: Vec<String>,
}

/// Bytes of the largest extrinsic of a block.
pub(super) async fn largest_extrinsic(url: &str, block: BlockHash) -> anyhow::Result<usize> {
    let client = RpcClient::from_insecure_url(url).await?;
    let params = rpc_params![block.to_string()];
    let block: SignedBlock = client.request("chain_getBlock", params).await?;
    let sizes = block.block.extrinsics.iter();
    let sizes = sizes.map(|hex| hex.trim_start_matches("0x").len() / 2);
    sizes.max().context("a block without extrinsics")
}
