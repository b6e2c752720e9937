//! Arguments of `ai-link model transfer|license|grant|royalties|price|standing|history`.

use ai_link_wire::{Level, Region};
use clap::{ArgGroup, Args, ValueEnum};

/// Whose key signs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Signer {
    /// Key of --dir that signs, such as `owner`, `client`, `operator-0`
    #[arg(
        long = "as",
        env = "AI_LINK_AS",
        value_name = "KEY",
        default_value = "owner"
    )]
    pub(crate) key: String,
}

#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("step").required(true).args(["to", "accept", "withdraw"]))]
pub(crate) struct TransferArgs {
    /// Name on the chain
    pub(crate) name: String,
    /// Offer it to this account (SS58, or a key of --dir)
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) to: Option<String>,
    /// For this price; when accepting, what the offer must say
    #[arg(
        long,
        default_value = "0",
        value_name = "AIL",
        conflicts_with = "withdraw"
    )]
    pub(crate) price: String,
    /// The offer holds this long
    #[arg(long, default_value_t = 72, value_parser = clap::value_parser!(u32).range(1..=8760), conflicts_with_all = ["accept", "withdraw"])]
    pub(crate) hours: u32,
    /// Accept an offer: pays, leaves the deposit for the name, owns the model
    #[arg(long)]
    pub(crate) accept: bool,
    /// Take an offer back
    #[arg(long)]
    pub(crate) withdraw: bool,
    #[command(flatten)]
    pub(crate) signer: Signer,
}

/// Who may use a model.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum AccessArg {
    /// Anyone
    Anyone,
    /// Accounts with a grant
    Granted,
}

/// What a model may be used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum PurposeArg {
    /// Anything
    Commercial,
    /// What is not commercial
    NonCommercial,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct LicenseArgs {
    /// Name on the chain
    pub(crate) name: String,
    /// Who may use it [default: as it is]
    #[arg(long, value_enum)]
    pub(crate) access: Option<AccessArg>,
    /// What for [default: as it is]
    #[arg(long, value_enum)]
    pub(crate) purpose: Option<PurposeArg>,
    /// Region that workers may stand in; may be given several times [default: as it is]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Vec<Region>,
    /// Workers may stand anywhere
    #[arg(long, conflicts_with = "region")]
    pub(crate) anywhere: bool,
    /// All use ends after this time [default: as it is]
    #[arg(long, value_name = "HOURS")]
    pub(crate) ends_in: Option<u32>,
    /// Use does not end
    #[arg(long, conflicts_with = "ends_in")]
    pub(crate) endless: bool,
    /// What the licence is called, for people: an SPDX expression, or where its text is [default: as it is]
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Option<String>,
    #[command(flatten)]
    pub(crate) signer: Signer,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ModelGrantArgs {
    /// Name on the chain
    pub(crate) name: String,
    /// Who may use it: SS58, or a key of --dir [default: list all grants]
    pub(crate) account: Option<String>,
    /// What for
    #[arg(long, value_enum, default_value_t = PurposeArg::Commercial)]
    pub(crate) purpose: PurposeArg,
    /// For how long [default: until it is revoked]
    #[arg(long)]
    pub(crate) hours: Option<u32>,
    /// Take the grant back
    #[arg(long, requires = "account", conflicts_with = "hours")]
    pub(crate) revoke: bool,
    #[command(flatten)]
    pub(crate) signer: Signer,
}

#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("split").required(true).args(["share", "none"]))]
pub(crate) struct RoyaltyArgs {
    /// Name on the chain
    pub(crate) name: String,
    /// Account (SS58, or a key of --dir) and its part of the owner's price in per cent, such as `operator-0=12.5`
    #[arg(long, value_name = "ACCOUNT=PERCENT")]
    pub(crate) share: Vec<String>,
    /// All of it is the owner's
    #[arg(long)]
    pub(crate) none: bool,
    #[command(flatten)]
    pub(crate) signer: Signer,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PriceArgs {
    /// Name on the chain
    pub(crate) name: String,
    /// Of one record; with --level, `model` for the model's own price again
    #[arg(value_name = "AIL")]
    pub(crate) price: String,
    /// Of this level alone
    #[arg(long, value_name = "fhe|mpc|sealed")]
    pub(crate) level: Option<Level>,
    #[command(flatten)]
    pub(crate) signer: Signer,
}

/// What a version is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum StandingArg {
    /// As good as any
    Current,
    /// It runs, and its users are told to move on
    Deprecated,
    /// It is not matched any more
    Yanked,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct StandingArgs {
    /// Name on the chain
    pub(crate) name: String,
    /// The version
    pub(crate) version: u32,
    /// What it is from now on
    #[arg(value_enum)]
    pub(crate) standing: StandingArg,
    #[command(flatten)]
    pub(crate) signer: Signer,
}
