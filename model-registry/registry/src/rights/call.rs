//! Telling the chain about rights.

use ai_link_wire::{AccountId, Level, ModelName, ModelVersion, Planck, Purpose};
use subxt::utils::AccountId32;

use super::{Access, Grant, Offer, Royalty, Standing, Terms};
use crate::api::chain::{
    self,
    runtime_types::{
        ai_link_pallets::rights::records, bounded_collections::bounded_vec::BoundedVec,
    },
};
use crate::{CallError, Finalised, Levels, RegistryClient};

impl RegistryClient {
    /// Offers a model of this account to another one, in place of an earlier offer.
    pub async fn offer_model(
        &self,
        name: &ModelName,
        offer: Offer,
    ) -> Result<Finalised, CallError> {
        let to = AccountId32(offer.to.0);
        self.send(
            &chain::tx()
                .rights()
                .offer(bytes(name), to, offer.price.0, offer.until.0),
        )
        .await
    }

    /// Takes an offer back.
    pub async fn withdraw_offer(&self, name: &ModelName) -> Result<Finalised, CallError> {
        self.send(&chain::tx().rights().withdraw_offer(bytes(name)))
            .await
    }

    /// Accepts an offer to this account: pays `price`, which must be what the offer names, leaves the name's
    /// deposit, and owns the model.
    pub async fn accept_model(
        &self,
        name: &ModelName,
        price: Planck,
    ) -> Result<Finalised, CallError> {
        self.send(&chain::tx().rights().accept(bytes(name), price.0))
            .await
    }

    /// Sets the terms of a model of this account. What is too long for the chain is an error of the chain.
    pub async fn set_terms(&self, name: &ModelName, terms: &Terms) -> Result<Finalised, CallError> {
        let regions = terms.regions.iter();
        let record = records::TermsRecord {
            access: match terms.access {
                Access::Anyone => records::Access::Anyone,
                Access::Granted => records::Access::Granted,
            },
            purpose: purpose(terms.purpose),
            regions: BoundedVec(
                regions
                    .map(|region| BoundedVec(region.as_str().as_bytes().to_vec()))
                    .collect(),
            ),
            until: terms.until.map(|until| until.0),
            licence: BoundedVec(terms.licence.as_bytes().to_vec()),
        };
        self.send(&chain::tx().rights().set_terms(bytes(name), record))
            .await
    }

    /// Lets an account use a model of this account, in place of an earlier grant. A deposit is held.
    pub async fn grant_model(
        &self,
        name: &ModelName,
        account: AccountId,
        grant: Grant,
    ) -> Result<Finalised, CallError> {
        self.send(&chain::tx().rights().grant(
            bytes(name),
            AccountId32(account.0),
            purpose(grant.purpose),
            grant.until.map(|until| until.0),
        ))
        .await
    }

    /// Takes an account's grant back; as its owner, or as that account.
    pub async fn revoke_grant(
        &self,
        name: &ModelName,
        account: AccountId,
    ) -> Result<Finalised, CallError> {
        self.send(
            &chain::tx()
                .rights()
                .revoke(bytes(name), AccountId32(account.0)),
        )
        .await
    }

    /// Says who shares the price of a model of this account; at most [`super::MAX_ROYALTIES`].
    pub async fn set_royalties(
        &self,
        name: &ModelName,
        royalties: &[Royalty],
    ) -> Result<Finalised, CallError> {
        let shares = royalties.iter().map(|royalty| records::Royalty {
            account: AccountId32(royalty.account.0),
            millionths: royalty.millionths,
        });
        self.send(
            &chain::tx()
                .rights()
                .set_royalties(bytes(name), BoundedVec(shares.collect())),
        )
        .await
    }

    /// Deprecates or yanks a version, or (`None`) takes that back.
    pub async fn set_standing(
        &self,
        name: &ModelName,
        version: ModelVersion,
        standing: Option<Standing>,
    ) -> Result<Finalised, CallError> {
        let standing = standing.map(|standing| match standing {
            Standing::Deprecated => records::Standing::Deprecated,
            Standing::Yanked => records::Standing::Yanked,
        });
        self.send(
            &chain::tx()
                .rights()
                .set_standing(bytes(name), version.0, standing),
        )
        .await
    }

    /// Gives a level a price of its own, or (`None`) the model's again.
    pub async fn set_level_price(
        &self,
        name: &ModelName,
        level: Level,
        price: Option<Planck>,
    ) -> Result<Finalised, CallError> {
        let bits = Levels::from(level).bits();
        let price = price.map(|price| price.0);
        self.send(
            &chain::tx()
                .rights()
                .set_level_price(bytes(name), bits, price),
        )
        .await
    }
}

fn bytes(name: &ModelName) -> BoundedVec<u8> {
    BoundedVec(name.as_str().as_bytes().to_vec())
}

fn purpose(purpose: Purpose) -> records::Purpose {
    match purpose {
        Purpose::Commercial => records::Purpose::Any,
        Purpose::NonCommercial => records::Purpose::NonCommercial,
    }
}
