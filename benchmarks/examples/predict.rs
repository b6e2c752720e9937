//! Predictions beside measurements: `cargo run --release -p benchmarks --example predict [RUNS]`.
//!
//! Measures this machine, predicts sessions of four models, and runs them with all parties in this
//! process over links that take as long as a network's (see `ai_link_mpc::rehearsal`). Prints the
//! seconds online, dealt ahead, and with dealing along the way: predicted, the median measured, and
//! their ratio. Values are random: what a session takes depends on shapes alone.
//!
//! `AI_LINK_STEPS=1` prints every step as well, `AI_LINK_SAMPLES=1` what the rates were made of.
//!
//! On a machine with other work to do, what is measured is that work too: rates are least times,
//! sessions are medians.

use std::error::Error;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_mpc::rehearsal::{Rehearsal, Rehearsed};
use ai_link_mpc::{Secret32, rates};
use ai_link_program::{
    Compiled, FssPolicy, Graph, ImportLimits, LinkProfile, Parameters, Placement, PlanOptions,
    Prediction, Setting, Tensor, WeightPrivacy, compile,
};
use benchmarks::models::{self, Array};
use benchmarks::zoo;

const BATCHES: [usize; 2] = [1, 32];
const DEADLINE: Duration = Duration::from_secs(120);

fn main() -> Result<(), Box<dyn Error>> {
    let runs = std::env::args().nth(1).map_or(Ok(9), |n| n.parse())?;
    let began = Instant::now();
    let (rates, samples) = rates::measure_and_explain();
    println!(
        "{rates}\nmeasured in {:.2} s\n",
        began.elapsed().as_secs_f64()
    );
    if std::env::var_os("AI_LINK_SAMPLES").is_some() {
        for s in samples {
            let (us, fitted) = (1e6 * s.seconds, 1e6 * s.fitted);
            let ratio = s.seconds / s.fitted;
            println!(
                "    {:<10} {:<32} {us:>9.2} {fitted:>9.2} us {ratio:>6.2}",
                format!("{:?}", s.role),
                s.step
            );
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let links = [
        ("loopback", LinkProfile::LOOPBACK),
        ("40ms 100mbit", LinkProfile::WIDE_AREA),
    ];
    println!(
        "{:<14} {:<8} {:>5} {:<13} {:>6}   {:>9} {:>9} {:>6}   {:>9} {:>9} {:>6}   {:>9} {:>9} {:>6}",
        "model",
        "weights",
        "batch",
        "link",
        "rounds",
        "online",
        "measured",
        "ratio",
        "dealing",
        "measured",
        "ratio",
        "along",
        "measured",
        "ratio"
    );
    for (name, model) in models()? {
        for weights in [WeightPrivacy::Public, WeightPrivacy::Private] {
            for batch in BATCHES {
                for (link_name, link) in links {
                    let link = LinkProfile {
                        cores: u16::try_from(cores)?,
                        ..link
                    };
                    let compiled = model.compile(weights, batch, link)?;
                    let setting = Setting {
                        link,
                        rates,
                        placement: Placement::Together,
                    };
                    let predicted = compiled.program.predict(batch, &setting);
                    let program = Arc::new(compiled.program);
                    let measured = measure(&program, &compiled.parameters, link, batch, runs)?;
                    let private = weights == WeightPrivacy::Private;
                    print!(
                        "{name:<14} {:<8} {batch:>5} {link_name:<13} {:>6}",
                        if private { "private" } else { "public" },
                        predicted.rounds(),
                    );
                    for (predicted, measured) in [
                        (predicted.online, measured.online),
                        (predicted.dealing, measured.dealing),
                        (predicted.along, measured.along),
                    ] {
                        let ratio = measured / predicted;
                        print!("   {predicted:>9.6} {measured:>9.6} {ratio:>6.2}");
                    }
                    println!();
                    if std::env::var_os("AI_LINK_STEPS").is_some() {
                        steps(&predicted, &measured);
                    }
                }
            }
        }
    }
    Ok(())
}

fn steps(predicted: &Prediction, measured: &Rehearsed) {
    let line = |name: &str, a: f64, b: f64, rest: String| {
        println!(
            "    {name:<32} {:>9.1} {:>9.1} us {:>6.2} {rest}",
            1e6 * a,
            1e6 * b,
            b / a
        );
    };
    line("input", predicted.input, measured.input, String::new());
    for (p, m) in predicted.steps.iter().zip(&measured.steps) {
        let dealing = format!(
            "  busy {:>9.1}  dealing {:>9.1} {:>9.1} us {:>6.2}",
            1e6 * m.busy,
            1e6 * p.dealing,
            1e6 * m.dealing,
            m.dealing / p.dealing
        );
        let name = format!("{} {}", p.kind, p.elements);
        line(&name, p.seconds, m.seconds, dealing);
    }
    line("output", predicted.output, measured.output, String::new());
}

/// Medians of so many runs.
fn measure(
    program: &Arc<ai_link_program::Program>,
    parameters: &Parameters,
    link: LinkProfile,
    batch: usize,
    runs: usize,
) -> Result<Rehearsed, Box<dyn Error>> {
    let mut numbers = Numbers(batch as u64);
    let entropy = numbers.secret();
    let rehearsal = Rehearsal::new(program.clone(), parameters, link, DEADLINE, &entropy)?;
    let ports = program.inputs().iter();
    let sizes = ports.map(|port| program.value(port.value).elements() * batch);
    let inputs: Vec<Vec<f32>> = sizes.map(|n| numbers.floats(n)).collect();
    let mut all = Vec::new();
    for _ in 0..=runs {
        all.push(rehearsal.run(batch, &inputs, || numbers.secret())?);
    }
    // The first one packed weights.
    all.remove(0);
    let middle = |of: &dyn Fn(&Rehearsed) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let mut result = all[0].clone();
    result.input = middle(&|r| r.input);
    result.output = middle(&|r| r.output);
    result.online = middle(&|r| r.online);
    result.dealing = middle(&|r| r.dealing);
    result.along = middle(&|r| r.along);
    for (i, step) in result.steps.iter_mut().enumerate() {
        step.seconds = middle(&|r| r.steps[i].seconds);
        step.busy = middle(&|r| r.steps[i].busy);
        step.dealing = middle(&|r| r.steps[i].dealing);
    }
    Ok(result)
}

/// Reproducible numbers: entropy of a rehearsal over made-up data protects nothing.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32)
            .collect()
    }

    fn secret(&mut self) -> Secret32 {
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        Secret32::new(bytes)
    }
}

/// A model, and records that show what its values look like.
struct Model {
    graph: Graph,
    records: Vec<Tensor>,
}

fn models() -> Result<Vec<(&'static str, Model)>, Box<dyn Error>> {
    let mut all = Vec::new();
    for model in [zoo::Model::Mlp, zoo::Model::Lenet] {
        let graph = Graph::from_onnx(&model.onnx(), ImportLimits::default())?;
        let dims = [&[8], model.record()].concat();
        let records = vec![Tensor::new(dims, model.draw(8, 1))?];
        all.push((model.name(), Model { graph, records }));
    }
    for model in models::ALL {
        let files = model.load()?;
        let graph = Graph::from_onnx(files.onnx, ImportLimits::default())?;
        let Array { dims, data } = files.calibration;
        let records = vec![Tensor::new(dims, data)?];
        all.push((model.name(), Model { graph, records }));
    }
    Ok(all)
}

impl Model {
    fn compile(
        &self,
        weights: WeightPrivacy,
        batch: usize,
        link: LinkProfile,
    ) -> Result<Compiled, Box<dyn Error>> {
        let options = PlanOptions {
            weights,
            batch: u32::try_from(batch)?,
            link,
            fss: FssPolicy::WhereCheaper,
            ..PlanOptions::default()
        };
        Ok(compile(
            &self.graph,
            std::slice::from_ref(&self.records),
            options,
        )?)
    }
}
