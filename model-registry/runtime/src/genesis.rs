//! The state a chain starts with.

use alloc::vec::Vec;
use sp_core::hex2array as hex;
use sp_genesis_builder::PresetId;

use crate::{
    AccountId, Balance, Balances, EXISTENTIAL_DEPOSIT, RuntimeGenesisConfig, UNITS, settlement_pot,
    treasury_account,
};

/// Name of the preset for development: [`dev_endowed`] accounts.
pub const DEV_PRESET: &str = "dev";

/// What one GiB costs for one day, planck: a thousandth of an AIL.
const SPACE_PRICE: Balance = UNITS / 1_000;

/// Genesis in which each of `endowed` owns that much money (planck), besides the existential
/// deposits of the technical accounts.
///
/// An account must not be named twice and must receive at least [`EXISTENTIAL_DEPOSIT`]: building
/// the state panics otherwise.
pub fn genesis_config(endowed: &[(AccountId, Balance)]) -> RuntimeGenesisConfig {
    let mut balances = endowed.to_vec();
    for account in technical_accounts() {
        if !endowed.iter().any(|(endowed, _)| *endowed == account) {
            balances.push((account, EXISTENTIAL_DEPOSIT));
        }
    }
    RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig {
            balances,
            dev_accounts: None,
        },
        storage_handler: ai_link_pallets::cess::storage_handler::GenesisConfig {
            price: SPACE_PRICE,
            ..Default::default()
        },
        ..Default::default()
    }
}

/// The usual Substrate development accounts, ed25519 (`//Alice`, `//Bob`, `//Charlie`, `//Dave`,
/// `//Eve`, `//Ferdie` of the well-known phrase), with 1,000,000 AIL each. Everybody knows their
/// secret keys.
pub fn dev_endowed() -> Vec<(AccountId, Balance)> {
    DEV_ACCOUNTS
        .iter()
        .map(|account| (AccountId::new(*account), 1_000_000 * UNITS))
        .collect()
}

/// The preset `id` as a JSON patch of the default genesis.
pub(crate) fn preset(id: &PresetId) -> Option<Vec<u8>> {
    let config = match id.as_str() {
        DEV_PRESET => genesis_config(&dev_endowed()),
        _ => return None,
    };
    serde_json::to_vec(&config).ok()
}

/// Checks, after a genesis was built, that fees have somewhere to go and that the escrow can take
/// deposits.
pub(crate) fn check_technical_accounts() -> Result<(), &'static str> {
    if technical_accounts()
        .iter()
        .any(|account| Balances::free_balance(account) < EXISTENTIAL_DEPOSIT)
    {
        return Err("genesis lacks the treasury or the settlement pot: \
                    endow both with at least the existential deposit");
    }
    Ok(())
}

fn technical_accounts() -> [AccountId; 2] {
    [treasury_account(), settlement_pot()]
}

const DEV_ACCOUNTS: [[u8; 32]; 6] = [
    hex!("88dc3417d5058ec4b4503e0c12ea1a0a89be200fe98922423d4334014fa6b0ee"),
    hex!("d17c2d7823ebf260fd138f2d7e27d114c0145d968b5ff5006125f2414fadae69"),
    hex!("439660b36c6c03afafca027b910b4fecf99801834c62a5e6006f27d978de234f"),
    hex!("5e639b43e0052c47447dac87d6fd2b6ec50bdd4d0f614e4299c665249bbd09d9"),
    hex!("1dfe3e22cc0d45c70779c1095f7489a8ef3cf52d62fbd8c2fa38c9f1723502b5"),
    hex!("568cb4a574c6d178feb39c27dfc8b3f789e5f5423e19c71633c748b9acf086b5"),
];
