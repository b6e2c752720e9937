//! Telling the chain: transactions signed by one party.

use std::{ops::Deref, sync::Arc, time::Duration};

use ai_link_wire::{AccountId, Identity, ModelName, PeerKey, Planck, binding_message};
use subxt::{
    SubstrateConfig,
    config::DefaultExtrinsicParamsBuilder,
    transactions::{Payload, Signer},
    utils::{AccountId32, MultiAddress, MultiSignature},
};
use tokio::sync::Mutex;

use crate::{
    BatchError, BlockHash, CallError, Finalised, MAX_PAYOUTS, MAX_VOUCHERS, NewModel, Registry,
    SettlementBatch, TransactionHash,
    api::chain::{
        self,
        runtime_types::{
            ai_link_pallets::settlement::{PayoutItem, voucher::VoucherClaim},
            bounded_collections::bounded_vec::BoundedVec,
        },
    },
};

/// How long a call may take until it is final.
pub const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// For how many blocks a transaction is valid, so that one that was given up cannot come back later.
const LIFE_IN_BLOCKS: u64 = 256;

/// A [`Registry`] and the identity of one party, whose transactions it signs. Reads like a registry.
/// Cheap to clone; the clones share one connection and one nonce.
///
/// An account must be used by one client (and its clones) at a time: a second one that sends at the
/// same moment would choose the same nonce, and one of the two transactions would be refused.
#[derive(Clone)]
pub struct RegistryClient {
    registry: Registry,
    party: Arc<Party>,
}

struct Party {
    identity: Identity,
    /// Nonce of the next transaction; `None` if the chain has to be asked.
    next_nonce: Mutex<Option<u64>>,
}

impl Deref for RegistryClient {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.registry
    }
}

impl RegistryClient {
    /// A client that signs as `identity`.
    pub fn new(registry: Registry, identity: Identity) -> Self {
        let next_nonce = Mutex::new(None);
        Self {
            registry,
            party: Arc::new(Party {
                identity,
                next_nonce,
            }),
        }
    }

    /// The part that only reads.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The account that signs and pays.
    pub fn account(&self) -> AccountId {
        self.party.identity.account()
    }

    /// Publishes a version of a model.
    pub async fn publish_model(&self, model: NewModel) -> Result<Finalised, CallError> {
        self.send(&chain::tx().models().publish(
            BoundedVec(model.name.as_str().as_bytes().to_vec()),
            model.version.0,
            model.commitment.0,
            model.manifest.0,
            model.price_per_record.0,
            model.levels.bits(),
        ))
        .await
    }

    /// Changes what the owner of a model asks for one record.
    pub async fn set_price(
        &self,
        name: &ModelName,
        price_per_record: Planck,
    ) -> Result<Finalised, CallError> {
        let name = BoundedVec(name.as_str().as_bytes().to_vec());
        self.send(&chain::tx().models().set_price(name, price_per_record.0))
            .await
    }

    /// Registers `peer` as a worker of this account, with a bond that is held on the account. The
    /// peer's key is needed once, to prove that it agrees.
    pub async fn register_worker(
        &self,
        peer: &Identity,
        bond: Planck,
    ) -> Result<Finalised, CallError> {
        let proof = peer.sign(&binding_message(&self.account()));
        let key = peer.peer_key();
        self.send(
            &chain::tx()
                .operators()
                .register_worker(key.0, bond.0, proof.0),
        )
        .await
    }

    /// Registers this account as a coordinator that is `peer` on the network, with a bond.
    pub async fn register_coordinator(
        &self,
        peer: &Identity,
        bond: Planck,
    ) -> Result<Finalised, CallError> {
        let proof = peer.sign(&binding_message(&self.account()));
        let key = peer.peer_key();
        self.send(
            &chain::tx()
                .operators()
                .register_coordinator(key.0, bond.0, proof.0),
        )
        .await
    }

    /// Ends the standing of one of this account's peers. The bond stays held for a while.
    pub async fn deregister(&self, peer: PeerKey) -> Result<Finalised, CallError> {
        self.send(&chain::tx().operators().deregister(peer.0)).await
    }

    /// Gets the bond of a deregistered peer back once it may be withdrawn.
    pub async fn withdraw_bond(&self, peer: PeerKey) -> Result<Finalised, CallError> {
        self.send(&chain::tx().operators().withdraw_bond(peer.0))
            .await
    }

    /// Moves money from this account to its escrow, for vouchers to draw on.
    pub async fn deposit(&self, amount: Planck) -> Result<Finalised, CallError> {
        self.send(&chain::tx().settlement().deposit(amount.0)).await
    }

    /// Announces that this account wants escrow back.
    pub async fn request_withdrawal(&self, amount: Planck) -> Result<Finalised, CallError> {
        self.send(&chain::tx().settlement().request_withdrawal(amount.0))
            .await
    }

    /// Gets the announced escrow back once it may be withdrawn.
    pub async fn withdraw(&self) -> Result<Finalised, CallError> {
        self.send(&chain::tx().settlement().withdraw()).await
    }

    /// Settles an epoch of this account, which must be a registered coordinator. All or nothing.
    ///
    /// # Errors
    ///
    /// `Settlement::EpochAlreadySettled` (see [`CallError::is`]) tells a coordinator that crashed
    /// after sending that the epoch was paid.
    pub async fn settle(&self, batch: SettlementBatch) -> Result<Finalised, CallError> {
        self.check(&batch)?;
        let vouchers = batch.vouchers.into_iter().map(|voucher| VoucherClaim {
            client: AccountId32(voucher.client.0),
            cumulative: voucher.cumulative.0,
            signature: voucher.signature.0,
        });
        let payouts = batch
            .payouts
            .into_iter()
            .map(|(account, amount)| PayoutItem {
                account: AccountId32(account.0),
                amount: amount.0,
            });
        self.send(&chain::tx().settlement().settle(
            batch.epoch,
            batch.receipts_root.0,
            batch.jobs,
            BoundedVec(vouchers.collect()),
            BoundedVec(payouts.collect()),
        ))
        .await
    }

    /// Sends money to another account. This account lives on: it keeps the existential deposit.
    pub async fn transfer(&self, to: AccountId, amount: Planck) -> Result<Finalised, CallError> {
        let to = MultiAddress::Id(AccountId32(to.0));
        self.send(&chain::tx().balances().transfer_keep_alive(to, amount.0))
            .await
    }

    fn check(&self, batch: &SettlementBatch) -> Result<(), BatchError> {
        if batch.vouchers.len() > MAX_VOUCHERS {
            return Err(BatchError::TooManyVouchers {
                count: batch.vouchers.len(),
            });
        }
        if batch.payouts.len() > MAX_PAYOUTS {
            return Err(BatchError::TooManyPayouts {
                count: batch.payouts.len(),
            });
        }
        let me = self.account();
        match batch
            .vouchers
            .iter()
            .find(|voucher| voucher.coordinator != me)
        {
            None => Ok(()),
            Some(foreign) => Err(BatchError::ForeignVoucher {
                client: foreign.client,
                coordinator: foreign.coordinator,
            }),
        }
    }

    /// Signs a call, submits it and waits until it is final.
    pub(crate) async fn send(&self, call: &impl Payload) -> Result<Finalised, CallError> {
        let mut accepted = None;
        let sending = self.send_unbounded(call, &mut accepted);
        match tokio::time::timeout(CALL_DEADLINE, sending).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Deadline {
                after: CALL_DEADLINE,
                transaction: accepted,
            }),
        }
    }

    async fn send_unbounded(
        &self,
        call: &impl Payload,
        accepted: &mut Option<TransactionHash>,
    ) -> Result<Finalised, CallError> {
        let mut next_nonce = self.party.next_nonce.lock().await;
        // Taken out until the chain has accepted the transaction: an error, and also a caller who
        // gives up here, makes the next call ask the chain again.
        let nonce = match next_nonce.take() {
            Some(nonce) => nonce,
            None => self.registry.next_nonce(self.account()).await?,
        };
        let params = DefaultExtrinsicParamsBuilder::<SubstrateConfig>::new()
            .nonce(nonce)
            .mortal(LIFE_IN_BLOCKS)
            .build();
        let head = self
            .registry
            .online()
            .at_current_block()
            .await
            .map_err(chain_error)?;
        let signer = IdentitySigner(&self.party.identity);
        let mut transactions = head.transactions();
        let progress = transactions
            .sign_and_submit_then_watch(call, &signer, params)
            .await
            .map_err(chain_error)?;
        *next_nonce = Some(nonce + 1);
        drop(next_nonce);

        let transaction = TransactionHash(progress.extrinsic_hash().0);
        *accepted = Some(transaction);
        let included = match progress.wait_for_finalized().await {
            Ok(included) => included,
            Err(error) => {
                // The chain gave it up, or nobody knows. Either way its nonce may be free again.
                *self.party.next_nonce.lock().await = None;
                return Err(chain_error(error));
            }
        };
        let block = BlockHash(included.block_hash().0);
        included.wait_for_success().await.map_err(chain_error)?;
        tracing::debug!(
            %block, %transaction, nonce, pallet = call.pallet_name(), call = call.call_name(),
            "call is final"
        );
        Ok(Finalised { block, transaction })
    }
}

fn chain_error(error: impl Into<subxt::Error>) -> CallError {
    error.into().into()
}

/// Signs transactions with a party's key.
struct IdentitySigner<'a>(&'a Identity);

impl Signer<SubstrateConfig> for IdentitySigner<'_> {
    fn account_id(&self) -> AccountId32 {
        AccountId32(self.0.account().0)
    }

    fn sign(&self, payload: &[u8]) -> MultiSignature {
        MultiSignature::Ed25519(self.0.sign(payload).0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod extensions;
