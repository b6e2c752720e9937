//! Telling.

use ai_link_wire::{AccountId, Digest, Fid, Planck};
use subxt::utils::AccountId32;

use super::types::digits;
use super::{NewFile, ProofOutcome, TerritoryName};
use crate::{
    CallError, Finalised, RegistryClient,
    api::chain::{
        self,
        runtime_types::{
            ai_link_pallets::cess::{
                audit::ServiceResult,
                file_bank::types::{SegmentList, UserBrief},
            },
            bounded_collections::bounded_vec::BoundedVec,
        },
    },
};

/// All calls wait until they are final and successful, as all of [`RegistryClient`].
impl RegistryClient {
    /// `FileBank.upload_declaration`: declares a file for its owner, which is this account or lets it act.
    /// If the file is stored already, the owner becomes one more of its owners.
    pub async fn declare_file(&self, file: NewFile) -> Result<Finalised, CallError> {
        let segments = file.segments.iter().map(|segment| SegmentList {
            hash: digits(segment.hash.0),
            fragment_list: BoundedVec(segment.fragments.iter().map(|f| digits(f.0)).collect()),
        });
        self.send(&chain::tx().file_bank().upload_declaration(
            digits(file.fid.0),
            BoundedVec(segments.collect()),
            UserBrief {
                user: AccountId32(file.owner.0),
                file_name: BoundedVec(file.name.bytes()),
                territory_name: BoundedVec(file.territory.bytes()),
            },
            u128::from(file.size),
        ))
        .await
    }

    /// `FileBank.transfer_report`: this account, a miner, has fragment `index` (from 0) of every segment.
    pub async fn report_fragment(&self, fid: Fid, index: u8) -> Result<Finalised, CallError> {
        // The chain counts from 1, and refuses what is too large.
        let index = index.saturating_add(1);
        let call = chain::tx()
            .file_bank()
            .transfer_report(index, digits(fid.0));
        self.send(&call).await
    }

    /// `FileBank.delete_file`: gives a stored file of `owner` up.
    pub async fn delete_file(&self, owner: AccountId, fid: Fid) -> Result<Finalised, CallError> {
        let owner = AccountId32(owner.0);
        let call = chain::tx().file_bank().delete_file(owner, digits(fid.0));
        self.send(&call).await
    }

    /// The same call for a declared file: withdraws the declaration. AI-LINK's chain alone has that.
    pub async fn withdraw_declaration(
        &self,
        owner: AccountId,
        fid: Fid,
    ) -> Result<Finalised, CallError> {
        self.delete_file(owner, fid).await
    }

    /// `FileBank.territory_file_delivery`: moves a file of `owner` to another of its territories.
    pub async fn deliver_file(
        &self,
        owner: AccountId,
        fid: Fid,
        to: &TerritoryName,
    ) -> Result<Finalised, CallError> {
        let (owner, to) = (AccountId32(owner.0), BoundedVec(to.bytes()));
        let call = chain::tx()
            .file_bank()
            .territory_file_delivery(owner, digits(fid.0), to);
        self.send(&call).await
    }

    /// `FileBank.generate_restoral_order`: this account, a miner, has lost a fragment.
    pub async fn order_repair(&self, fid: Fid, fragment: Digest) -> Result<Finalised, CallError> {
        let (fid, fragment) = (digits(fid.0), digits(fragment.0));
        let call = chain::tx()
            .file_bank()
            .generate_restoral_order(fid, fragment);
        self.send(&call).await
    }

    /// `FileBank.claim_restoral_order`: this account, a miner, repairs a fragment.
    pub async fn claim_repair(&self, fragment: Digest) -> Result<Finalised, CallError> {
        let call = chain::tx()
            .file_bank()
            .claim_restoral_order(digits(fragment.0));
        self.send(&call).await
    }

    /// `FileBank.restoral_order_complete`: this account, a miner, has repaired a fragment.
    pub async fn complete_repair(&self, fragment: Digest) -> Result<Finalised, CallError> {
        let call = chain::tx()
            .file_bank()
            .restoral_order_complete(digits(fragment.0));
        self.send(&call).await
    }

    /// `Audit.submit_service_result`: what a challenge of `miner` about a fragment of a file of `owner` found.
    pub async fn submit_service_result(
        &self,
        owner: AccountId,
        miner: AccountId,
        fid: Fid,
        fragment: Digest,
        outcome: ProofOutcome,
    ) -> Result<Finalised, CallError> {
        let result = match outcome {
            ProofOutcome::Proven => ServiceResult::Proven,
            ProofOutcome::Failed => ServiceResult::Failed,
        };
        self.send(&chain::tx().audit().submit_service_result(
            AccountId32(owner.0),
            AccountId32(miner.0),
            digits(fid.0),
            digits(fragment.0),
            result,
        ))
        .await
    }

    /// `StorageHandler.mint_territory`: buys a territory of so many GiB for so many days, 30 at least.
    pub async fn mint_territory(
        &self,
        name: &TerritoryName,
        gib: u32,
        days: u32,
    ) -> Result<Finalised, CallError> {
        let name = BoundedVec(name.bytes());
        let call = chain::tx()
            .storage_handler()
            .mint_territory(gib, name, days);
        self.send(&call).await
    }

    /// `StorageHandler.expanding_territory`: buys so many GiB more.
    pub async fn expand_territory(
        &self,
        name: &TerritoryName,
        gib: u32,
    ) -> Result<Finalised, CallError> {
        let name = BoundedVec(name.bytes());
        let call = chain::tx().storage_handler().expanding_territory(name, gib);
        self.send(&call).await
    }

    /// `StorageHandler.renewal_territory`: lets a territory last so many days longer.
    pub async fn renew_territory(
        &self,
        name: &TerritoryName,
        days: u32,
    ) -> Result<Finalised, CallError> {
        let name = BoundedVec(name.bytes());
        let call = chain::tx().storage_handler().renewal_territory(name, days);
        self.send(&call).await
    }

    /// `StorageHandler.reactivate_territory`: buys an expired territory anew, for 30 days at least.
    pub async fn reactivate_territory(
        &self,
        name: &TerritoryName,
        days: u32,
    ) -> Result<Finalised, CallError> {
        let name = BoundedVec(name.bytes());
        let call = chain::tx()
            .storage_handler()
            .reactivate_territory(name, days);
        self.send(&call).await
    }

    /// `Oss.authorize`: lets a gateway upload, delete and move files for this account.
    pub async fn authorise_gateway(&self, gateway: AccountId) -> Result<Finalised, CallError> {
        let gateway = AccountId32(gateway.0);
        self.send(&chain::tx().oss().authorize(gateway)).await
    }

    /// `Oss.cancel_authorize`: ends that.
    pub async fn cancel_gateway(&self, gateway: AccountId) -> Result<Finalised, CallError> {
        let gateway = AccountId32(gateway.0);
        self.send(&chain::tx().oss().cancel_authorize(gateway))
            .await
    }

    /// `Sminer.regnstk`: registers this account as a storage miner of so many TiB that is reached at
    /// `endpoint`, with a collateral that is held on the account.
    pub async fn register_miner(
        &self,
        endpoint: &str,
        tib: u32,
        collateral: Planck,
    ) -> Result<Finalised, CallError> {
        let beneficiary = AccountId32(self.account().0);
        let endpoint = BoundedVec(endpoint.as_bytes().to_vec());
        let call = chain::tx()
            .sminer()
            .regnstk(beneficiary, endpoint, collateral.0, tib);
        self.send(&call).await
    }

    /// `Sminer.update_endpoint`: this account, a miner, is reached elsewhere now.
    pub async fn update_endpoint(&self, endpoint: &str) -> Result<Finalised, CallError> {
        let endpoint = BoundedVec(endpoint.as_bytes().to_vec());
        self.send(&chain::tx().sminer().update_endpoint(endpoint))
            .await
    }
}
