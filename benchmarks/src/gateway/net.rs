//! A whole network in this process.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use ai_link_client::{ClientConfig, GatewayConfig, SealedConfig};
use ai_link_coordinator::CoordinatorConfig;
use ai_link_devchain::{DevChain, Genesis, Serving};
use ai_link_program::Package;
use ai_link_program::bundle::Parts;
use ai_link_registry::{NewModel, Registry, RegistryClient};
use ai_link_sealed::package;
use ai_link_storage::{
    Account, HttpStore, ObjectStore as _, PutOptions, SignWith, StorageConfig, own_record,
};
use ai_link_wire::{
    Bytes, Commitment, Fid, Identity, Level, ModelName, ModelVersion, Multiaddr, Planck, Purpose,
};
use ai_link_worker::WorkerConfig;
use anyhow::Context as _;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Requests that the gateway and the worker work on at once.
pub(super) const CONCURRENCY: u16 = 32;
const START_WITHIN: Duration = Duration::from_secs(60);

/// Chain, storage, coordinator, worker and gateway.
pub(super) struct Net {
    /// Where the gateway listens.
    pub(super) gateway: String,
    registry: Registry,
    storage: HttpStore,
    stop: watch::Sender<bool>,
    parts: JoinSet<anyhow::Result<()>>,
    _chain: Serving,
    _dir: tempfile::TempDir,
}

fn party(name: &str) -> Identity {
    Identity::derive(b"gateway benchmark", name)
}

impl Net {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        let key = |name: &str| -> anyhow::Result<_> {
            let path = at(&format!("{name}.key"));
            party(name).save(&path)?;
            Ok(path)
        };
        let (stop, stopped) = watch::channel(false);
        let mut parts = JoinSet::new();
        let names = ["coordinator", "owner", "operator", "client"];
        let endowed = names.map(|name| (party(name).account().0.into(), Planck::ail(1_000_000).0));
        let genesis = Genesis {
            endowed: endowed.to_vec(),
        };
        let chain = DevChain::open(&at("chain"), &genesis)?;
        let chain = chain.serve((Ipv4Addr::LOCALHOST, 0).into(), None).await?;
        let url = chain.url().to_owned();
        let registry = Registry::connect(&url).await?;
        let bonds = registry.bond_minimums().await?;
        let client = RegistryClient::new(registry.clone(), party("client"));
        client.deposit(Planck::ail(100_000)).await?;

        let config = StorageConfig::new((Ipv4Addr::LOCALHOST, 0).into(), at("storage"));
        let (ready, storage) = told();
        let until = over(stopped.clone());
        parts.spawn(async move {
            ai_link_storage::run(config, None, own_record(), ready, until).await?;
            Ok(())
        });
        let storage = format!("http://{}", heard(storage).await?);

        let fee = Planck(Planck::PER_AIL / 1_000);
        let config = CoordinatorConfig::new(
            key("coordinator")?,
            &url,
            at("coordinator"),
            fee,
            bonds.coordinator,
        );
        let (ready, coordinator) = oneshot::channel();
        let until = over(stopped.clone());
        parts.spawn(async move {
            ai_link_coordinator::run(config, ready, until).await?;
            Ok(())
        });
        let coordinator = heard(coordinator).await?;
        let coordinators: Vec<Multiaddr> = coordinator
            .addresses
            .iter()
            .take(1)
            .map(|address| format!("{address}/p2p/{}", coordinator.peer).parse())
            .collect::<Result<_, _>>()?;

        let config: WorkerConfig = serde_json::from_value(serde_json::json!({
            "identity": key("worker")?,
            "operator": key("operator")?,
            "bond": bonds.worker,
            "listen": ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/tls"],
            "coordinators": coordinators,
            "chain": url,
            "storage": storage,
            "data": at("worker"),
            "price_per_job": Planck(1_000_000),
            "capacity": CONCURRENCY,
            "pools": Bytes(0),
            "keys": Bytes(0),
        }))?;
        let (ready, serving) = told();
        let until = over(stopped.clone());
        parts.spawn(async move {
            ai_link_worker::run(config, ready, until).await?;
            Ok(())
        });
        heard(serving).await?;

        let config = GatewayConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            concurrency: CONCURRENCY.into(),
            body_bytes: 64 << 20,
            api_keys: None,
            metrics: None,
            client: client_config(&at("client"), key("client")?, coordinators, &url, &storage),
        };
        let (ready, gateway) = told();
        let until = over(stopped);
        parts.spawn(async move {
            ai_link_client::gateway::run(config, ready, until).await?;
            Ok(())
        });
        let gateway = format!("http://{}", heard(gateway).await?.address);
        let owner = party("owner");
        let account = Account(owner.account().0);
        let signer = SignWith::new(account, move |message: &[u8]| owner.sign(message).0);
        Ok(Self {
            gateway,
            registry,
            storage: HttpStore::new(&storage)?.with_signer(signer),
            stop,
            parts,
            _chain: chain,
            _dir: dir,
        })
    }

    /// Stores these files as a model of level `sealed`, and registers it.
    pub(super) async fn publish(
        &self,
        name: &str,
        files: &[(&str, Vec<u8>)],
    ) -> anyhow::Result<()> {
        let files = files.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
        let sealed = package::pack(files)?;
        let bytes = Parts {
            sealed: Some(&sealed),
            ..Parts::default()
        }
        .to_bytes();
        let object = format!("{name}.package").parse()?;
        let stored = self.storage.put_bytes(&bytes, PutOptions::named(object));
        let manifest = Fid(stored.await?.fid.0);
        let owner = RegistryClient::new(self.registry.clone(), party("owner"));
        let model = NewModel {
            name: ModelName::new(name).context("a model's name")?,
            version: ModelVersion(1),
            commitment: Commitment(Package::commitment_of(&bytes)),
            manifest,
            price_per_record: Planck(1_000_000),
            levels: Level::Sealed.into(),
        };
        owner.publish_model(model).await?;
        Ok(())
    }

    pub(super) async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.parts.join_next().await.is_some() {}
    }
}

/// The application trusts the one operator that there is.
fn client_config(
    data: &Path,
    identity: std::path::PathBuf,
    coordinators: Vec<Multiaddr>,
    chain: &str,
    storage: &str,
) -> ClientConfig {
    ClientConfig {
        identity,
        coordinators,
        chain: chain.into(),
        storage: storage.into(),
        data: data.into(),
        max_price_per_record: Planck::ail(1),
        level: Level::Mpc,
        dealer: Default::default(),
        evaluators: 2,
        purpose: Purpose::Commercial,
        regions: Vec::new(),
        attempts: 4,
        deadline_ms: 60_000,
        fhe_deadline_ms: 60_000,
        sealed: Some(SealedConfig {
            workers: Vec::new(),
            operators: vec![party("operator").account()],
            deadline_ms: 120_000,
        }),
    }
}

/// Something to say once that a part serves, and to wait for it.
fn told<T>() -> (impl FnOnce(T), oneshot::Receiver<T>) {
    let (say, hear) = oneshot::channel();
    (|what| drop(say.send(what)), hear)
}

async fn heard<T>(hear: oneshot::Receiver<T>) -> anyhow::Result<T> {
    let heard = tokio::time::timeout(START_WITHIN, hear).await;
    heard
        .context("a part does not start")?
        .context("a part stopped")
}

async fn over(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|over| *over).await;
}
