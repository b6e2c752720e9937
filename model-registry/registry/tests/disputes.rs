//! Disputes about settled jobs, with the statements that parties sign: the chain reads them as they were meant.
#![allow(clippy::unwrap_used)]

#[path = "support/chain.rs"]
mod chain;

use ai_link_registry::{
    CallError, DisputeAnswer, DisputeBasis, DisputeOutcome, Registry, RegistryClient,
    SettlementBatch,
};
use ai_link_wire::{
    Acceptance, AccountId, Acknowledgement, Commitment, DealerSeat, Digest, EpochProof, Fid,
    GroupMember, Identity, JobClaim, JobId, JobTerms, Leaf, Level, ModelVersion, Payout,
    PayoutReason, PeerKey, Planck, Role, SignatureBytes, Signed, Ticket, UnixMillis, Voucher,
};
use chain::TestChain;

const PRICE: Planck = Planck(1_000_000_000);
/// Of a job, to the worker.
const SHARE: Planck = Planck(600_000_000);

fn party(name: &str) -> Identity {
    Identity::derive(b"dispute tests", name)
}

struct Fixture {
    _chain: TestChain,
    registry: Registry,
    coordinator: RegistryClient,
    worker: RegistryClient,
}

impl Fixture {
    /// A coordinator that stands, and a client with escrow.
    async fn start() -> Self {
        let parties = ["coordinator", "client", "worker"].map(party);
        let (chain, registry) = TestChain::start(&parties, Planck::ail(100_000)).await;
        let client = |name| RegistryClient::new(registry.clone(), party(name));
        let coordinator = client("coordinator");
        let bond = registry.bond_minimums().await.unwrap().coordinator;
        let bond = Planck(2 * bond.0);
        let key = party("coordinator");
        coordinator.register_coordinator(&key, bond).await.unwrap();
        client("client").deposit(Planck::ail(10)).await.unwrap();
        Self {
            _chain: chain,
            coordinator,
            worker: client("worker"),
            registry,
        }
    }

    /// Settles `leaves` for the client's total of `cumulative`.
    async fn settle(
        &self,
        epoch: u64,
        leaves: &[Leaf],
        cumulative: Planck,
        payouts: &[(AccountId, Planck)],
    ) {
        let me = self.coordinator.account();
        let batch = SettlementBatch {
            epoch,
            receipts_root: Leaf::root(leaves),
            jobs: leaves.len() as u32,
            vouchers: vec![Voucher::sign(&party("client"), me, cumulative)],
            payouts: payouts.to_vec(),
        };
        self.coordinator.settle(batch).await.unwrap();
    }

    async fn bond(&self) -> Planck {
        let me = self.coordinator.account();
        let standing = self.registry.coordinator(me).await.unwrap();
        standing.unwrap().bond
    }

    async fn free(&self, name: &str) -> Planck {
        let account = party(name).account();
        self.registry.balance(account).await.unwrap().free
    }
}

fn ticket(job: u8, share: Planck) -> Ticket {
    let coordinator = party("coordinator");
    let worker = party("worker").account();
    let payout = |account, amount, reason| Payout {
        account,
        amount,
        reason,
    };
    let mut ticket = Ticket {
        job: JobId([job; 16]),
        attempt: 0,
        client: party("client").account(),
        coordinator: coordinator.account(),
        model: "digits".parse().unwrap(),
        version: ModelVersion(1),
        commitment: Commitment([1; 32]),
        manifest: Fid([1; 32]),
        level: Level::Fhe,
        dealer: DealerSeat::Worker,
        evaluators: 1,
        sharing: None,
        inputs: Vec::new(),
        batch: 1,
        group: vec![GroupMember {
            role: Role::EVALUATOR_0,
            peer: PeerKey([1; 32]),
            operator: worker,
            addresses: Vec::new(),
        }],
        price: PRICE,
        payouts: vec![
            payout(worker, share, PayoutReason::Evaluator),
            payout(
                coordinator.account(),
                Planck(PRICE.0 - share.0),
                PayoutReason::Coordinator,
            ),
        ],
        deadline: UnixMillis(1),
        terms_signature: SignatureBytes([0; 64]),
    };
    ticket.sign_terms(&coordinator);
    ticket
}

fn claim(ticket: &Ticket, cumulative: Planck) -> JobClaim {
    let coordinator = party("coordinator");
    let now = UnixMillis::now();
    let due = UnixMillis(now.0 - 1_000_000);
    JobClaim {
        ticket: Signed::sign(&coordinator, ticket.clone(), UnixMillis(0), now).unwrap(),
        acceptance: Acceptance::sign(&party("client"), ticket, cumulative),
        acknowledgement: Some(Acknowledgement::sign(&coordinator, ticket, cumulative, due)),
    }
}

fn leaf(ticket: &Ticket) -> Leaf {
    Leaf {
        job: ticket.job,
        terms: ticket.terms().id(),
        receipt: Digest([ticket.job.0[0]; 32]),
    }
}

fn assert_fails<T: std::fmt::Debug>(result: Result<T, CallError>, error: &str) {
    let failure = result.unwrap_err();
    assert!(failure.is("Disputes", error), "wanted {error}: {failure:?}");
}

#[tokio::test]
async fn a_dispute_about_a_paid_job_is_refuted_and_costs_its_deposit() {
    let f = Fixture::start().await;
    let jobs: Vec<_> = (1..=3).map(|job| ticket(job, SHARE)).collect();
    let leaves: Vec<_> = jobs.iter().map(leaf).collect();
    let (worker, me) = (f.worker.account(), f.coordinator.account());
    let total = Planck(3 * PRICE.0);
    let paid = [
        (worker, Planck(3 * SHARE.0)),
        (me, Planck(3 * (PRICE.0 - SHARE.0))),
    ];
    f.settle(1, &leaves, total, &paid).await;
    let client = party("client").account();
    let drawn = f.registry.drawn(me, 1, client).await.unwrap();
    assert_eq!(drawn, Some((Planck::ZERO, total)));

    let second = claim(&jobs[1], Planck(2 * PRICE.0));
    f.worker
        .open_dispute(&jobs[1], &second, DisputeBasis::Taken(1))
        .await
        .unwrap();
    let open = f.registry.disputes_of(me).await.unwrap();
    let terms = jobs[1].terms().id();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].terms, open[0].job), (terms, jobs[1].job));
    assert_eq!(
        (open[0].price, open[0].cumulative),
        (PRICE, Planck(2 * PRICE.0))
    );
    assert_eq!(
        f.registry.dispute(terms).await.unwrap(),
        open.first().cloned()
    );
    assert_fails(f.worker.conclude_dispute(terms).await, "NotYet");

    let wrong = EpochProof::of(1, &leaves, 0).unwrap();
    let wrong = f
        .coordinator
        .answer_dispute(terms, DisputeAnswer::Included(wrong));
    assert_fails(wrong.await, "NotIncluded");
    let before = f.free("coordinator").await;
    let right = EpochProof::of(1, &leaves, 1).unwrap();
    f.coordinator
        .answer_dispute(terms, DisputeAnswer::Included(right))
        .await
        .unwrap();
    assert!(
        f.free("coordinator").await > before,
        "the deposit is more than the fee"
    );
    let outcome = f.registry.decided(terms).await.unwrap();
    assert_eq!(outcome, Some(DisputeOutcome::Paid));
    assert_eq!(f.registry.disputes_of(me).await.unwrap(), []);
    let again = f
        .worker
        .open_dispute(&jobs[1], &second, DisputeBasis::Taken(1));
    assert_fails(again.await, "AlreadyDecided");

    // The client claims, with a worker's help, that the third payment was for a fourth job.
    let lie = ticket(4, SHARE);
    let lied = claim(&lie, total);
    f.worker
        .open_dispute(&lie, &lied, DisputeBasis::Taken(1))
        .await
        .unwrap();
    let third = claim(&jobs[2], total);
    let answer = DisputeAnswer::OtherJob {
        terms: jobs[2].terms().id(),
        price: PRICE,
        acceptance: third.acceptance,
    };
    let escrow = f.registry.escrow(client).await.unwrap().free;
    f.coordinator
        .answer_dispute(lie.terms().id(), answer)
        .await
        .unwrap();
    let left = f.registry.escrow(client).await.unwrap().free;
    assert_eq!(left, Planck(escrow.0 - SHARE.0), "the client pays");
    let first = claim(&jobs[0], PRICE);
    let late = f
        .worker
        .open_dispute(&jobs[0], &first, DisputeBasis::Promised);
    assert_fails(late.await, "AlreadyTaken");
}

#[tokio::test]
async fn what_is_altered_underpaid_or_contradictory_is_charged_to_the_bond() {
    let f = Fixture::start().await;
    let (worker, me) = (f.worker.account(), f.coordinator.account());
    let honest = ticket(1, SHARE);
    // Under the root is less for the worker than was promised; and of the second job it is not even paid that.
    let altered = ticket(1, Planck(1));
    let second = ticket(2, SHARE);
    let leaves = [leaf(&altered), leaf(&second)];
    let paid = [
        (worker, Planck(SHARE.0 - 5)),
        (me, Planck(2 * PRICE.0 - SHARE.0 + 5)),
    ];
    f.settle(1, &leaves, Planck(2 * PRICE.0), &paid).await;
    let bond = f.bond().await;
    let before = f.free("worker").await;

    let promise = claim(&honest, PRICE).acknowledgement.unwrap();
    let proof = EpochProof::of(1, &leaves, 0).unwrap();
    f.worker
        .prove_altered(&honest, promise, &proof)
        .await
        .unwrap();
    let outcome = f.registry.decided(honest.terms().id()).await.unwrap();
    assert_eq!(outcome, Some(DisputeOutcome::Altered));
    let now = f.bond().await;
    assert_eq!(now, Planck(bond.0 - SHARE.0 - bond.0 / 10));

    let shown: Vec<(JobTerms, EpochProof)> =
        vec![(second.terms(), EpochProof::of(1, &leaves, 1).unwrap())];
    let cut = f.worker.prove_underpaid(me, 1, worker, &paid[..1], &shown);
    assert_fails(cut.await, "OtherPayouts");
    f.worker
        .prove_underpaid(me, 1, worker, &paid, &shown)
        .await
        .unwrap();
    assert_eq!(f.bond().await, Planck(now.0 - 5 - now.0 / 10));
    let again = f.worker.prove_underpaid(me, 1, worker, &paid, &shown);
    assert_fails(again.await, "NotUnderpaid");
    let gained = f.free("worker").await.0 + Planck::ail(1).0 - before.0;
    assert!(gained > SHARE.0, "what it was deprived of, less fees");

    f.worker
        .prove_equivocation(&honest, &altered)
        .await
        .unwrap();
    assert_fails(
        f.worker.prove_equivocation(&altered, &honest).await,
        "AlreadyDecided",
    );
    assert_fails(
        f.worker.prove_equivocation(&honest, &second).await,
        "NoContradiction",
    );

    // A promise that is overdue can be disputed before anything is taken.
    let third = ticket(3, SHARE);
    let overdue = claim(&third, Planck(3 * PRICE.0));
    let untaken = f
        .worker
        .open_dispute(&third, &overdue, DisputeBasis::Taken(1));
    assert_fails(untaken.await, "NotTaken");
    f.worker
        .open_dispute(&third, &overdue, DisputeBasis::Promised)
        .await
        .unwrap();
    assert!(
        f.registry
            .dispute(third.terms().id())
            .await
            .unwrap()
            .is_some()
    );
}
