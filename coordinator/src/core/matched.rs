//! A request for workers: from the signed request to the signed ticket.

use ai_link_storage::location::LocationPolicy;
use ai_link_wire::{
    ControlResponse, GroupMember, JobId, JobRequest, JobState, Level, LicenceProblem, ModelName,
    ModelVersion, PeerKey, Planck, Refusal, Role, SignatureBytes, Signed, Ticket, TicketError,
    UnixMillis, WeightPrivacy,
};

use super::decisions::{self, Intent, Notes};
use super::refusal::{by_ledger, by_price, by_signature};
use super::{Coordinator, LookedUp, Stop, Wanted};
use crate::ledger::{Admission, LedgerError, NewAttempt, Store};
use crate::matching::hosting::{self, NoHosts};
use crate::matching::{self, Demand, NoGroup, rank};
use crate::pricing;
use crate::tally::Refused;
use crate::view::PublishedModel;

impl<S: Store> Coordinator<S> {
    pub(super) fn matched(
        &mut self,
        signed: &Signed<JobRequest>,
        looked_up: &LookedUp,
        now: UnixMillis,
    ) -> Result<ControlResponse, Stop> {
        let request = signed.verify(now).map_err(by_signature)?;
        if signed.signer().account() != request.client {
            return Err(Refusal::WrongSigner.into());
        }
        let mut notes = Notes::default();
        let answer = self.decide(request, &mut notes, looked_up, now);
        self.decided(request, notes, &answer, now);
        answer
    }

    /// What would be decided about a request, without deciding it.
    pub(super) fn quoted(
        &mut self,
        caller: PeerKey,
        signed: &Signed<JobRequest>,
        looked_up: &LookedUp,
        now: UnixMillis,
    ) -> Result<ControlResponse, Stop> {
        let request = signed.verify(now).map_err(by_signature)?;
        let account = signed.signer().account();
        if account != request.client || account != caller.account() {
            return Err(Refusal::WrongSigner.into());
        }
        let mut notes = Notes {
            intent: Intent::Quote,
            ..Notes::default()
        };
        let answer = self.decide(request, &mut notes, looked_up, now);
        let decision = decisions::decision(request, notes, &answer, now);
        match (decision, answer) {
            (Some(decision), _) => Ok(ControlResponse::Quoted(Box::new(decision))),
            (None, Err(stop)) => Err(stop),
            // The ticket is there already.
            (None, Ok(_)) => Err(Refusal::WrongState {
                state: JobState::Accepted,
            }
            .into()),
        }
    }

    /// Counts a decision and remembers it.
    fn decided(
        &mut self,
        request: &JobRequest,
        notes: Notes,
        answer: &Result<ControlResponse, Stop>,
        now: UnixMillis,
    ) {
        let outcome = match answer {
            _ if notes.repeated => return,
            Err(Stop::LookUp(_)) => return,
            Err(Stop::Refuse(refusal)) => Err(Refused::from(refusal)),
            Ok(response) => Refused::of(response).map_or(Ok(()), Err),
        };
        self.tally.matches.count(request.level, outcome);
        if let Some(decision) = decisions::decision(request, notes, answer, now) {
            self.decisions.note(request.client, request.job, decision);
        }
    }

    fn decide(
        &mut self,
        request: &JobRequest,
        notes: &mut Notes,
        looked_up: &LookedUp,
        now: UnixMillis,
    ) -> Result<ControlResponse, Stop> {
        let culprits = match self.ledger.admit(request).map_err(by_ledger)? {
            Admission::Known(ticket) => {
                notes.repeated = true;
                return Ok(ControlResponse::Ticket(*ticket));
            }
            Admission::New { culprits } => culprits,
        };
        self.check_bounds(request, now)?;

        let (version, model) = self.find_model(&request.model, request.version, looked_up)?;
        let published = &model.versions[&version];
        if !published.levels.contains(&request.level) {
            let (model, level) = (request.model.clone(), request.level);
            return Err(Refusal::LevelNotOffered { model, level }.into());
        }
        self.check_rights(request, version, model, looked_up, now)?;
        let terms = &model.rights.terms;
        let regions = terms.regions(&request.regions);
        let regions = regions.map_err(|problem| not_licensed(request, problem))?;
        let (evaluators, dealer) = (request.evaluators, request.dealer);
        let roles = Role::of_group(request.level, evaluators, dealer).ok_or_else(|| {
            let level = request.level;
            Refusal::malformed(TicketError::NoSuchGroup {
                level,
                evaluators,
                dealer,
            })
        })?;
        let funds = self.funds(&request.client, looked_up)?;

        let fee = self.policy.fee;
        let sale = pricing::Sale {
            model,
            level: request.level,
            batch: request.batch,
        };
        let budget = sale
            .workers_budget(request.max_price, fee)
            .map_err(by_price)?;
        notes.budget = budget;
        let excluded: Vec<_> = request.exclude.iter().copied().chain(culprits).collect();
        let policies = policies(request)?;
        let demand = Demand {
            level: request.level,
            regions: &regions,
            seats: (!request.inputs.is_empty()).then_some(&request.seats),
            inputs: &request.inputs,
            policies: &policies,
            roles: &roles,
            commitment: published.commitment,
            batch: Some(request.batch),
            key: request.key.filter(|_| request.level == Level::Fhe),
            trusted: request.trusted.as_ref(),
            excluded: &excluded,
            budget,
            minimum_bond: self.policy.minimum_bond,
        };
        let ranking = rank::Ranking {
            weights: &self.policy.weights,
            exploration_per_mille: self.policy.exploration_per_mille,
            seed: self.draw(&request.job, request.attempt),
        };
        notes.explored = ranking.explores();
        let track = |peer: &_| self.ledger.track(peer);
        let chosen = match request.weights {
            WeightPrivacy::Public => {
                matching::choose(&self.view, &self.roster, &demand, &ranking, track, now)
                    .map_err(by_ledger)?
                    .map(|chosen| (None, chosen))
            }
            WeightPrivacy::Private => {
                if roles != Role::TRIO {
                    return Err(
                        Refusal::malformed(TicketError::Sharing { evaluators, dealer }).into(),
                    );
                }
                let wanted = hosting::Wanted {
                    model: &request.model,
                    version,
                };
                let (view, roster) = (&self.view, &self.roster);
                match hosting::choose(view, roster, wanted, &demand, &ranking, track, now)
                    .map_err(by_ledger)?
                {
                    Ok((sharing, chosen)) => Ok((Some(sharing), chosen)),
                    Err(NoHosts::Unfit(none)) => Err(none),
                    Err(NoHosts::NotHosted) => {
                        let model = request.model.clone();
                        return Err(Refusal::NotHosted { model, version }.into());
                    }
                }
            }
        };
        let (sharing, chosen) = match chosen {
            Ok(chosen) => chosen,
            Err(none) => return no_group(none, notes, &demand, request.max_price),
        };
        notes.sheet = chosen.sheet;

        let quote = sale
            .quote(&chosen.group, self.account(), fee)
            .map_err(by_price)?;
        let group = chosen.group.iter().map(|(role, member)| GroupMember {
            role: *role,
            peer: member.record.peer,
            operator: member.record.operator,
            addresses: member.record.addresses.clone(),
        });
        let mut ticket = Ticket {
            job: request.job,
            attempt: request.attempt,
            client: request.client,
            coordinator: self.account(),
            model: request.model.clone(),
            version,
            commitment: published.commitment,
            manifest: published.manifest,
            level: request.level,
            dealer,
            evaluators,
            sharing,
            inputs: request.inputs.clone(),
            batch: request.batch,
            group: group.collect(),
            price: quote.price,
            payouts: quote.payouts,
            deadline: request.deadline,
            terms_signature: SignatureBytes([0; 64]),
        };
        ticket.sign_terms(&self.identity);
        // Which ports inputs have is the client's word; everything else was made here.
        ticket.check().map_err(|error| match error {
            TicketError::InputPorts | TicketError::InputsGroup { .. } => Refusal::malformed(error),
            error => Refusal::internal(error),
        })?;
        let (commitment, batch) = (ticket.commitment, ticket.batch);
        let key = demand.key;
        let peers: Vec<_> = ticket.group.iter().map(|member| member.peer).collect();
        let ticket = Signed::sign(&self.identity, ticket, now, request.deadline)
            .map_err(Refusal::internal)?;
        if notes.intent == Intent::Quote {
            // Read for its price and dropped: no ticket is given that the ledger does not know.
            return Ok(ControlResponse::Ticket(ticket));
        }
        let attempt = NewAttempt {
            request,
            ticket: ticket.clone(),
            price: quote.price,
            group: peers.clone(),
            release_at: request.deadline.saturating_add(self.policy.grace),
        };
        if let Err(error) = self.ledger.accept(attempt, funds, now) {
            if matches!(error, LedgerError::InsufficientEscrow { .. }) {
                // The client may have deposited a moment ago.
                looked_up.require(Wanted::Client(request.client))?;
            }
            return Err(by_ledger(error));
        }
        if self.is_first_attempt(&request.job)? {
            self.tally.jobs.attempt(request.level);
        }
        for peer in &peers {
            self.roster.assigned(peer);
        }
        self.roster.promised(&peers, &commitment, batch);
        if let (Some(key), [peer]) = (key, peers.as_slice()) {
            self.roster.brings_key(peer, key);
        }
        Ok(ControlResponse::Ticket(ticket))
    }

    fn is_first_attempt(&self, job: &JobId) -> Result<bool, Stop> {
        let entry = self.ledger.job(job).map_err(by_ledger)?;
        Ok(entry.is_some_and(|entry| entry.attempts.len() == 1))
    }

    /// Whether the model's owner permits the job.
    fn check_rights(
        &self,
        request: &JobRequest,
        version: ModelVersion,
        model: &PublishedModel,
        looked_up: &LookedUp,
        now: UnixMillis,
    ) -> Result<(), Stop> {
        if model.rights.is_yanked(version) {
            let model = request.model.clone();
            return Err(Refusal::Yanked { model, version }.into());
        }
        let terms = &model.rights.terms;
        if terms.depends_on_grants() {
            // Asked for each job: what was revoked a moment ago permits nothing.
            looked_up.require(Wanted::Grant(request.model.clone(), request.client))?;
        }
        let grant = self.view.grant(&request.model, &request.client);
        let (owner, client, purpose) = (model.owner, request.client, request.purpose);
        let permitted = terms.permit(owner, client, grant.as_ref(), purpose, now);
        permitted.map_err(|problem| not_licensed(request, problem))
    }

    fn check_bounds(&self, request: &JobRequest, now: UnixMillis) -> Result<(), Stop> {
        let max = self.policy.max_batch;
        if request.batch == 0 {
            return Err(Refusal::malformed("a batch has at least one record").into());
        }
        if request.batch > max {
            return Err(Refusal::BatchTooLarge {
                batch: request.batch,
                max,
            }
            .into());
        }
        if request.deadline <= now {
            return Err(Refusal::Expired.into());
        }
        let latest = now.saturating_add(self.policy.max_job_time);
        if request.deadline > latest {
            let why = format!(
                "the deadline may be at most {:?} away",
                self.policy.max_job_time
            );
            return Err(Refusal::malformed(why).into());
        }
        Ok(())
    }

    /// The model with the version meant; that version is among its known ones.
    pub(super) fn find_model(
        &self,
        name: &ModelName,
        version: Option<ModelVersion>,
        looked_up: &LookedUp,
    ) -> Result<(ModelVersion, &PublishedModel), Stop> {
        let wanted = || Wanted::Model(name.clone(), version);
        let Some(model) = self.view.model(name) else {
            looked_up.require(wanted())?;
            let model = name.clone();
            return Err(Refusal::UnknownModel { model }.into());
        };
        let version = version.unwrap_or(model.latest);
        if !model.versions.contains_key(&version) {
            looked_up.require(wanted())?;
            let model = name.clone();
            return Err(Refusal::UnknownVersion { model, version }.into());
        }
        Ok((version, model))
    }
}

fn not_licensed(request: &JobRequest, problem: LicenceProblem) -> Stop {
    let model = request.model.clone();
    Refusal::NotLicensed { model, problem }.into()
}

/// The policies of the stored inputs. One that cannot be read permits nothing, so the request is no request.
fn policies(request: &JobRequest) -> Result<Vec<LocationPolicy>, Stop> {
    let texts = request.policies.iter();
    let policies = texts.map(|text| LocationPolicy::from_json(text.as_str()));
    policies
        .collect::<Result<_, _>>()
        .map_err(|error| Refusal::malformed(error).into())
}

fn no_group(
    none: NoGroup,
    notes: &mut Notes,
    demand: &Demand<'_>,
    max: Planck,
) -> Result<ControlResponse, Stop> {
    match none {
        NoGroup::TooExpensive { cheapest, sheet } => {
            notes.sheet = sheet;
            // What is not the workers' is the same in every group.
            let fixed = max.0.saturating_sub(demand.budget.0);
            let price = Planck(cheapest.0.saturating_add(fixed));
            Err(Refusal::PriceTooHigh { price, max }.into())
        }
        NoGroup::TooFew {
            eligible,
            refused,
            sheet,
        } if refused.is_empty() => {
            notes.sheet = sheet;
            let need = u32::try_from(demand.roles.len()).unwrap_or(u32::MAX);
            Err(Refusal::NotEnoughWorkers {
                have: eligible,
                need,
            }
            .into())
        }
        NoGroup::TooFew {
            mut refused, sheet, ..
        } => {
            notes.sheet = sheet;
            refused.truncate(ControlResponse::MAX_REASONS);
            Ok(ControlResponse::NoMatch { reasons: refused })
        }
    }
}
