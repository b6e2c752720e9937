//! What an application checks before it believes a ticket.
//!
//! A coordinator matches, it is not trusted: it could name workers of its own as a group, another model, or
//! another price. Everything that can be compared with the request and the chain is compared, before a byte
//! of the input leaves, masked or not.

use std::collections::HashMap;

use ai_link_registry::ModelRights;
use ai_link_wire::identity::BadSignature;
use ai_link_wire::{
    AccountId, Commitment, Fid, JobRequest, Level, ModelVersion, PayoutReason, PeerKey, Planck,
    Signed, SignedError, Ticket, TicketError, Trusted, UnixMillis, WeightPrivacy,
};

/// What the chain says about what a ticket names.
#[derive(Clone, Debug)]
pub struct ChainFacts {
    /// Coordinators that are registered and bonded.
    pub coordinator: Option<AccountId>,
    /// Operators of the workers, by peer key; absent when not registered.
    pub operators: HashMap<PeerKey, AccountId>,
    /// The model's version: what the workers must load, and where it is.
    pub version: ModelVersion,
    /// Commitment of that version.
    pub commitment: Commitment,
    /// Its package in storage.
    pub manifest: Fid,
    /// Who owns the model.
    pub owner: AccountId,
    /// Who else is paid for it.
    pub rights: ModelRights,
}

/// Checks a ticket against the request that it answers and against the chain.
///
/// # Errors
/// [`TicketProblem`]: the first thing that is wrong.
pub fn check<'t>(
    signed: &'t Signed<Ticket>,
    request: &JobRequest,
    facts: &ChainFacts,
    now: UnixMillis,
) -> Result<&'t Ticket, TicketProblem> {
    let ticket = signed.verify(now).map_err(TicketProblem::Signature)?;
    ticket.check().map_err(TicketProblem::Malformed)?;
    if signed.signer().account() != ticket.coordinator
        || facts.coordinator != Some(ticket.coordinator)
    {
        return Err(TicketProblem::Coordinator {
            named: ticket.coordinator,
        });
    }
    let same_job = ticket.job == request.job
        && ticket.attempt == request.attempt
        && ticket.client == request.client
        && ticket.model == request.model
        && ticket.level == request.level
        && ticket.dealer == request.dealer
        && ticket.evaluators == request.evaluators
        && ticket.batch == request.batch
        && ticket.inputs == request.inputs
        && ticket.deadline <= request.deadline;
    if !same_job {
        return Err(TicketProblem::OtherJob);
    }
    if ticket.version != facts.version
        || ticket.commitment != facts.commitment
        || ticket.manifest != facts.manifest
    {
        return Err(TicketProblem::OtherModel {
            named: ticket.commitment,
            chain: facts.commitment,
        });
    }
    if ticket.sharing.is_some() != (request.weights == WeightPrivacy::Private) {
        return Err(TicketProblem::Sharing);
    }
    if ticket.price > request.max_price {
        return Err(TicketProblem::Price {
            price: ticket.price,
            limit: request.max_price,
        });
    }
    let owners = ticket.payouts.iter();
    let owners = owners.filter(|payout| payout.reason == PayoutReason::ModelOwner);
    let paid: Vec<_> = owners
        .map(|payout| (payout.account, payout.amount))
        .collect();
    // `Ticket::check` has added up all payouts.
    let total = Planck(paid.iter().map(|(_, amount)| amount.0).sum());
    if paid != facts.rights.split(facts.owner, total) {
        return Err(TicketProblem::Owners { owner: facts.owner });
    }
    for member in &ticket.group {
        if facts.operators.get(&member.peer) != Some(&member.operator) {
            return Err(TicketProblem::Worker {
                peer: member.peer,
                named: member.operator,
            });
        }
        let named = |t: &Trusted| t.admits(member.peer, member.operator);
        if !request
            .trusted
            .as_ref()
            .map_or(request.level != Level::Sealed, named)
        {
            return Err(TicketProblem::NotTrusted { peer: member.peer });
        }
        if request.exclude.contains(&member.peer) {
            return Err(TicketProblem::Excluded { peer: member.peer });
        }
        if !request.inputs.is_empty() && !request.seats.allow(member.role, &member.peer) {
            return Err(TicketProblem::Seat { peer: member.peer });
        }
    }
    ticket.check_terms().map_err(TicketProblem::Terms)?;
    Ok(ticket)
}

/// Why a ticket is not believed. The coordinator is at fault in every case.
#[derive(Debug, thiserror::Error)]
pub enum TicketProblem {
    /// Not signed by the coordinator it names, or that one is not bonded.
    #[error("{named} did not sign the ticket or is no bonded coordinator")]
    Coordinator {
        /// As on the ticket.
        named: AccountId,
    },
    /// A worker that the application excluded.
    #[error("the ticket names {peer}, which this request excludes")]
    Excluded {
        /// The worker.
        peer: PeerKey,
    },
    /// Group or sums are impossible.
    #[error("the ticket contradicts itself")]
    Malformed(#[source] TicketError),
    /// Whom the job pays could not prove it to the chain.
    #[error("the coordinator did not sign what the job pays")]
    Terms(#[source] BadSignature),
    /// For another request.
    #[error("the ticket is for another job than was asked for")]
    OtherJob,
    /// Not the model on the chain.
    #[error("the ticket names the model {named}, the chain has {chain}")]
    OtherModel {
        /// As on the ticket.
        named: Commitment,
        /// As on the chain.
        chain: Commitment,
    },
    /// The model's part of the price does not go to those whose it is.
    #[error(
        "the ticket does not pay the model's owner {owner} and those who share its price as the chain says; if the \
         model has just changed hands, try again"
    )]
    Owners {
        /// As on the chain.
        owner: AccountId,
    },
    /// A worker that the application does not trust with its data.
    #[error("the ticket names {peer}, which this application does not trust")]
    NotTrusted {
        /// The worker.
        peer: PeerKey,
    },
    /// Too dear.
    #[error("the ticket costs {price}, the limit is {limit}")]
    Price {
        /// As on the ticket.
        price: Planck,
        /// As asked.
        limit: Planck,
    },
    /// A worker in a seat for which it has no grant of a stored input.
    #[error("the ticket gives {peer} a part for which it has no grant of the stored inputs")]
    Seat {
        /// The worker.
        peer: PeerKey,
    },
    /// Private weights without a group that holds them, or public ones with a sharing.
    #[error("the ticket names a sharing of weights and they are public, or the reverse")]
    Sharing,
    /// Expired, or not signed.
    #[error("the ticket's signature does not hold")]
    Signature(#[source] SignedError),
    /// A worker that is not that operator's.
    #[error("worker {peer} is not registered on chain for operator {named}")]
    Worker {
        /// The worker.
        peer: PeerKey,
        /// As on the ticket.
        named: AccountId,
    },
}

impl TicketProblem {
    /// Whether the coordinator may only be a little behind the chain, or the chain be read a little early.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Owners { .. })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ai_link_registry::Royalty;
    use ai_link_wire::{
        DealerSeat, Digest, GroupMember, Identity, JobId, Level, Payout, PayoutReason, Purpose,
        Role, SignatureBytes,
    };

    const NOW: UnixMillis = UnixMillis(1_000_000);

    struct Case {
        coordinator: Identity,
        ticket: Ticket,
        request: JobRequest,
        facts: ChainFacts,
    }

    fn case() -> Case {
        let coordinator = Identity::derive(b"test", "coordinator");
        let client = Identity::derive(b"test", "client").account();
        let group: Vec<GroupMember> = Role::TRIO
            .iter()
            .enumerate()
            .map(|(i, role)| GroupMember {
                role: *role,
                peer: Identity::derive(b"test", &format!("worker-{i}")).peer_key(),
                operator: AccountId([i as u8 + 10; 32]),
                addresses: vec![],
            })
            .collect();
        let request = JobRequest {
            job: JobId([1; 16]),
            attempt: 0,
            client,
            model: "digits".parse().unwrap(),
            version: None,
            level: Level::Mpc,
            purpose: Purpose::Commercial,
            dealer: DealerSeat::Worker,
            evaluators: 2,
            weights: WeightPrivacy::Public,
            key: None,
            trusted: None,
            batch: 2,
            max_price: Planck(100),
            regions: vec![],
            inputs: Vec::new(),
            seats: Default::default(),
            policies: Vec::new(),
            exclude: vec![],
            deadline: UnixMillis(NOW.0 + 1000),
        };
        let facts = ChainFacts {
            coordinator: Some(coordinator.account()),
            operators: group.iter().map(|m| (m.peer, m.operator)).collect(),
            version: ModelVersion(3),
            commitment: Commitment([4; 32]),
            manifest: Fid([5; 32]),
            owner: AccountId([9; 32]),
            rights: ModelRights {
                royalties: vec![Royalty {
                    account: AccountId([8; 32]),
                    millionths: 250_000,
                }],
                ..ModelRights::default()
            },
        };
        let evaluator = Payout {
            account: group[0].operator,
            amount: Planck(20),
            reason: PayoutReason::Evaluator,
        };
        let ticket = Ticket {
            job: request.job,
            attempt: 0,
            client,
            coordinator: coordinator.account(),
            model: request.model.clone(),
            version: facts.version,
            commitment: facts.commitment,
            manifest: facts.manifest,
            level: Level::Mpc,
            dealer: DealerSeat::Worker,
            evaluators: 2,
            sharing: None,
            inputs: Vec::new(),
            batch: 2,
            group,
            price: Planck(100),
            payouts: vec![payout(9, 60), payout(8, 20), evaluator],
            deadline: request.deadline,
            terms_signature: SignatureBytes([0; 64]),
        };
        let mut ticket = ticket;
        ticket.sign_terms(&coordinator);
        Case {
            coordinator,
            ticket,
            request,
            facts,
        }
    }

    /// A part of the model's part of the price.
    fn payout(account: u8, amount: u128) -> Payout {
        Payout {
            account: AccountId([account; 32]),
            amount: Planck(amount),
            reason: PayoutReason::ModelOwner,
        }
    }

    fn problem(change: impl FnOnce(&mut Case)) -> TicketProblem {
        let mut case = case();
        change(&mut case);
        let until = UnixMillis(NOW.0 + 1000);
        let signed = Signed::sign(&case.coordinator, case.ticket, NOW, until).unwrap();
        check(&signed, &case.request, &case.facts, NOW).unwrap_err()
    }

    #[test]
    fn a_right_ticket_is_believed() {
        let Case {
            coordinator,
            ticket,
            request,
            facts,
        } = case();
        let until = UnixMillis(NOW.0 + 1000);
        let signed = Signed::sign(&coordinator, ticket.clone(), NOW, until).unwrap();
        assert_eq!(check(&signed, &request, &facts, NOW).unwrap(), &ticket);
        let late = UnixMillis(NOW.0 + 10_000_000);
        assert!(matches!(
            check(&signed, &request, &facts, late),
            Err(TicketProblem::Signature(_))
        ));
    }

    #[test]
    fn everything_a_coordinator_could_slip_in_is_seen() {
        use TicketProblem as P;
        let stranger = Identity::derive(b"test", "stranger");
        assert!(matches!(
            problem(|c| c.coordinator = stranger),
            P::Coordinator { .. }
        ));
        assert!(matches!(
            problem(|c| c.facts.coordinator = None),
            P::Coordinator { .. }
        ));
        assert!(matches!(
            problem(|c| c.ticket.job = JobId([2; 16])),
            P::OtherJob
        ));
        assert!(matches!(problem(|c| c.ticket.attempt = 1), P::OtherJob));
        assert!(matches!(problem(|c| c.ticket.batch = 3), P::OtherJob));
        assert!(matches!(
            problem(|c| {
                c.ticket.level = Level::Sealed;
                c.ticket.evaluators = 1;
                c.ticket.group.truncate(1);
            }),
            P::OtherJob
        ));
        // A worker that deals where the client wanted to, and the reverse; fewer evaluators than wanted.
        assert!(matches!(
            problem(|c| c.request.dealer = DealerSeat::Client),
            P::OtherJob
        ));
        assert!(matches!(
            problem(|c| {
                c.ticket.dealer = DealerSeat::Client;
                c.ticket.group.truncate(2);
            }),
            P::OtherJob
        ));
        assert!(matches!(problem(|c| c.request.evaluators = 3), P::OtherJob));
        assert!(matches!(
            problem(|c| c.ticket.commitment = Commitment([0; 32])),
            P::OtherModel { .. }
        ));
        assert!(matches!(
            problem(|c| c.ticket.manifest = Fid([0; 32])),
            P::OtherModel { .. }
        ));
        assert!(matches!(
            problem(|c| c.ticket.sharing = Some(Digest([6; 32]))),
            P::Sharing
        ));
        assert!(matches!(
            problem(|c| c.request.weights = WeightPrivacy::Private),
            P::Sharing
        ));
        assert!(matches!(
            problem(|c| c.request.max_price = Planck(99)),
            P::Price { .. }
        ));
        assert!(matches!(
            problem(|c| c.ticket.group[1].operator = AccountId([99; 32])),
            P::Worker { .. }
        ));
        assert!(matches!(
            problem(|c| {
                let peer = c.ticket.group[0].peer;
                c.facts.operators.remove(&peer);
            }),
            P::Worker { .. }
        ));
        assert!(matches!(
            problem(|c| c.request.exclude = vec![c.ticket.group[2].peer]),
            P::Excluded { .. }
        ));
        assert!(matches!(
            problem(|c| c.ticket.group[1].operator = c.ticket.group[0].operator),
            P::Malformed(TicketError::SameOperator { .. })
        ));
        assert!(matches!(
            problem(|c| c.ticket.payouts.clear()),
            P::Malformed(_)
        ));
        // The owner is left out, another one takes its place, a share is kept back.
        let kept: [&[Payout]; 3] = [
            &[payout(8, 80)],
            &[payout(7, 60), payout(8, 20)],
            &[payout(9, 61), payout(8, 19)],
        ];
        for owners in kept {
            assert!(matches!(
                problem(|c| {
                    let rest = c.ticket.payouts.split_off(2);
                    c.ticket.payouts = owners.iter().copied().chain(rest).collect();
                }),
                P::Owners { .. }
            ));
        }
    }
}
