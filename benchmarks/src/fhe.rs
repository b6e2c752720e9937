//! `benchmarks fhe`: what inference on encrypted records takes, on the client and on one worker.
//!
//! Client and worker are in one process and exchange bytes as they would over a network. Every record is encrypted,
//! evaluated with all cores, decrypted, and compared with the integer reference and the label. Times are medians over
//! records. Beside them stands the rate of tfhe's own bootstrap on the same machine in the same run, one per core and one
//! after the other, which is what its benchmark measures: the ratio moves less from machine to machine than a time.

mod concurrent;
mod models;
mod rate;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ai_link_fhe::{
    Activations, ClientKey, Control, Encoder, Entropy, EvaluationKey, Evaluator, Exactness,
    GeneratedKey, Options as Compile, ParameterSet, Program, compile, run_float,
};
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use concurrent::Concurrent;
use models::Workload;

/// What `benchmarks fhe` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// logistic30, tree, xgb_50x4, rf_50x4, mlp_64_32_10, mlp_784_32_10, mlp_784_128_10, cnn28, or an ONNX file.
    #[arg(long)]
    model: String,
    /// For a file: calibration records, `[records, values]`.
    #[arg(long, value_name = "NPY")]
    calibration: Option<PathBuf>,
    /// For a file: held-out records.
    #[arg(long, value_name = "NPY")]
    held_out: Option<PathBuf>,
    /// For a file: labels of the held-out records.
    #[arg(long, value_name = "NPY")]
    labels: Option<PathBuf>,
    /// Records run encrypted; all that there are if fewer.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    records: u32,
    /// The parameter set, instead of the one that the compiler takes.
    #[arg(long, value_parser = parameter_set)]
    set: Option<ParameterSet>,
    /// Share of calibration records that may change class when the model becomes integers.
    #[arg(long, default_value_t = 0.005)]
    tolerance: f64,
    /// Lets activations that the tolerance does not need become lines.
    #[arg(long)]
    linearise: bool,
    /// Makes networks exact: what is decrypted equals the integer reference on every record.
    #[arg(long, conflicts_with = "linearise")]
    exact: bool,
    /// Measures throughput too, with so many clients at once, each with a key of its own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: Option<u32>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

fn parameter_set(text: &str) -> Result<ParameterSet, String> {
    let all = ParameterSet::ALL;
    let found = all.into_iter().find(|s| s.to_string() == text);
    found.ok_or_else(|| format!("one of {all:?}, in lower case"))
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    /// Whether activations were allowed to become lines.
    linearised: bool,
    /// What kind of program it became.
    mode: String,
    /// Whether decrypted results equal the reference by design.
    exact: bool,
    /// For which records its sums fit.
    range: String,
    parameters: String,
    encrypt_s: f64,
    server_s: f64,
    decrypt_s: f64,
    bootstraps: usize,
    depth: usize,
    upload_bytes: usize,
    download_bytes: usize,
    key_bytes: usize,
    keygen_s: f64,
    key_load_s: f64,
    key_memory_bytes: usize,
    compile_s: f64,
    /// Absent without labels, and for a regression.
    accuracy: Option<Accuracy>,
    /// Records run encrypted.
    records: usize,
    /// Of those, how many decrypt to the class of the integer reference; for an exact program, to the same integers.
    agree: usize,
    /// Differences to the integer reference, in units of the predicted standard deviation; zero for an exact program.
    error: Errors,
    /// How far activations of each layer are from the reference, as shares of their range; empty for an exact program.
    activations: Vec<Spread>,
    /// Binary logarithm of the failure probability per record; absent for an approximate program.
    failure_log2: Option<f64>,
    bootstraps_per_s: f64,
    /// tfhe's own key switch and bootstrap, one at a time on each core.
    tfhe_bootstraps_per_s: f64,
    rate_ratio: f64,
    /// Throughput with several clients at once, if it was asked for.
    concurrent: Option<Concurrent>,
    cores: usize,
}

/// Shares of held-out records: of all in the clear, of those that were run encrypted.
#[derive(Debug, Serialize)]
struct Accuracy {
    float: f64,
    integer: f64,
    encrypted: f64,
    held_out: usize,
}

#[derive(Debug, Default, Serialize)]
struct Errors {
    predicted_deviation: f64,
    rms: f64,
    p95: f64,
    max: f64,
}

/// Magnitudes of differences, as shares of a table's range.
#[derive(Debug, Default, Serialize)]
struct Spread {
    /// Activations compared.
    count: usize,
    rms: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
    /// Shares of activations that are on the reference's step, and within one, if the range has 2^4, 2^5, 2^6 steps.
    same: [f64; 3],
    within_one: [f64; 3],
}

/// Records of which activations are looked at, at most.
const LOOKED_AT: usize = 32;
/// Bootstraps that looking at activations takes, at most: records are fewer where networks are large.
const SPENT: usize = 2000;

/// Runs the command.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workload = Workload::load(options)?;
    let started = Instant::now();
    let settings = Compile {
        set: options.set,
        tolerance: options.tolerance,
        activations: if options.linearise {
            Activations::Necessary
        } else {
            Activations::All
        },
        networks: if options.exact {
            Exactness::Exact
        } else {
            Exactness::Approximate
        },
        ..Compile::default()
    };
    let package = compile(&workload.onnx, &workload.calibration, settings)?;
    let compile_s = started.elapsed().as_secs_f64();
    let program = &package.program;
    let proof = program.prove()?;
    let started = Instant::now();
    let GeneratedKey { client, evaluation } = ClientKey::generate(program.set(), entropy()?);
    let keygen_s = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let key = Arc::new(EvaluationKey::decode(&evaluation)?);
    let key_load_s = started.elapsed().as_secs_f64();
    let evaluator = Evaluator::new(program.clone());
    let count = workload.records.len().min(options.records as usize);
    let mut times = [const { Vec::new() }; 3];
    let (mut agree, mut right) = (0, 0);
    let mut errors = Vec::new();
    let (mut upload, mut download) = (0, 0);
    // The first record warms up and is not timed.
    for (i, record) in std::iter::once(&workload.records[0])
        .chain(&workload.records[..count])
        .enumerate()
    {
        let started = Instant::now();
        let integers = package.encoder.encode(record)?;
        let request = client.encrypt(program, &integers, entropy()?)?;
        let encrypt = started.elapsed();
        let started = Instant::now();
        let answer = evaluator.run(&key, &request, Control::default())?;
        let server = started.elapsed();
        let started = Instant::now();
        let decrypted = client.decrypt(program, &answer)?;
        let reading = package.decoder.answer(&decrypted);
        let decrypt = started.elapsed();
        let Some(at) = i.checked_sub(1) else { continue };
        times[0].push(encrypt.as_secs_f64());
        times[1].push(server.as_secs_f64());
        times[2].push(decrypt.as_secs_f64());
        (upload, download) = (request.len(), answer.len());
        let clear = program.run_clear(&integers)?;
        let same = match program.exactness() {
            Exactness::Exact => clear.outputs == decrypted.local(),
            Exactness::Approximate => package.decoder.read(&clear.outputs).class == reading.class,
        };
        agree += usize::from(same);
        right += usize::from(reading.class == workload.class(at));
        let difference = |(a, b): (&i64, &i64)| (a - b).unsigned_abs() as f64;
        errors.extend(clear.outputs.iter().zip(decrypted.local()).map(difference));
    }
    let float = run_float(&workload.onnx, &workload.records, Default::default())?;
    let mut integer = 0;
    for (i, record) in workload.records.iter().enumerate() {
        let clear = program.run_clear(&package.encoder.encode(record)?)?;
        integer += usize::from(package.decoder.read(&clear.outputs).class == workload.class(i));
    }
    let held_out = workload.records.len();
    let float = float
        .iter()
        .enumerate()
        .filter(|(i, r)| r.class == workload.class(*i))
        .count();
    let [encrypt_s, server_s, decrypt_s] = times.map(median);
    let tfhe = if program.bootstraps() > 0 {
        rate::tfhe(program.set())
    } else {
        0.0
    };
    let ours = program.bootstraps() as f64 / server_s;
    let report = Report {
        model: options.model.clone(),
        linearised: options.linearise,
        mode: package.method.to_string(),
        exact: program.exactness() == Exactness::Exact,
        range: package.range.to_string(),
        parameters: program.set().to_string(),
        encrypt_s,
        server_s,
        decrypt_s,
        bootstraps: program.bootstraps(),
        depth: program.depth(),
        upload_bytes: upload,
        download_bytes: download,
        key_bytes: evaluation.len(),
        keygen_s,
        key_load_s,
        key_memory_bytes: key.memory(),
        compile_s,
        accuracy: (workload.is_labelled() && !package.decoder.labels().is_empty()).then_some(
            Accuracy {
                float: float as f64 / held_out as f64,
                integer: integer as f64 / held_out as f64,
                encrypted: right as f64 / count as f64,
                held_out,
            },
        ),
        records: count,
        agree,
        error: summary(errors, proof.output_deviation, program.exactness()),
        activations: activations(program, &client, &key, &workload, &package.encoder)?,
        failure_log2: (program.exactness() == Exactness::Exact).then_some(proof.record_log2),
        bootstraps_per_s: ours,
        tfhe_bootstraps_per_s: tfhe,
        rate_ratio: if tfhe > 0.0 { ours / tfhe } else { 0.0 },
        concurrent: match options.clients {
            None => None,
            Some(clients) => Some(concurrent::measure(
                &evaluator, &package, &workload, clients, tfhe,
            )?),
        },
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report:#?}");
    }
    Ok(())
}

/// Differences of activations between encrypted runs and the reference.
fn activations(
    program: &Program,
    client: &ClientKey,
    key: &Arc<EvaluationKey>,
    workload: &Workload,
    encoder: &Encoder,
) -> anyhow::Result<Vec<Spread>> {
    let mut spreads = Vec::new();
    if program.exactness() == Exactness::Exact {
        return Ok(spreads);
    }
    for layer in 0..program.depth() {
        let part = program
            .revealing(layer)
            .context("a layer cannot be shown")?;
        let evaluator = Evaluator::new(part.clone());
        let mut errors = Vec::new();
        let records = (SPENT / part.bootstraps().max(1)).clamp(2, LOOKED_AT);
        for record in workload.records.iter().take(records) {
            let integers = encoder.encode(record)?;
            let request = client.encrypt(&part, &integers, entropy()?)?;
            let answer = evaluator.run(key, &request, Control::default())?;
            let found = client.decrypt(&part, &answer)?;
            let clear = part.run_clear(&integers)?;
            // Twice 2^12 steps are a table's range.
            let share = |(a, b): (&i64, &i64)| (a - b).unsigned_abs() as f64 / 8192.0;
            errors.extend(clear.outputs.iter().zip(found.local()).map(share));
        }
        spreads.push(spread(errors));
    }
    Ok(spreads)
}

fn spread(mut errors: Vec<f64>) -> Spread {
    errors.sort_by(f64::total_cmp);
    let count = errors.len();
    let squares: f64 = errors.iter().map(|e| e * e).sum();
    let at = |percent: usize| errors.get(count * percent / 100).copied().unwrap_or(0.0);
    let share = |most: f64| {
        let near = errors.partition_point(|e| *e <= most);
        near as f64 / count.max(1) as f64
    };
    let steps = [16.0, 32.0, 64.0];
    Spread {
        count,
        rms: (squares / count.max(1) as f64).sqrt(),
        p50: at(50),
        p95: at(95),
        p99: at(99),
        max: errors.last().copied().unwrap_or(0.0),
        same: steps.map(|n| share(0.5 / n)),
        within_one: steps.map(|n| share(1.5 / n)),
    }
}

fn entropy() -> anyhow::Result<Entropy> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
    Ok(Entropy::new(bytes))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

fn summary(mut errors: Vec<f64>, deviation: f64, exactness: Exactness) -> Errors {
    if exactness == Exactness::Exact || errors.is_empty() {
        let max = errors.iter().copied().fold(0.0, f64::max);
        return Errors {
            max,
            ..Errors::default()
        };
    }
    errors.iter_mut().for_each(|e| *e /= deviation);
    errors.sort_by(f64::total_cmp);
    let squares: f64 = errors.iter().map(|e| e * e).sum();
    Errors {
        predicted_deviation: 1.0,
        rms: (squares / errors.len() as f64).sqrt(),
        p95: errors[errors.len() * 95 / 100],
        max: errors.last().copied().unwrap_or(0.0),
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
