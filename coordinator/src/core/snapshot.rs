//! What the operator sees.

use std::collections::{BTreeMap, HashMap};

use ai_link_observe::Label as _;
use ai_link_wire::node::{Link, Path, Transport};
use ai_link_wire::{AccountId, Level, Outcome, Planck, RoleSet, UnixMillis, Verdict};

use super::Coordinator;
use crate::ledger::{Earned, LedgerError, Store};
use crate::roster::{Member, Presence};
use crate::state::{
    CoordinatorState, EarningState, EpochState, LevelState, LinkCount, LinkPath, LinkState,
    LinkTransport, Listed, MAX_ACCOUNTS, MAX_MODELS, MAX_RECENT, MAX_WORKERS, ModelState,
    ReasonCount, RecentState, STATE_FORMAT, State, WorkerPresence, WorkerState,
};
use crate::tally;

impl<S: Store> Coordinator<S> {
    /// What is to be seen at `now`, with the node's connections.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn state(&self, links: &[Link], now: UnixMillis) -> Result<State, LedgerError> {
        let mut strangers: HashMap<_, _> = links.iter().map(|link| (link.peer, link)).collect();
        let mut workers = Vec::new();
        for member in self.roster.members() {
            let link = strangers.remove(&member.record.peer.peer_id());
            workers.push(self.worker_state(member, link, now)?);
        }
        let mut others = BTreeMap::new();
        for link in strangers.values() {
            *others.entry(path(link.path)).or_default() += 1;
        }
        let counts = |(path, count)| LinkCount { path, count };
        Ok(State {
            format: STATE_FORMAT,
            at: now,
            coordinator: self.own_state(),
            workers: Listed::first(workers, MAX_WORKERS),
            others: others.into_iter().map(counts).collect(),
            levels: Level::ALL
                .into_iter()
                .map(|l| self.level_state(l))
                .collect(),
            recent: self.recent(),
            models: Listed::first(self.model_states(), MAX_MODELS),
            epochs: self.epoch_states(),
            earnings: Listed::first(self.earning_states(), MAX_ACCOUNTS),
        })
    }

    /// Sets what is a matter of counting what is there.
    pub fn gauge(&self, now: UnixMillis) {
        let mut presences = [0_u64; 3];
        for member in self.roster.members() {
            let at = match self.roster.presence(member, now) {
                Presence::Fresh => 0,
                Presence::Stale => 1,
                Presence::Gone => 2,
            };
            presences[at] += 1;
        }
        let tally = &self.tally;
        let all = tally::Presence::ALL.iter().zip(presences);
        all.for_each(|(presence, count)| tally.workers.set(*presence, count));
        tally.live_jobs.set((), self.ledger.live().into());
        let unsettled = self.ledger.unsettled().len();
        tally.unsettled_jobs.set((), unsettled as u64);
        tally.epoch.set((), self.view.last_epoch());
        let pooled = self.roster.members().map(pooled).sum();
        tally.pooled_sessions.set((), pooled);
    }

    fn own_state(&self) -> CoordinatorState {
        let settlements = &self.tally.settlements;
        let failed = settlements.failed(()).iter().map(|(_, n)| n).sum();
        CoordinatorState {
            account: self.account(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fee: self.policy.fee,
            epoch: self.view.last_epoch(),
            live_jobs: self.ledger.live(),
            unsettled_jobs: self.ledger.unsettled().len(),
            settlements: [settlements.attempted(()), settlements.succeeded(()), failed],
        }
    }

    fn worker_state(
        &self,
        member: &Member,
        link: Option<&Link>,
        now: UnixMillis,
    ) -> Result<WorkerState, LedgerError> {
        let record = &member.record;
        let bonded = self.view.worker(&record.peer);
        let bonded = bonded.filter(|bonded| bonded.operator == record.operator);
        let track = self.ledger.track(&record.peer)?;
        let mut roles = Vec::new();
        for (role, name) in [
            (RoleSet::DEALER, "dealer"),
            (RoleSet::EVALUATOR, "evaluator"),
        ] {
            if record.roles.union(role) == record.roles {
                roles.push(name.to_owned());
            }
        }
        Ok(WorkerState {
            peer: record.peer,
            operator: record.operator,
            bond: bonded.map(|bonded| bonded.bond),
            presence: match self.roster.presence(member, now) {
                Presence::Fresh => WorkerPresence::Fresh,
                Presence::Stale => WorkerPresence::Stale,
                Presence::Gone => WorkerPresence::Gone,
            },
            silent_ms: now.0.saturating_sub(member.last_seen.0),
            link: link.map(link_state),
            levels: record.levels.clone(),
            roles,
            regions: regions(member),
            active: member.active,
            capacity: member.capacity,
            price: record.price_per_job,
            software: record.software.clone(),
            cores: record.cores,
            memory: record.memory.0,
            cached_models: member.cached.len(),
            pooled_sessions: pooled(member),
            hosted: member.hosted.len(),
            delivered: track.delivered,
            failed: track.failed,
        })
    }

    fn level_state(&self, level: Level) -> LevelState {
        let tally = &self.tally;
        let reasons = |reason: &'static str, count| ReasonCount {
            reason: reason.to_owned(),
            count,
        };
        let lost = tally.jobs.failed(level).into_iter();
        let unmatched = tally.matches.failed(level).into_iter();
        let latency = tally.latency.snapshot(level);
        LevelState {
            level,
            jobs: tally.jobs.attempted(level),
            delivered: tally.jobs.succeeded(level),
            lost: lost.map(|(r, n)| reasons(r.text(), n)).collect(),
            unmatched: unmatched.map(|(r, n)| reasons(r.text(), n)).collect(),
            p50_ms: latency.quantile_ms(0.5),
            p99_ms: latency.quantile_ms(0.99),
            latency,
        }
    }

    fn recent(&self) -> Vec<RecentState> {
        let newest = self.decisions.newest(MAX_RECENT);
        let recent = newest.map(|(client, job, decision)| {
            let chosen = decision.candidates.iter();
            let group = chosen.filter(|w| matches!(w.verdict, Verdict::Chosen { .. }));
            let (price, refused) = match &decision.outcome {
                Outcome::Matched { price, .. } => (Some(*price), None),
                Outcome::NoMatch => (None, Some("no group of workers fits".to_owned())),
                Outcome::Refused(refusal) => (None, Some(refusal.to_string())),
            };
            RecentState {
                at: decision.at,
                job,
                attempt: decision.attempt,
                client,
                model: decision.model.clone(),
                level: decision.level,
                batch: decision.batch,
                price,
                group: group.map(|weighed| weighed.peer).collect(),
                refused,
            }
        });
        recent.collect()
    }

    fn model_states(&self) -> Vec<ModelState> {
        let states = self.view.models().map(|(name, model)| {
            let version = model.versions.get(&model.latest);
            let ready = |member: &&Member| {
                version.is_some_and(|version| member.cached.contains(&version.commitment))
            };
            let hosts = |member: &&Member| member.hosted.iter().any(|h| h.model == *name);
            ModelState {
                name: name.clone(),
                version: model.latest,
                levels: version.map(|v| v.levels.clone()).unwrap_or_default(),
                owner: model.owner,
                price: model.price_per_record,
                ready_on: self.roster.members().filter(ready).count(),
                hosts: self.roster.members().filter(hosts).count(),
            }
        });
        states.collect()
    }

    fn epoch_states(&self) -> Vec<EpochState> {
        let mut states: Vec<_> = self
            .ledger
            .epochs()
            .map(|entry| EpochState {
                epoch: entry.epoch,
                jobs: entry.jobs,
                amount: entry.amount,
                delivered_until: entry.delivered_until,
            })
            .collect();
        states.reverse();
        states
    }

    /// Of workers' operators, models' owners and whoever else was paid: also those who earned nothing yet.
    fn earning_states(&self) -> Vec<EarningState> {
        let mut accounts: BTreeMap<AccountId, (Earned, Planck)> = BTreeMap::new();
        for member in self.roster.members() {
            accounts.entry(member.record.operator).or_default();
        }
        for (_, model) in self.view.models() {
            accounts.entry(model.owner).or_default();
        }
        for (account, earned) in self.ledger.earnings() {
            accounts.entry(*account).or_default().0 = *earned;
        }
        for payout in self.ledger.unsettled().flat_map(|job| &job.payouts) {
            let pending = &mut accounts.entry(payout.account).or_default().1;
            *pending = Planck(pending.0.saturating_add(payout.amount.0));
        }
        let mut states: Vec<_> = accounts
            .into_iter()
            .map(|(account, (earned, pending))| EarningState {
                account,
                working: earned.working,
                owning: earned.owning,
                coordinating: earned.coordinating,
                total: earned.total(),
                pending,
            })
            .collect();
        states.sort_by_key(|state| std::cmp::Reverse((state.total, state.pending)));
        states
    }
}

/// Regions and site, as the worker put them.
fn regions(member: &Member) -> Vec<String> {
    let regions = member.record.regions.iter().map(ToString::to_string);
    let site = member.record.site.as_ref();
    let site = site.and_then(|text| {
        let site = ai_link_storage::location::Site::from_json(text.as_str()).ok()?;
        let region = site.region.map(|region| format!(" {region}"));
        Some(format!("{}{}", site.country, region.unwrap_or_default()))
    });
    regions.chain(site).collect()
}

fn pooled(member: &Member) -> u64 {
    member
        .pools
        .iter()
        .map(|offer| u64::from(offer.level))
        .sum()
}

fn link_state(link: &Link) -> LinkState {
    LinkState {
        path: path(link.path),
        transport: match link.transport {
            Transport::Tcp => LinkTransport::Tcp,
            Transport::Quic => LinkTransport::Quic,
            Transport::Other => LinkTransport::Other,
        },
        rtt_ms: link.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
    }
}

fn path(path: Path) -> LinkPath {
    match path {
        Path::Direct => LinkPath::Direct,
        Path::Punched => LinkPath::Punched,
        Path::Relayed => LinkPath::Relayed,
    }
}
