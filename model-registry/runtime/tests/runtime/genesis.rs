//! States a chain can start with, and one it cannot.

use ai_link_runtime::{
    Balances, DEV_PRESET, EXISTENTIAL_DEPOSIT, RuntimeGenesisConfig, Timestamp, UNITS, api,
    dev_endowed, genesis_config, settlement_pot, treasury_account,
};
use codec::{Decode, Encode};
use sp_io::TestExternalities;

use crate::chain::account;

fn preset(name: Option<&str>) -> Option<Vec<u8>> {
    let output = api::dispatch(
        "GenesisBuilder_get_preset",
        &name.map(str::to_owned).encode(),
    )
    .unwrap();
    Decode::decode(&mut &output[..]).unwrap()
}

fn build(json: &[u8]) -> (TestExternalities, Result<(), String>) {
    let mut ext = TestExternalities::new_empty();
    let output = ext
        .execute_with(|| api::dispatch("GenesisBuilder_build_state", &json.to_vec().encode()))
        .unwrap();
    (ext, Decode::decode(&mut &output[..]).unwrap())
}

#[test]
fn the_preset_builds_what_the_helper_builds() {
    let output = api::dispatch("GenesisBuilder_preset_names", &[]).unwrap();
    assert_eq!(
        Vec::<String>::decode(&mut &output[..]).unwrap(),
        [DEV_PRESET]
    );
    let json = preset(Some(DEV_PRESET)).unwrap();
    let config: RuntimeGenesisConfig = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        config.balances.balances,
        genesis_config(&dev_endowed()).balances.balances
    );

    let (mut ext, result) = build(&json);
    assert_eq!(result, Ok(()));
    ext.execute_with(|| {
        assert_eq!(
            Balances::free_balance(account("//Alice")),
            1_000_000 * UNITS
        );
        assert_eq!(
            Balances::free_balance(treasury_account()),
            EXISTENTIAL_DEPOSIT
        );
        assert_eq!(
            Balances::free_balance(settlement_pot()),
            EXISTENTIAL_DEPOSIT
        );
        assert_eq!(
            Balances::total_issuance(),
            6_000_000 * UNITS + 2 * EXISTENTIAL_DEPOSIT
        );
        assert_eq!(Timestamp::get(), 0);
    });
    assert_eq!(preset(Some("moon")), None);
}

#[test]
fn dev_accounts_are_the_well_known_ones() {
    let names = [
        "//Alice",
        "//Bob",
        "//Charlie",
        "//Dave",
        "//Eve",
        "//Ferdie",
    ];
    let expected: Vec<_> = names
        .iter()
        .map(|uri| (account(uri), 1_000_000 * UNITS))
        .collect();
    assert_eq!(dev_endowed(), expected);
}

#[test]
fn a_genesis_without_technical_accounts_is_refused() {
    let (_, result) = build(&preset(None).unwrap());
    assert!(
        result.unwrap_err().contains("treasury"),
        "the default genesis endows nobody"
    );
    let (_, result) = build(b"{}");
    assert!(result.unwrap_err().contains("JSON"));
}

#[test]
fn an_endowed_technical_account_is_not_endowed_twice() {
    let config = genesis_config(&[(treasury_account(), UNITS)]);
    assert_eq!(
        config.balances.balances,
        [
            (treasury_account(), UNITS),
            (settlement_pot(), EXISTENTIAL_DEPOSIT)
        ]
    );
}
