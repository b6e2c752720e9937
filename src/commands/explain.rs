//! `ai-link explain`: why a job got the group and the price that it got, or why it got none.

use ai_link_wire::{
    ControlRequest, ControlResponse, Decision, Explanation, Identity, Outcome, PayoutReason, Score,
    Verdict, Weighed,
};

use super::context::Context;
use crate::cli::{ExplainJob, Global};
use crate::dev::probe::Probe;
use crate::output::{Failure, Output};
/// Points of a ranker that gives a worker full marks with weight 1.
const POINT: f64 = 1e6;

pub(super) async fn run(global: &Global, args: ExplainJob, output: &Output) -> Result<(), Failure> {
    let context = Context::load(global)?;
    let key = args
        .key
        .unwrap_or_else(|| context.network.client_key.clone());
    let identity = Identity::load(&key).map_err(Failure::failed)?;
    let job = args.job.map(|job| job.parse().map_err(Failure::failed));
    let asked = ControlRequest::Explain(job.transpose()?);
    let probe = Probe::of(identity, &context.network).await?;
    match probe.ask(asked).await? {
        ControlResponse::Explained(Some(explanation)) => output.result(&explanation, |e| text(e)),
        ControlResponse::Explained(None) => Err(Failure::message(
            "the coordinator knows no such job of this account; it remembers what was not matched until it \
             restarts, and answers only to the account that asked for the job (--key)",
        )),
        ControlResponse::Refused(refusal) => Err(Failure::failed(refusal)),
        other => Err(Failure::message(format!(
            "the coordinator answered {other:?}"
        ))),
    }
}

fn text(explanation: &Explanation) -> String {
    let state = match &explanation.status {
        Some(status) => status.state.to_string(),
        None => "never matched".to_owned(),
    };
    let mut lines = vec![format!("job {}: {state}", explanation.job)];
    if explanation.decisions.is_empty() {
        lines.push("  the coordinator has forgotten how it was matched".to_owned());
    }
    for decision in &explanation.decisions {
        lines.push(String::new());
        lines.extend(decision_lines(decision));
    }
    lines.join("\n")
}

/// A decision, for people.
pub(super) fn decision_lines(decision: &Decision) -> Vec<String> {
    let records = match decision.batch {
        1 => "1 record".to_owned(),
        n => format!("{n} records"),
    };
    let mut lines = vec![format!(
        "attempt {}: {} of {} at level {}, for {} at most",
        decision.attempt, records, decision.model, decision.level, decision.max_price
    )];
    match &decision.outcome {
        Outcome::Matched {
            version,
            price,
            payouts,
        } => {
            lines.push(format!("  matched, version {version}, for {price}:"));
            for payout in payouts {
                let reason = match payout.reason {
                    PayoutReason::Evaluator => "evaluates",
                    PayoutReason::Dealer => "deals",
                    PayoutReason::ModelOwner => "owns the model, or a share of its price",
                    PayoutReason::Coordinator => "coordinates",
                };
                let amount = payout.amount.to_string();
                lines.push(format!(
                    "    {amount:>18}  to {}, which {reason}",
                    payout.account
                ));
            }
        }
        Outcome::NoMatch => lines.push(format!(
            "  no group: {} was left for all workers together, and not enough of them fit",
            decision.budget
        )),
        Outcome::Refused(refusal) => lines.push(format!("  refused: {refusal}")),
    }
    if decision.explored && !decision.candidates.is_empty() {
        lines.push(
            "  this one was left to chance, as a few are, for new workers to get jobs".to_owned(),
        );
    }
    if !decision.candidates.is_empty() {
        lines.push("  workers, and what was decided about each:".to_owned());
    }
    lines.extend(decision.candidates.iter().map(candidate));
    if decision.unlisted > 0 {
        lines.push(format!("    and {} more", decision.unlisted));
    }
    lines
}

fn candidate(weighed: &Weighed) -> String {
    let who = format!("{} of {}", brief(&weighed.peer), brief(&weighed.operator));
    match &weighed.verdict {
        Verdict::Chosen { role, price, score } => {
            format!(
                "    chosen   {who} as {role}, asks {price}; {}",
                points(score)
            )
        }
        Verdict::Passed { price, score, why } => {
            format!("    passed   {who}: {why}; asks {price}; {}", points(score))
        }
        Verdict::Refused(reason) => format!("    refused  {who}: {reason}"),
    }
}

/// The first characters, enough to tell workers apart.
fn brief(id: &impl ToString) -> String {
    id.to_string().chars().take(10).collect()
}

fn points(score: &Score) -> String {
    let parts = [
        ("price", score.price),
        ("idle", score.load),
        ("has the model", score.cached),
        ("delivers", score.reliability),
        ("has the key", score.key),
        ("has the inputs", score.inputs),
        ("chance", score.chance),
    ];
    let part = |(name, points): &(&str, u64)| format!("{name} {:.1}", *points as f64 / POINT);
    let given = parts.iter().filter(|(_, points)| *points > 0).map(part);
    let given = given.collect::<Vec<_>>().join(", ");
    format!("{:.1} points ({given})", score.total() as f64 / POINT)
}
