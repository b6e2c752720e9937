//! `ai-link model check|explain --level fhe`: what a model becomes on ciphertexts, what it costs here, and what other
//! settings would give; and the part of a package that is published for the level.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ai_link_fhe::{
    Activations, ClientKey, Control, Entropy, EvaluationKey, Evaluator, Exactness, Fidelity,
    GeneratedKey, Method, Offer, Options, ParameterSet, run_float,
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::stem;
use crate::cli::{FheArgs, KeptTables};
use crate::npy::{self, Array};
use crate::output::{Failure, Output, chain};

/// Tolerances that are tried beside the one asked for.
const LOOSER: [f64; 2] = [0.01, 0.05];
/// Records that are run encrypted, to measure this machine: the first one warms up.
const MEASURED: usize = 3;

/// The part of a package for level `fhe`, from files.
pub(super) fn offer(
    onnx: &Path,
    calibration: &[PathBuf],
    args: &FheArgs,
) -> Result<Vec<u8>, Failure> {
    let (onnx, records) = load(onnx, calibration)?;
    let offer = Offer::compile(&onnx, &records, options(args)).map_err(Failure::failed)?;
    Ok(offer.encode())
}

/// The same, from memory and with default settings.
pub(super) fn offer_of(onnx: &[u8], calibration: &Array) -> Result<Vec<u8>, Failure> {
    let offer = Offer::compile(onnx, &rows(calibration), Options::default());
    Ok(offer.map_err(Failure::failed)?.encode())
}

/// What records give in the clear.
pub(in crate::commands) struct ClearReference {
    /// By the ONNX file in floats.
    pub(in crate::commands) classes: Vec<Option<usize>>,
    /// By the integer model that it becomes with these calibration records.
    pub(in crate::commands) scores: Vec<Vec<f32>>,
}

/// What a model that is compiled with default settings must answer.
pub(in crate::commands) fn clear_reference(
    onnx: &[u8],
    calibration: &Array,
    records: &Array,
) -> Result<ClearReference, Failure> {
    let offer = Offer::compile(onnx, &rows(calibration), Options::default());
    let offer = offer.map_err(Failure::failed)?;
    let package = offer.package();
    let records = rows(records);
    let float = run_float(onnx, &records, Options::default().limits).map_err(Failure::failed)?;
    let score = |record: &Vec<f32>| {
        let integers = package.encoder.encode(record).map_err(Failure::failed)?;
        let clear = package.program.run_clear(&integers);
        let reading = package
            .decoder
            .read(&clear.map_err(Failure::failed)?.outputs);
        Ok(reading.scores.iter().map(|s| *s as f32).collect())
    };
    Ok(ClearReference {
        classes: float.iter().map(|reading| reading.class).collect(),
        scores: records.iter().map(score).collect::<Result<_, Failure>>()?,
    })
}

/// Compiles, proves, measures, and prints.
pub(super) fn explain(
    path: &Path,
    calibration: &[PathBuf],
    args: &FheArgs,
    output: &Output,
) -> Result<(), Failure> {
    let (onnx, records) = load(path, calibration)?;
    let labels = labels(args.labels.as_deref(), records.len())?;
    let asked = options(args);
    let offer = Offer::compile(&onnx, &records, asked).map_err(Failure::failed)?;
    output.note("making a key and running records encrypted, to measure this machine");
    let mut machine = Machine::default();
    let setting = Setting {
        onnx: &onnx,
        records: &records,
        labels: labels.as_deref(),
    };
    let cost = setting.cost(&offer, &mut machine)?;
    let program = &offer.package().program;
    let proof = program.prove().map_err(Failure::failed)?;
    let exact = program.exactness() == Exactness::Exact;
    let classes = offer.package().decoder.labels();
    let explanation = Explanation {
        name: stem(path),
        level: "fhe",
        input: offer.input().to_owned(),
        shape: offer.dims().to_vec(),
        outputs: offer.package().decoder.scores(),
        classes: classes.to_vec(),
        mode: offer.package().method.to_string(),
        exact,
        range: offer.package().range.to_string(),
        security_bits: SECURITY_BITS,
        packed_inputs: program.inputs(),
        input_bits: program.input_bits(),
        table_cells: program.largest_table(),
        failure_log2: exact.then_some(proof.record_log2),
        output_deviation: (!exact).then_some(proof.output_deviation),
        upload_bytes: program.request_bytes(),
        download_bytes: program.answer_bytes(),
        key_bytes: EvaluationKey::encoded_bytes(program.set()),
        records_of_a_job: program.max_batch(),
        accuracy_float: setting.float_accuracy()?,
        cost,
        others: setting.others(asked, &mut machine),
    };
    output.result(&explanation, Explanation::text)
}

/// By tfhe's estimates for its published sets, as `ai-link-fhe` states it.
const SECURITY_BITS: u32 = 132;

/// What is explained.
#[derive(Debug, Serialize)]
struct Explanation {
    name: String,
    level: &'static str,
    input: String,
    /// Of one record.
    shape: Vec<u32>,
    outputs: usize,
    classes: Vec<String>,
    /// What kind of program it became, and so whether what is decrypted always equals the integer reference.
    mode: String,
    exact: bool,
    /// For which records its sums fit.
    range: String,
    security_bits: u32,
    /// Integers of a record.
    packed_inputs: usize,
    input_bits: u32,
    /// Of the largest table that is read cell by cell; 0 if there is none.
    table_cells: usize,
    /// Binary logarithm of the probability that anything of a record goes wrong; absent if results are not exact.
    failure_log2: Option<f64>,
    /// Standard deviation of an output in its steps; absent if results are exact.
    output_deviation: Option<f64>,
    upload_bytes: usize,
    download_bytes: usize,
    /// Sent once to each worker.
    key_bytes: usize,
    records_of_a_job: usize,
    /// On the calibration records, if their labels were given.
    accuracy_float: Option<f64>,
    #[serde(flatten)]
    cost: Cost,
    others: Vec<Other>,
}

/// What a setting costs and how well it follows the float model.
#[derive(Clone, Debug, Serialize)]
struct Cost {
    parameters: String,
    bootstraps: usize,
    depth: usize,
    /// Of this machine, on this program; absent without bootstraps, when a record takes a millisecond.
    bootstraps_per_s: Option<f64>,
    /// Of one record, measured on this machine.
    server_s: f64,
    /// Of the records that were run encrypted, how many decrypt to what the integer reference says: the same integers if
    /// the program is exact, else the same class.
    encrypted_agree: usize,
    encrypted_records: usize,
    /// On the calibration records, if their labels were given.
    accuracy_integer: Option<f64>,
    calibration_records: u32,
    /// Of these, how many have the class that the float model gives.
    same_class: u32,
    rms_error: f64,
    rms_score: f64,
}

/// What another setting would give.
#[derive(Debug, Serialize)]
struct Other {
    setting: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Cost(Cost),
    Refused(String),
}

/// The keys that this machine was measured with.
#[derive(Default)]
struct Machine {
    keys: Vec<(ClientKey, Arc<EvaluationKey>)>,
}

impl Machine {
    fn key(&mut self, set: ParameterSet) -> Result<&(ClientKey, Arc<EvaluationKey>), Failure> {
        if !self.keys.iter().any(|(client, _)| client.set() == set) {
            let GeneratedKey { client, evaluation } = ClientKey::generate(set, entropy()?);
            let key = EvaluationKey::decode(&evaluation).map_err(Failure::failed)?;
            self.keys.push((client, Arc::new(key)));
        }
        let mut keys = self.keys.iter();
        keys.find(|(client, _)| client.set() == set)
            .ok_or_else(|| Failure::message("no key was made"))
    }
}

/// A model with the records that it is looked at with.
struct Setting<'a> {
    onnx: &'a [u8],
    records: &'a [Vec<f32>],
    labels: Option<&'a [usize]>,
}

impl Setting<'_> {
    fn cost(&self, offer: &Offer, machine: &mut Machine) -> Result<Cost, Failure> {
        let package = offer.package();
        let program = &package.program;
        let evaluator = Evaluator::new(program.clone());
        let (client, key) = machine.key(program.set())?;
        let measured = MEASURED.min(self.records.len());
        let mut times = Vec::with_capacity(measured);
        let mut agree = 0;
        for record in &self.records[..measured] {
            let integers = package.encoder.encode(record).map_err(Failure::failed)?;
            let request = client.encrypt(program, &integers, entropy()?);
            let request = request.map_err(Failure::failed)?;
            let started = Instant::now();
            let answer = evaluator.run(key, &request, Control::default());
            times.push(started.elapsed().as_secs_f64());
            let decrypted = client.decrypt(program, &answer.map_err(Failure::failed)?);
            let decrypted = decrypted.map_err(Failure::failed)?;
            let clear = program.run_clear(&integers).map_err(Failure::failed)?;
            agree += usize::from(match program.exactness() {
                Exactness::Exact => clear.outputs == decrypted.local(),
                Exactness::Approximate => {
                    package.decoder.read(&clear.outputs).class
                        == package.decoder.answer(&decrypted).class
                }
            });
        }
        let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
        let Fidelity {
            records,
            same_class,
            rms_error,
            rms_score,
        } = package.fidelity;
        Ok(Cost {
            parameters: program.set().to_string(),
            bootstraps: program.bootstraps(),
            depth: program.depth(),
            bootstraps_per_s: (program.bootstraps() > 0)
                .then(|| program.bootstraps() as f64 / fastest),
            server_s: fastest,
            encrypted_agree: agree,
            encrypted_records: measured,
            accuracy_integer: self.integer_accuracy(offer)?,
            calibration_records: records,
            same_class,
            rms_error,
            rms_score,
        })
    }

    fn float_accuracy(&self) -> Result<Option<f64>, Failure> {
        let Some(labels) = self.labels else {
            return Ok(None);
        };
        let readings = run_float(self.onnx, self.records, Options::default().limits);
        let readings = readings.map_err(Failure::failed)?;
        Ok(share(readings.iter().map(|r| r.class), labels))
    }

    fn integer_accuracy(&self, offer: &Offer) -> Result<Option<f64>, Failure> {
        let Some(labels) = self.labels else {
            return Ok(None);
        };
        let package = offer.package();
        let mut classes = Vec::with_capacity(self.records.len());
        for record in self.records {
            let integers = package.encoder.encode(record).map_err(Failure::failed)?;
            let clear = package.program.run_clear(&integers);
            let clear = clear.map_err(Failure::failed)?;
            classes.push(package.decoder.read(&clear.outputs).class);
        }
        Ok(share(classes.into_iter(), labels))
    }

    /// Other settings than the one asked for: each parameter set, looser tolerances, fewer tables.
    fn others(&self, asked: Options, machine: &mut Machine) -> Vec<Other> {
        let chosen = Offer::compile(self.onnx, self.records, asked).ok();
        let mut settings = Vec::new();
        for set in ParameterSet::ALL {
            let set = Some(set);
            settings.push((
                format!("set {}", set.map_or_else(String::new, |s| s.to_string())),
                Options { set, ..asked },
            ));
        }
        for tolerance in LOOSER
            .into_iter()
            .filter(|looser| *looser > asked.tolerance)
        {
            settings.push((
                format!("tolerance {tolerance}"),
                Options { tolerance, ..asked },
            ));
        }
        let network = matches!(chosen.as_ref().map(method), Some(Method::Network(_)));
        if network {
            let networks = match asked.networks {
                Exactness::Exact => Exactness::Approximate,
                Exactness::Approximate => Exactness::Exact,
            };
            let activations = Activations::All;
            settings.push((
                format!("results {}", name(networks)),
                Options {
                    networks,
                    activations,
                    ..asked
                },
            ));
        }
        if network
            && asked.activations == Activations::All
            && asked.networks == Exactness::Approximate
        {
            let activations = Activations::Necessary;
            settings.push((
                "activations necessary".into(),
                Options {
                    activations,
                    ..asked
                },
            ));
        }
        let mut seen: Vec<Offer> = chosen.into_iter().collect();
        let mut others = Vec::new();
        for (setting, options) in settings {
            let outcome = match Offer::compile(self.onnx, self.records, options) {
                // The same program as one that is shown already says nothing new.
                Ok(offer) if seen.contains(&offer) => continue,
                Ok(offer) => {
                    let cost = self.cost(&offer, machine);
                    seen.push(offer);
                    match cost {
                        Ok(cost) => Outcome::Cost(cost),
                        Err(failure) => Outcome::Refused(failure.text().to_owned()),
                    }
                }
                Err(error) => Outcome::Refused(chain(&error)),
            };
            others.push(Other { setting, outcome });
        }
        others
    }
}

fn method(offer: &Offer) -> Method {
    offer.package().method
}

fn name(exactness: Exactness) -> &'static str {
    match exactness {
        Exactness::Exact => "exact",
        Exactness::Approximate => "approximate",
    }
}

/// Share of records that have their label.
fn share(classes: impl Iterator<Item = Option<usize>>, labels: &[usize]) -> Option<f64> {
    let mut right = 0;
    for (class, label) in classes.zip(labels) {
        right += usize::from(class? == *label);
    }
    Some(right as f64 / labels.len().max(1) as f64)
}

impl Explanation {
    fn text(&self) -> String {
        let certainty = match (self.failure_log2, self.output_deviation) {
            (Some(log2), _) if log2.is_finite() => format!(
                "exact: what is decrypted equals the integer model, except with probability 2^{log2:.0} a record"
            ),
            (Some(_), _) => "exact: what is decrypted equals the integer model".into(),
            (None, Some(deviation)) => format!(
                "approximate: outputs carry noise of {deviation:.1} steps; decrypted values must not reach the worker"
            ),
            (None, None) => String::new(),
        };
        let mut lines = vec![
            format!("{}: can run under fhe", self.name),
            format!(
                "  input       {} {:?}, {} outputs",
                self.input, self.shape, self.outputs
            ),
            format!(
                "  bits        {} packed integers of {} bits, tables of {} cells; parameters {}, {} bits of security",
                self.packed_inputs,
                self.input_bits,
                self.table_cells,
                self.cost.parameters,
                self.security_bits
            ),
            format!("  mode        {}; range of sums: {}", self.mode, self.range),
            format!("  noise       {certainty}"),
            format!("  cost        {}", self.cost.text()),
            format!(
                "  traffic     {} bytes up, {} down a record; a key of {} bytes once for each worker; at most {} \
                 records a job",
                self.upload_bytes, self.download_bytes, self.key_bytes, self.records_of_a_job
            ),
            format!("  accuracy    {}", self.cost.accuracy(self.accuracy_float)),
            "  protects    input and output, from everyone; not the weights, from the worker"
                .into(),
        ];
        for other in &self.others {
            lines.push(match &other.outcome {
                Outcome::Cost(cost) => format!(
                    "  with {}: {}; {}",
                    other.setting,
                    cost.text(),
                    cost.accuracy(None)
                ),
                Outcome::Refused(why) => format!("  with {}: refused: {why}", other.setting),
            });
        }
        lines.join("\n")
    }
}

impl Cost {
    fn text(&self) -> String {
        let seconds = match self.bootstraps_per_s {
            Some(rate) => format!(
                "{:.3} s a record, {rate:.0} bootstraps a second here",
                self.server_s
            ),
            None => format!("{:.4} s a record here", self.server_s),
        };
        format!(
            "{} bootstraps, {} deep, {}: {seconds} ({} of {} encrypted records agree)",
            self.bootstraps,
            self.depth,
            self.parameters,
            self.encrypted_agree,
            self.encrypted_records
        )
    }

    fn accuracy(&self, float: Option<f64>) -> String {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let agreement = format!(
            "{} of {} calibration records have the float model's class, scores differ by {:.2e} of {:.2e}",
            self.same_class, self.calibration_records, self.rms_error, self.rms_score
        );
        match (float, self.accuracy_integer) {
            (Some(float), Some(integer)) => format!(
                "float {}, integer {}; {agreement}",
                percent(float),
                percent(integer)
            ),
            (None, Some(integer)) => format!("integer {}; {agreement}", percent(integer)),
            _ => agreement,
        }
    }
}

fn options(args: &FheArgs) -> Options {
    Options {
        tolerance: args.tolerance,
        activations: match args.activations {
            KeptTables::All => Activations::All,
            KeptTables::Necessary => Activations::Necessary,
        },
        networks: match args.exact {
            true => Exactness::Exact,
            false => Exactness::Approximate,
        },
        ..Options::default()
    }
}

fn load(onnx: &Path, calibration: &[PathBuf]) -> Result<(Vec<u8>, Vec<Vec<f32>>), Failure> {
    let [calibration] = calibration else {
        return Err(Failure::usage(
            "level fhe needs --calibration with one .npy file of records",
        ));
    };
    let bytes = fs::read(onnx)
        .map_err(|e| Failure::message(format!("cannot read {}: {e}", onnx.display())))?;
    let records = npy::read(calibration).map_err(Failure::failed)?;
    Ok((bytes, rows(&records)))
}

fn rows(array: &Array) -> Vec<Vec<f32>> {
    let width = array.record_len().max(1);
    array.data.chunks(width).map(<[f32]>::to_vec).collect()
}

fn labels(path: Option<&Path>, records: usize) -> Result<Option<Vec<usize>>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let array = npy::read(path).map_err(Failure::failed)?;
    if array.data.len() != records {
        return Err(Failure::usage(format!(
            "{} labels for {records} calibration records",
            array.data.len()
        )));
    }
    let label = |v: &f32| match *v >= 0.0 && v.fract() == 0.0 {
        true => Ok(*v as usize),
        false => Err(Failure::usage(format!(
            "{v} is no class: labels are indices"
        ))),
    };
    array
        .data
        .iter()
        .map(label)
        .collect::<Result<_, _>>()
        .map(Some)
}

fn entropy() -> Result<Entropy, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(Failure::failed)?;
    Ok(Entropy::new(*bytes))
}
