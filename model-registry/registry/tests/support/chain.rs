//! The chain that a test runs against: one in this process, or the one that `AI_LINK_CHAIN_URL` leads to.
//!
//! The latter must begin with the well-known development accounts (`ai-link dev chain-spec`) and know `dev_setHead`, as
//! Chopsticks does: each test has the chain to itself, set back to its first block. Tests of a binary then take turns.
//! Binaries run one after the other anyway.
#![allow(dead_code)] // not every test binary uses all of it

use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use ai_link_devchain::{DevChain, Genesis, Serving};
use ai_link_registry::{Registry, RegistryClient};
use ai_link_wire::{Identity, Planck};
use subxt::rpcs::{RpcClient, rpc_params};
use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// Keeps the chain until it is dropped.
pub(crate) enum TestChain {
    /// In this process.
    Embedded {
        directory: tempfile::TempDir,
        serving: Serving,
    },
    /// Elsewhere.
    Remote {
        url: String,
        turn: MutexGuard<'static, ()>,
    },
}

impl TestChain {
    /// A chain in its first blocks, on which each of `parties` has `amount`.
    pub(crate) async fn start(parties: &[Identity], amount: Planck) -> (Self, Registry) {
        let Ok(url) = std::env::var("AI_LINK_CHAIN_URL") else {
            return Self::embedded(parties, amount).await;
        };
        let turn = TURN.lock().await;
        let rpc = RpcClient::from_insecure_url(&url).await.unwrap();
        let first: String = rpc
            .request("chain_getBlockHash", rpc_params![0])
            .await
            .unwrap();
        let _: String = rpc
            .request("dev_setHead", rpc_params![first])
            .await
            .unwrap();
        // A chain that begins in 1970 would find every date in the tests far away.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = now.as_millis() as u64;
        let _: u64 = rpc
            .request("dev_timeTravel", rpc_params![now])
            .await
            .unwrap();
        let registry = Registry::connect(&url).await.unwrap();
        let bank = RegistryClient::new(registry.clone(), alice());
        for party in parties {
            bank.transfer(party.account(), amount).await.unwrap();
        }
        (Self::Remote { url, turn }, registry)
    }

    /// One in this process, whatever the environment says.
    pub(crate) async fn embedded(parties: &[Identity], amount: Planck) -> (Self, Registry) {
        let directory = tempfile::tempdir().unwrap();
        let chain = DevChain::open(directory.path(), &genesis(parties, amount)).unwrap();
        let serving = chain
            .serve((Ipv4Addr::LOCALHOST, 0).into(), None)
            .await
            .unwrap();
        let registry = Registry::connect(serving.url()).await.unwrap();
        (Self::Embedded { directory, serving }, registry)
    }
}

/// What an embedded chain begins with.
pub(crate) fn genesis(parties: &[Identity], amount: Planck) -> Genesis {
    let endowed = parties.iter().map(|p| (p.account().0.into(), amount.0));
    Genesis {
        endowed: endowed.collect(),
    }
}

/// The ed25519 key of `//Alice`, which everybody knows.
fn alice() -> Identity {
    let mut seed = [0; 32];
    let text = "abf8e5bdbe30c65656c0a3cbd181ff8a56294a69dfedd27982aace4a76909115";
    hex::decode_to_slice(text, &mut seed).unwrap();
    let alice = Identity::from_seed(seed);
    assert_eq!(
        hex::encode(alice.account().0),
        "88dc3417d5058ec4b4503e0c12ea1a0a89be200fe98922423d4334014fa6b0ee"
    );
    alice
}
