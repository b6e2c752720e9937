//! The embedded chain to a `subxt` client that nobody prepared for it.
#![allow(clippy::unwrap_used)]

use std::{net::Ipv4Addr, time::Duration};

use ai_link_devchain::{DevChain, Genesis};
use ai_link_registry::{Registry, RegistryClient};
use ai_link_wire::{Identity, Planck};
use subxt::{OnlineClient, SubstrateConfig, dynamic::Value};

#[tokio::test]
async fn an_unmodified_client_reads_and_follows_the_chain() {
    let directory = tempfile::tempdir().unwrap();
    let rich = Identity::derive(b"subxt tests", "rich");
    let genesis = Genesis {
        endowed: vec![(rich.account().0.into(), Planck::ail(1_000).0)],
    };
    let chain = DevChain::open(directory.path(), &genesis).unwrap();
    let chain = chain
        .serve((Ipv4Addr::LOCALHOST, 0).into(), None)
        .await
        .unwrap();

    let plain = OnlineClient::<SubstrateConfig>::from_url(chain.url())
        .await
        .unwrap();
    let registry = Registry::connect(chain.url()).await.unwrap();
    assert_eq!(plain.genesis_hash().0, registry.genesis().0);

    // Blocks are streamed as they become final.
    let mut blocks = plain.stream_blocks().await.unwrap();
    let head = blocks.next().await.unwrap().unwrap();
    assert_eq!(head.number(), 0);
    let client = RegistryClient::new(registry, rich.clone());
    let to = Identity::derive(b"subxt tests", "new").account();
    let sent = client.transfer(to, Planck::ail(1)).await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(30), blocks.next()).await;
    let next = next.unwrap().unwrap().unwrap();
    assert_eq!((next.number(), next.hash().0), (1, sent.block.0));

    // Its state, events and transactions are there, without generated code.
    let at = next.at().await.unwrap();
    let accounts = subxt::dynamic::storage::<(Vec<u8>,), Value>("System", "Account");
    let account = at
        .storage()
        .try_fetch(accounts, (to.0.to_vec(),))
        .await
        .unwrap();
    assert!(account.is_some());
    let names: Vec<String> = at
        .events()
        .fetch()
        .await
        .unwrap()
        .iter()
        .map(|event| {
            let event = event.unwrap();
            format!("{}.{}", event.pallet_name(), event.event_name())
        })
        .collect();
    assert!(names.contains(&"Balances.Transfer".to_owned()), "{names:?}");
    assert!(
        names.contains(&"System.ExtrinsicSuccess".to_owned()),
        "{names:?}"
    );
    // The time and the transfer.
    assert_eq!(at.extrinsics().fetch().await.unwrap().iter().count(), 2);

    // Listing goes through pages; the endowed, the new and the technical accounts are there.
    let accounts = subxt::dynamic::storage::<(Vec<u8>,), Value>("System", "Account");
    let mut entries = at.storage().iter(accounts, ()).await.unwrap();
    let mut count = 0;
    while let Some(entry) = entries.next().await {
        entry.unwrap();
        count += 1;
    }
    assert_eq!(count, 4);
    drop((blocks, plain, client));
    chain.stop().await.unwrap();
}
