//! Inputs of others: stored by their owners, brought by the workers, seen by nobody.
//!
//! 1. *A clinic* stores records in two shares; the application asks for their answers.
//! 2. *Two hospitals* each store half of the features of the same patients; the application gets the answers of the
//!    model over both halves.
//! 3. *A clinic in the European Union* stores an input that must stay there; of the workers that it permits by name one is
//!    elsewhere, and the job is refused with that reason.

use std::time::{Duration, Instant, SystemTime};

use ai_link_client::stored::permit::Terms;
use ai_link_onnx::NamedTensor;
use ai_link_program::fixed::Program;
use ai_link_registry::Registry;
use ai_link_storage::grants::Purpose;
use ai_link_storage::location::LocationPolicy;
use ai_link_storage::{Account, PutOptions};
use ai_link_wire::{AccountId, Commitment, Identity, Permit};
use serde::Serialize;

use super::models::{self, JointModel};
use super::run;
use crate::capture::Needles;
use crate::commands::context::Context;
use crate::commands::data::Data;
use crate::commands::data::shares::fraction;
use crate::commands::oip::{Input, Oip, Wish};
use crate::commands::published::{self, Published};
use crate::dev::up::operator_name;
use crate::dev::{Network, StateDir};
use crate::npy::Array;
use crate::output::{Failure, Output};

/// Records of a job.
const RECORDS: usize = 20;
/// How long permits hold: longer than any demo.
const PERMITTED: Duration = Duration::from_secs(3600);

/// What the scenes showed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OwnersResult {
    /// One owner, and two.
    pub(super) jobs: Vec<StoredJob>,
    /// What the user reads when a policy does not permit a worker.
    policy_refusal: String,
    /// Whether it names the worker that is elsewhere, and where that is.
    policy_refused_with_reason: bool,
    /// Files of the application's own process in which a record of an owner was found.
    found_at_the_application: Vec<String>,
}

/// A job on stored inputs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StoredJob {
    model: String,
    owners: Vec<String>,
    records: usize,
    agree: usize,
    max_abs_err: f64,
    seconds: f64,
    /// What the application sent: nothing of the records.
    bytes_input: u64,
    #[serde(skip)]
    pub(super) receipt: String,
    #[serde(skip)]
    answers: Vec<f32>,
}

/// The application's view of the network, and its account.
struct Stage<'a> {
    dir: &'a StateDir,
    network: &'a Network,
    context: Context,
    registry: Registry,
    gateway: Oip,
    asker: AccountId,
}

pub(super) async fn show(
    dir: &StateDir,
    network: &Network,
    needles: &mut Needles,
    output: &Output,
) -> Result<OwnersResult, Failure> {
    output.note("jobs on inputs that their owners stored in shares");
    let stage = Stage {
        dir,
        network,
        context: Context {
            dir: dir.clone(),
            network: network.clone(),
        },
        registry: Registry::connect(&network.chain)
            .await
            .map_err(Failure::failed)?,
        gateway: Oip::new(&network.gateway)?,
        asker: Identity::load(&network.client_key)
            .map_err(Failure::failed)?
            .account(),
    };
    let joint = models::joint();
    let whole = models::all()[0];
    let records = whole.records(dir, RECORDS)?;
    let published = published::fetch(network, whole.name, None).await?;
    // Of these the application's own process must have none either; of the answers it has all.
    let mut inputs = Needles::default();
    let one = stage
        .job(
            (whole.name, whole.onnx, &published),
            &["clinic"],
            std::slice::from_ref(&records),
            &mut inputs,
        )
        .await?;
    let two = stage.two_owners(&joint, &mut inputs).await?;
    let (policy_refusal, policy_refused_with_reason) = stage
        .kept_in_the_union(whole.name, &published, &records)
        .await?;
    let findings = inputs.search(&[dir.process("gateway")]);
    let found = findings.map_err(Failure::failed)?.found.into_iter();
    let found_at_the_application = found.map(|f| f.file.display().to_string()).collect();
    needles.extend(inputs);
    for job in [&one, &two] {
        let what = format!("an answer on the records of {}", job.owners.join(" and "));
        needles.values(&what, &job.answers);
    }
    Ok(OwnersResult {
        found_at_the_application,
        jobs: vec![one, two],
        policy_refusal,
        policy_refused_with_reason,
    })
}

impl Stage<'_> {
    async fn two_owners(
        &self,
        joint: &JointModel,
        needles: &mut Needles,
    ) -> Result<StoredJob, Failure> {
        let published = published::fetch(self.network, joint.name, None).await?;
        let halves = joint.records(RECORDS)?;
        let model = (joint.name, joint.onnx, &published);
        let owners = ["hospital a", "hospital b"];
        self.job(model, &owners, &halves, needles).await
    }

    /// Each owner stores its input and permits the job; then the application asks.
    async fn job(
        &self,
        (name, onnx, published): (&str, &[u8], &Published),
        owners: &[&str],
        arrays: &[Array],
        needles: &mut Needles,
    ) -> Result<StoredJob, Failure> {
        let program = &published.program;
        let mut inputs = Vec::new();
        let mut clear = Vec::new();
        for (at, (owner, array)) in owners.iter().zip(arrays).enumerate() {
            let port = program.inputs()[at].name.clone();
            let permit = self
                .stored(owner, (name, published, &port), array, None)
                .await?;
            note(needles, owner, program, at, array)?;
            clear.push(NamedTensor {
                name: port.clone(),
                dims: array.dims.clone(),
                data: array.data.clone(),
            });
            inputs.push((port, Input::Stored(Box::new(permit))));
        }
        let started = Instant::now();
        let answer = self
            .gateway
            .infer_from(name, None, &inputs, Wish::default(), None)
            .await?;
        let seconds = started.elapsed().as_secs_f64();
        let session = run::plaintext(onnx)?;
        let wanted = session.run(&clear).map_err(Failure::failed)?;
        let missing = || Failure::message("an answer without output");
        let wanted = wanted.into_iter().next().ok_or_else(missing)?.data;
        let (_, found) = answer.outputs.first().ok_or_else(missing)?;
        let classes = found.record_len().max(1);
        let class = |s: &[f32]| (0..s.len()).max_by(|a, b| s[*a].total_cmp(&s[*b]));
        let pairs = found.data.chunks(classes).zip(wanted.chunks(classes));
        let agree = pairs.filter(|(a, b)| class(a) == class(b)).count();
        let errors = found.data.iter().zip(&wanted);
        let errors = errors.map(|(a, b)| f64::from((a - b).abs()));
        let answers = found.data.clone();
        Ok(StoredJob {
            answers,
            model: name.to_owned(),
            owners: owners.iter().map(|owner| (*owner).to_owned()).collect(),
            records: arrays.first().map_or(0, Array::records),
            agree,
            max_abs_err: errors.fold(0.0, f64::max),
            seconds,
            bytes_input: answer.parameters["bytes_input"]
                .as_u64()
                .unwrap_or(u64::MAX),
            receipt: answer.parameters["receipt"]
                .as_str()
                .unwrap_or("?")
                .to_owned(),
        })
    }

    /// Stores an input of `owner` in shares, and permits the application to ask for jobs of the model: workers of the
    /// first two operators evaluate, those of the third deal.
    async fn stored(
        &self,
        owner: &str,
        (name, published, port): (&str, &Published, &str),
        array: &Array,
        policy: Option<LocationPolicy>,
    ) -> Result<Permit, Failure> {
        // Owners' files are theirs: not part of what the network's processes are searched for.
        let home = self.dir.root().join("owners");
        std::fs::create_dir_all(&home).map_err(Failure::failed)?;
        let path = home.join(format!("{}.key", owner.replace(' ', "-")));
        if !path.exists() {
            let key = Identity::try_generate().map_err(Failure::failed)?;
            key.save(&path).map_err(Failure::failed)?;
        }
        let data = Data::open(&self.context, Some(&path))?;
        let mut options = PutOptions::named("input".parse().map_err(Failure::failed)?);
        if let Some(policy) = policy {
            options = options.within(policy);
        }
        let bits = fraction(&published.program, name, Some(port), array)?;
        let (input, _) = data.share(array, bits, options).await?;
        let lost = || Failure::message("the record of an input is not where it was written");
        let record = data.record(input)?.ok_or_else(lost)?;
        let operators = [0, 1, 2].map(|i| Identity::load(self.dir.key(&operator_name(i))));
        let mut accounts = Vec::with_capacity(operators.len());
        for operator in operators {
            accounts.push(operator.map_err(Failure::failed)?.account());
        }
        let Commitment(model) = published.commitment;
        let terms = Terms {
            dealers: &accounts[2..],
            evaluators: &accounts[..2],
            purpose: Purpose::ModelBy {
                model,
                asker: Account(self.asker.0),
            },
            until: SystemTime::now() + PERMITTED,
        };
        data.permitted(&self.registry, &record, &terms).await
    }

    /// What the application hears of an input that must stay in the European Union: the worker that would deal is said
    /// to be in the US.
    async fn kept_in_the_union(
        &self,
        name: &str,
        published: &Published,
        records: &Array,
    ) -> Result<(String, bool), Failure> {
        let port = published.program.inputs()[0].name.clone();
        let policy = Some(LocationPolicy::european_union());
        let model = (name, published, port.as_str());
        let permit = self.stored("clinic", model, records, policy).await?;
        let inputs = [(port, Input::Stored(Box::new(permit)))];
        let asked = self
            .gateway
            .infer_from(name, None, &inputs, Wish::default(), None);
        let Err(refusal) = asked.await else {
            return Ok(("the job was done".to_owned(), false));
        };
        let elsewhere = Identity::load(self.dir.key(&crate::dev::up::worker_name(2)));
        let elsewhere = elsewhere.map_err(Failure::failed)?.peer_key().to_string();
        let text = refusal.text().to_owned();
        let said = text.contains(&elsewhere) && text.contains("it is in US");
        Ok((text, said))
    }
}

/// Keeps what must be found nowhere.
fn note(
    needles: &mut Needles,
    owner: &str,
    program: &Program,
    port: usize,
    array: &Array,
) -> Result<(), Failure> {
    for i in 0..array.records() {
        let record = array.slice(i, i + 1);
        let ring = program.encode_input(port, &record.data);
        let what = format!("record {i} of {owner}");
        needles.values(&what, &record.data);
        needles.ring(&what, &ring.map_err(Failure::failed)?);
    }
    Ok(())
}

impl OwnersResult {
    pub(super) fn is_convincing(&self) -> bool {
        // A seed, and no word of input.
        let private = |job: &StoredJob| job.agree == job.records && job.bytes_input <= 32;
        self.jobs.iter().all(private)
            && self.policy_refused_with_reason
            && self.found_at_the_application.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let mut lines = Vec::new();
        for job in &self.jobs {
            lines.push(format!(
                "{} on inputs from storage, of {}\n  {} records, {} agree with plaintext, largest error {:.1e}; {:.0} ms; \
                 the application sent {} bytes",
                job.model,
                job.owners.join(" and "),
                job.records,
                job.agree,
                job.max_abs_err,
                job.seconds * 1e3,
                job.bytes_input,
            ));
        }
        lines.push(match self.found_at_the_application.as_slice() {
            [] => "  no file of the application holds a record of theirs".to_owned(),
            found => format!("  RECORDS AT THE APPLICATION: {}", found.join(", ")),
        });
        lines.push(format!(
            "an input that must stay in the European Union, permitted to a worker elsewhere\n  refused: {}",
            self.policy_refusal
        ));
        lines.join("\n")
    }
}
