//! Gateways (DeOSS calls them object storage services) and who lets them act.
//!
//! An account that authorises a gateway lets it upload, **delete** and move files for it: there is no
//! smaller permission, as in CESS.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;

pub use pallet::*;

/// Most gateways that an account may authorise.
pub const MAX_OPERATORS: u32 = 20;
/// Most bytes of a gateway's domain.
pub const MAX_DOMAIN: u32 = 50;

/// A gateway's identity on CESS's peer-to-peer network.
pub type PeerId = [u8; 38];
/// Where a gateway is reached.
pub type Domain = BoundedVec<u8, ConstU32<MAX_DOMAIN>>;

/// A gateway.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct OssInfo {
    /// Its identity, or the name of the pool that it belongs to.
    pub peer_id: PeerId,
    /// Where it is reached.
    pub domain: Domain,
}

#[frame_support::pallet]
pub mod pallet {
    use frame_support::pallet_prelude::*;
    use frame_system::pallet_prelude::*;
    use sp_runtime::{AccountId32, DispatchError};

    use super::*;
    use crate::weights::cess as weights;

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<AccountId = AccountId32> {}

    /// Whom an account lets act for it.
    #[pallet::storage]
    pub type AuthorityList<T: Config> = StorageMap<
        _,
        Blake2_128Concat,
        AccountId32,
        BoundedVec<AccountId32, ConstU32<MAX_OPERATORS>>,
        ValueQuery,
    >;

    /// Registered gateways.
    #[pallet::storage]
    pub type Oss<T: Config> = StorageMap<_, Blake2_128Concat, AccountId32, OssInfo>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An account lets a gateway act for it.
        Authorize {
            acc: AccountId32,
            operator: AccountId32,
        },
        /// An account lets a gateway act for it no more.
        CancelAuthorize { acc: AccountId32, oss: AccountId32 },
        /// A gateway is registered.
        OssRegister { acc: AccountId32, endpoint: PeerId },
        /// A gateway has moved.
        OssUpdate {
            acc: AccountId32,
            new_endpoint: PeerId,
        },
        /// A gateway is gone.
        OssDestroy { acc: AccountId32 },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The gateway is not authorised.
        NoAuthorization,
        /// The gateway is registered already.
        Registered,
        /// The gateway is not registered.
        UnRegister,
        /// The account authorises as many gateways as it may.
        BoundedVecError,
        /// The gateway is authorised already.
        Existed,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::check_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Lets `operator` act for the sender.
        #[pallet::call_index(0)]
        #[pallet::weight(weights::authorize::<T>())]
        pub fn authorize(origin: OriginFor<T>, operator: AccountId32) -> DispatchResult {
            let acc = ensure_signed(origin)?;
            AuthorityList::<T>::try_mutate(&acc, |list| -> DispatchResult {
                ensure!(!list.contains(&operator), Error::<T>::Existed);
                let pushed = list.try_push(operator.clone());
                Ok(pushed.map_err(|_| Error::<T>::BoundedVecError)?)
            })?;
            Self::deposit_event(Event::Authorize { acc, operator });
            Ok(())
        }

        /// Lets `oss` act for the sender no more.
        #[pallet::call_index(1)]
        #[pallet::weight(weights::authorize::<T>())]
        pub fn cancel_authorize(origin: OriginFor<T>, oss: AccountId32) -> DispatchResult {
            let acc = ensure_signed(origin)?;
            let mut list = AuthorityList::<T>::get(&acc);
            let at = list.iter().position(|operator| *operator == oss);
            list.remove(at.ok_or(Error::<T>::NoAuthorization)?);
            if list.is_empty() {
                AuthorityList::<T>::remove(&acc);
            } else {
                AuthorityList::<T>::insert(&acc, list);
            }
            Self::deposit_event(Event::CancelAuthorize { acc, oss });
            Ok(())
        }

        /// Registers the sender as a gateway.
        #[pallet::call_index(2)]
        #[pallet::weight(weights::register_oss::<T>())]
        pub fn register(origin: OriginFor<T>, endpoint: PeerId, domain: Domain) -> DispatchResult {
            let acc = ensure_signed(origin)?;
            ensure!(!Oss::<T>::contains_key(&acc), Error::<T>::Registered);
            let peer_id = endpoint;
            Oss::<T>::insert(&acc, OssInfo { peer_id, domain });
            Self::deposit_event(Event::OssRegister { acc, endpoint });
            Ok(())
        }

        /// Says that the sender, a gateway, has moved.
        #[pallet::call_index(3)]
        #[pallet::weight(weights::register_oss::<T>())]
        pub fn update(origin: OriginFor<T>, endpoint: PeerId, domain: Domain) -> DispatchResult {
            let acc = ensure_signed(origin)?;
            ensure!(Oss::<T>::contains_key(&acc), Error::<T>::UnRegister);
            let (peer_id, new_endpoint) = (endpoint, endpoint);
            Oss::<T>::insert(&acc, OssInfo { peer_id, domain });
            Self::deposit_event(Event::OssUpdate { acc, new_endpoint });
            Ok(())
        }

        /// Ends the registration of the sender. Who authorised it goes on to do so.
        #[pallet::call_index(4)]
        #[pallet::weight(weights::register_oss::<T>())]
        pub fn destroy(origin: OriginFor<T>) -> DispatchResult {
            let acc = ensure_signed(origin)?;
            let found = Oss::<T>::take(&acc);
            ensure!(found.is_some(), Error::<T>::UnRegister);
            Self::deposit_event(Event::OssDestroy { acc });
            Ok(())
        }
    }

    impl<T: Config> Pallet<T> {
        /// Whether `operator` may act for `owner`.
        pub fn may_act(operator: &AccountId32, owner: &AccountId32) -> bool {
            operator == owner || AuthorityList::<T>::get(owner).contains(operator)
        }

        /// Checks that nobody is authorised twice and that no empty list is kept.
        pub fn check_state() -> Result<(), DispatchError> {
            for (_, list) in AuthorityList::<T>::iter() {
                ensure!(!list.is_empty(), "an empty list of gateways was kept");
                for (at, operator) in list.iter().enumerate() {
                    ensure!(
                        !list[..at].contains(operator),
                        "a gateway is authorised twice"
                    );
                }
            }
            Ok(())
        }
    }
}
