//! The models that come with the source: small, real, trained by `benchmarks/models/train.py` and `fhe/train.py`.

use std::fs;
use std::path::PathBuf;

use ai_link_wire::{Identity, Level};

use crate::commands::model::{Prepared, Release, publish as publish_prepared};
use crate::dev::{Network, StateDir};
use crate::npy::{self, Array};
use crate::output::{Failure, Output};
use ai_link_client::hosting::Hosts;

/// A model with its records, compiled into the program so that the demo runs from anywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct DemoModel {
    pub(super) name: &'static str,
    pub(super) onnx: &'static [u8],
    calibration: &'static [u8],
    records: &'static [u8],
}

macro_rules! demo_model {
    ($name:literal) => {
        DemoModel {
            name: $name,
            onnx: include_bytes!(concat!("../../../benchmarks/models/", $name, "/model.onnx")),
            calibration: include_bytes!(concat!(
                "../../../benchmarks/models/",
                $name,
                "/calibration.npy"
            )),
            records: include_bytes!(concat!(
                "../../../benchmarks/models/",
                $name,
                "/records.npy"
            )),
        }
    };
}

/// Those of level `mpc`.
pub(super) fn all() -> [DemoModel; 2] {
    [demo_model!("breast-cancer"), demo_model!("digits")]
}

/// The breast-cancer model behind a Concat of two inputs, and the features that each of two owners has.
pub(super) struct JointModel {
    pub(super) name: &'static str,
    pub(super) onnx: &'static [u8],
    calibration: [&'static [u8]; 2],
    records: [&'static [u8]; 2],
}

macro_rules! joint_file {
    ($name:literal) => {
        include_bytes!(concat!(
            "../../../benchmarks/models/breast-cancer/joint/",
            $name
        ))
    };
}

/// The one of two owners.
pub(super) fn joint() -> JointModel {
    JointModel {
        name: "breast-cancer-joint",
        onnx: joint_file!("model.onnx"),
        calibration: [
            joint_file!("a-calibration.npy"),
            joint_file!("b-calibration.npy"),
        ],
        records: [joint_file!("a-records.npy"), joint_file!("b-records.npy")],
    }
}

impl JointModel {
    /// Each owner's features of at most `count` held-out records.
    pub(super) fn records(&self, count: usize) -> Result<[Array; 2], Failure> {
        let [a, b] = self.records.map(npy::parse);
        let (a, b) = (a.map_err(Failure::failed)?, b.map_err(Failure::failed)?);
        let count = count.min(a.records()).min(b.records());
        Ok([a.slice(0, count), b.slice(0, count)])
    }

    /// Publishes it unless it is on the chain already.
    pub(super) async fn publish(
        &self,
        dir: &StateDir,
        network: &Network,
        output: &Output,
    ) -> Result<(), Failure> {
        let [a, b] = self.calibration.map(npy::parse);
        let calibration = vec![a.map_err(Failure::failed)?, b.map_err(Failure::failed)?];
        let prepared = || Prepared::masked(self.name, self.onnx, calibration);
        publish_new(dir, network, self.name, prepared, output).await
    }
}

macro_rules! fhe_file {
    ($name:literal) => {
        include_bytes!(concat!("../../../benchmarks/models/fhe/", $name))
    };
}

/// The one of level `fhe`: 50 boosted trees of depth 4 on the breast-cancer records, in a build that serves the level.
pub(super) fn encrypted() -> Option<DemoModel> {
    ai_link_client::fhe::IS_BUILT.then_some(DemoModel {
        name: "breast-cancer-trees",
        onnx: fhe_file!("xgb_50x4.onnx"),
        calibration: fhe_file!("breast-cancer-calibration.npy"),
        records: fhe_file!("breast-cancer-records.npy"),
    })
}

impl DemoModel {
    /// At most `count` held-out records, none of which the model was trained or planned with.
    pub(super) fn records(&self, dir: &StateDir, count: usize) -> Result<Array, Failure> {
        let all = self.array(dir, "records", self.records)?;
        let count = count.min(all.records());
        Ok(all.slice(0, count))
    }

    /// What it was compiled with.
    pub(super) fn calibration(&self, dir: &StateDir) -> Result<Array, Failure> {
        self.array(dir, "calibration", self.calibration)
    }

    fn array(&self, dir: &StateDir, what: &str, bytes: &[u8]) -> Result<Array, Failure> {
        let path = self.file(dir, what)?;
        fs::write(&path, bytes).map_err(Failure::failed)?;
        npy::read(&path).map_err(Failure::failed)
    }

    /// Files of the owner and the application: not part of what the network's processes are searched for.
    fn file(&self, dir: &StateDir, what: &str) -> Result<PathBuf, Failure> {
        let home = dir.root().join("owner").join(self.name);
        fs::create_dir_all(&home).map_err(Failure::failed)?;
        Ok(home.join(format!("{what}.npy")))
    }
}

/// Publishes a model unless it is on the chain already.
pub(super) async fn publish(
    dir: &StateDir,
    network: &Network,
    model: &DemoModel,
    level: Level,
    output: &Output,
) -> Result<(), Failure> {
    let calibration = model.calibration(dir)?;
    let prepared = || match level {
        Level::Fhe => Prepared::encrypted(model.name, model.onnx, &calibration),
        Level::Mpc | Level::Sealed => Prepared::masked(model.name, model.onnx, vec![calibration]),
    };
    publish_new(dir, network, model.name, prepared, output).await
}

/// Publishes what `prepared` makes unless the name is on the chain already.
async fn publish_new(
    dir: &StateDir,
    network: &Network,
    name: &str,
    prepared: impl FnOnce() -> Result<Prepared, Failure>,
    output: &Output,
) -> Result<(), Failure> {
    let registry = ai_link_registry::Registry::connect(&network.chain)
        .await
        .map_err(Failure::failed)?;
    let name = name.parse().map_err(Failure::failed)?;
    if registry
        .model(&name)
        .await
        .map_err(Failure::failed)?
        .is_some()
    {
        return Ok(());
    }
    let prepared = prepared()?;
    let owner = Identity::load(&network.owner_key).map_err(Failure::failed)?;
    let release = Release {
        version: None,
        price: "0.001".into(),
    };
    let published = publish_prepared(
        dir,
        network,
        owner,
        prepared,
        release,
        &Hosts::Any {
            exclude: Vec::new(),
        },
    )
    .await?;
    output.note(&format!(
        "published {} version {}",
        published.name, published.version
    ));
    Ok(())
}
