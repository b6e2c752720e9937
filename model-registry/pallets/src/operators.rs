//! Operators: accounts that stand behind workers and coordinators with money.
//!
//! A *peer* is a libp2p ed25519 key, the identity that other nodes authenticate on the network. An
//! *operator* is a chain account. Registering binds the two: the peer key signs the operator's
//! account ([`binding_message`]), the operator signs the transaction and has a bond held. A peer is bound
//! to one operator in one role at a time; an operator may have any number of workers but is one
//! coordinator.
//!
//! Leaving takes time: `deregister` ends the peer's standing at once but keeps the bond held until
//! the unbonding delay is over, so that faults found later can still be charged to it. Until
//! `withdraw_bond` the peer cannot be bound again, and an account that was a coordinator cannot be one again:
//! so there is one bond that answers for it. While it is disputed ([`disputes`](crate::disputes)) that bond is
//! not given back. A coordinator whose bond was charged below the minimum loses its standing.

mod binding;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

pub use binding::{binding_message, verify_binding};
pub use pallet::*;

use crate::{Balance, Moment};

/// The ed25519 public key of a libp2p peer.
pub type PeerKey = [u8; 32];

/// A worker in good standing.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct OperatorRecord {
    /// Who runs the worker and is paid for its jobs.
    pub operator: AccountId32,
    /// What is held on the operator for this worker.
    pub bond: Balance,
    /// Since when.
    pub registered_at: Moment,
}

/// A coordinator in good standing.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct CoordinatorRecord {
    /// Its identity on the network.
    pub peer: PeerKey,
    /// What is held on the account for it.
    pub bond: Balance,
    /// Since when.
    pub registered_at: Moment,
}

/// What a peer is registered as.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
    MaxEncodedLen,
)]
pub enum PeerRole {
    /// Matches jobs and settles.
    Coordinator,
    /// Executes jobs.
    Worker,
}

/// A bond on its way back.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct UnbondingRecord {
    /// Whose bond.
    pub operator: AccountId32,
    /// What the peer was.
    pub role: PeerRole,
    /// What is still held.
    pub bond: Balance,
    /// When it may be withdrawn.
    pub withdrawable_at: Moment,
}

#[frame_support::pallet]
pub mod pallet {
    use alloc::collections::BTreeMap;

    use frame_support::{
        pallet_prelude::*,
        traits::{
            Time,
            fungible::MutateHold,
            tokens::{Fortitude, Precision, Restriction},
        },
    };
    use frame_system::pallet_prelude::*;
    use sp_runtime::DispatchError;

    use super::*;
    use crate::{BondedCoordinators, CoordinatorBonds, OpenDisputes, weights};

    /// 1: [`Leaving`].
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<AccountId = AccountId32> {
        /// Time of the block, milliseconds.
        type Clock: Time<Moment = Moment>;
        /// Where bonds are held.
        type Currency: MutateHold<AccountId32, Balance = Balance, Reason = Self::RuntimeHoldReason>;
        /// Least bond of a coordinator, planck.
        #[pallet::constant]
        type MinCoordinatorBond: Get<Balance>;
        /// Least bond of a worker, planck.
        #[pallet::constant]
        type MinWorkerBond: Get<Balance>;
        /// What bonds must stay for.
        type Disputes: OpenDisputes;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
        /// From deregistering to getting the bond back, milliseconds.
        #[pallet::constant]
        type UnbondingDelay: Get<Moment>;
    }

    /// Why this pallet holds money.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Bond of a coordinator.
        CoordinatorBond,
        /// Bonds of an operator's workers.
        WorkerBond,
    }

    /// Workers in good standing.
    #[pallet::storage]
    pub type Workers<T: Config> = StorageMap<_, Blake2_128Concat, PeerKey, OperatorRecord>;

    /// Coordinators in good standing.
    #[pallet::storage]
    pub type Coordinators<T: Config> =
        StorageMap<_, Blake2_128Concat, AccountId32, CoordinatorRecord>;

    /// Which coordinator a peer is.
    #[pallet::storage]
    pub type CoordinatorPeers<T: Config> = StorageMap<_, Blake2_128Concat, PeerKey, AccountId32>;

    /// Peers that have left and whose bond is still held.
    #[pallet::storage]
    pub type Unbonding<T: Config> = StorageMap<_, Blake2_128Concat, PeerKey, UnbondingRecord>;

    /// The peer under which a coordinator that has left is in [`Unbonding`]: the bond that still answers for it.
    #[pallet::storage]
    pub type Leaving<T: Config> = StorageMap<_, Blake2_128Concat, AccountId32, PeerKey>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A peer got its standing.
        Registered {
            peer: PeerKey,
            operator: AccountId32,
            role: PeerRole,
            bond: Balance,
        },
        /// A peer lost its standing; the bond stays held until then.
        Deregistered {
            peer: PeerKey,
            operator: AccountId32,
            role: PeerRole,
            withdrawable_at: Moment,
        },
        /// So much of a coordinator's bond was paid for what it did wrong.
        BondCharged {
            operator: AccountId32,
            amount: Balance,
            bond: Balance,
        },
        /// A bond was given back.
        BondWithdrawn {
            peer: PeerKey,
            operator: AccountId32,
            bond: Balance,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The account is a coordinator already, with another peer.
        AlreadyCoordinator,
        /// The bond is below the minimum for the role.
        BondTooLow,
        /// Something about the coordinator is to be decided first.
        DisputeOpen,
        /// The proof is no signature by the peer key over the binding of this account.
        InvalidProof,
        /// The peer belongs to another operator.
        NotOperator,
        /// The peer is not registered.
        NotRegistered,
        /// The peer has no bond waiting to be withdrawn.
        NotUnbonding,
        /// The peer is registered, or its last bond was not withdrawn yet.
        PeerAlreadyBound,
        /// The account has left as a coordinator, and its last bond was not withdrawn yet.
        StillUnbonding,
        /// The unbonding delay is not over.
        UnbondingNotOver,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_runtime_upgrade() -> Weight {
            let weight = T::DbWeight::get();
            if Self::on_chain_storage_version() >= STORAGE_VERSION {
                return weight.reads(1);
            }
            let (mut reads, mut writes) = (1, 1);
            for (peer, record) in Unbonding::<T>::iter() {
                reads += 2;
                let stands = Coordinators::<T>::contains_key(&record.operator);
                if record.role == PeerRole::Coordinator && !stands {
                    Leaving::<T>::insert(record.operator, peer);
                    writes += 1;
                }
            }
            STORAGE_VERSION.put::<Self>();
            weight.reads_writes(reads, writes)
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::check_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Registers `peer` as a worker of the sender and holds `bond`. `proof`: signature by the
        /// peer key over [`binding_message`] of the sender.
        #[pallet::call_index(0)]
        #[pallet::weight(weights::register::<T>())]
        pub fn register_worker(
            origin: OriginFor<T>,
            peer: PeerKey,
            bond: Balance,
            proof: [u8; 64],
        ) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            ensure!(bond >= T::MinWorkerBond::get(), Error::<T>::BondTooLow);
            Self::ensure_unbound(&peer)?;
            ensure!(
                verify_binding(&peer, &operator, &proof),
                Error::<T>::InvalidProof
            );
            T::Currency::hold(&HoldReason::WorkerBond.into(), &operator, bond)?;
            let registered_at = T::Clock::now();
            Workers::<T>::insert(
                peer,
                OperatorRecord {
                    operator: operator.clone(),
                    bond,
                    registered_at,
                },
            );
            Self::deposit_event(Event::Registered {
                peer,
                operator,
                role: PeerRole::Worker,
                bond,
            });
            Ok(())
        }

        /// Registers the sender as a coordinator that is `peer` on the network and holds `bond`.
        /// `proof` as for a worker.
        #[pallet::call_index(1)]
        #[pallet::weight(weights::register::<T>())]
        pub fn register_coordinator(
            origin: OriginFor<T>,
            peer: PeerKey,
            bond: Balance,
            proof: [u8; 64],
        ) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            ensure!(bond >= T::MinCoordinatorBond::get(), Error::<T>::BondTooLow);
            Self::ensure_unbound(&peer)?;
            ensure!(
                !Coordinators::<T>::contains_key(&operator),
                Error::<T>::AlreadyCoordinator
            );
            ensure!(
                !Leaving::<T>::contains_key(&operator),
                Error::<T>::StillUnbonding
            );
            ensure!(
                verify_binding(&peer, &operator, &proof),
                Error::<T>::InvalidProof
            );
            T::Currency::hold(&HoldReason::CoordinatorBond.into(), &operator, bond)?;
            let registered_at = T::Clock::now();
            Coordinators::<T>::insert(
                &operator,
                CoordinatorRecord {
                    peer,
                    bond,
                    registered_at,
                },
            );
            CoordinatorPeers::<T>::insert(peer, &operator);
            Self::deposit_event(Event::Registered {
                peer,
                operator,
                role: PeerRole::Coordinator,
                bond,
            });
            Ok(())
        }

        /// Ends the standing of one of the sender's peers and starts the unbonding delay.
        #[pallet::call_index(2)]
        #[pallet::weight(weights::deregister::<T>())]
        pub fn deregister(origin: OriginFor<T>, peer: PeerKey) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            let (operator, role, bond) = Self::standing(&peer).ok_or(Error::<T>::NotRegistered)?;
            ensure!(operator == sender, Error::<T>::NotOperator);
            Self::end_standing(peer, operator, role, bond);
            Ok(())
        }

        /// Gives the bond of a deregistered peer back once the delay is over.
        #[pallet::call_index(3)]
        #[pallet::weight(weights::withdraw_bond::<T>())]
        pub fn withdraw_bond(origin: OriginFor<T>, peer: PeerKey) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            let record = Unbonding::<T>::get(peer).ok_or(Error::<T>::NotUnbonding)?;
            ensure!(record.operator == sender, Error::<T>::NotOperator);
            ensure!(
                T::Clock::now() >= record.withdrawable_at,
                Error::<T>::UnbondingNotOver
            );
            let UnbondingRecord {
                operator,
                role,
                bond,
                ..
            } = record;
            if role == PeerRole::Coordinator {
                ensure!(
                    !T::Disputes::is_disputed(&operator),
                    Error::<T>::DisputeOpen
                );
            }
            T::Currency::release(&hold_reason(role).into(), &operator, bond, Precision::Exact)?;
            Unbonding::<T>::remove(peer);
            if Leaving::<T>::get(&operator) == Some(peer) {
                Leaving::<T>::remove(&operator);
            }
            Self::deposit_event(Event::BondWithdrawn {
                peer,
                operator,
                bond,
            });
            Ok(())
        }
    }

    impl<T: Config> Pallet<T> {
        /// Checks that no peer is bound twice, that the two coordinator maps mirror each other and
        /// that every operator has exactly its bonds held, those on their way out included.
        pub fn check_state() -> Result<(), DispatchError> {
            let mut worker_bonds = BTreeMap::<AccountId32, Balance>::new();
            let mut coordinator_bonds = BTreeMap::<AccountId32, Balance>::new();
            for (peer, record) in Workers::<T>::iter() {
                ensure!(
                    !CoordinatorPeers::<T>::contains_key(peer),
                    "a peer is both a worker and a coordinator"
                );
                ensure!(
                    !Unbonding::<T>::contains_key(peer),
                    "a worker is unbonding as well"
                );
                *worker_bonds.entry(record.operator).or_default() += record.bond;
            }
            for (account, record) in Coordinators::<T>::iter() {
                ensure!(
                    CoordinatorPeers::<T>::get(record.peer).as_ref() == Some(&account),
                    "a coordinator's peer leads elsewhere"
                );
                ensure!(
                    !Unbonding::<T>::contains_key(record.peer),
                    "a coordinator is unbonding as well"
                );
                *coordinator_bonds.entry(account).or_default() += record.bond;
            }
            for (peer, account) in CoordinatorPeers::<T>::iter() {
                ensure!(
                    Coordinators::<T>::get(account).is_some_and(|record| record.peer == peer),
                    "a peer leads to no coordinator"
                );
            }
            for (account, peer) in Leaving::<T>::iter() {
                ensure!(
                    !Coordinators::<T>::contains_key(&account),
                    "a coordinator has left and is one"
                );
                ensure!(
                    Unbonding::<T>::get(peer)
                        .is_some_and(|record| record.operator == account
                            && record.role == PeerRole::Coordinator),
                    "a coordinator that has left has no bond on its way back"
                );
            }
            for (_, record) in Unbonding::<T>::iter() {
                let bonds = match record.role {
                    PeerRole::Coordinator => &mut coordinator_bonds,
                    PeerRole::Worker => &mut worker_bonds,
                };
                *bonds.entry(record.operator).or_default() += record.bond;
            }
            for (role, bonds) in [
                (PeerRole::Worker, worker_bonds),
                (PeerRole::Coordinator, coordinator_bonds),
            ] {
                ensure!(
                    crate::holds_match::<T::Currency>(&hold_reason(role).into(), &bonds),
                    "an operator's held money differs from its bonds"
                );
            }
            Ok(())
        }

        /// Moves the bond of a peer in good standing to where it waits for its delay.
        fn end_standing(peer: PeerKey, operator: AccountId32, role: PeerRole, bond: Balance) {
            match role {
                PeerRole::Coordinator => {
                    Coordinators::<T>::remove(&operator);
                    CoordinatorPeers::<T>::remove(peer);
                    Leaving::<T>::insert(&operator, peer);
                }
                PeerRole::Worker => Workers::<T>::remove(peer),
            }
            let withdrawable_at = T::Clock::now().saturating_add(T::UnbondingDelay::get());
            Unbonding::<T>::insert(
                peer,
                UnbondingRecord {
                    operator: operator.clone(),
                    role,
                    bond,
                    withdrawable_at,
                },
            );
            Self::deposit_event(Event::Deregistered {
                peer,
                operator,
                role,
                withdrawable_at,
            });
        }

        fn ensure_unbound(peer: &PeerKey) -> DispatchResult {
            let bound = Workers::<T>::contains_key(peer)
                || CoordinatorPeers::<T>::contains_key(peer)
                || Unbonding::<T>::contains_key(peer);
            ensure!(!bound, Error::<T>::PeerAlreadyBound);
            Ok(())
        }

        fn standing(peer: &PeerKey) -> Option<(AccountId32, PeerRole, Balance)> {
            if let Some(worker) = Workers::<T>::get(peer) {
                return Some((worker.operator, PeerRole::Worker, worker.bond));
            }
            let account = CoordinatorPeers::<T>::get(peer)?;
            let bond = Coordinators::<T>::get(&account)?.bond;
            Some((account, PeerRole::Coordinator, bond))
        }
    }

    impl<T: Config> BondedCoordinators for Pallet<T> {
        fn has_bonded_coordinator(account: &AccountId32) -> bool {
            Coordinators::<T>::contains_key(account)
        }
    }

    impl<T: Config> CoordinatorBonds for Pallet<T> {
        fn bond(coordinator: &AccountId32) -> Balance {
            if let Some(record) = Coordinators::<T>::get(coordinator) {
                return record.bond;
            }
            Leaving::<T>::get(coordinator)
                .and_then(Unbonding::<T>::get)
                .map_or(0, |record| record.bond)
        }

        fn charge(
            coordinator: &AccountId32,
            payments: &[(AccountId32, Balance)],
        ) -> DispatchResult {
            let amount = payments
                .iter()
                .try_fold(0, |sum: Balance, (_, amount)| sum.checked_add(*amount));
            let amount = amount.ok_or(Error::<T>::BondTooLow)?;
            let bond = Self::bond(coordinator)
                .checked_sub(amount)
                .ok_or(Error::<T>::BondTooLow)?;
            for (account, amount) in payments {
                T::Currency::transfer_on_hold(
                    &HoldReason::CoordinatorBond.into(),
                    coordinator,
                    account,
                    *amount,
                    Precision::Exact,
                    Restriction::Free,
                    Fortitude::Force,
                )?;
            }
            if let Some(record) = Coordinators::<T>::get(coordinator) {
                if bond < T::MinCoordinatorBond::get() {
                    let role = PeerRole::Coordinator;
                    Self::end_standing(record.peer, coordinator.clone(), role, bond);
                } else {
                    Coordinators::<T>::insert(coordinator, CoordinatorRecord { bond, ..record });
                }
            } else if let Some(peer) = Leaving::<T>::get(coordinator) {
                Unbonding::<T>::mutate(peer, |record| {
                    if let Some(record) = record {
                        record.bond = bond;
                    }
                });
            }
            Self::deposit_event(Event::BondCharged {
                operator: coordinator.clone(),
                amount,
                bond,
            });
            Ok(())
        }

        fn unbonding_delay() -> Moment {
            T::UnbondingDelay::get()
        }
    }

    fn hold_reason(role: PeerRole) -> HoldReason {
        match role {
            PeerRole::Coordinator => HoldReason::CoordinatorBond,
            PeerRole::Worker => HoldReason::WorkerBond,
        }
    }
}
