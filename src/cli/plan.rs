//! Flags about plans: for which link, how exact, what is revealed.

use std::path::PathBuf;
use std::time::Duration;

use ai_link_program::{Accuracy, FssPolicy, LinkProfile, OutputPolicy, PlanOptions, WeightPrivacy};
use clap::{Args, ValueEnum};

use super::WeightsArg;

/// Choices of a plan, and the link that it is made for.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlanArgs {
    /// Fraction bits [default: chosen by the plan, 16 if they fit]
    #[arg(long, env = "AI_LINK_FRACTION", value_parser = clap::value_parser!(u8).range(4..=24))]
    fraction: Option<u8>,
    /// The fewest fraction bits with which no output is further from the float model than this, on the records
    #[arg(long, conflicts_with = "fraction", value_name = "ERROR", value_parser = error_bound)]
    accuracy: Option<f32>,
    /// Bits to which smooth functions (gelu, exp, ...) are evaluated, relative to their largest result [default: 10, of
    /// checkpoints 12]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(4..=20))]
    function_bits: Option<u8>,
    /// What the client learns: all values, the label alone, or the labels of the K largest
    #[arg(long, default_value = "values", value_name = "values|labels|topK", value_parser = outputs)]
    outputs: OutputPolicy,
    /// Who may evaluate it: any number of evaluators, or 2, which allows comparisons in one round by keys
    #[arg(long, default_value = "any", value_name = "any|2")]
    evaluators: Evaluators,
    #[command(flatten)]
    link: LinkArgs,
    /// Records at once that the plan is made for; it works for any number
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) batch: u32,
}

/// Bits of smooth functions in a checkpoint's layers.
const CHECKPOINT_FUNCTION_BITS: u8 = 12;

impl PlanArgs {
    /// The options that they mean. Rates are the default ones: a plan must not depend on this machine.
    pub(crate) fn options(&self) -> PlanOptions {
        let mut options = PlanOptions {
            outputs: self.outputs,
            link: self.link(),
            batch: self.batch,
            fss: match self.evaluators {
                Evaluators::Any => FssPolicy::Never,
                Evaluators::Two => FssPolicy::WhereCheaper,
            },
            ..PlanOptions::default()
        };
        if let Some(bits) = self.fraction {
            options.fraction_bits = bits;
            options.min_fraction_bits = options.min_fraction_bits.min(bits);
        }
        if let Some(bits) = self.function_bits {
            options.function_bits = bits;
        }
        if let Some(bound) = self.accuracy {
            options.accuracy = Accuracy::Within(bound);
        }
        options
    }

    /// The same for a checkpoint, where many layers add up.
    pub(crate) fn options_of_checkpoint(&self) -> PlanOptions {
        PlanOptions {
            function_bits: self.function_bits.unwrap_or(CHECKPOINT_FUNCTION_BITS),
            ..self.options()
        }
    }

    /// The link.
    pub(crate) fn link(&self) -> LinkProfile {
        self.link.profile()
    }
}

/// A link between workers, and the workers at its ends.
#[derive(Args, Clone, Debug)]
pub(crate) struct LinkArgs {
    /// Round trip between workers that the plan is made for
    #[arg(long, default_value = "0.3ms", value_name = "TIME", value_parser = round_trip)]
    rtt: Duration,
    /// Bandwidth between them, each way
    #[arg(long, default_value = "10gbit", value_name = "RATE", value_parser = bandwidth)]
    bandwidth: u64,
    /// Cores of each worker
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    cores: u16,
}

impl LinkArgs {
    /// As plans have it.
    pub(crate) fn profile(&self) -> LinkProfile {
        LinkProfile {
            round_trip: self.rtt,
            bandwidth_bits: self.bandwidth,
            cores: self.cores,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Evaluators {
    Any,
    #[value(name = "2")]
    Two,
}

/// `ai-link model explain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Explain {
    /// The model, or a package that was made of one; or a directory with config.json, tokenizer.json and *.safetensors
    #[arg(value_name = "FILE.onnx|FILE.package|DIRECTORY")]
    pub(crate) model: PathBuf,
    /// Records: one .npy per input, in the model's order, batch first; for a directory, texts, one a line. A package needs
    /// none
    #[arg(long, env = "AI_LINK_CALIBRATION", value_name = "FILE.npy|FILE.txt", num_args = 1..)]
    pub(crate) calibration: Vec<PathBuf>,
    /// Of a directory: tokens of a record
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) positions: u16,
    /// Of a decoder: positions that are computed at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) chunk: u16,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Privacy level
    #[arg(long, value_enum, default_value_t = PlannedLevel::Mpc)]
    pub(crate) level: PlannedLevel,
    #[command(flatten)]
    pub(crate) fhe: FheArgs,
    /// Who knows the weights
    #[arg(long, default_value = "public")]
    pub(crate) weights: WeightsArg,
    /// How fast machines are: measured here, or as plans assume
    #[arg(long, default_value = "measured")]
    pub(crate) rates: RateSource,
    /// Evaluate it N times, all parties in this process over links that take as long, and print what was measured
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "5", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) run: Option<u16>,
}

impl Explain {
    /// The options that the flags mean.
    pub(crate) fn options(&self) -> PlanOptions {
        let options = match self.model.is_dir() {
            true => self.plan.options_of_checkpoint(),
            false => self.plan.options(),
        };
        PlanOptions {
            weights: match self.weights {
                WeightsArg::Public => WeightPrivacy::Public,
                WeightsArg::Private => WeightPrivacy::Private,
            },
            ..options
        }
    }
}

/// The levels that have a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlannedLevel {
    /// Masked evaluation by two workers and a dealer.
    Mpc,
    /// Evaluation on ciphertexts by one worker.
    Fhe,
    /// In the clear, by a worker that the application trusts. For publishing only: there is nothing to plan.
    Sealed,
}

/// Choices at level `fhe`.
#[derive(Args, Clone, Debug)]
pub(crate) struct FheArgs {
    /// At level fhe: the class of each calibration record, to tell how often float and integer model are right
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) labels: Option<PathBuf>,
    /// At level fhe: share of calibration records that may change class when the model becomes integers
    #[arg(long, value_name = "SHARE", default_value_t = 0.005)]
    pub(crate) tolerance: f64,
    /// At level fhe: which activations of a network keep their table; the others become lines, which costs nothing
    #[arg(long, value_enum, default_value_t = KeptTables::All)]
    pub(crate) activations: KeptTables,
    /// At level fhe: makes networks exact too, so that what is decrypted always equals the integer model and may be shown to
    /// anyone. Takes three to five times as long
    #[arg(long, conflicts_with = "activations")]
    pub(crate) exact: bool,
}

/// Which activations are evaluated by table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeptTables {
    /// All: the model as it is.
    All,
    /// Those that the tolerance needs: a simpler model, close to it on the calibration records.
    Necessary,
}

/// Where the rates of a prediction come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RateSource {
    /// Measured on this machine.
    Measured,
    /// Those that plans are made with.
    Default,
}

fn error_bound(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(bound) if bound > 0.0 && bound.is_finite() => Ok(bound),
        _ => Err("give a positive number, e.g. 1e-3".into()),
    }
}

fn outputs(text: &str) -> Result<OutputPolicy, String> {
    match text {
        "values" => return Ok(OutputPolicy::Values),
        "labels" => return Ok(OutputPolicy::Labels),
        _ => {}
    }
    let k = text.strip_prefix("top").and_then(|k| k.parse().ok());
    match k {
        Some(k) if k > 0 => Ok(OutputPolicy::TopK(k)),
        _ => Err("give `values`, `labels` or `topK`, e.g. top5".into()),
    }
}

/// A time: `40ms`, `0.06ms`, `300us`, `1s`.
fn round_trip(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0)];
    let seconds = quantity(text, &units).filter(|seconds| *seconds <= 60.0);
    let seconds = seconds.ok_or("give a time up to a minute, e.g. 40ms")?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Bits per second: `100mbit`, `1.5gbit`.
fn bandwidth(text: &str) -> Result<u64, String> {
    let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];
    let bits = quantity(text, &units).filter(|bits| (1e3..=1e13).contains(bits));
    Ok(bits.ok_or("give a rate from 1kbit to 10000gbit, e.g. 100mbit")? as u64)
}

/// A number with a unit behind it, the first that fits.
fn quantity(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    let fit = |(name, factor): &(&str, f64)| {
        let number = text.strip_suffix(name)?.trim();
        Some(number.parse::<f64>().ok()? * factor)
    };
    units
        .iter()
        .find_map(fit)
        .filter(|n| n.is_finite() && *n >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        explain: Explain,
    }

    fn parse(flags: &[&str]) -> Result<Explain, clap::Error> {
        let all = ["explain", "m.onnx"].iter().chain(flags);
        Only::try_parse_from(all).map(|only| only.explain)
    }

    #[test]
    fn links_are_read_with_their_units() {
        let explain = parse(&["--rtt", "40ms", "--bandwidth", "100mbit", "--cores", "4"]);
        let link = explain.map(|e| e.options().link);
        let want = LinkProfile {
            round_trip: Duration::from_millis(40),
            bandwidth_bits: 100_000_000,
            cores: 4,
        };
        assert_eq!(link.ok(), Some(want));
        for (text, want) in [("0.06ms", 60), ("60us", 60), ("1 s", 1_000_000), ("0ms", 0)] {
            assert_eq!(round_trip(text), Ok(Duration::from_micros(want)));
        }
        assert_eq!(bandwidth("16Gbit"), Ok(16_000_000_000));
        for flags in [
            ["--rtt", "40"],
            ["--rtt", "-1ms"],
            ["--rtt", "2000s"],
            ["--bandwidth", "5"],
        ] {
            assert!(parse(&flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn policies_are_read() {
        let of = |flags: &[&str]| parse(flags).map(|e| e.options());
        assert_eq!(
            of(&["--outputs", "labels"]).map(|o| o.outputs).ok(),
            Some(OutputPolicy::Labels)
        );
        assert_eq!(
            of(&["--outputs", "top5"]).map(|o| o.outputs).ok(),
            Some(OutputPolicy::TopK(5))
        );
        assert!(of(&["--outputs", "top0"]).is_err());
        assert_eq!(
            of(&["--accuracy", "1e-3"]).map(|o| o.accuracy).ok(),
            Some(Accuracy::Within(1e-3))
        );
        assert!(of(&["--accuracy", "0"]).is_err());
        assert!(of(&["--accuracy", "1e-3", "--fraction", "12"]).is_err());
        assert_eq!(
            of(&["--evaluators", "2"]).map(|o| o.fss).ok(),
            Some(FssPolicy::WhereCheaper)
        );
        assert_eq!(
            of(&["--weights", "private"]).map(|o| o.weights).ok(),
            Some(WeightPrivacy::Private)
        );
        assert_eq!(parse(&["--run"]).map(|e| e.run).ok(), Some(Some(5)));
    }
}
