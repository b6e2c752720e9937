//! Inputs in two shares: stored, put together again by their owner, and permitted to others.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ai_link_client::stored::permit::{self, Terms};
use ai_link_program::fixed::Program;
use ai_link_registry::Registry;
use ai_link_storage::grants::Purpose;
use ai_link_storage::seal::{OpeningReader, seal_object};
use ai_link_storage::shares::{ShareSeed, SharedTensor};
use ai_link_storage::{Account, Fid, ObjectStore as _, PutOptions};
use ai_link_wire::{Identity, LocationText, Permit, SharedInput, Signed, UnixMillis};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::{Data, fid};
use crate::cli::{PermitArgs, Put};
use crate::commands::context::Context;
use crate::commands::published;
use crate::npy::{self, Array};
use crate::output::{Failure, Output};

/// Bits behind the point of shared tensors that are for no model in particular.
const FRACTION_BITS: u8 = 16;
/// The longest share that is read into memory.
const MAX_SHARE: u64 = 1 << 31;
/// A record is a statement about two objects that do not change.
const RECORD_VALID: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Data {
    pub(super) async fn put_shares(
        &self,
        context: &Context,
        args: &Put,
        options: PutOptions,
        output: &Output,
    ) -> Result<(), Failure> {
        let array = npy::read(&args.file).map_err(Failure::failed)?;
        let fraction_bits = match &args.model {
            None => FRACTION_BITS,
            Some(model) => {
                let published = published::fetch(&context.network, model, None).await?;
                fraction(&published.program, model, args.port.as_deref(), &array)?
            }
        };
        let (masked, record) = self.share(&array, fraction_bits, options).await?;
        let seed = record.seed;
        let result = json!({
            "input": masked.to_string(),
            "seed": seed.to_string(),
            "masked": masked.to_string(),
            "fraction_bits": fraction_bits,
        });
        output.result(&result, |_| {
            format!("input   cess:{masked}\nseed    {seed}\nmasked  {masked}")
        })
    }

    /// Shares an array in two, stores both shares, and keeps the signed record of them. Returns what names the input:
    /// the fid of the masked words.
    pub(in crate::commands) async fn share(
        &self,
        array: &Array,
        fraction_bits: u8,
        options: PutOptions,
    ) -> Result<(Fid, SharedInput), Failure> {
        let policy = match &options.policy {
            None => None,
            Some(policy) => Some(LocationText::new(policy.to_json()).ok_or_else(|| {
                let most = LocationText::MAX;
                Failure::usage(format!(
                    "the policy of a shared input has at most {most} bytes"
                ))
            })?),
        };
        let dims: Vec<u64> = array.dims.iter().map(|length| *length as u64).collect();
        let (seed, tensor) = SharedTensor::share(&array.data, dims.clone(), fraction_bits)
            .map_err(Failure::failed)?;
        let first = self.put_sealed(&*seed.expose(), options.clone()).await?;
        let second = self.put_sealed(&tensor.to_bytes(), options).await?;
        let record = SharedInput {
            seed: ai_link_wire::Fid(first.0),
            masked: ai_link_wire::Fid(second.0),
            shape: dims,
            fraction_bits,
            policy,
        };
        self.keep_record(second, record.clone())?;
        Ok((second, record))
    }

    async fn put_sealed(&self, bytes: &[u8], options: PutOptions) -> Result<Fid, Failure> {
        let (key, sealed) = seal_object(bytes).map_err(Failure::failed)?;
        let stored = self
            .store
            .put_bytes(&sealed, options)
            .await
            .map_err(Failure::failed)?;
        self.book()?
            .keep(stored.fid, &key)
            .map_err(Failure::failed)?;
        Ok(stored.fid)
    }

    /// Signs and keeps what ties the two shares together.
    fn keep_record(&self, input: Fid, record: SharedInput) -> Result<(), Failure> {
        let owner = Identity::load(&self.client_key).map_err(Failure::failed)?;
        let now = UnixMillis::now();
        let until = now.saturating_add(RECORD_VALID);
        let signed = Signed::sign(&owner, record, now, until).map_err(Failure::failed)?;
        let path = self.record_path(input);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(Failure::failed)?;
        }
        let text = serde_json::to_vec_pretty(&signed).map_err(Failure::failed)?;
        crate::dev::layout::write_atomically(&path, &text).map_err(Failure::failed)
    }

    fn record_path(&self, input: Fid) -> PathBuf {
        self.inputs.join(format!("{input}.json"))
    }

    /// The record of an input that was shared here.
    pub(in crate::commands) fn record(
        &self,
        input: Fid,
    ) -> Result<Option<Signed<SharedInput>>, Failure> {
        match fs::read(self.record_path(input)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(Failure::failed),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::failed(error)),
        }
    }

    pub(super) async fn get_shares(
        &self,
        seed: Fid,
        masked: Fid,
        path: &Path,
        output: &Output,
    ) -> Result<(), Failure> {
        let array = self.combined(seed, masked).await?;
        npy::write(path, &array).map_err(Failure::failed)?;
        let path = path.display().to_string();
        output.result(&json!({ "output": path }), |_| path.clone())
    }

    /// Both shares, fetched and put together, with the keys in the book.
    pub(in crate::commands) async fn combined(
        &self,
        seed: Fid,
        masked: Fid,
    ) -> Result<Array, Failure> {
        let seed = self.get_sealed(seed).await?;
        let seed: [u8; 32] = seed[..]
            .try_into()
            .map_err(|_| Failure::usage("the first object is not a seed: give the seed first"))?;
        let masked = self.get_sealed(masked).await?;
        let tensor = SharedTensor::from_bytes(&masked).map_err(Failure::failed)?;
        let values = tensor.combine(&ShareSeed::from_bytes(seed));
        Ok(Array {
            dims: tensor.dims.iter().map(|length| *length as usize).collect(),
            data: values.to_vec(),
        })
    }

    /// An object, fetched and opened with the key in the book.
    pub(in crate::commands) async fn get_sealed(
        &self,
        fid: Fid,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let key = self.book()?.key(fid).map_err(Failure::failed)?;
        self.opened(fid, key).await
    }

    /// An object, fetched and opened.
    pub(in crate::commands) async fn opened(
        &self,
        fid: Fid,
        key: ai_link_storage::seal::DataKey,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let object = self.store.get(fid, None).await.map_err(Failure::failed)?;
        let mut plaintext = Zeroizing::new(Vec::new());
        OpeningReader::new(key, object.into_reader())
            .take(MAX_SHARE)
            .read_to_end(&mut plaintext)
            .await
            .map_err(Failure::failed)?;
        Ok(plaintext)
    }

    pub(super) async fn permit(
        &self,
        context: &Context,
        args: PermitArgs,
        output: &Output,
    ) -> Result<(), Failure> {
        let input = fid(&args.fid)?;
        let record = self.record(input)?.ok_or_else(|| {
            Failure::usage(format!(
                "{input} was not stored in shares here: `data put --share` says which fid names an input"
            ))
        })?;
        let accounts = |texts: &[String]| {
            let accounts = texts.iter().map(|text| context.account(text));
            accounts.collect::<Result<Vec<_>, _>>()
        };
        let registry = context.registry().await?;
        let model = published::commitment(&registry, &args.model, args.version).await?;
        let asker = context.account(&args.asker)?;
        let terms = Terms {
            dealers: &accounts(&args.dealer)?,
            evaluators: &accounts(&args.evaluator)?,
            purpose: Purpose::ModelBy {
                model: model.0,
                asker: Account(asker.0),
            },
            until: SystemTime::now() + Duration::from_secs(u64::from(args.minutes) * 60),
        };
        let permit = self.permitted(&registry, &record, &terms).await?;
        let text = serde_json::to_vec_pretty(&permit).map_err(Failure::failed)?;
        fs::write(&args.output, text).map_err(Failure::failed)?;
        let path = args.output.display().to_string();
        let result = json!({
            "output": path, "grants": permit.grants.len(), "input": input.to_string(),
            "model": model.to_string(), "asker": asker.to_string(),
        });
        output.result(&result, |_| {
            format!(
                "{path}: {} asks, {} workers bring shares, model {}, {} minutes",
                asker,
                permit.grants.len(),
                args.model,
                args.minutes
            )
        })
    }
}

impl Data {
    /// A permit for the workers that the chain has of the operators in `terms`.
    pub(in crate::commands) async fn permitted(
        &self,
        registry: &Registry,
        record: &Signed<SharedInput>,
        terms: &Terms<'_>,
    ) -> Result<Permit, Failure> {
        let workers = registry.workers().await.map_err(Failure::failed)?;
        let workers: Vec<_> = workers
            .into_iter()
            .map(|(peer, info)| (peer, info.operator))
            .collect();
        permit::issue(&mut self.book()?, record, terms, &workers, &*self.signer)
            .map_err(Failure::failed)
    }
}

/// The fraction that a model's input has, if the values are within what it was calibrated for.
pub(in crate::commands) fn fraction(
    program: &Program,
    model: &str,
    port: Option<&str>,
    array: &Array,
) -> Result<u8, Failure> {
    let names: Vec<&str> = program.inputs().iter().map(|p| p.name.as_str()).collect();
    let at = match port {
        Some(port) => names.iter().position(|name| *name == port),
        None => (names.len() == 1).then_some(0),
    };
    let at = at.ok_or_else(|| {
        let names = names.join(", ");
        Failure::usage(format!("give --port: {model} has the inputs {names}"))
    })?;
    // An input beyond its bounds would give wrong answers, and no worker can see it.
    program
        .encode_input(at, &array.data)
        .map_err(Failure::failed)?;
    Ok(program.value(program.inputs()[at].value).fraction)
}
