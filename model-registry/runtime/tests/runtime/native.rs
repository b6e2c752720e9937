//! The runtime executed natively through `api::dispatch`, the way the embedded chain does it: one
//! SCALE-encoded call at a time inside an externalities environment.

use crate::chain::{Chain, account, key, signed};
use ai_link_runtime::{
    Balances, EXISTENTIAL_DEPOSIT, RuntimeCall, System, UNITS, VERSION, treasury_account,
};
use codec::{Decode, Encode};
use sp_core::{OpaqueMetadata, Pair};
use sp_runtime::{
    ApplyExtrinsicResult,
    transaction_validity::{
        InvalidTransaction, TransactionSource, TransactionValidity, TransactionValidityError,
    },
};
use sp_version::RuntimeVersion;

fn transfer(to: &str, value: u128) -> RuntimeCall {
    RuntimeCall::Balances(pallet_balances::Call::transfer_keep_alive {
        dest: account(to).into(),
        value,
    })
}

#[test]
fn version_and_metadata_are_served() {
    let mut chain = Chain::new();
    let version: RuntimeVersion = chain.call("Core_version", &());
    assert_eq!(version, VERSION);

    let metadata: OpaqueMetadata = chain.call("Metadata_metadata", &());
    assert_eq!(
        &metadata[..5],
        b"meta\x0e",
        "plain Metadata_metadata is version 14"
    );
    let versions: Vec<u32> = chain.call("Metadata_metadata_versions", &());
    assert!(versions.contains(&14) && versions.contains(&15) && versions.contains(&16));
    for version in [14u32, 15, 16] {
        let metadata: Option<OpaqueMetadata> = chain.call("Metadata_metadata_at_version", &version);
        let metadata = metadata.unwrap();
        assert_eq!((&metadata[..4], metadata[4]), (&b"meta"[..], version as u8));
    }
    assert!(
        chain
            .call::<Option<OpaqueMetadata>>("Metadata_metadata_at_version", &13u32)
            .is_none()
    );
    chain
        .ext
        .execute_with(|| assert_eq!(ai_link_runtime::api::dispatch("No_such_call", &[]), None));
}

#[test]
fn a_signed_transfer_moves_money_and_pays_the_treasury() {
    let mut chain = Chain::new();
    let before = chain.ext.execute_with(Balances::total_issuance);
    let tx = chain.sign("//Alice", 0, transfer("//Bob", 5 * UNITS));

    let validity: TransactionValidity = chain.query(
        "TaggedTransactionQueue_validate_transaction",
        &(TransactionSource::External, tx.clone(), chain.parent),
    );
    assert!(validity.unwrap().propagate);

    let (header, results) = chain.block(vec![tx.clone()]);
    assert_eq!(results, [Ok(Ok(()))]);
    assert_eq!(header.number, 1);
    assert_eq!(
        chain.query::<u32>("AccountNonceApi_account_nonce", &account("//Alice")),
        1
    );
    chain.ext.execute_with(|| {
        let fee = Balances::free_balance(treasury_account()) - EXISTENTIAL_DEPOSIT;
        assert!(fee > 0);
        assert_eq!(Balances::free_balance(account("//Bob")), 1_000_005 * UNITS);
        assert_eq!(
            Balances::free_balance(account("//Alice")),
            999_995 * UNITS - fee
        );
        assert_eq!(Balances::total_issuance(), before);
    });

    // The same transaction again has a stale nonce and is not included.
    let (header, results) = chain.block(vec![tx]);
    let stale = TransactionValidityError::Invalid(InvalidTransaction::Stale);
    assert_eq!(results, [Err(stale)]);
    assert_eq!(header.number, 2);
}

#[test]
fn a_block_can_be_imported_by_execution() {
    let mut author = Chain::new();
    let mut importer = Chain::new();
    let tx = author.sign("//Alice", 0, transfer("//Bob", UNITS));
    let now = author.now + 1_000;
    let (header, _) = author.block(vec![tx.clone()]);
    let block = ai_link_runtime::Block {
        header: header.clone(),
        extrinsics: vec![ai_link_runtime::timestamp_inherent(now), tx],
    };
    // `execute_block` panics if any part of the header differs from what execution gives.
    importer.call::<()>("Core_execute_block", &block);
    importer
        .ext
        .execute_with(|| assert_eq!(System::block_number(), 1));
}

#[test]
fn a_signature_by_someone_else_is_refused() {
    let mut chain = Chain::new();
    let genesis = chain.genesis;
    let forged = signed(
        &key("//Bob"),
        account("//Alice"),
        0,
        genesis,
        transfer("//Bob", UNITS),
    );
    let (_, results) = chain.block(vec![forged]);
    let bad_proof = TransactionValidityError::Invalid(InvalidTransaction::BadProof);
    assert_eq!(results, [Err(bad_proof)]);
}

#[test]
fn dust_goes_to_the_treasury() {
    let mut chain = Chain::new();
    let poor = key("//poor");
    let fund = RuntimeCall::Balances(pallet_balances::Call::transfer_keep_alive {
        dest: account("//poor").into(),
        value: UNITS,
    });
    let tx = chain.sign("//Alice", 0, fund);
    chain.block(vec![tx]);
    let before = chain.ext.execute_with(Balances::total_issuance);
    // All but half an existential deposit leaves; the rest cannot stay.
    chain.ext.execute_with(|| {
        let treasury = Balances::free_balance(treasury_account());
        frame_support::assert_ok!(Balances::transfer_allow_death(
            ai_link_runtime::RuntimeOrigin::signed(account("//poor")),
            account("//Bob").into(),
            UNITS - EXISTENTIAL_DEPOSIT / 2,
        ));
        assert_eq!(
            Balances::free_balance(treasury_account()),
            treasury + EXISTENTIAL_DEPOSIT / 2
        );
        assert_eq!(Balances::total_issuance(), before);
        assert_eq!(Balances::free_balance(account("//poor")), 0);
    });
    assert_ne!(poor.public(), key("//Alice").public());
}

#[test]
fn results_decode_as_a_client_expects() {
    let mut chain = Chain::new();
    let tx = chain.sign("//Alice", 0, transfer("//Bob", u128::MAX / 2));
    let (_, results) = chain.block(vec![tx]);
    let encoded = results[0].encode();
    let decoded = ApplyExtrinsicResult::decode(&mut &encoded[..]).unwrap();
    assert!(
        matches!(decoded, Ok(Err(_))),
        "included, but the dispatch failed: {decoded:?}"
    );
}
