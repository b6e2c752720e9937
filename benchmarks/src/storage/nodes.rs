//! Twelve storage nodes: directories of this process, or processes of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ai_link_storage::location::Site;
use ai_link_storage::node::{
    HttpNode, HttpNodeConfig, LocalNode, NodeConfig, NodeLimits, StorageNode, run_node as serve,
};
use ai_link_storage::{Account, RequestSigner, SignWith};
use anyhow::Context as _;
use clap::Args;
use ed25519_dalek::{Signer as _, SigningKey};

use super::Members;

const NODES: u8 = 12;
const CAPACITY: u64 = 64 << 30;

/// What `benchmarks storage-node` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeOptions {
    /// Which node this is.
    #[arg(long)]
    index: u8,
    /// Where it keeps fragments.
    #[arg(long)]
    dir: PathBuf,
}

/// Runs a storage node; says its address on stdout, and ends with stdin.
pub(crate) fn run_node(options: &NodeOptions) -> anyhow::Result<()> {
    let config = NodeConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: options.dir.clone(),
        account: account(options.index),
        accounts: vec![signer().account()],
        site: site()?,
        tagger: None,
        limits: NodeLimits::default(),
        metrics: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let ended = async {
        let wait = tokio::task::spawn_blocking(|| {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())
        });
        let _ = wait.await;
    };
    runtime.block_on(serve(config, |address| println!("{address}"), ended))?;
    Ok(())
}

/// Nodes in directories of this process.
pub(super) async fn local(dir: &Path) -> anyhow::Result<Members> {
    std::fs::create_dir_all(dir)?;
    let mut members: Members = Vec::new();
    for index in 0..NODES {
        let path = dir.join(format!("node-{index}"));
        let node = LocalNode::open(path, account(index), site()?, CAPACITY).await?;
        members.push((Arc::new(node), site()?));
    }
    Ok(members)
}

/// Nodes that are processes; they end with this value.
pub(super) struct Processes(Vec<(Child, SocketAddr)>);

impl Processes {
    pub(super) fn start(dir: &Path) -> anyhow::Result<Self> {
        use std::io::BufRead as _;
        std::fs::create_dir_all(dir)?;
        let program = std::env::current_exe()?;
        let mut processes = Self(Vec::new());
        for index in 0..NODES {
            let mut child = Command::new(&program)
                .arg("storage-node")
                .args(["--index", &index.to_string(), "--dir"])
                .arg(dir.join(format!("node-{index}")))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let output = child.stdout.take().context("stdout is piped")?;
            let mut line = String::new();
            std::io::BufReader::new(output).read_line(&mut line)?;
            let address = line
                .trim()
                .parse()
                .context("a storage node did not start")?;
            processes.0.push((child, address));
        }
        Ok(processes)
    }

    pub(super) fn members(&self) -> anyhow::Result<Members> {
        let key: Arc<dyn RequestSigner> = Arc::new(signer());
        let mut members: Members = Vec::new();
        for (index, (_, address)) in (0..).zip(&self.0) {
            let url = format!("http://{address}");
            let config = HttpNodeConfig::default();
            let node: Arc<dyn StorageNode> =
                Arc::new(HttpNode::new(&url, account(index), key.clone(), config)?);
            members.push((node, site()?));
        }
        Ok(members)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (child, _) in &mut self.0 {
            drop(child.stdin.take());
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn account(index: u8) -> Account {
    Account([index + 1; 32])
}

/// The store's key; nothing here is worth stealing.
fn signer() -> impl RequestSigner + 'static {
    let key = SigningKey::from_bytes(&[1; 32]);
    let account = Account(key.verifying_key().to_bytes());
    SignWith::new(account, move |message: &[u8]| key.sign(message).to_bytes())
}

fn site() -> anyhow::Result<Site> {
    Ok(Site {
        country: "DE".parse()?,
        region: None,
        position: None,
        evidence: Default::default(),
    })
}
