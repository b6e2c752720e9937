//! What a job costs, and who gets it.
//!
//! price = (model owner's price for a record × batch) + what each worker asks + the coordinator's
//! fee. The payouts are these very parts, the owner's split among those who share it, so they sum to the price
//! exactly.

use ai_link_wire::{AccountId, Level, Payout, PayoutReason, Planck, Role};

use crate::roster::Member;
use crate::view::PublishedModel;

/// The price of a ticket and its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// What the client owes for the job.
    pub price: Planck,
    /// Who gets what; the sum is the price.
    pub payouts: Vec<Payout>,
}

/// Why there is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The owner's and the coordinator's parts alone are above the client's maximum.
    #[error("the job costs at least {price}, the client pays {max} at most")]
    AboveMaximum {
        /// Least price.
        price: Planck,
        /// The client's maximum.
        max: Planck,
    },
    /// More than there can be.
    #[error("the parts of the price add up to more than there can be")]
    Overflow,
}

/// What is sold: records of a model at a level.
#[derive(Clone, Copy, Debug)]
pub struct Sale<'a> {
    /// The model.
    pub model: &'a PublishedModel,
    /// At which level.
    pub level: Level,
    /// Records.
    pub batch: u32,
}

impl Sale<'_> {
    /// What is left of the client's maximum for all workers together.
    pub fn workers_budget(self, max: Planck, fee: Planck) -> Result<Planck, PriceError> {
        let fixed = self
            .owners_part()?
            .checked_add(fee)
            .ok_or(PriceError::Overflow)?;
        max.checked_sub(fixed)
            .ok_or(PriceError::AboveMaximum { price: fixed, max })
    }

    /// The price of a job carried out by `group`.
    pub fn quote(
        self,
        group: &[(Role, &Member)],
        coordinator: AccountId,
        fee: Planck,
    ) -> Result<Quote, PriceError> {
        let workers = group.iter().map(|(role, member)| Payout {
            account: member.record.operator,
            amount: member.record.price_per_job,
            reason: match role {
                Role::Evaluator(_) => PayoutReason::Evaluator,
                Role::Dealer => PayoutReason::Dealer,
            },
        });
        let owners = self
            .model
            .rights
            .split(self.model.owner, self.owners_part()?);
        let owners = owners.into_iter().map(|(account, amount)| Payout {
            account,
            amount,
            reason: PayoutReason::ModelOwner,
        });
        let coordinator = Payout {
            account: coordinator,
            amount: fee,
            reason: PayoutReason::Coordinator,
        };
        let payouts: Vec<_> = workers.chain(owners).chain([coordinator]).collect();
        let price = Planck::checked_sum(payouts.iter().map(|payout| payout.amount))
            .ok_or(PriceError::Overflow)?;
        Ok(Quote { price, payouts })
    }

    fn owners_part(self) -> Result<Planck, PriceError> {
        let general = self.model.price_per_record;
        self.model
            .rights
            .price(self.level, general)
            .checked_mul(u64::from(self.batch))
            .ok_or(PriceError::Overflow)
    }
}
