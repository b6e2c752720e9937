//! What may be done with a model: who may use it, who is paid for it, who owns it next.
//!
//! Reading is a matter of [`Registry`](crate::Registry), telling one of [`RegistryClient`](crate::RegistryClient); both are extended here. What
//! follows from what the chain says is plain functions ([`Terms::permit`], [`Terms::regions`],
//! [`ModelRights::price`], [`ModelRights::split`]), so that coordinators, which match by them, and clients,
//! which check what coordinators did, come to the same result.

mod call;
mod read;

use std::collections::BTreeMap;

use ai_link_wire::{
    AccountId, Level, LicenceProblem, ModelVersion, Planck, Purpose, Region, UnixMillis,
};

/// Most accounts that share the owner's price.
pub const MAX_ROYALTIES: usize = 5;
/// The whole of which royalties are parts.
pub const MILLION: u32 = 1_000_000;
/// Longest name of a licence, in bytes.
pub const MAX_LICENCE: usize = 128;
/// Most regions of terms.
pub const MAX_TERMS_REGIONS: usize = 16;

/// Who may use a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    #[default]
    Anyone,
    /// Accounts with a grant, and the owner.
    Granted,
}

/// Terms under which a model may be used. By default: by anyone, for anything, everywhere, for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Who may use it.
    pub access: Access,
    /// What for; [`Purpose::Commercial`] permits anything.
    pub purpose: Purpose,
    /// Where workers may stand; none means anywhere. At most [`MAX_TERMS_REGIONS`].
    pub regions: Vec<Region>,
    /// When all use ends, if it does.
    pub until: Option<UnixMillis>,
    /// What the licence is called, for people; at most [`MAX_LICENCE`] bytes.
    pub licence: String,
}

/// What an account may do with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What for: [`Purpose::Commercial`] permits anything, whatever the terms say.
    pub purpose: Purpose,
    /// Until when; `None`: until it is revoked.
    pub until: Option<UnixMillis>,
}

/// A model that is offered to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// To whom.
    pub to: AccountId,
    /// For how much.
    pub price: Planck,
    /// Until when.
    pub until: UnixMillis,
}

/// A model that changed hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Who owned it before.
    pub from: AccountId,
    /// And after.
    pub to: AccountId,
    /// What was paid.
    pub price: Planck,
    /// When.
    pub at: UnixMillis,
}

/// A part of the owner's price that is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Royalty {
    /// Whose.
    pub account: AccountId,
    /// How many millionths.
    pub millionths: u32,
}

/// What a version is that is not as good as any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs, and its users are told to move on.
    Deprecated,
    /// It is not matched any more.
    Yanked,
}

/// Everything that an owner has laid down about a model, except single grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelRights {
    /// Who may use it, for what, where, until when.
    pub terms: Terms,
    /// Who shares the owner's price; the rest is the owner's.
    pub royalties: Vec<Royalty>,
    /// Versions that were deprecated or yanked.
    pub standings: BTreeMap<ModelVersion, Standing>,
    /// Prices of one record at levels where it is not the model's price.
    pub level_prices: BTreeMap<Level, Planck>,
}

impl Terms {
    /// Whether it matters if a client has a grant: it is then to be looked up before [`permit`](Self::permit).
    pub fn depends_on_grants(&self) -> bool {
        self.access == Access::Granted || self.purpose == Purpose::NonCommercial
    }

    /// Whether `client` may use the model for `purpose` at `now`, given its grant, if it has one. The owner may
    /// always. Where anyone may use a model, a grant permits more and never less.
    ///
    /// # Errors
    ///
    /// What is against it.
    pub fn permit(
        &self,
        owner: AccountId,
        client: AccountId,
        grant: Option<&Grant>,
        purpose: Purpose,
        now: UnixMillis,
    ) -> Result<(), LicenceProblem> {
        if client == owner {
            return Ok(());
        }
        let over = |until: Option<UnixMillis>| until.filter(|until| *until <= now);
        if let Some(at) = over(self.until) {
            return Err(LicenceProblem::Ended { at });
        }
        let live = grant.filter(|grant| over(grant.until).is_none());
        if self.access == Access::Granted && live.is_none() {
            return Err(match grant.and_then(|grant| grant.until) {
                Some(at) => LicenceProblem::GrantEnded { at },
                None => LicenceProblem::NotGranted { client },
            });
        }
        let anyone = self.access == Access::Anyone && self.purpose == Purpose::Commercial;
        let granted = live.is_some_and(|grant| grant.purpose == Purpose::Commercial);
        match purpose {
            Purpose::Commercial if !anyone && !granted => Err(LicenceProblem::NonCommercialOnly),
            _ => Ok(()),
        }
    }

    /// Regions that both the terms and a request for `wanted` permit; none means any.
    ///
    /// # Errors
    ///
    /// [`LicenceProblem::NoCommonRegion`].
    pub fn regions(&self, wanted: &[Region]) -> Result<Vec<Region>, LicenceProblem> {
        if self.regions.is_empty() {
            return Ok(wanted.to_vec());
        }
        if wanted.is_empty() {
            return Ok(self.regions.clone());
        }
        let both: Vec<_> = wanted
            .iter()
            .filter(|region| self.regions.contains(region))
            .cloned()
            .collect();
        match both.is_empty() {
            true => Err(LicenceProblem::NoCommonRegion),
            false => Ok(both),
        }
    }
}

impl ModelRights {
    /// The owner's price of one record at a level, `general` being the model's.
    pub fn price(&self, level: Level, general: Planck) -> Planck {
        self.level_prices.get(&level).copied().unwrap_or(general)
    }

    /// Who gets how much of `amount`, the owner's part of a price: royalties rounded down, the owner first
    /// and with what is left. Adds up to `amount` exactly; accounts that get nothing are left out, unless
    /// nobody gets anything.
    pub fn split(&self, owner: AccountId, amount: Planck) -> Vec<(AccountId, Planck)> {
        let mut left = amount.0;
        let mut parts = Vec::new();
        for royalty in &self.royalties {
            let whole = u128::from(MILLION);
            let millionths = u128::from(royalty.millionths).min(whole);
            // Quotient and rest apart: nothing overflows.
            let part = amount.0 / whole * millionths + amount.0 % whole * millionths / whole;
            let part = part.min(left);
            left -= part;
            parts.push((royalty.account, Planck(part)));
        }
        parts.insert(0, (owner, Planck(left)));
        if amount.0 > 0 {
            parts.retain(|(_, part)| part.0 > 0);
        } else {
            parts.truncate(1);
        }
        parts
    }

    /// Whether a version was yanked.
    pub fn is_yanked(&self, version: ModelVersion) -> bool {
        self.standings.get(&version) == Some(&Standing::Yanked)
    }
}

#[cfg(test)]
mod tests;
