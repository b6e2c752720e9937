//! `ai-link data` and `ai-link storage`, as typed.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Daemon;

/// A store that serves, or work on one that does not.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Storage {
    #[command(flatten)]
    pub(crate) daemon: Option<Daemon>,
    /// Serve Prometheus metrics at /metrics of this address on loopback [default: `metrics` of the configuration, or
    /// nowhere]
    #[arg(long, env = "AI_LINK_METRICS", value_name = "ADDR")]
    pub(crate) metrics: Option<ai_link_observe::Loopback>,
    #[command(subcommand)]
    pub(crate) command: Option<StorageCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Compare what storage nodes keep with the files there are; the store must not run
    Fsck(Fsck),
}

#[derive(Args, Debug)]
pub(crate) struct Fsck {
    /// Configuration of the store, in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Rebuild what is missing
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Objects of an owner.
#[derive(Args, Debug)]
pub(crate) struct DataArgs {
    /// Key file of the owner [default: the application's of --dir]
    #[arg(long, global = true, env = "AI_LINK_DATA_KEY", value_name = "FILE")]
    pub(crate) owner: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Encrypt a file and store it; its key stays in the book of grants of --dir
    Put(Put),
    /// Fetch an object and decrypt it
    Get(Get),
    /// Let somebody open an object: for one model or job, until a time
    Grant(GrantArgs),
    /// Let somebody ask for jobs of a model on an input in shares, which workers then bring: nobody gets it opened
    Permit(PermitArgs),
    /// Revoke all grants of an object to somebody, for good
    Revoke(Revoke),
    /// Publish the next version of an object that changes: with a file's bytes added at its end
    Append(EditArgs),
    /// The same, with a file's bytes in the place of a range
    Replace(Replace),
    /// The same, without a range, or with nothing left
    Delete(Remove),
    /// The versions of an object that changes
    Versions {
        /// What its owner calls it
        name: String,
    },
    /// Fetch one version of an object that changes, whole
    Read(ReadArgs),
    /// Drop versions that were followed by another for long enough
    Collect(Collect),
    /// Where every fragment of an object is
    Locate {
        /// The object
        fid: String,
    },
    /// The space on chain that objects are paid from: show, mint, expand, renew, authorise
    #[command(subcommand)]
    Territory(TerritoryCommand),
    /// The public key that others grant objects to
    Recipient {
        /// Key file [default: the application's of --dir]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TerritoryCommand {
    /// What an account has, how full it is and how long it lasts
    Show(Holder),
    /// Buy a territory
    Mint {
        #[command(flatten)]
        holder: Holder,
        /// Its size in GiB; a file takes 96 MiB for every 32 MiB that it has begun
        #[arg(long, value_name = "GIB", default_value_t = 16)]
        gib: u32,
        /// For how many days
        #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(30..))]
        days: u32,
    },
    /// Make a territory larger, for as long as it lasts
    Expand {
        #[command(flatten)]
        holder: Holder,
        /// By how many GiB
        #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..))]
        gib: u32,
    },
    /// Let a territory last longer
    Renew {
        #[command(flatten)]
        holder: Holder,
        /// By how many days
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
        days: u32,
    },
    /// Let a store put, move and delete objects for an account
    Authorise {
        #[command(flatten)]
        holder: Holder,
        /// The store's account
        gateway: String,
    },
}

/// Whose territory, and which.
#[derive(Args, Debug)]
pub(crate) struct Holder {
    /// Key file of the owner [default: the application's of --dir]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// What it is called
    #[arg(long, value_name = "NAME", default_value = ai_link_storage::ChainEntry::TERRITORY)]
    pub(crate) name: String,
}

#[derive(Args, Debug)]
pub(crate) struct Put {
    /// The file
    pub(crate) file: PathBuf,
    /// Store it in two shares, each under a key of its own: a seed, and what is left of a .npy file
    #[arg(long)]
    pub(crate) share: bool,
    /// With --share: the model that the input is for, whose scale it is given and whose bounds it must keep
    #[arg(long, value_name = "NAME", requires = "share")]
    pub(crate) model: Option<String>,
    /// With --model: which of its inputs [default: the only one]
    #[arg(long, value_name = "NAME", requires = "model")]
    pub(crate) port: Option<String>,
    /// Store it as it is, for everybody to read
    #[arg(long, conflicts_with = "share")]
    pub(crate) public: bool,
    /// Where it may lie: a location policy in JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// What to call it [default: the file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The object; for a shared input both, the seed first
    #[arg(required = true, num_args = 1..=2)]
    pub(crate) fid: Vec<String>,
    /// Where it goes
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Open it with a grant instead of the key in the book
    #[arg(long, value_name = "FILE")]
    pub(crate) grant: Option<PathBuf>,
    /// Key file of the grant's recipient [default: the application's of --dir]
    #[arg(long, value_name = "FILE", requires = "grant")]
    pub(crate) key: Option<PathBuf>,
    /// The object is not encrypted
    #[arg(long, conflicts_with = "grant")]
    pub(crate) public: bool,
}

#[derive(Args, Debug)]
pub(crate) struct GrantArgs {
    /// The object
    pub(crate) fid: String,
    /// Whom to: what `data recipient` prints there
    #[arg(long, value_name = "KEY")]
    pub(crate) to: String,
    /// For jobs of one model, by its 64 hex digits [default: for anything]
    #[arg(long, value_name = "HASH", conflicts_with = "job")]
    pub(crate) model: Option<String>,
    /// For one job, by its 64 hex digits
    #[arg(long, value_name = "ID")]
    pub(crate) job: Option<String>,
    /// How long, in hours
    #[arg(long, default_value_t = 24, value_name = "HOURS")]
    pub(crate) hours: u32,
    /// Where the grant goes, to be sent to the recipient
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct EditArgs {
    /// What its owner calls the object; `append` makes one that is not there
    pub(crate) name: String,
    /// The bytes
    pub(crate) file: PathBuf,
    /// They are stored as they are, for everybody to read: objects that change are not encrypted yet
    #[arg(long, required = true)]
    pub(crate) public: bool,
    /// Publish only if this is the latest version, 0 for none [default: whatever is the latest]
    #[arg(long, value_name = "VERSION")]
    pub(crate) base: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct Replace {
    #[command(flatten)]
    pub(crate) edit: EditArgs,
    /// Which bytes, START..END
    #[arg(long, value_parser = range)]
    pub(crate) range: Range<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// What its owner calls the object
    pub(crate) name: String,
    /// Which bytes, START..END [default: all]
    #[arg(long, value_parser = range)]
    pub(crate) range: Option<Range<u64>>,
    /// Publish only if this is the latest version [default: whatever is the latest]
    #[arg(long, value_name = "VERSION")]
    pub(crate) base: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct ReadArgs {
    /// What its owner calls the object
    pub(crate) name: String,
    /// Which version [default: the latest]
    #[arg(long)]
    pub(crate) version: Option<u64>,
    /// Where it goes
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Collect {
    /// What its owner calls the object
    pub(crate) name: String,
    /// Versions that were followed by another so long ago, in minutes
    #[arg(long, default_value_t = 7 * 24 * 60, value_name = "MINUTES")]
    pub(crate) minutes: u32,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parse = || {
        let (start, end) = text.split_once("..")?;
        let (start, end) = (start.parse().ok()?, end.parse().ok()?);
        (start <= end).then_some(start..end)
    };
    parse().ok_or_else(|| "give START..END, for example 10..20".to_owned())
}

#[derive(Args, Debug)]
pub(crate) struct PermitArgs {
    /// The input, as `data put --share` names it
    pub(crate) fid: String,
    /// The model that jobs may be of
    #[arg(long, value_name = "NAME")]
    pub(crate) model: String,
    /// Its version [default: the latest]
    #[arg(long)]
    pub(crate) version: Option<u32>,
    /// Who may ask for them, and gets the answers: an account, or the name of a key in --dir
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) asker: String,
    /// Operator whose workers may deal: they get the seed; may be given several times
    #[arg(long, required = true, value_name = "ACCOUNT")]
    pub(crate) dealer: Vec<String>,
    /// Operator whose workers may evaluate: they get the masked words; two or more, and none that deals
    #[arg(long, required = true, value_name = "ACCOUNT")]
    pub(crate) evaluator: Vec<String>,
    /// How long, in minutes
    #[arg(long, default_value_t = 24 * 60, value_name = "MINUTES")]
    pub(crate) minutes: u32,
    /// Where the permit goes, to be sent to the asker
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The object
    pub(crate) fid: String,
    /// Whose grants
    #[arg(long, value_name = "KEY")]
    pub(crate) to: String,
}
