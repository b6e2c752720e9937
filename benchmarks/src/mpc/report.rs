//! What is printed.

use std::collections::BTreeMap;
use std::fmt;

use ai_link_mpc::{EvaluatorIndex, Schedule};
use anyhow::ensure;
use serde::Serialize;

use super::conduct::{Measured, Session};
use super::facts::Machine;
use super::plaintext::Plaintext;
use super::seat::{Done, Kind};
use super::timed::Spent;
use super::who::Who;
use super::workload::Workload;
use super::{Options, Parties, Weights};

/// A number for each party.
type PerParty<T> = BTreeMap<&'static str, T>;

/// One object; see the README of this package for what each field says.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    model: String,
    weights: &'static str,
    batch: usize,
    iterations: u32,
    parties: &'static str,
    transport: Option<&'static str>,
    wan: Option<String>,
    online_s: f64,
    online_min_s: f64,
    evaluate_s: f64,
    dealing_s: f64,
    dealing_min_s: f64,
    total_s: f64,
    total_min_s: f64,
    computing_s: PerParty<f64>,
    bytes_online: PerParty<u64>,
    bytes_dealt: PerParty<u64>,
    bytes_total: PerParty<u64>,
    rounds: u32,
    planned: Planned,
    max_abs_err: f64,
    argmax_agree: Option<f64>,
    peak_rss_bytes: PerParty<u64>,
    compile_s: Option<f64>,
    plaintext: Option<Plaintext>,
    /// Times what the clear model takes.
    online_over_plaintext: Option<f64>,
    /// What each party spends its time at in such a session, with `--profile`; seconds of one session.
    #[serde(skip_serializing_if = "Profile::is_empty")]
    profile: Profile,
    machine: Machine,
}

/// Label by label, in two kinds of session, of each party.
type Profile = BTreeMap<&'static str, PerParty<BTreeMap<String, Spent>>>;

/// What the schedule says; it must be what was measured.
#[derive(Debug, Serialize)]
struct Planned {
    rounds: usize,
    /// Corrections, to both evaluators.
    bytes_dealt: usize,
    /// Openings, of each evaluator.
    bytes_openings: usize,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        workload: &Workload,
        measured: Measured,
        plaintext: Option<Plaintext>,
    ) -> anyhow::Result<Self> {
        let schedule = Schedule::new(&workload.program, workload.batch)?;
        let of = |kind| -> Vec<&Session> {
            measured
                .sessions
                .iter()
                .filter(|session| session.kind == kind)
                .collect()
        };
        let (ahead, pooled, whole) = (of(Kind::Ahead), of(Kind::FromPool), of(Kind::Whole));
        let [zero, one] = [Who::Evaluator0, Who::Evaluator1];
        let rounds: Vec<u32> = pooled
            .iter()
            .flat_map(|session| [zero, one].map(|who| done(session, who).map_or(0, |d| d.rounds)))
            .collect();
        let first = rounds.first().copied().unwrap_or(0);
        ensure!(
            rounds.iter().all(|r| *r == first),
            "sessions of different rounds: {rounds:?}"
        );
        let sent = |sessions: &[&Session]| {
            let total = |done: &Done| done.sent.iter().sum::<u64>();
            per_party(sessions, |dones| dones.iter().map(|d| total(d)).max())
        };
        let evaluating = |session: &&Session| {
            let times = [zero, one].map(|who| done(session, who)?.since_input);
            times.into_iter().flatten().reduce(f64::max)
        };
        let of_all: Vec<&Session> = measured.sessions.iter().collect();
        let one_process = options.parties == Parties::Threads;
        Ok(Self {
            model: options.model.clone(),
            weights: match options.weights {
                Weights::Private => "private",
                Weights::Public => "public",
            },
            batch: workload.batch,
            iterations: options.iterations,
            parties: match options.parties {
                Parties::Threads => "threads",
                Parties::Processes => "processes",
            },
            transport: (!one_process).then(|| options.transport.name()),
            wan: options.wan.map(|wan| wan.to_string()),
            online_s: median(seconds(&pooled)),
            online_min_s: least(seconds(&pooled)),
            evaluate_s: median(pooled.iter().filter_map(evaluating).collect()),
            dealing_s: median(seconds(&ahead)),
            dealing_min_s: least(seconds(&ahead)),
            total_s: median(seconds(&whole)),
            total_min_s: least(seconds(&whole)),
            computing_s: per_party(&whole, |dones| {
                Some(median(dones.iter().map(|done| done.computing).collect()))
            }),
            bytes_online: sent(&pooled),
            bytes_dealt: sent(&ahead),
            bytes_total: sent(&whole),
            rounds: first,
            planned: Planned {
                rounds: schedule.rounds(),
                bytes_dealt: [EvaluatorIndex::ZERO, EvaluatorIndex::ONE]
                    .map(|index| schedule.dealt_bytes_to(index))
                    .iter()
                    .sum(),
                bytes_openings: schedule.online_bytes(),
            },
            max_abs_err: measured.agreement.max_abs_err(),
            argmax_agree: measured.agreement.argmax_agree(),
            peak_rss_bytes: match one_process {
                true => super::facts::peak_rss_bytes()
                    .map(|all| ("all", all))
                    .into_iter()
                    .collect(),
                false => per_party(&of_all, |dones| {
                    dones.iter().filter_map(|d| d.peak_rss).max()
                }),
            },
            compile_s: workload.compile_s,
            online_over_plaintext: plaintext
                .as_ref()
                .map(|p| median(seconds(&pooled)) / p.total_s),
            plaintext,
            profile: match options.profile {
                true => [("pool", &pooled), ("whole", &whole)]
                    .map(|(kind, sessions)| {
                        (kind, per_party(sessions, |dones| Some(spent(&dones))))
                    })
                    .into(),
                false => Profile::new(),
            },
            machine: Machine::here(),
        })
    }
}

/// The mean over sessions.
fn spent(dones: &[&Done]) -> BTreeMap<String, Spent> {
    let mut mean: BTreeMap<String, Spent> = BTreeMap::new();
    let part = 1.0 / dones.len().max(1) as f64;
    for (label, spent) in dones.iter().flat_map(|done| &done.spent) {
        let mean = mean.entry(label.clone()).or_default();
        mean.computing += part * spent.computing;
        mean.waiting += part * spent.waiting;
        mean.messages = spent.messages;
    }
    mean
}

fn done(session: &Session, who: Who) -> Option<&Done> {
    session.parties.get(who as usize)?.as_ref()
}

fn seconds(sessions: &[&Session]) -> Vec<f64> {
    sessions.iter().map(|session| session.seconds).collect()
}

/// Something of what each party said, where it took part.
fn per_party<T>(sessions: &[&Session], of: impl Fn(Vec<&Done>) -> Option<T>) -> PerParty<T> {
    let dones = |who: Who| -> Vec<&Done> {
        sessions
            .iter()
            .filter_map(|session| done(session, who))
            .collect()
    };
    let told = Who::ALL.map(|who| (who.name(), dones(who)));
    let told = told.into_iter().filter(|(_, dones)| !dones.is_empty());
    told.filter_map(|(name, dones)| Some((name, of(dones)?)))
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn least(values: Vec<f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            model,
            weights,
            batch,
            parties,
            ..
        } = self;
        writeln!(
            f,
            "{model}, {weights} weights, batch {batch}, parties as {parties}"
        )?;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, median: f64, least: f64| {
            writeln!(f, "  {name:<10} {median:>9.4} s   (least {least:.4} s)")
        };
        line(f, "online", self.online_s, self.online_min_s)?;
        line(f, "dealing", self.dealing_s, self.dealing_min_s)?;
        line(f, "total", self.total_s, self.total_min_s)?;
        writeln!(
            f,
            "  {} rounds; evaluators alone {:.4} s",
            self.rounds, self.evaluate_s
        )?;
        writeln!(
            f,
            "  {:<12} {:>13} {:>13} {:>13} {:>11}",
            "sent bytes", "online", "dealt", "peak memory", "computing"
        )?;
        for who in Who::ALL {
            let name = who.name();
            let bytes = |of: &PerParty<u64>| of.get(name).map_or("-".to_owned(), u64::to_string);
            let computing = self.computing_s.get(name).copied().unwrap_or(0.0);
            writeln!(
                f,
                "  {name:<12} {:>13} {:>13} {:>13} {computing:>9.4} s",
                bytes(&self.bytes_online),
                bytes(&self.bytes_dealt),
                bytes(&self.peak_rss_bytes),
            )?;
        }
        write!(f, "  largest error {:.2e}", self.max_abs_err)?;
        match self.argmax_agree {
            Some(part) => writeln!(f, "; classes agree in {:.1} %", 100.0 * part),
            None => writeln!(f),
        }?;
        match (&self.plaintext, self.online_over_plaintext) {
            (Some(plain), Some(ratio)) => {
                writeln!(
                    f,
                    "  in the clear {:.4} s by ONNX Runtime: online is {ratio:.1} times that",
                    plain.total_s
                )
            }
            _ => Ok(()),
        }?;
        for (kind, parties) in &self.profile {
            for (party, labels) in parties.iter().filter(|(_, labels)| !labels.is_empty()) {
                writeln!(
                    f,
                    "  {party}, session {kind}: computing s, waiting s, messages"
                )?;
                let mut labels: Vec<_> = labels.iter().collect();
                labels.sort_by(|(_, a), (_, b)| b.computing.total_cmp(&a.computing));
                for (label, spent) in labels {
                    let Spent {
                        computing,
                        waiting,
                        messages,
                    } = spent;
                    writeln!(
                        f,
                        "    {computing:>9.4} {waiting:>9.4} {messages:>5}  {label}"
                    )?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
        assert_eq!(least(vec![4.0, 1.0]), 1.0);
    }
}
