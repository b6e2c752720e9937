//! Asking the chain about rights.

use std::collections::BTreeMap;

use ai_link_wire::{
    AccountId, Level, ModelId, ModelName, ModelVersion, Planck, Purpose, Region, UnixMillis,
};
use subxt::utils::AccountId32;

use super::{Access, Grant, ModelRights, Offer, Royalty, Standing, Terms, Transfer};
use crate::api::chain::{self, runtime_types::ai_link_pallets::rights::records};
use crate::registry::{Asked, At, check_count, unreadable};
use crate::{Levels, ModelInfo, QueryError, Registry};

impl Registry {
    /// What the owner of a model has laid down about it.
    pub async fn rights(&self, name: &ModelName) -> Result<ModelRights, QueryError> {
        let id = ModelId::of_name(name);
        self.ask(async |at| {
            let rights = chain::storage().rights();
            let mut found = ModelRights::default();
            if let Some(record) = at.storage().try_fetch(rights.terms(), (id.0,)).await? {
                found.terms = terms(record.decode()?)?;
            }
            let shares = at
                .storage()
                .try_fetch(rights.royalty_shares(), (id.0,))
                .await?;
            if let Some(shares) = shares {
                found.royalties = shares.decode()?.0.into_iter().map(royalty).collect();
            }
            let mut standings = at.storage().iter(rights.standings(), (id.0,)).await?;
            while let Some(entry) = standings.next().await {
                let entry = entry?;
                check_count(found.standings.len())?;
                let (_, version) = entry.key()?.decode()?;
                let standing = standing(entry.value().decode()?);
                found.standings.insert(ModelVersion(version), standing);
            }
            let mut prices = at.storage().iter(rights.level_prices(), (id.0,)).await?;
            while let Some(entry) = prices.next().await {
                let entry = entry?;
                let (_, bit) = entry.key()?.decode()?;
                let price = Planck(entry.value().decode()?);
                found.level_prices.insert(level(bit)?, price);
            }
            Ok(found)
        })
        .await
    }

    /// The same for all models of which an owner has laid anything down.
    pub async fn all_rights(&self) -> Result<BTreeMap<ModelId, ModelRights>, QueryError> {
        self.ask(async |at| {
            let rights = chain::storage().rights();
            let mut all = BTreeMap::<ModelId, ModelRights>::new();
            let mut entries = at.storage().iter(rights.terms(), ()).await?;
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                check_count(all.len())?;
                let (model,) = entry.key()?.decode()?;
                all.entry(ModelId(model)).or_default().terms = terms(entry.value().decode()?)?;
            }
            let mut entries = at.storage().iter(rights.royalty_shares(), ()).await?;
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                check_count(all.len())?;
                let (model,) = entry.key()?.decode()?;
                let shares = entry.value().decode()?.0;
                all.entry(ModelId(model)).or_default().royalties =
                    shares.into_iter().map(royalty).collect();
            }
            let mut entries = at.storage().iter(rights.standings(), ()).await?;
            let mut count = 0;
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                count += 1;
                check_count(count)?;
                let (model, version) = entry.key()?.decode()?;
                let known = &mut all.entry(ModelId(model)).or_default().standings;
                known.insert(ModelVersion(version), standing(entry.value().decode()?));
            }
            let mut entries = at.storage().iter(rights.level_prices(), ()).await?;
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                check_count(all.len())?;
                let (model, bit) = entry.key()?.decode()?;
                let known = &mut all.entry(ModelId(model)).or_default().level_prices;
                known.insert(level(bit)?, Planck(entry.value().decode()?));
            }
            Ok(all)
        })
        .await
    }

    /// An account's grant for a model, over or not.
    pub async fn grant(
        &self,
        name: &ModelName,
        account: AccountId,
    ) -> Result<Option<Grant>, QueryError> {
        let id = ModelId::of_name(name);
        self.ask(async |at| {
            let grants = chain::storage().rights().grants();
            let keys = (id.0, AccountId32(account.0));
            let Some(record) = at.storage().try_fetch(grants, keys).await? else {
                return Ok(None);
            };
            Ok(Some(grant(&record.decode()?)))
        })
        .await
    }

    /// All grants for a model, in the order of their accounts.
    pub async fn grants(&self, name: &ModelName) -> Result<Vec<(AccountId, Grant)>, QueryError> {
        let id = ModelId::of_name(name);
        self.ask(async |at| {
            let addresses = chain::storage().rights().grants();
            let mut entries = at.storage().iter(addresses, (id.0,)).await?;
            let mut grants = Vec::new();
            while let Some(entry) = entries.next().await {
                check_count(grants.len())?;
                let entry = entry?;
                let (_, account) = entry.key()?.decode()?;
                grants.push((AccountId(account.0), grant(&entry.value().decode()?)));
            }
            grants.sort_by_key(|(account, _)| *account);
            Ok(grants)
        })
        .await
    }

    /// To whom a model is offered, if to anybody.
    pub async fn offer(&self, name: &ModelName) -> Result<Option<Offer>, QueryError> {
        let id = ModelId::of_name(name);
        self.ask(async |at| {
            let offers = chain::storage().rights().offers();
            let Some(record) = at.storage().try_fetch(offers, (id.0,)).await? else {
                return Ok(None);
            };
            let record = record.decode()?;
            Ok(Some(Offer {
                to: AccountId(record.to.0),
                price: Planck(record.price),
                until: UnixMillis(record.until),
            }))
        })
        .await
    }

    /// How a model changed hands, the first time first.
    pub async fn transfers(&self, name: &ModelName) -> Result<Vec<Transfer>, QueryError> {
        let id = ModelId::of_name(name);
        self.ask(async |at| {
            let addresses = chain::storage().rights().transfers();
            let mut entries = at.storage().iter(addresses, (id.0,)).await?;
            let mut transfers = BTreeMap::new();
            while let Some(entry) = entries.next().await {
                check_count(transfers.len())?;
                let entry = entry?;
                let (_, number) = entry.key()?.decode()?;
                let record = entry.value().decode()?;
                let transfer = Transfer {
                    from: AccountId(record.from.0),
                    to: AccountId(record.to.0),
                    price: Planck(record.price),
                    at: UnixMillis(record.at),
                };
                transfers.insert(number, transfer);
            }
            Ok(transfers.into_values().collect())
        })
        .await
    }

    /// The version that is meant when none is named: the newest that was not yanked, or the newest of all if
    /// all were.
    pub async fn current_version(
        &self,
        model: &ModelInfo,
        rights: &ModelRights,
    ) -> Result<ModelVersion, QueryError> {
        if !rights.is_yanked(model.latest) {
            return Ok(model.latest);
        }
        let versions = self.versions(&model.name).await?;
        let usable = versions.into_iter().rev();
        let mut usable = usable.filter(|version| !rights.is_yanked(*version));
        Ok(usable.next().unwrap_or(model.latest))
    }

    /// The numbers of all versions of a model, the oldest first.
    pub async fn versions(&self, name: &ModelName) -> Result<Vec<ModelVersion>, QueryError> {
        let id = ModelId::of_name(name);
        self.ask(async |at: &At| {
            let addresses = chain::storage().models().versions();
            let mut entries = at.storage().iter(addresses, (id.0,)).await?;
            let mut versions = Vec::new();
            while let Some(entry) = entries.next().await {
                check_count(versions.len())?;
                let (_, version) = entry?.key()?.decode()?;
                versions.push(ModelVersion(version));
            }
            versions.sort_unstable();
            Ok(versions)
        })
        .await
    }
}

fn terms(record: records::TermsRecord) -> Result<Terms, Asked> {
    let regions = record.regions.0.into_iter().map(|region| {
        let text = String::from_utf8(region.0).ok();
        let region = text.and_then(|text| Region::new(text).ok());
        region.ok_or_else(|| unreadable("terms with an invalid region".to_owned()))
    });
    Ok(Terms {
        access: match record.access {
            records::Access::Anyone => Access::Anyone,
            records::Access::Granted => Access::Granted,
        },
        purpose: purpose(&record.purpose),
        regions: regions.collect::<Result<_, _>>()?,
        until: record.until.map(UnixMillis),
        // For people: what is no text is shown as far as it is.
        licence: String::from_utf8_lossy(&record.licence.0).into_owned(),
    })
}

fn grant(record: &records::GrantRecord) -> Grant {
    Grant {
        purpose: purpose(&record.purpose),
        until: record.until.map(UnixMillis),
    }
}

fn purpose(purpose: &records::Purpose) -> Purpose {
    match purpose {
        records::Purpose::Any => Purpose::Commercial,
        records::Purpose::NonCommercial => Purpose::NonCommercial,
    }
}

fn royalty(record: records::Royalty) -> Royalty {
    Royalty {
        account: AccountId(record.account.0),
        millionths: record.millionths,
    }
}

fn standing(standing: records::Standing) -> Standing {
    match standing {
        records::Standing::Deprecated => Standing::Deprecated,
        records::Standing::Yanked => Standing::Yanked,
    }
}

fn level(bit: u8) -> Result<Level, Asked> {
    let mut levels = Levels::from_bits(bit).iter();
    match (levels.next(), levels.next()) {
        (Some(level), None) => Ok(level),
        _ => Err(unreadable(format!("a price of the level bits {bit:#x}"))),
    }
}
