//! `benchmarks settlement`: what the chain's part costs, a job and in all.
//!
//! The embedded chain is served by this process, and everything goes through its WebSocket as from any other client. An
//! epoch is what a coordinator makes of its jobs: the Merkle root over their receipts, the newest voucher of each client
//! (256 at most), and one payout for each payee. Receipts themselves are verified when jobs end, one by one, and are not
//! part of an epoch's time.

mod rpc;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ai_link_devchain::{DevChain, Genesis, Serving};
use ai_link_registry::{BlockHash, MAX_VOUCHERS, Registry, RegistryClient, SettlementBatch};
use ai_link_runtime::{Runtime, RuntimeBlockWeights};
use ai_link_wire::{AccountId, Digest, Identity, Planck, Voucher, merkle};
use anyhow::Context as _;
use clap::Args;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::Serialize;

/// Accounts that jobs pay: three workers of each of some groups, owners, the coordinator.
const PAYEES: usize = 40;
/// What a job pays in all, planck.
const PRICE: u128 = 1_000_000_000;

/// What `benchmarks settlement` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Jobs of the epochs that are settled.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 1_000_000], value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    jobs: Vec<u32>,
    /// Connections that ask the chain at the same time.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    connections: u32,
    /// Questions on each of them.
    #[arg(long, default_value_t = 20)]
    questions: u32,
    /// Transfers that are sent to measure how many the chain takes.
    #[arg(long, default_value_t = 5_000)]
    transfers: u32,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    epochs: Vec<Epoch>,
    vouchers: Vouchers,
    chain: Throughput,
    rpc: rpc::Latency,
}

/// One settlement.
#[derive(Debug, Serialize)]
struct Epoch {
    jobs: u32,
    vouchers: usize,
    payouts: usize,
    /// Over the root of the receipts.
    root_s: f64,
    /// From handing the batch over until it is final.
    final_s: f64,
    jobs_per_s: f64,
    /// The extrinsic as it is in the block.
    bytes: usize,
    bytes_per_job: f64,
    /// Of what ordinary extrinsics may take of a block.
    weight_fraction: f64,
}

/// On one core.
#[derive(Debug, Serialize)]
struct Vouchers {
    signed_per_s: f64,
    verified_per_s: f64,
}

/// Transfers of several accounts, many in flight.
#[derive(Debug, Serialize)]
struct Throughput {
    extrinsics: u32,
    blocks: usize,
    extrinsics_per_s: f64,
    blocks_per_s: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(measure(options))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report:#?}");
    }
    Ok(())
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let vouchers = vouchers();
    let directory = tempfile::tempdir()?;
    let parties = (0..MAX_VOUCHERS).map(|i| party("client", i));
    let parties = parties.chain([party("coordinator", 0)]);
    let endowed = parties.map(|party| (party.account().0.into(), Planck::ail(1_000_000).0));
    let genesis = Genesis {
        endowed: endowed.collect(),
    };
    let chain = DevChain::open(directory.path(), &genesis)?;
    let serving = chain.serve((Ipv4Addr::LOCALHOST, 0).into(), None).await?;
    let registry = Registry::connect(serving.url()).await?;
    let epochs = epochs(options, &registry, &serving).await?;
    let chain = throughput(options, &registry).await?;
    let rpc = rpc::latency(serving.url(), options.connections, options.questions).await?;
    Ok(Report {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        epochs,
        vouchers,
        chain,
        rpc,
    })
}

fn party(role: &str, number: usize) -> Identity {
    Identity::derive(b"settlement benchmark", &format!("{role}-{number}"))
}

fn vouchers() -> Vouchers {
    const COUNT: u128 = 4_000;
    let (client, coordinator) = (party("client", 0), party("coordinator", 0).account());
    let started = Instant::now();
    let all: Vec<Voucher> = (1..=COUNT)
        .map(|i| Voucher::sign(&client, coordinator, Planck(i)))
        .collect();
    let signed = started.elapsed();
    let started = Instant::now();
    let right = all.iter().filter(|voucher| voucher.verify().is_ok());
    assert_eq!(black_box(right.count()), all.len());
    let verified = started.elapsed();
    let rate = |time: Duration| COUNT as f64 / time.as_secs_f64();
    Vouchers {
        signed_per_s: rate(signed),
        verified_per_s: rate(verified),
    }
}

async fn epochs(
    options: &Options,
    registry: &Registry,
    serving: &Serving,
) -> anyhow::Result<Vec<Epoch>> {
    let coordinator = RegistryClient::new(registry.clone(), party("coordinator", 0));
    let bond = registry.bond_minimums().await?.coordinator;
    coordinator
        .register_coordinator(&party("coordinator", 0), bond)
        .await?;
    let clients: Vec<_> = (0..MAX_VOUCHERS).map(|i| party("client", i)).collect();
    let deposits = clients.iter().map(|client| {
        let client = RegistryClient::new(registry.clone(), client.clone());
        async move { client.deposit(Planck::ail(100_000)).await }
    });
    let mut deposits: FuturesUnordered<_> = deposits.collect();
    while let Some(deposited) = deposits.next().await {
        deposited?;
    }

    let mut owed = BTreeMap::<AccountId, u128>::new();
    let mut epochs = Vec::new();
    for (number, jobs) in (1..).zip(&options.jobs) {
        let receipts: Vec<_> = (0..*jobs)
            .map(|job| Digest::of(&job.to_le_bytes()))
            .collect();
        let started = Instant::now();
        let receipts_root = merkle::root(&receipts);
        let root = started.elapsed();

        // Jobs go round among the clients.
        let payers = clients.len().min(*jobs as usize);
        let mut vouchers = Vec::with_capacity(payers);
        let mut total = 0;
        for (i, client) in clients.iter().take(payers).enumerate() {
            let own = *jobs as usize / payers + usize::from(i < *jobs as usize % payers);
            let amount = own as u128 * PRICE;
            let cumulative = owed.entry(client.account()).or_default();
            *cumulative += amount;
            total += amount;
            let cumulative = Planck(*cumulative);
            vouchers.push(Voucher::sign(client, coordinator.account(), cumulative));
        }
        let payouts = payouts(total);
        let (count, paid) = (vouchers.len(), payouts.len());
        let batch = SettlementBatch {
            epoch: number,
            receipts_root,
            jobs: *jobs,
            vouchers,
            payouts,
        };
        let started = Instant::now();
        let settled = coordinator.settle(batch).await?;
        let last = started.elapsed();
        let bytes = rpc::largest_extrinsic(serving.url(), settled.block).await?;
        let weight = ai_link_pallets::weights::settle::<Runtime>(count, paid);
        epochs.push(Epoch {
            jobs: *jobs,
            vouchers: count,
            payouts: paid,
            root_s: root.as_secs_f64(),
            final_s: last.as_secs_f64(),
            jobs_per_s: f64::from(*jobs) / (root + last).as_secs_f64(),
            bytes,
            bytes_per_job: bytes as f64 / f64::from(*jobs),
            weight_fraction: weight.ref_time() as f64 / block_time()?,
        });
    }
    Ok(epochs)
}

/// Computing time that ordinary extrinsics may take of a block, in the unit of weights.
fn block_time() -> anyhow::Result<f64> {
    let weights = RuntimeBlockWeights::get();
    let normal = weights.get(frame_support::dispatch::DispatchClass::Normal);
    let most = normal
        .max_total
        .context("ordinary extrinsics are bounded")?;
    Ok(most.ref_time() as f64)
}

/// `total`, among the payees.
fn payouts(total: u128) -> Vec<(AccountId, Planck)> {
    let part = total / PAYEES as u128;
    let mut left = total;
    let mut payouts = Vec::with_capacity(PAYEES);
    for i in 0..PAYEES {
        let amount = if i + 1 == PAYEES { left } else { part };
        left -= amount;
        payouts.push((party("payee", i).account(), Planck(amount)));
    }
    payouts
}

/// Sends transfers of many accounts, each with several in flight, until all are final.
async fn throughput(options: &Options, registry: &Registry) -> anyhow::Result<Throughput> {
    const SENDERS: usize = 64;
    let to = party("client", 0).account();
    let started = Instant::now();
    let each = options.transfers.div_ceil(SENDERS as u32);
    let senders = (1..=SENDERS).map(|i| {
        let client = RegistryClient::new(registry.clone(), party("client", i));
        async move {
            // One nonce after the other; that they are final is waited for together.
            let sent = (0..each).map(|_| client.transfer(to, Planck::ail(1)));
            let mut sent: FuturesUnordered<_> = sent.collect();
            let mut blocks = Vec::new();
            while let Some(done) = sent.next().await {
                blocks.push(done?.block);
            }
            anyhow::Ok(blocks)
        }
    });
    let blocks: Vec<Vec<BlockHash>> = futures::future::try_join_all(senders).await?;
    let took = started.elapsed().as_secs_f64();
    let mut all: Vec<BlockHash> = blocks.into_iter().flatten().collect();
    let extrinsics = u32::try_from(all.len())?;
    all.sort_unstable();
    all.dedup();
    Ok(Throughput {
        extrinsics,
        blocks: all.len(),
        extrinsics_per_s: f64::from(extrinsics) / took,
        blocks_per_s: all.len() as f64 / took,
    })
}
