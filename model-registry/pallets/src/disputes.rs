//! Disputes: a coordinator that took money for a job, or promised to settle it, answers for it with its bond.
//!
//! With every ticket a coordinator signs what the job pays ([`SignedTerms`]); with every voucher a client signs
//! what it is for ([`Acceptance`]); for both the coordinator signs that it will settle ([`Acknowledgement`]). An
//! epoch is settled with the root of a tree over its jobs ([`Leaf`]). From these, anybody can show that
//!
//! * a job was **omitted** ([`dispute`](Pallet::dispute)): its money was taken, or its promise is overdue. That
//!   something is *not* under a root cannot be shown by those who do not have the tree, so the coordinator is
//!   asked: it shows the leaf, or that the client accepted another job for the same money, until a deadline.
//!   Silence is the proof. The disputer's deposit goes to a coordinator that was asked in vain;
//! * a job was **altered** ([`prove_altered`](Pallet::prove_altered)): the leaf has other terms than the
//!   coordinator promised; or ([`prove_underpaid`](Pallet::prove_underpaid)) an account got less than the leaves
//!   give it;
//! * the coordinator **equivocated** ([`prove_equivocation`](Pallet::prove_equivocation)): it signed two
//!   statements that cannot both be true. Nobody is deprived by that, so it only loses a share of its bond.
//!
//! Those who were deprived are paid out of the bond, as far as it reaches, and a share of the bond goes to the
//! treasury. Nothing is paid twice: terms are decided once, and what was made good of an epoch is counted.
//!
//! # Time
//!
//! Each epoch can be disputed for `DisputeWindow` after it was settled; a promise for as long after it was due.
//! Milliseconds as everywhere here: on a chain that seals on demand anybody could make a window of blocks pass. A
//! bond is not given back while a dispute is open, and its delay is longer than all of these together
//! (`integrity_test`).
//!
//! # What this does not protect
//!
//! * A client and a worker cannot together take a coordinator's bond: a job that the client never paid is
//!   refuted with the acceptance of the job that it did pay. But a client and a coordinator together can
//!   refute a worker so; what they then pay with is the client's escrow, as far as it reaches.
//! * Where the client's escrow does not cover a promise, because it promised the same money elsewhere, nobody
//!   answers for the job but the client.
//! * A coordinator whose bond is smaller than what it handles can gain by cheating. Workers see its bond.

mod record;
mod remedy;
mod statements;
mod tree;

use frame_support::{BoundedVec, traits::ConstU32};

pub use pallet::*;
pub use record::{
    AlteredLeaf, Answer, Basis, DisputeRecord, Equivocation, Ground, Outcome, SettledJob,
};
pub use statements::{
    Acceptance, Acknowledgement, JobTerms, MAX_JOB_PAYOUTS, Position, SignedTerms, TermsId,
};
pub use tree::{Inclusion, Leaf, MAX_PATH};

/// Most jobs in a proof that an account was underpaid.
pub const MAX_PROVEN_JOBS: u32 = 256;

/// The jobs of such a proof.
pub type SettledJobs = BoundedVec<SettledJob, ConstU32<MAX_PROVEN_JOBS>>;

#[frame_support::pallet]
pub mod pallet {
    use alloc::{collections::BTreeSet, vec::Vec};

    use frame_support::{
        pallet_prelude::*,
        traits::{
            Time,
            fungible::{Mutate, MutateHold},
        },
    };
    use frame_system::pallet_prelude::*;
    use sp_runtime::{AccountId32, Perbill};

    use super::*;
    use crate::{Balance, CoordinatorBonds, Moment, SettledEpochs, settlement::Payouts, weights};

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<AccountId = AccountId32> {
        /// From opening a dispute until the coordinator must have answered, milliseconds.
        #[pallet::constant]
        type AnswerWithin: Get<Moment>;
        /// What disputes are paid from.
        type Bonds: CoordinatorBonds;
        /// Time of the block, milliseconds.
        type Clock: Time<Moment = Moment>;
        /// Where deposits are held.
        type Currency: Mutate<AccountId32, Balance = Balance>
            + MutateHold<AccountId32, Balance = Balance, Reason = Self::RuntimeHoldReason>;
        /// What a disputer loses if the job was paid, planck.
        #[pallet::constant]
        type DisputeDeposit: Get<Balance>;
        /// What disputes are about.
        type Epochs: SettledEpochs;
        /// Who gets what is slashed, and what cannot be paid to whom it belongs.
        type FinesTo: Get<AccountId32>;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
        /// Share of its bond that a coordinator loses for each fault, beside what it pays to the deprived.
        #[pallet::constant]
        type SlashShare: Get<Perbill>;
    }

    /// Why this pallet holds money.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Deposits of disputers.
        Dispute,
    }

    /// Disputes that wait for an answer, by the terms of the job.
    #[pallet::storage]
    pub type Disputes<T: Config> = StorageMap<_, Blake2_128Concat, TermsId, DisputeRecord>;

    /// Number of open disputes by coordinator; none is absent.
    #[pallet::storage]
    pub type Open<T: Config> = StorageMap<_, Blake2_128Concat, AccountId32, u32, ValueQuery>;

    /// Terms that were decided. Kept for ever: it is what makes a second dispute about a job worthless.
    #[pallet::storage]
    pub type Decided<T: Config> = StorageMap<_, Blake2_128Concat, TermsId, Outcome>;

    /// What an account got out of the bond because an epoch paid it too little.
    #[pallet::storage]
    pub type MadeGood<T: Config> = StorageNMap<
        _,
        (
            NMapKey<Blake2_128Concat, AccountId32>,
            NMapKey<Blake2_128Concat, u64>,
            NMapKey<Blake2_128Concat, AccountId32>,
        ),
        Balance,
        ValueQuery,
    >;

    /// Pairs of contradicting statements that were slashed for: SHA-256 over both, the smaller one first.
    #[pallet::storage]
    pub type Punished<T: Config> = StorageMap<_, Blake2_128Concat, [u8; 32], ()>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A coordinator is asked where a job is.
        Disputed {
            coordinator: AccountId32,
            disputer: AccountId32,
            job: [u8; 16],
            terms: TermsId,
            answer_by: Moment,
        },
        /// A dispute is over; what was paid came out of the bond, or out of the client's escrow if it
        /// contradicted itself.
        Decided {
            coordinator: AccountId32,
            job: [u8; 16],
            terms: TermsId,
            outcome: Outcome,
            paid: Balance,
        },
        /// An account had got less from an epoch than its leaves give it, and has the rest now.
        UnderpaymentMadeGood {
            coordinator: AccountId32,
            epoch: u64,
            account: AccountId32,
            missing: Balance,
            paid: Balance,
        },
        /// A coordinator was shown to have contradicted itself.
        Equivocated {
            coordinator: AccountId32,
            reporter: AccountId32,
        },
        /// A share of a coordinator's bond went to the treasury.
        Slashed {
            coordinator: AccountId32,
            amount: Balance,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The client's money for the job was taken: dispute the epoch that took it.
        AlreadyTaken,
        /// The terms were decided before.
        AlreadyDecided,
        /// A dispute about these terms is open.
        AlreadyDisputed,
        /// The time for an answer is over.
        AnswerTooLate,
        /// An amount does not fit in 128 bits.
        AmountOverflow,
        /// The two statements agree, or are about different things.
        NoContradiction,
        /// The coordinator has no bond that could pay.
        NoBond,
        /// There is no such epoch, or it can no longer be disputed.
        NoSuchEpoch,
        /// No dispute about these terms is open.
        NotDisputed,
        /// The sender is not the coordinator in question.
        NotCoordinator,
        /// The epoch took no money of the client for that part of its vouchers.
        NotTaken,
        /// The coordinator's time to settle or to answer is not over.
        NotYet,
        /// The leaf is not under the epoch's root.
        NotIncluded,
        /// The leaf says what was promised, or is about another job.
        NotAltered,
        /// The account got what the leaves give it.
        NotUnderpaid,
        /// The payouts are not those of the epoch.
        OtherPayouts,
        /// A coordinator cannot refute its own promise with another one.
        OwnPromise,
        /// A job is shown twice.
        JobTwice,
        /// The job pays nobody but the coordinator.
        NothingAtStake,
        /// The dispute window is over.
        WindowOver,
        /// A signature does not verify.
        BadSignature,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        #[cfg(feature = "std")]
        fn integrity_test() {
            let longest = T::Epochs::dispute_window().saturating_add(T::AnswerWithin::get());
            assert!(
                T::Bonds::unbonding_delay() > longest,
                "a bond would be given back before disputes are over"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::check_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Says that a job was not settled, although its money was taken or its promise is overdue, and
        /// holds a deposit. The coordinator must answer until `AnswerWithin` from now.
        #[pallet::call_index(0)]
        #[pallet::weight(weights::dispute::<T>())]
        pub fn dispute(origin: OriginFor<T>, claim: SignedTerms, basis: Basis) -> DispatchResult {
            let disputer = ensure_signed(origin)?;
            let id = claim.terms.id();
            ensure!(
                !Disputes::<T>::contains_key(id),
                Error::<T>::AlreadyDisputed
            );
            let cumulative = basis.cumulative();
            let position = Self::position(&claim, id, cumulative)?;
            let part = position.part().ok_or(Error::<T>::NothingAtStake)?;
            let now = T::Clock::now();
            let terms = claim.terms;
            let ground = match &basis {
                Basis::Taken { epoch, acceptance } => {
                    Self::epoch(&terms.coordinator, *epoch)?;
                    let drawn = T::Epochs::drawn(&terms.coordinator, *epoch, &terms.client)
                        .ok_or(Error::<T>::NotTaken)?;
                    ensure!(
                        drawn.start <= part.start && part.end <= drawn.end,
                        Error::<T>::NotTaken
                    );
                    ensure!(
                        position.is_accepted(&acceptance.signature),
                        Error::<T>::BadSignature
                    );
                    Ground::Taken
                }
                Basis::Promised(promise) => {
                    ensure!(now > promise.settle_by, Error::<T>::NotYet);
                    let end = promise
                        .settle_by
                        .saturating_add(T::Epochs::dispute_window());
                    ensure!(now <= end, Error::<T>::WindowOver);
                    let settled = T::Epochs::settled(&terms.client, &terms.coordinator);
                    ensure!(settled < cumulative, Error::<T>::AlreadyTaken);
                    ensure!(
                        position.is_acknowledged(promise.settle_by, &promise.signature),
                        Error::<T>::BadSignature
                    );
                    Ground::Promised
                }
            };
            let deposit = T::DisputeDeposit::get();
            T::Currency::hold(&HoldReason::Dispute.into(), &disputer, deposit)?;
            let answer_by = now.saturating_add(T::AnswerWithin::get());
            let (coordinator, job) = (terms.coordinator.clone(), terms.job);
            let record = DisputeRecord {
                disputer: disputer.clone(),
                deposit,
                terms,
                cumulative,
                ground,
                answer_by,
            };
            Disputes::<T>::insert(id, record);
            Open::<T>::mutate(&coordinator, |open| *open = open.saturating_add(1));
            Self::deposit_event(Event::Disputed {
                coordinator,
                disputer,
                job,
                terms: id,
                answer_by,
            });
            Ok(())
        }

        /// Refutes the dispute about `terms`. For the coordinator that it is about, which gets the deposit.
        #[pallet::call_index(1)]
        #[pallet::weight(weights::answer::<T>())]
        pub fn answer(origin: OriginFor<T>, terms: TermsId, answer: Answer) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            let dispute = Disputes::<T>::get(terms).ok_or(Error::<T>::NotDisputed)?;
            let coordinator = dispute.terms.coordinator.clone();
            ensure!(sender == coordinator, Error::<T>::NotCoordinator);
            ensure!(
                T::Clock::now() <= dispute.answer_by,
                Error::<T>::AnswerTooLate
            );
            let (outcome, paid) = match answer {
                Answer::Included {
                    epoch,
                    receipt,
                    inclusion,
                } => {
                    // Any epoch: that it was paid is all that matters.
                    let facts =
                        T::Epochs::epoch(&coordinator, epoch).ok_or(Error::<T>::NoSuchEpoch)?;
                    let leaf = Leaf {
                        job: dispute.terms.job,
                        terms,
                        receipt,
                    };
                    ensure!(
                        inclusion.verify(&leaf, facts.jobs, &facts.receipts_root),
                        Error::<T>::NotIncluded
                    );
                    (Outcome::Paid, 0)
                }
                Answer::OtherJob {
                    terms: other,
                    price,
                    acceptance,
                } => {
                    ensure!(dispute.ground == Ground::Taken, Error::<T>::OwnPromise);
                    let client = dispute.terms.client.clone();
                    let other = Position {
                        client: client.clone(),
                        coordinator: coordinator.clone(),
                        terms: other,
                        price,
                        cumulative: acceptance.cumulative,
                    };
                    let disputed = Self::position_of(&dispute.terms, terms, dispute.cumulative)?;
                    ensure!(disputed.contradicts(&other), Error::<T>::NoContradiction);
                    ensure!(
                        other.is_accepted(&acceptance.signature),
                        Error::<T>::BadSignature
                    );
                    let due = Self::payments(&dispute.terms, T::Epochs::escrow(&client));
                    let paid = due.iter().map(|(_, amount)| amount).sum();
                    T::Epochs::charge(&client, &due)?;
                    (Outcome::ClientContradicted, paid)
                }
            };
            match outcome {
                Outcome::Paid => {
                    let to = Self::reachable(&coordinator, dispute.deposit);
                    Self::give_deposit(&dispute, &to)?;
                }
                _ => Self::return_deposit(&dispute)?,
            }
            Self::close(terms, &dispute, outcome, paid);
            Ok(())
        }

        /// Ends a dispute that was not answered in time. Anybody may.
        #[pallet::call_index(2)]
        #[pallet::weight(weights::conclude::<T>())]
        pub fn conclude(origin: OriginFor<T>, terms: TermsId) -> DispatchResult {
            ensure_signed(origin)?;
            let dispute = Disputes::<T>::get(terms).ok_or(Error::<T>::NotDisputed)?;
            ensure!(T::Clock::now() > dispute.answer_by, Error::<T>::NotYet);
            let DisputeRecord {
                terms: job,
                cumulative,
                ground,
                ..
            } = &dispute;
            let settled = T::Epochs::settled(&job.client, &job.coordinator);
            let in_reach = settled.saturating_add(T::Epochs::escrow(&job.client));
            let (outcome, paid) = if *ground == Ground::Promised && in_reach < *cumulative {
                (Outcome::ClientCannotPay, 0)
            } else {
                (Outcome::Omitted, Self::make_good(job)?)
            };
            Self::return_deposit(&dispute)?;
            Self::close(terms, &dispute, outcome, paid);
            Ok(())
        }

        /// Shows that the coordinator promised to settle `claim` and settled the job with other terms. Paid
        /// out of its bond at once.
        #[pallet::call_index(3)]
        #[pallet::weight(weights::prove_altered::<T>())]
        pub fn prove_altered(
            origin: OriginFor<T>,
            claim: SignedTerms,
            promise: Acknowledgement,
            altered: AlteredLeaf,
        ) -> DispatchResult {
            ensure_signed(origin)?;
            let id = claim.terms.id();
            let position = Self::position(&claim, id, promise.cumulative)?;
            let terms = claim.terms;
            let facts = Self::epoch(&terms.coordinator, altered.epoch)?;
            let AlteredLeaf {
                leaf, inclusion, ..
            } = &altered;
            ensure!(
                leaf.job == terms.job && leaf.terms != id,
                Error::<T>::NotAltered
            );
            ensure!(
                inclusion.verify(leaf, facts.jobs, &facts.receipts_root),
                Error::<T>::NotIncluded
            );
            ensure!(
                position.is_acknowledged(promise.settle_by, &promise.signature),
                Error::<T>::BadSignature
            );
            let paid = Self::make_good(&terms)?;
            if let Some(open) = Disputes::<T>::get(id) {
                Self::return_deposit(&open)?;
                Self::close(id, &open, Outcome::Altered, paid);
            } else {
                Self::decide(id, &terms, Outcome::Altered, paid);
            }
            Ok(())
        }

        /// Shows that `account` got less from an epoch than the leaves of `jobs` give it. `payouts` are those
        /// of the settlement, to the letter. The rest is paid out of the bond at once.
        #[pallet::call_index(4)]
        #[pallet::weight(weights::prove_underpaid::<T>(jobs.len(), payouts.len()))]
        pub fn prove_underpaid(
            origin: OriginFor<T>,
            coordinator: AccountId32,
            epoch: u64,
            account: AccountId32,
            payouts: Payouts,
            jobs: SettledJobs,
        ) -> DispatchResult {
            ensure_signed(origin)?;
            let facts = Self::epoch(&coordinator, epoch)?;
            ensure!(
                crate::settlement::payouts_hash(&payouts) == facts.payouts,
                Error::<T>::OtherPayouts
            );
            let mut seen = BTreeSet::new();
            let mut owed: Balance = 0;
            for job in &jobs {
                let leaf = Leaf {
                    job: job.terms.job,
                    terms: job.terms.id(),
                    receipt: job.receipt,
                };
                ensure!(seen.insert(job.inclusion.index), Error::<T>::JobTwice);
                ensure!(
                    job.inclusion
                        .verify(&leaf, facts.jobs, &facts.receipts_root),
                    Error::<T>::NotIncluded
                );
                let parts = job.terms.payouts.iter();
                for part in parts.filter(|part| part.account == account) {
                    owed = owed
                        .checked_add(part.amount)
                        .ok_or(Error::<T>::AmountOverflow)?;
                }
            }
            let key = (&coordinator, epoch, &account);
            let made_good = MadeGood::<T>::get(key);
            // All of them were paid, so their sum fits.
            let got: Balance = payouts
                .iter()
                .filter(|payout| payout.account == account)
                .map(|payout| payout.amount)
                .sum();
            let missing = owed.saturating_sub(got.saturating_add(made_good));
            ensure!(
                missing > 0 && account != coordinator,
                Error::<T>::NotUnderpaid
            );
            let bond = T::Bonds::bond(&coordinator);
            ensure!(bond > 0, Error::<T>::NoBond);
            let paid = missing.min(bond);
            MadeGood::<T>::insert(key, made_good.saturating_add(paid));
            let due = alloc::vec![(Self::reachable(&account, paid), paid)];
            // One fault, into however many proofs it is cut.
            match made_good {
                0 => Self::charge_bond(&coordinator, due, bond)?,
                _ => T::Bonds::charge(&coordinator, &due)?,
            }
            Self::deposit_event(Event::UnderpaymentMadeGood {
                coordinator,
                epoch,
                account,
                missing,
                paid,
            });
            Ok(())
        }

        /// Shows that a coordinator contradicted itself. A share of its bond is slashed.
        #[pallet::call_index(5)]
        #[pallet::weight(weights::prove_equivocation::<T>())]
        pub fn prove_equivocation(origin: OriginFor<T>, proof: Equivocation) -> DispatchResult {
            let reporter = ensure_signed(origin)?;
            let (coordinator, pair) = match proof {
                Equivocation::Terms { first, second } => {
                    let (one, two) = (&first.terms, &second.terms);
                    ensure!(
                        one.coordinator == two.coordinator
                            && one.job == two.job
                            && one.attempt == two.attempt
                            && one != two,
                        Error::<T>::NoContradiction
                    );
                    ensure!(first.verify() && second.verify(), Error::<T>::BadSignature);
                    let coordinator = one.coordinator.clone();
                    (coordinator, (one.id(), two.id()))
                }
                Equivocation::Promises {
                    first,
                    second,
                    client,
                    coordinator,
                } => {
                    let position =
                        |(terms, price, promise): &([u8; 32], Balance, Acknowledgement)| Position {
                            client: client.clone(),
                            coordinator: coordinator.clone(),
                            terms: *terms,
                            price: *price,
                            cumulative: promise.cumulative,
                        };
                    let (one, two) = (position(&first), position(&second));
                    ensure!(one.contradicts(&two), Error::<T>::NoContradiction);
                    ensure!(
                        one.is_acknowledged(first.2.settle_by, &first.2.signature)
                            && two.is_acknowledged(second.2.settle_by, &second.2.signature),
                        Error::<T>::BadSignature
                    );
                    (coordinator, (first.0, second.0))
                }
            };
            let (low, high) = (pair.0.min(pair.1), pair.0.max(pair.1));
            let name = sp_io::hashing::sha2_256(&[low, high].concat());
            ensure!(
                !Punished::<T>::contains_key(name),
                Error::<T>::AlreadyDecided
            );
            let bond = T::Bonds::bond(&coordinator);
            ensure!(bond > 0, Error::<T>::NoBond);
            Punished::<T>::insert(name, ());
            Self::deposit_event(Event::Equivocated {
                coordinator: coordinator.clone(),
                reporter,
            });
            Self::charge_bond(&coordinator, Vec::new(), bond)
        }
    }
}
