//! What `explain` prints.

use std::fmt::Write as _;

use ai_link_mpc::rehearsal::Rehearsed;
use ai_link_program::{Placement, Prediction, Setting};
use serde::Serialize;

use super::layers::{Figures, Layer};

/// A plan, layer by layer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Explanation {
    pub(super) name: String,
    pub(super) level: &'static str,
    pub(super) weights: &'static str,
    pub(super) batch: usize,
    pub(super) ring_bits: u8,
    pub(super) fraction_bits: u8,
    pub(super) link: LinkReport,
    /// How often it was evaluated; what is measured is the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runs: Option<u16>,
    pub(super) layers: Vec<Layer>,
    pub(super) totals: Totals,
    pub(super) elsewhere: Vec<Elsewhere>,
}

/// For which link, and on which machines.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LinkReport {
    round_trip_seconds: f64,
    bandwidth_bits: u64,
    cores: u16,
    /// Whether all parties share the cores.
    one_machine: bool,
}

impl LinkReport {
    pub(super) fn new(setting: &Setting) -> Self {
        Self {
            round_trip_seconds: setting.link.round_trip.as_secs_f64(),
            bandwidth_bits: setting.link.bandwidth_bits,
            cores: setting.link.cores,
            one_machine: setting.placement == Placement::Together,
        }
    }

    fn text(&self) -> String {
        let machines = match self.one_machine {
            true => format!("all parties on {} cores", self.cores),
            false => format!("{} cores each", self.cores),
        };
        format!(
            "{} ms and {} Mbit/s, {machines}",
            rounded(1e3 * self.round_trip_seconds),
            rounded(self.bandwidth_bits as f64 / 1e6),
        )
    }
}

/// Sums of a session.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Totals {
    rounds: u32,
    bytes_input: u64,
    bytes_online: u64,
    bytes_dealt: [u64; 2],
    bytes_output: u64,
    predicted: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<Seconds>,
}

/// Seconds of a session.
#[derive(Clone, Copy, Debug, Serialize)]
struct Seconds {
    /// Until evaluators have the input.
    input: f64,
    /// From the last layer to the client.
    output: f64,
    /// To deal ahead.
    dealing: f64,
    /// From request to answer, dealt ahead.
    online: f64,
    /// From request to answer, dealt along the way.
    along: f64,
}

impl Totals {
    pub(super) fn new(prediction: &Prediction, measured: Option<&Rehearsed>) -> Self {
        Self {
            rounds: prediction.rounds(),
            bytes_input: prediction.bytes_input,
            bytes_online: prediction.bytes_online(),
            bytes_dealt: prediction.bytes_dealt(),
            bytes_output: prediction.bytes_output,
            predicted: Seconds {
                input: prediction.input,
                output: prediction.output,
                dealing: prediction.dealing,
                online: prediction.online,
                along: prediction.along,
            },
            measured: measured.map(|m| Seconds {
                input: m.input,
                output: m.output,
                dealing: m.dealing,
                online: m.online,
                along: m.along,
            }),
        }
    }
}

/// The same model on another link.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Elsewhere {
    pub(super) name: &'static str,
    pub(super) link: LinkReport,
    /// How signs are computed there, and in how many layers.
    pub(super) tactics: Vec<(String, usize)>,
    pub(super) totals: Totals,
}

impl Explanation {
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{}: mpc with {} weights, {} record{}, {}-bit ring, {} fraction bits\n{}\n\n",
            self.name,
            self.weights,
            self.batch,
            if self.batch == 1 { "" } else { "s" },
            self.ring_bits,
            self.fraction_bits,
            self.link.text(),
        );
        let ran = self.totals.measured.is_some();
        let _ = write!(
            text,
            "{:<34} {:>6} {:>10} {:>21} {:>11}",
            "layer", "rounds", "online", "dealt to 0 and 1", "predicted"
        );
        text.push_str(if ran { "    measured  ratio\n" } else { "\n" });
        let Totals {
            predicted,
            measured,
            ..
        } = &self.totals;
        let end = |seconds: f64| Figures {
            seconds,
            ..Figures::default()
        };
        let input = (end(predicted.input), measured.map(|m| end(m.input)));
        let output = (end(predicted.output), measured.map(|m| end(m.output)));
        line(&mut text, "masked input", input);
        for layer in &self.layers {
            let name = match layer.shape.as_slice() {
                [] => layer.how.clone(),
                shape => format!("{} {shape:?}", layer.operator),
            };
            line(&mut text, &name, (layer.predicted, layer.measured));
            if !layer.shape.is_empty() {
                let _ = writeln!(text, "    {:?}: {}", layer.name, layer.how);
                self.instead(&mut text, layer);
            }
        }
        line(&mut text, "masked output", output);
        self.sums(&mut text);
        for other in &self.elsewhere {
            let tactics: Vec<String> = other
                .tactics
                .iter()
                .map(|(how, layers)| format!("{layers} by {how}"))
                .collect();
            let signs = match tactics.is_empty() {
                true => String::new(),
                false => format!("; signs: {}", tactics.join(", ")),
            };
            let _ = write!(
                text,
                "\non a {} link ({}): {} rounds, {} online, {} dealt, {} s online{signs}",
                other.name,
                other.link.text(),
                other.totals.rounds,
                bytes(other.totals.bytes_online),
                bytes(other.totals.bytes_dealt.iter().sum()),
                seconds(other.totals.predicted.online),
            );
        }
        text
    }

    /// The best other way, and the one with keys.
    fn instead(&self, text: &mut String, layer: &Layer) {
        let best = layer.instead.iter().find(|o| !o.two_evaluators_only);
        let keys = layer.instead.iter().find(|o| o.two_evaluators_only);
        for other in best.into_iter().chain(keys) {
            let only = match other.two_evaluators_only {
                true => " (--evaluators 2)",
                false => "",
            };
            let _ = writeln!(
                text,
                "      or {}{only}: {} rounds, {} online, {} dealt, {} s",
                other.how,
                other.rounds,
                bytes(other.bytes_online),
                bytes(other.bytes_dealt.iter().sum()),
                seconds(other.seconds),
            );
        }
    }

    fn sums(&self, text: &mut String) {
        let totals = &self.totals;
        let [zero, one] = totals.bytes_dealt;
        let _ = writeln!(
            text,
            "\n{} rounds; bytes: {} to each evaluator, {} each way between them, {} and {} dealt, {} from each to the \
             client",
            totals.rounds, totals.bytes_input, totals.bytes_online, zero, one, totals.bytes_output,
        );
        type Part = fn(&Seconds) -> f64;
        let parts: [(&str, Part); 3] = [
            ("online, dealt ahead", |s| s.online),
            ("dealing ahead", |s| s.dealing),
            ("online, dealt along the way", |s| s.along),
        ];
        for (name, of) in parts {
            let predicted = of(&totals.predicted);
            let _ = write!(text, "{name:<28} predicted {:>10} s", seconds(predicted));
            if let (Some(measured), Some(runs)) = (&totals.measured, self.runs) {
                let measured = of(measured);
                let _ = write!(
                    text,
                    ", measured {:>10} s (median of {runs}), ratio {:.2}",
                    seconds(measured),
                    measured / predicted
                );
            }
            text.push('\n');
        }
    }
}

fn line(text: &mut String, name: &str, (predicted, measured): (Figures, Option<Figures>)) {
    let [zero, one] = predicted.bytes_dealt;
    let name = match name.char_indices().nth(34) {
        Some((at, _)) => &name[..at],
        None => name,
    };
    let _ = write!(
        text,
        "{name:<34} {:>6} {:>10} {:>10} {:>10} {:>11}",
        predicted.rounds,
        bytes(predicted.bytes_online),
        bytes(zero),
        bytes(one),
        seconds(predicted.seconds),
    );
    if let Some(measured) = measured {
        let _ = write!(
            text,
            " {:>11} {:>6.2}",
            seconds(measured.seconds),
            measured.seconds / predicted.seconds
        );
        let same = (measured.rounds, measured.bytes_online, measured.bytes_dealt)
            == (
                predicted.rounds,
                predicted.bytes_online,
                predicted.bytes_dealt,
            );
        if !same {
            let _ = write!(
                text,
                "  measured {} rounds, {} bytes, {:?} dealt",
                measured.rounds, measured.bytes_online, measured.bytes_dealt
            );
        }
    }
    text.push('\n');
}

/// Bytes in three digits.
fn bytes(n: u64) -> String {
    let (value, unit) = match n {
        0..1_000 => return format!("{n} B"),
        1_000..1_000_000 => (n as f64 / 1e3, "kB"),
        1_000_000..1_000_000_000 => (n as f64 / 1e6, "MB"),
        _ => (n as f64 / 1e9, "GB"),
    };
    format!("{} {unit}", rounded(value))
}

/// Seconds in three digits.
fn seconds(s: f64) -> String {
    format!("{s:.*}", decimals(s))
}

/// Three digits that count.
fn rounded(x: f64) -> String {
    match x {
        x if x >= 100.0 => format!("{x:.0}"),
        x if x >= 10.0 => format!("{x:.1}"),
        x if x >= 1.0 => format!("{x:.2}"),
        x => format!("{}", (x * 1e4).round() / 1e4),
    }
}

/// Decimals so that three digits count, down to a tenth of a microsecond.
fn decimals(s: f64) -> usize {
    match s {
        s if s >= 1.0 => 2,
        s if s >= 0.1 => 3,
        s if s >= 0.01 => 4,
        s if s >= 0.001 => 5,
        s if s >= 0.0001 => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(12_345), "12.3 kB");
        assert_eq!(bytes(1_500_000), "1.50 MB");
        assert_eq!(seconds(0.040_23), "0.0402");
        assert_eq!(seconds(1.234), "1.23");
        assert_eq!(rounded(0.06), "0.06");
    }
}
