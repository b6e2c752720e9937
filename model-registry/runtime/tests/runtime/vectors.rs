//! Calls as CESS encodes them: the vectors of the design documents.

use ai_link_pallets::cess::{
    Hash,
    file_bank::{self, SegmentList, UserBrief},
    oss, storage_handler,
};
use ai_link_runtime::{AccountId, RuntimeCall};
use codec::{Decode, Encode};
use frame_support::BoundedVec;
use sp_core::hex2array as hex;
use sp_io::hashing::blake2_256;

/// The sr25519 key of `//Alice`.
const ALICE: [u8; 32] = hex!("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d");
/// `hello world`, by rule A.
const FID: [u8; 32] = hex!("56fe5489fa37425d5bfd4def2789eacc3ccf21185cb8102b76218de97e59f5f9");
const SEGMENT: [u8; 32] = hex!("b11c760ebe38e3d5ad3ffb4a0d2bd3753e44c7f53f41062f0a3de9e5ff8f5120");
const ZEROS: [u8; 32] = hex!("2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74");
const FRAGMENTS: [[u8; 32]; 12] = [
    hex!("ed2119d87bbe9d561903010e118880148508e509b9e80cf2418ea09a861bfa2b"),
    ZEROS,
    ZEROS,
    ZEROS,
    hex!("55087d138b5c89e3705d73e35e36c04a3fd7e799bcdea59b50bed5c106fec56f"),
    hex!("f9df299d54055a16bcaa22d3e2a944f7e7afae075f048f4a1ba6497dc6660105"),
    hex!("f8720309f08e67e72fa7dce766229810d021f296e74e9b343c9852ee8f9f0cef"),
    hex!("ec2a06152f3ec542b082abfc9315e1884b0d7da37e3ee92e22b6f709f9f9fece"),
    hex!("f77f2728d83594c1fde15ca76437b8be305c89ed517a2b1f3cdf8d86bc9cbf44"),
    hex!("b17a9cf1b0ff938f46c9ec603cd9c309496bc7da4830c12d7b25bf0d39f1eb4b"),
    hex!("708b17a9503eb7816041a8b0f343abf80e7c684ce100ef47c511347f4fa74a9c"),
    hex!("d97799d16900f0e0762529a405a9e6d03425033a38f49c178c3df8a4d1cb3ff6"),
];

fn alice() -> AccountId {
    AccountId::new(ALICE)
}

fn bytes<const N: u32>(text: &[u8]) -> BoundedVec<u8, frame_support::traits::ConstU32<N>> {
    BoundedVec::try_from(text.to_vec()).unwrap()
}

/// What it encodes to, after a look at whether that decodes to it.
fn encoded(call: impl Into<RuntimeCall>) -> Vec<u8> {
    let call = call.into();
    let encoded = call.encode();
    assert_eq!(RuntimeCall::decode(&mut &encoded[..]).unwrap(), call);
    encoded
}

#[test]
fn small_calls_are_encoded_as_in_cess() {
    let call = oss::Call::authorize { operator: alice() };
    assert_eq!(encoded(call), [&hex!("6c00")[..], &ALICE].concat());

    let call = storage_handler::Call::mint_territory {
        gib_count: 1,
        territory_name: bytes(b"home"),
        days: 30,
    };
    assert_eq!(encoded(call), hex!("6b000100000010686f6d651e000000"));

    let call = file_bank::Call::delete_file {
        owner: alice(),
        file_hash: Hash::of(FID),
    };
    let expected = [&hex!("6806")[..], &ALICE, &Hash::of(FID).0].concat();
    assert_eq!(expected.len(), 98);
    assert_eq!(encoded(call), expected);
}

#[test]
fn a_declaration_is_encoded_as_in_cess() {
    let segment = SegmentList {
        hash: Hash::of(SEGMENT),
        fragment_list: BoundedVec::try_from(FRAGMENTS.map(Hash::of).to_vec()).unwrap(),
    };
    let call = encoded(file_bank::Call::upload_declaration {
        file_hash: Hash::of(FID),
        deal_info: BoundedVec::try_from(vec![segment]).unwrap(),
        user_brief: UserBrief {
            user: alice(),
            file_name: bytes(b"hello.txt"),
            territory_name: bytes(b"home"),
        },
        file_size: 11,
    });
    assert_eq!(call.len(), 963);
    assert_eq!(call[..4], hex!("68003536"));
    assert_eq!(
        call[943..],
        hex!("686f6d650b000000000000000000000000000000")
    );
    assert_eq!(
        blake2_256(&call),
        hex!("2261066854db8d01c5af6da226639be47fbc428d640c5287b9153fa4b844907b")
    );
}

/// Call indices that CESS's clients rely on, besides those above.
#[test]
fn calls_have_the_indices_of_cess() {
    let at = |call: RuntimeCall| {
        let encoded = encoded(call);
        (encoded[0], encoded[1])
    };
    let hash = Hash::of(FID);
    let name = || bytes(b"home");
    let report = file_bank::Call::transfer_report {
        index: 1,
        deal_hash: hash,
    };
    assert_eq!(at(report.into()), (104, 3));
    let deliver = file_bank::Call::territory_file_delivery {
        user: alice(),
        file_hash: hash,
        target_territory: name(),
    };
    assert_eq!(at(deliver.into()), (104, 2));
    let lost = file_bank::Call::generate_restoral_order {
        file_hash: hash,
        restoral_fragment: hash,
    };
    assert_eq!(at(lost.into()), (104, 13));
    let claim = file_bank::Call::claim_restoral_order {
        restoral_fragment: hash,
    };
    assert_eq!(at(claim.into()), (104, 14));
    let complete = file_bank::Call::restoral_order_complete {
        fragment_hash: hash,
    };
    assert_eq!(at(complete.into()), (104, 16));
    let expand = storage_handler::Call::expanding_territory {
        territory_name: name(),
        gib_count: 1,
    };
    assert_eq!(at(expand.into()), (107, 1));
    let renew = storage_handler::Call::renewal_territory {
        territory_name: name(),
        days: 1,
    };
    assert_eq!(at(renew.into()), (107, 2));
    let reactivate = storage_handler::Call::reactivate_territory {
        territory_name: name(),
        days: 30,
    };
    assert_eq!(at(reactivate.into()), (107, 101));
    let grant = storage_handler::Call::territory_grants {
        territory_name: name(),
        receiver: alice(),
    };
    assert_eq!(at(grant.into()), (107, 107));
    let cancel = oss::Call::cancel_authorize { oss: alice() };
    assert_eq!(at(cancel.into()), (108, 1));
    let register = oss::Call::register {
        endpoint: [0; 38],
        domain: bytes(b"x"),
    };
    assert_eq!(at(register.into()), (108, 2));
    let miner = ai_link_pallets::cess::sminer::Call::regnstk {
        beneficiary: alice(),
        endpoint: bytes(b"x"),
        staking: 1,
        tib_count: 1,
    };
    assert_eq!(at(miner.into()), (105, 0));
}
