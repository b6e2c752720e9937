//! `benchmarks storage`: what coding, hashing, storing, reading and proving take.
//!
//! Rates of one core are over the 32 MiB of a segment; beside them stand SHA-256 of the same bytes and copying them, in the
//! same run. An object then goes to twelve storage nodes and back, first to directories of this process, then to nodes that
//! are processes of their own, over HTTP. Beside that stands hashing three times its size with all cores, which is what the
//! fragments' hashes take at least, and writing and syncing three times its size, which is what the disk takes.

mod nodes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_storage::layout::Kernel;
use ai_link_storage::node::StorageNode;
use ai_link_storage::podr2::{Challenge, Proof, TaggingKey};
use ai_link_storage::rates::{self, CodingTimes};
use ai_link_storage::{
    Account, AccountStore as _, ByteRange, ByteSource, ContentHash, EmbeddedBank, PutOptions,
    SpreadConfig, SpreadStore,
};
use anyhow::Context as _;
use clap::Args;
use futures::StreamExt as _;
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt as _;

pub(crate) use nodes::{NodeOptions, run_node};

/// What `benchmarks storage` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Size of the object that is stored and read, in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=4096))]
    mib: u64,
    /// Where nodes keep fragments, 6 times the object's size; a temporary directory if left out.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Passes over a segment, of which the best counts.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Leaves the object out: coding and proofs only.
    #[arg(long)]
    no_object: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    kernel: String,
    cores: usize,
    /// GiB of input a second on one core.
    encode_gib_s: f64,
    decode_gib_s: f64,
    verify_gib_s: f64,
    sha256_gib_s: f64,
    copy_gib_s: f64,
    /// The same for every kernel that this machine runs.
    kernels: Vec<KernelRates>,
    object: Option<ObjectReport>,
    podr2: Podr2Report,
}

#[derive(Debug, Serialize)]
struct KernelRates {
    kernel: String,
    encode_gib_s: f64,
    decode_gib_s: f64,
}

#[derive(Debug, Serialize)]
struct ObjectReport {
    bytes: u64,
    /// Hashing three times as much with all cores.
    hash_three_times_s: f64,
    /// Writing and syncing three times as much, from memory.
    write_three_times_s: f64,
    /// Directories of this process.
    in_process: TransferReport,
    /// Twelve processes, over HTTP on loopback.
    over_http: TransferReport,
}

#[derive(Debug, Serialize)]
struct TransferReport {
    put_s: f64,
    put_over_hashing: f64,
    put_over_writing: f64,
    get_s: f64,
    /// Reading it with the first four nodes gone, so that every segment is decoded.
    get_decoding_s: f64,
    /// First byte of a range of 1 KiB in the middle, median of several.
    range_first_byte_s: f64,
    /// The most memory that this process has had while storing, and by the end of reading (`VmHWM`).
    put_peak_rss_bytes: u64,
    peak_rss_bytes: u64,
}

/// Of one fragment of 8 MiB.
#[derive(Debug, Serialize)]
struct Podr2Report {
    keygen_s: f64,
    tag_s: f64,
    prove_s: f64,
    verify_s: f64,
    tag_bytes: usize,
    proof_bytes: usize,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // The object comes first: memory that others used would be seen as its own.
    let object = if options.no_object {
        None
    } else {
        let runtime = tokio::runtime::Runtime::new()?;
        Some(runtime.block_on(object(options))?)
    };
    let kernels: Vec<(Kernel, CodingTimes)> = Kernel::available()
        .into_iter()
        .map(|kernel| (kernel, rates::measure(kernel, options.rounds)))
        .collect();
    let (best, times) = *kernels
        .last()
        .context("there is a portable kernel at least")?;
    let rate = |time: Duration| 0.03125 / time.as_secs_f64();
    let report = Report {
        kernel: best.to_string(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        encode_gib_s: rate(times.encode),
        decode_gib_s: rate(times.decode),
        verify_gib_s: rate(times.verify),
        sha256_gib_s: rate(times.sha256),
        copy_gib_s: rate(times.copy),
        kernels: kernels
            .iter()
            .map(|(kernel, times)| KernelRates {
                kernel: kernel.to_string(),
                encode_gib_s: rate(times.encode),
                decode_gib_s: rate(times.decode),
            })
            .collect(),
        object,
        podr2: podr2()?,
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report:#?}");
    }
    Ok(())
}

async fn object(options: &Options) -> anyhow::Result<ObjectReport> {
    let temporary = tempfile::TempDir::new()?;
    let dir = options
        .dir
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    let bytes = options.mib << 20;
    let hash_three_times_s = hash_three_times(bytes);
    let write_three_times_s = write_three_times(&dir, bytes)?;
    let plain = (hash_three_times_s, write_three_times_s);
    reset_peak();
    let local = nodes::local(&dir.join("in-process")).await?;
    let in_process = transfer(&dir.join("in-process"), local, bytes, plain).await?;
    reset_peak();
    let remote = nodes::Processes::start(&dir.join("over-http"))?;
    let members = remote.members()?;
    let over_http = transfer(&dir.join("over-http"), members, bytes, plain).await?;
    drop(remote);
    Ok(ObjectReport {
        bytes,
        hash_three_times_s,
        write_three_times_s,
        in_process,
        over_http,
    })
}

type Members = Vec<(Arc<dyn StorageNode>, ai_link_storage::location::Site)>;

async fn transfer(
    dir: &Path,
    members: Members,
    bytes: u64,
    (hashing, writing): (f64, f64),
) -> anyhow::Result<TransferReport> {
    let bank = EmbeddedBank::open(&dir.join("files.redb"))?;
    let mut config = SpreadConfig::default();
    config.max_object = bytes;
    let bank = Arc::new(bank);
    let store = SpreadStore::open(bank.clone(), members.clone(), config.clone()).await?;
    let owner = Account([7; 32]);
    let put = PutOptions::named("benchmark".parse()?);
    let started = Instant::now();
    let stored = store
        .put_as(owner, ByteSource::new(Noise::new(bytes)), put)
        .await?;
    let put_s = started.elapsed().as_secs_f64();
    let put_peak_rss_bytes = peak()?;
    let started = Instant::now();
    read(&store, stored.fid, bytes).await?;
    let get_s = started.elapsed().as_secs_f64();
    let mut first = Vec::new();
    for i in 0..9 {
        let start = bytes / 9 * i;
        let range = ByteRange::try_from(start..(start + 1024).min(bytes))?;
        let started = Instant::now();
        let mut stream = store.get(stored.fid, Some(range)).await?;
        stream.next().await.context("a range has bytes")??;
        first.push(started.elapsed().as_secs_f64());
    }
    first.sort_by(f64::total_cmp);
    // Without the nodes of the data fragments.
    let record = ai_link_storage::FileBank::file(&*bank, stored.fid).await?;
    let record = record.context("it was stored")?;
    let gone = &record.placement[..4];
    let left = members
        .into_iter()
        .filter(|(node, _)| !gone.contains(&node.account()));
    let degraded = SpreadStore::open(bank, left.collect(), config).await?;
    let started = Instant::now();
    read(&degraded, stored.fid, bytes).await?;
    let get_decoding_s = started.elapsed().as_secs_f64();
    store.delete_as(owner, stored.fid).await?;
    Ok(TransferReport {
        put_s,
        put_over_hashing: put_s / hashing,
        put_over_writing: put_s / writing,
        get_s,
        get_decoding_s,
        range_first_byte_s: first[first.len() / 2],
        put_peak_rss_bytes,
        peak_rss_bytes: peak()?,
    })
}

/// Reads an object and compares it with what was stored, by their hashes.
async fn read(store: &SpreadStore, fid: ai_link_storage::Fid, bytes: u64) -> anyhow::Result<()> {
    let mut stream = store.get(fid, None).await?;
    let mut count = 0;
    while let Some(piece) = stream.next().await {
        count += piece?.len() as u64;
    }
    anyhow::ensure!(count == bytes, "{count} bytes of {bytes} came back");
    Ok(())
}

/// Bytes that cost little to make and do not repeat within a segment.
struct Noise {
    left: u64,
    block: Vec<u8>,
    at: usize,
}

impl Noise {
    fn new(bytes: u64) -> Self {
        let mut state = 9_u64;
        let block = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        });
        Self {
            left: bytes,
            // Not a divisor of a segment, so that segments differ.
            block: block.take((1 << 20) + 4099).collect(),
            at: 0,
        }
    }
}

impl tokio::io::AsyncRead for Noise {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let count = (self.block.len() - self.at).min(buffer.remaining());
        let count = count.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        buffer.put_slice(&self.block[self.at..self.at + count]);
        self.at = (self.at + count) % self.block.len();
        self.left -= count as u64;
        std::task::Poll::Ready(Ok(()))
    }
}

/// Seconds to hash three times `bytes` with all cores, fragment by fragment.
fn hash_three_times(bytes: u64) -> f64 {
    let fragment = vec![0x5a_u8; 8 << 20];
    let count = (3 * bytes).div_ceil(8 << 20);
    let started = Instant::now();
    (0..count).into_par_iter().for_each(|_| {
        std::hint::black_box(Sha256::digest(std::hint::black_box(&fragment)));
    });
    started.elapsed().as_secs_f64()
}

/// Seconds to write and sync three times `bytes`, in files of 8 MiB.
fn write_three_times(dir: &Path, bytes: u64) -> anyhow::Result<f64> {
    use std::io::Write as _;
    let dir = dir.join("plain");
    std::fs::create_dir_all(&dir)?;
    let fragment = vec![0x5a_u8; 8 << 20];
    let count = (3 * bytes).div_ceil(8 << 20);
    let started = Instant::now();
    (0..count).into_par_iter().try_for_each(|i| {
        let mut file = std::fs::File::create(dir.join(i.to_string()))?;
        file.write_all(&fragment)?;
        file.sync_data()
    })?;
    let time = started.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&dir)?;
    Ok(time)
}

fn podr2() -> anyhow::Result<Podr2Report> {
    const SIZE: usize = 8 << 20;
    let mut fragment = vec![0; SIZE];
    futures::executor::block_on(Noise::new(SIZE as u64).read_exact(&mut fragment))?;
    let name = ContentHash::of(&fragment);
    let started = Instant::now();
    let key = TaggingKey::generate(&mut rand_core::OsRng)?;
    let keygen_s = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let tags = key.tag(name, &fragment, SIZE, &[1; 32]);
    let tag_s = started.elapsed().as_secs_f64();
    let (public, challenge) = (key.public(), Challenge::from_seed(&[2; 32]));
    let started = Instant::now();
    let proof = Proof::new(&public, &tags, &fragment, SIZE, &challenge);
    let prove_s = started.elapsed().as_secs_f64();
    let started = Instant::now();
    proof.verify(&public, tags.key(), &challenge)?;
    let verify_s = started.elapsed().as_secs_f64();
    Ok(Podr2Report {
        keygen_s,
        tag_s,
        prove_s,
        verify_s,
        tag_bytes: tags.to_bytes().len(),
        proof_bytes: proof.to_bytes().len(),
    })
}

/// The most memory that this process has had since [`reset_peak`].
fn peak() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("this needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib
        .and_then(|kib| kib.trim().parse().ok())
        .context("no VmHWM")?;
    Ok(kib << 10)
}

/// Lets the mark of the most memory begin anew, so that what came before is not seen.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
