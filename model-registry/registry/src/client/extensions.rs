//! Chains with more transaction extensions than AI-LINK's.
//!
//! CESS's runtime checks transactions with `CheckMqSequence` besides the usual ones. It takes no bytes, in
//! the transaction as in what is signed, so that a client need not know it. Here AI-LINK's own metadata gets
//! such an extension, at the place where CESS has it, and one that is not empty.

use ai_link_wire::{AccountId, Identity};
use codec::{Compact, Decode, Encode};
use frame_metadata::{RuntimeMetadata, RuntimeMetadataPrefixed, v16};
use subxt::{
    Metadata, OfflineClient, SubstrateConfig,
    config::{DefaultExtrinsicParamsBuilder, substrate::SpecVersionForRange},
    transactions::Payload,
    utils::{AccountId32, H256},
};

use super::IdentitySigner;
use crate::api::chain;

const METADATA: &[u8] = include_bytes!("../../metadata/ai_link.scale");

/// The metadata with one more extension, before the one that charges for transactions; it looks like the
/// extension `like` does.
fn with_extension(name: &str, like: &str) -> Vec<u8> {
    let mut metadata = RuntimeMetadataPrefixed::decode(&mut &METADATA[..]).unwrap();
    let RuntimeMetadata::V16(v16) = &mut metadata.1 else {
        panic!("another version of metadata is committed")
    };
    let extensions = &mut v16.extrinsic.transaction_extensions;
    let found = extensions
        .iter()
        .find(|extension| extension.identifier == like);
    let extension = v16::TransactionExtensionMetadata {
        identifier: name.to_owned(),
        ..found.unwrap().clone()
    };
    let index = extensions.len() as u32;
    extensions.push(extension);
    for indices in v16.extrinsic.transaction_extensions_by_version.values_mut() {
        let last = indices.len() - 1;
        indices.insert(last, Compact(index));
    }
    metadata.encode()
}

/// A transaction signed for a chain with this metadata.
fn signed(metadata: &[u8], call: &impl Payload) -> Result<Vec<u8>, subxt::Error> {
    let metadata = Metadata::decode_from(metadata).unwrap();
    let config = SubstrateConfig::builder()
        .set_genesis_hash(H256([9; 32]))
        .set_metadata_for_spec_versions([(1, metadata.into())])
        .set_spec_version_for_block_ranges([SpecVersionForRange {
            block_range: 0..10,
            spec_version: 1,
            transaction_version: 1,
        }])
        .build();
    let client = OfflineClient::new_with_config(config);
    let at = client.at_block(1_u64).unwrap();
    let params = DefaultExtrinsicParamsBuilder::<SubstrateConfig>::new()
        .nonce(7)
        .build();
    let identity = Identity::derive(b"extensions", "signer");
    let mut transaction = at.transactions().create_signable_offline(call, params)?;
    Ok(transaction.sign(&IdentitySigner(&identity))?.into_encoded())
}

#[test]
fn extensions_that_take_no_bytes_are_tolerated() {
    let gateway = AccountId([3; 32]);
    let call = chain::tx().oss().authorize(AccountId32(gateway.0));
    let plain = signed(METADATA, &call).unwrap();
    let metadata = with_extension("CheckMqSequence", "CheckNonZeroSender");
    assert_ne!(metadata, METADATA);
    // ed25519 is deterministic: equal transactions are equal in their signatures too.
    assert_eq!(signed(&metadata, &call).unwrap(), plain);
}

#[test]
fn extensions_that_take_bytes_are_not_guessed() {
    let call = chain::tx().oss().authorize(AccountId32([3; 32]));
    let metadata = with_extension("CheckSomething", "CheckNonce");
    let error = signed(&metadata, &call).unwrap_err();
    assert!(format!("{error:?}").contains("CheckSomething"), "{error:?}");
}
