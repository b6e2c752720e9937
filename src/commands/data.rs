//! `ai-link data`: objects of one's own, encrypted before they leave, granted to others.

mod mutable;
pub(super) mod shares;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ai_link_storage::grants::{Grant, GrantBook, Purpose, Recipient, RecipientKey};
use ai_link_storage::location::LocationPolicy;
use ai_link_storage::seal::{OpeningReader, SealingReader};
use ai_link_storage::{
    Account, ByteSource, Fid, FragmentState, HttpStore, ObjectName, ObjectStore as _, PutOptions,
    RequestSigner, SignWith,
};
use ai_link_wire::{AccountId, Identity};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::confirmed::confirmed;
use super::context::Context;
use crate::cli::{DataArgs, DataCommand, Get, Global, GrantArgs, Put, Revoke};
use crate::output::{Failure, Output};

/// What a recipient's key is derived from its identity for.
const RECIPIENT: &str = "storage recipient v1";

pub(super) async fn run(global: &Global, args: DataArgs, output: &Output) -> Result<(), Failure> {
    let context = Context::load(global)?;
    let data = Data::open(&context, args.owner.as_deref())?;
    match args.command {
        DataCommand::Put(args) => {
            let data = data.confirmed(&context).await?;
            data.put(&context, args, output).await
        }
        DataCommand::Get(args) => data.get(args, output).await,
        DataCommand::Grant(args) => data.grant(args, output),
        DataCommand::Permit(args) => data.permit(&context, args, output).await,
        DataCommand::Revoke(args) => data.revoke(args, output),
        DataCommand::Append(args) => data.append(args, output).await,
        DataCommand::Replace(args) => data.replace(args, output).await,
        DataCommand::Delete(args) => data.remove(args, output).await,
        DataCommand::Versions { name } => data.versions(&name, output).await,
        DataCommand::Read(args) => data.read(args, output).await,
        DataCommand::Collect(args) => data.collect(args, output).await,
        // Of the chain, not of the store: see `territory`.
        DataCommand::Territory(command) => super::territory::run(global, command, output).await,
        DataCommand::Locate { fid } => data.locate(&fid, output).await,
        DataCommand::Recipient { key } => {
            let recipient = data.recipient_key(key.as_deref())?.recipient().to_string();
            output.result(&json!({ "recipient": recipient }), |_| recipient.clone())
        }
    }
}

/// A store, and the account that acts on it.
pub(super) struct Data {
    store: HttpStore,
    signer: Arc<dyn RequestSigner>,
    client_key: PathBuf,
    book: PathBuf,
    /// Where records of shared inputs are kept.
    inputs: PathBuf,
}

impl Data {
    /// As `owner`, whose book is a file of its own; as the application without one.
    pub(super) fn open(context: &Context, owner: Option<&Path>) -> Result<Self, Failure> {
        let client_key = owner.unwrap_or(&context.network.client_key).to_owned();
        let signer: Arc<dyn RequestSigner> = Arc::new(signer(&client_key)?);
        let store = HttpStore::new(&context.network.storage)
            .map_err(Failure::failed)?
            .with_signer(signer_of(&signer));
        let book = match owner {
            None => "grants.json".to_owned(),
            Some(_) => format!("grants-{}.json", hex(&signer.account().0)),
        };
        Ok(Self {
            store,
            signer,
            client_key,
            book: context.dir.root().join(book),
            inputs: context.dir.root().join("inputs"),
        })
    }

    fn book(&self) -> Result<GrantBook, Failure> {
        GrantBook::open(&self.book).map_err(Failure::failed)
    }

    /// The same, believing the store when the chain agrees.
    async fn confirmed(mut self, context: &Context) -> Result<Self, Failure> {
        let owner = AccountId(self.signer.account().0);
        self.store = confirmed(&context.network, self.store, owner).await?;
        Ok(self)
    }

    async fn put(&self, context: &Context, args: Put, output: &Output) -> Result<(), Failure> {
        let name: ObjectName = match &args.name {
            Some(name) => name.clone(),
            None => match args.file.file_name().and_then(|name| name.to_str()) {
                Some(name) => name.to_owned(),
                None => return Err(Failure::usage("the file has no name; give --name")),
            },
        }
        .parse()
        .map_err(|e| Failure::usage(format!("--name: {e}")))?;
        let mut options = PutOptions::named(name);
        if let Some(path) = &args.policy {
            let text = fs::read_to_string(path)
                .map_err(|e| Failure::usage(format!("cannot read {}: {e}", path.display())))?;
            let policy = LocationPolicy::from_json(&text)
                .map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
            options = options.within(policy);
        }
        if args.share {
            return self.put_shares(context, &args, options, output).await;
        }
        let file = tokio::fs::File::open(&args.file).await;
        let file =
            file.map_err(|e| Failure::usage(format!("cannot read {}: {e}", args.file.display())))?;
        if args.public {
            let stored = self.store.put(ByteSource::new(file), options).await;
            let fid = stored.map_err(Failure::failed)?.fid.to_string();
            return output.result(&json!({ "fid": fid }), |_| fid.clone());
        }
        let (key, sealing) = SealingReader::new(file).map_err(Failure::failed)?;
        let stored = self.store.put(ByteSource::new(sealing), options).await;
        let fid = stored.map_err(Failure::failed)?.fid;
        self.book()?.keep(fid, &key).map_err(Failure::failed)?;
        output.result(&json!({ "fid": fid.to_string() }), |_| fid.to_string())
    }

    async fn get(&self, args: Get, output: &Output) -> Result<(), Failure> {
        let fids = args
            .fid
            .iter()
            .map(|text| fid(text))
            .collect::<Result<Vec<_>, _>>()?;
        if let [seed, masked] = fids[..] {
            return self.get_shares(seed, masked, &args.output, output).await;
        }
        let fid = fids[0];
        let key = match (&args.grant, args.public) {
            (_, true) => None,
            (None, false) => Some(self.book()?.key(fid).map_err(Failure::failed)?),
            (Some(path), false) => {
                let bytes = fs::read(path).map_err(Failure::failed)?;
                let grant = Grant::from_bytes(&bytes).map_err(Failure::failed)?;
                if grant.object() != fid {
                    return Err(Failure::usage(format!(
                        "the grant is for {}",
                        grant.object()
                    )));
                }
                let recipient = self.recipient_key(args.key.as_deref())?;
                let now = SystemTime::now();
                let opened = grant.open(&recipient, grant.purpose(), now, &[]);
                Some(opened.map_err(Failure::failed)?)
            }
        };
        let object = self.store.get(fid, None).await.map_err(Failure::failed)?;
        // Nothing looks complete before it is: the file gets its name at the end.
        let partial = args.output.with_extension("partial");
        let written = async {
            let mut file = tokio::fs::File::create(&partial).await?;
            let mut reader = object.into_reader();
            let count = match key {
                Some(key) => {
                    tokio::io::copy(&mut OpeningReader::new(key, reader), &mut file).await?
                }
                None => tokio::io::copy(&mut reader, &mut file).await?,
            };
            file.flush().await?;
            file.sync_all().await?;
            tokio::fs::rename(&partial, &args.output).await?;
            Ok::<u64, std::io::Error>(count)
        };
        let count = match written.await {
            Ok(count) => count,
            Err(error) => {
                let _ = fs::remove_file(&partial);
                return Err(Failure::failed(error));
            }
        };
        let path = args.output.display().to_string();
        output.result(&json!({ "output": path, "bytes": count }), |_| {
            format!("{count} bytes in {path}")
        })
    }

    fn grant(&self, args: GrantArgs, output: &Output) -> Result<(), Failure> {
        let (fid, recipient) = (fid(&args.fid)?, recipient(&args.to)?);
        let purpose = match (&args.model, &args.job) {
            (Some(model), _) => Purpose::Model(digits(model)?),
            (None, Some(job)) => Purpose::Job(digits(job)?),
            (None, None) => Purpose::Anything,
        };
        let until = SystemTime::now() + Duration::from_secs(3600 * u64::from(args.hours));
        let mut book = self.book()?;
        let grant = book
            .grant(fid, recipient, purpose, until, &*self.signer)
            .map_err(Failure::failed)?;
        fs::write(&args.output, grant.to_bytes()).map_err(Failure::failed)?;
        let (id, path) = (grant.id().to_string(), args.output.display().to_string());
        output.result(&json!({ "grant": id, "output": path }), |_| {
            format!("{path}: for {purpose}, {} hours", args.hours)
        })
    }

    fn revoke(&self, args: Revoke, output: &Output) -> Result<(), Failure> {
        let (fid, recipient) = (fid(&args.fid)?, recipient(&args.to)?);
        let mut book = self.book()?;
        let revoked = book
            .revoke(fid, recipient, SystemTime::now(), &*self.signer)
            .map_err(Failure::failed)?;
        let revoked: Vec<_> = revoked.iter().map(|r| hex(&r.to_bytes())).collect();
        output.result(&json!({ "revocations": revoked }), |_| {
            format!(
                "{} grants revoked; this recipient gets no new one",
                revoked.len()
            )
        })
    }

    async fn locate(&self, text: &str, output: &Output) -> Result<(), Failure> {
        let locations = self
            .store
            .locate(fid(text)?)
            .await
            .map_err(Failure::failed)?;
        let bad = locations.iter().filter(|at| !at.state.is_fine()).count();
        let rows: Vec<_> = locations
            .iter()
            .map(|at| {
                json!({
                    "segment": at.segment, "index": at.index, "hash": at.hash.to_string(),
                    "node": at.node, "site": at.site, "state": at.state,
                })
            })
            .collect();
        output.result(&json!({ "fragments": rows, "not_fine": bad }), |_| {
            let mut lines: Vec<String> = locations
                .iter()
                .map(|at| {
                    let site = at
                        .site
                        .as_ref()
                        .map_or("unknown".to_owned(), ToString::to_string);
                    let state = match at.state {
                        FragmentState::Present => "present",
                        FragmentState::Missing => "missing",
                        FragmentState::Zero => "zeros",
                        FragmentState::Unreachable => "unreachable",
                    };
                    format!(
                        "{:4} {:3}  {state:11} {}  {site}",
                        at.segment,
                        at.index + 1,
                        at.node
                    )
                })
                .collect();
            lines.push(format!(
                "{} fragments, {bad} of them not where they should be",
                locations.len()
            ));
            lines.join("\n")
        })
    }

    pub(super) fn recipient_key(&self, path: Option<&Path>) -> Result<RecipientKey, Failure> {
        let path = path.unwrap_or(&self.client_key);
        let identity = Identity::load(path).map_err(Failure::failed)?;
        Ok(RecipientKey::from_bytes(*identity.own_secret(RECIPIENT)))
    }
}

fn signer(path: &Path) -> Result<impl RequestSigner + use<>, Failure> {
    let identity = Identity::load(path).map_err(Failure::failed)?;
    let account = Account(identity.account().0);
    Ok(SignWith::new(account, move |message: &[u8]| {
        identity.sign(message).0
    }))
}

fn signer_of(signer: &Arc<dyn RequestSigner>) -> impl RequestSigner + use<> {
    let signer = Arc::clone(signer);
    SignWith::new(signer.account(), move |message: &[u8]| signer.sign(message))
}

fn fid(text: &str) -> Result<Fid, Failure> {
    text.strip_prefix("cess:")
        .unwrap_or(text)
        .parse()
        .map_err(|e| Failure::usage(format!("{text:?}: {e}")))
}

fn recipient(text: &str) -> Result<Recipient, Failure> {
    text.parse()
        .map_err(|_| Failure::usage("--to: 64 hexadecimal digits, as `data recipient` prints them"))
}

fn digits(text: &str) -> Result<[u8; 32], Failure> {
    fid(text).map(|fid| fid.0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
