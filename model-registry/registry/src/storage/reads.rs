//! Asking.

use ai_link_wire::{AccountId, Digest, Fid, Planck};
use subxt::utils::AccountId32;

use super::types::{self, bytes, digits};
use super::{Deal, HeldFile, Miner, RepairOrder, Space, StoredFile, Territory, TerritoryName};
use crate::{
    QueryError, Registry,
    api::chain::{self, runtime_types::bounded_collections::bounded_vec::BoundedVec},
    registry::{check_count, unreadable},
};

impl Registry {
    /// `FileBank.DealMap`: a file that was declared and is not stored yet.
    pub async fn deal(&self, fid: Fid) -> Result<Option<Deal>, QueryError> {
        self.ask(async |at| {
            let deals = chain::storage().file_bank().deal_map();
            let deal = at.storage().try_fetch(deals, (digits(fid.0),)).await?;
            let Some(deal) = deal else {
                return Ok(None);
            };
            let deal = types::deal(deal.decode()?);
            let broken = || unreadable(format!("a declaration of {fid} that makes no sense"));
            Ok(Some(deal.ok_or_else(broken)?))
        })
        .await
    }

    /// All declared files and who declared them.
    pub async fn deals(&self) -> Result<Vec<(Fid, AccountId)>, QueryError> {
        self.ask(async |at| {
            let deals = chain::storage().file_bank().deal_map();
            let mut entries = at.storage().iter(deals, ()).await?;
            let mut found = Vec::new();
            while let Some(entry) = entries.next().await {
                check_count(found.len())?;
                let entry = entry?;
                let (hash,) = entry.key()?.decode()?;
                let owner = entry.value().decode()?.user.user;
                if let Some(fid) = bytes(&hash) {
                    found.push((Fid(fid), AccountId(owner.0)));
                }
            }
            found.sort();
            Ok(found)
        })
        .await
    }

    /// `FileBank.File`: a stored file.
    pub async fn file(&self, fid: Fid) -> Result<Option<StoredFile>, QueryError> {
        self.ask(async |at| {
            let files = chain::storage().file_bank().file();
            let file = at.storage().try_fetch(files, (digits(fid.0),)).await?;
            let Some(file) = file else {
                return Ok(None);
            };
            let file = types::file(file.decode()?);
            let broken = || unreadable(format!("a record of {fid} that makes no sense"));
            Ok(Some(file.ok_or_else(broken)?))
        })
        .await
    }

    /// `FileBank.UserHoldFileList`: an account's stored files, in the order of their ids.
    pub async fn held_files(&self, account: AccountId) -> Result<Vec<HeldFile>, QueryError> {
        self.ask(async |at| {
            let lists = chain::storage().file_bank().user_hold_file_list();
            let keys = (AccountId32(account.0),);
            let Some(list) = at.storage().try_fetch(lists, keys).await? else {
                return Ok(Vec::new());
            };
            let held = list.decode()?.0.into_iter().filter_map(|entry| {
                Some(HeldFile {
                    fid: Fid(bytes(&entry.file_hash)?),
                    size: entry.file_size,
                    territory: types::text(&entry.territory_name.0),
                })
            });
            let mut held: Vec<_> = held.collect();
            held.sort_by_key(|file| file.fid);
            Ok(held)
        })
        .await
    }

    /// `FileBank.RestoralOrder`: whether a fragment is being repaired.
    pub async fn repair_order(&self, fragment: Digest) -> Result<Option<RepairOrder>, QueryError> {
        self.ask(async |at| {
            let orders = chain::storage().file_bank().restoral_order();
            let order = at
                .storage()
                .try_fetch(orders, (digits(fragment.0),))
                .await?;
            let Some(order) = order else {
                return Ok(None);
            };
            let order = order.decode()?;
            let fid = bytes(&order.file_hash);
            let broken = || unreadable(format!("an order for {fragment} that makes no sense"));
            Ok(Some(RepairOrder {
                fid: Fid(fid.ok_or_else(broken)?),
                lost_by: AccountId(order.origin_miner.0),
                claimed_by: (order.count > 0).then_some(AccountId(order.miner.0)),
                deadline: order.deadline,
            }))
        })
        .await
    }

    /// `StorageHandler.Territory`: one of an account's territories.
    pub async fn territory(
        &self,
        account: AccountId,
        name: &TerritoryName,
    ) -> Result<Option<Territory>, QueryError> {
        self.ask(async |at| {
            let territories = chain::storage().storage_handler().territory();
            let keys = (AccountId32(account.0), BoundedVec(name.bytes()));
            let found = at.storage().try_fetch(territories, keys).await?;
            let Some(found) = found else {
                return Ok(None);
            };
            Ok(Some(types::territory(&name.bytes(), found.decode()?)))
        })
        .await
    }

    /// All territories of an account, in the order of their names.
    pub async fn territories(&self, account: AccountId) -> Result<Vec<Territory>, QueryError> {
        self.ask(async |at| {
            let territories = chain::storage().storage_handler().territory();
            let keys = (AccountId32(account.0),);
            let mut entries = at.storage().iter(territories, keys).await?;
            let mut found = Vec::new();
            while let Some(entry) = entries.next().await {
                check_count(found.len())?;
                let entry = entry?;
                let (_, name) = entry.key()?.decode()?;
                found.push(types::territory(&name.0, entry.value().decode()?));
            }
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
        .await
    }

    /// All space there is, its price, and the clock that leases run by.
    pub async fn space(&self) -> Result<Space, QueryError> {
        self.ask(async |at| {
            let pallet = || chain::storage().storage_handler();
            let storage = at.storage();
            let idle = storage
                .try_fetch(pallet().total_idle_space(), ())
                .await?
                .map(|value| value.decode());
            let service = storage
                .try_fetch(pallet().total_service_space(), ())
                .await?
                .map(|value| value.decode());
            let purchased = storage
                .try_fetch(pallet().purchased_space(), ())
                .await?
                .map(|value| value.decode());
            let price = storage
                .try_fetch(pallet().unit_price(), ())
                .await?
                .map(|value| value.decode());
            let height = storage
                .try_fetch(chain::storage().system().number(), ())
                .await?
                .map(|value| value.decode());
            let day = chain::constants().storage_handler().one_day();
            Ok(Space {
                idle: idle.transpose()?.unwrap_or(0),
                service: service.transpose()?.unwrap_or(0),
                purchased: purchased.transpose()?.unwrap_or(0),
                price: Planck(price.transpose()?.unwrap_or(0)),
                day: at.constants().entry(day)?,
                height: height.transpose()?.unwrap_or(0),
            })
        })
        .await
    }

    /// `Oss.AuthorityList`: which gateways may act for an account.
    pub async fn authorised_gateways(
        &self,
        account: AccountId,
    ) -> Result<Vec<AccountId>, QueryError> {
        self.ask(async |at| {
            let lists = chain::storage().oss().authority_list();
            let keys = (AccountId32(account.0),);
            let Some(list) = at.storage().try_fetch(lists, keys).await? else {
                return Ok(Vec::new());
            };
            let list = list.decode()?.0.into_iter();
            Ok(list.map(|operator| AccountId(operator.0)).collect())
        })
        .await
    }

    /// `Sminer.MinerItems`: the storage miner with that account.
    pub async fn miner(&self, account: AccountId) -> Result<Option<Miner>, QueryError> {
        self.ask(async |at| {
            let miners = chain::storage().sminer().miner_items();
            let keys = (AccountId32(account.0),);
            let Some(miner) = at.storage().try_fetch(miners, keys).await? else {
                return Ok(None);
            };
            let miner = miner.decode()?;
            let failed = chain::storage().audit().counted_service_failed();
            let failed = at.storage().try_fetch(failed, keys).await?;
            let failed = failed.map(|count| count.decode()).transpose()?;
            // CESS's miners pad their endpoint with zeros.
            let endpoint = types::text(&miner.endpoint.0);
            Ok(Some(Miner {
                endpoint: endpoint.trim_end_matches('\0').to_owned(),
                state: types::text(&miner.state.0),
                collateral: Planck(miner.collaterals),
                declared: miner.declaration_space,
                idle: miner.idle_space,
                locked: miner.lock_space,
                service: miner.service_space,
                failed_proofs: failed.unwrap_or(0),
            }))
        })
        .await
    }

    /// What a miner must put down for each TiB.
    pub async fn miner_collateral(&self) -> Result<Planck, QueryError> {
        self.ask(async |at| {
            let least = chain::constants().sminer().collateral_per_tib();
            Ok(Planck(at.constants().entry(least)?))
        })
        .await
    }
}
