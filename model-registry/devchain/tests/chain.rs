//! The chain without sockets: blocks, order of transactions, states, restarts, kills.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use ai_link_devchain::{
    Chain, DevChainConfig, Empty, Genesis, HISTORY, Loss, OpenError, PoolLimits, ReadError,
    SealedBlock, Standing, SubmitError,
};
use ai_link_runtime::{
    AccountId, Address, Balance, RuntimeCall, Signature, SignedPayload, TxExtension, UNITS,
    UncheckedExtrinsic, VERSION,
};
use codec::{Decode, Encode};
use sp_core::{Pair, ed25519};
use sp_runtime::{
    generic::Era,
    traits::{Header as _, IdentifyAccount},
    transaction_validity::InvalidTransaction,
};

const RICH: Balance = 1_000_000 * UNITS;

fn pair(name: &str) -> ed25519::Pair {
    ed25519::Pair::from_seed(&sp_io::hashing::blake2_256(name.as_bytes()))
}

fn account(name: &str) -> AccountId {
    sp_runtime::MultiSigner::from(pair(name).public()).into_account()
}

fn genesis() -> Genesis {
    Genesis {
        endowed: vec![(account("alice"), RICH), (account("bob"), RICH)],
    }
}

fn open(directory: &Path) -> Chain {
    Chain::open(directory, &genesis(), PoolLimits::default()).unwrap()
}

fn signed(chain: &Chain, from: &str, nonce: u32, call: impl Into<RuntimeCall>) -> Vec<u8> {
    let extension: TxExtension = (
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckMortality::from(Era::Immortal),
        frame_system::CheckNonce::from(nonce),
        frame_system::CheckWeight::new(),
        pallet_transaction_payment::ChargeTransactionPayment::from(0),
    );
    let genesis = chain.genesis_hash();
    let implicit = (
        (),
        VERSION.spec_version,
        VERSION.transaction_version,
        genesis,
        genesis,
        (),
        (),
        (),
    );
    let payload = SignedPayload::from_raw(call.into(), extension, implicit);
    let signature = payload.using_encoded(|bytes| pair(from).sign(bytes));
    let (call, extension, _) = payload.deconstruct();
    let sender = Address::Id(account(from));
    UncheckedExtrinsic::new_signed(call, sender, Signature::Ed25519(signature), extension).encode()
}

fn transfer(chain: &Chain, from: &str, nonce: u32, to: &str, value: Balance) -> Vec<u8> {
    let dest = Address::Id(account(to));
    signed(
        chain,
        from,
        nonce,
        pallet_balances::Call::transfer_allow_death { dest, value },
    )
}

fn seal(chain: &mut Chain) -> SealedBlock {
    chain.seal(1, Empty::Skip).unwrap().block.unwrap()
}

/// Free money of an account at a block.
fn free(chain: &Chain, at: sp_core::H256, who: &str) -> Balance {
    let who = account(who);
    let key = [
        &sp_io::hashing::twox_128(b"System")[..],
        &sp_io::hashing::twox_128(b"Account")[..],
        &sp_io::hashing::blake2_128(who.as_ref())[..],
        who.as_ref(),
    ]
    .concat();
    let Some(value) = chain.storage(at, &key).unwrap() else {
        return 0;
    };
    // nonce, consumers, providers, sufficients (u32 each), then the free balance.
    Balance::decode(&mut &value[16..]).unwrap()
}

fn issuance(chain: &Chain) -> Balance {
    let key = [
        sp_io::hashing::twox_128(b"Balances"),
        sp_io::hashing::twox_128(b"TotalIssuance"),
    ]
    .concat();
    Balance::decode(&mut &chain.storage(chain.head_hash(), &key).unwrap().unwrap()[..]).unwrap()
}

#[test]
fn a_transfer_moves_money_and_conserves_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = open(directory.path());
    let before = issuance(&chain);
    let transaction = transfer(&chain, "alice", 0, "carol", 5 * UNITS);
    let accepted = chain.submit(transaction.clone()).unwrap();
    assert_eq!(accepted.standing, Standing::Ready);
    let block = seal(&mut chain);
    assert_eq!(block.included, [accepted.hash]);
    assert_eq!(block.header.number, 1);
    assert_eq!(*block.header.parent_hash(), chain.genesis_hash());
    assert_eq!(chain.head_hash(), block.hash);
    assert_eq!(
        chain.body(block.hash).unwrap().unwrap().last(),
        Some(&transaction)
    );
    assert_eq!(free(&chain, block.hash, "carol"), 5 * UNITS);
    assert_eq!(issuance(&chain), before);
    // The state before is still there.
    assert_eq!(free(&chain, chain.genesis_hash(), "carol"), 0);
    assert_eq!(free(&chain, chain.genesis_hash(), "alice"), RICH);
}

#[test]
fn blocks_are_made_only_when_there_is_something_to_put_in() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = open(directory.path());
    assert!(chain.seal(1, Empty::Skip).unwrap().block.is_none());
    assert_eq!(chain.head().number, 0);
    let empty = chain.seal(1, Empty::Seal).unwrap().block.unwrap();
    assert!(empty.included.is_empty());
    // The time moves on even if the clock does not.
    let next = chain.seal(1, Empty::Seal).unwrap().block.unwrap();
    assert_eq!(next.header.number, 2);
    assert_ne!(next.header.state_root, empty.header.state_root);
}

#[test]
fn transactions_in_flight_are_applied_in_the_order_of_their_nonces() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = open(directory.path());
    let transactions: Vec<_> = (0..20)
        .map(|nonce| transfer(&chain, "alice", nonce, "carol", UNITS))
        .collect();
    for transaction in transactions.iter().skip(1).rev() {
        assert_eq!(
            chain.submit(transaction.clone()).unwrap().standing,
            Standing::Future
        );
    }
    assert!(!chain.has_ready());
    assert_eq!(chain.next_nonce(&account("alice")).unwrap(), 0);
    chain.submit(transactions[0].clone()).unwrap();
    assert_eq!(chain.next_nonce(&account("alice")).unwrap(), 20);
    let block = seal(&mut chain);
    assert_eq!(block.included.len(), 20);
    assert_eq!(chain.body(block.hash).unwrap().unwrap()[1..], transactions);
    assert_eq!(free(&chain, block.hash, "carol"), 20 * UNITS);
    assert_eq!(chain.pending(), 0);
}

#[test]
fn bad_transactions_are_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = open(directory.path());
    assert!(matches!(
        chain.submit(vec![1, 2, 3]),
        Err(SubmitError::BadFormat(_))
    ));
    let long = vec![0; ai_link_devchain::MAX_TRANSACTION_BYTES + 1];
    assert!(matches!(
        chain.submit(long),
        Err(SubmitError::TooLong { .. })
    ));
    let poor = transfer(&chain, "carol", 0, "alice", 1);
    assert!(matches!(
        chain.submit(poor),
        Err(SubmitError::Invalid(InvalidTransaction::Payment))
    ));
    let mut forged = transfer(&chain, "alice", 0, "carol", UNITS);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(matches!(
        chain.submit(forged),
        Err(SubmitError::Invalid(InvalidTransaction::BadProof))
    ));
    let good = transfer(&chain, "alice", 0, "carol", UNITS);
    chain.submit(good.clone()).unwrap();
    assert!(matches!(
        chain.submit(good.clone()),
        Err(SubmitError::Pool(_))
    ));
    seal(&mut chain);
    assert!(matches!(
        chain.submit(good),
        Err(SubmitError::Invalid(InvalidTransaction::Stale))
    ));
}

#[test]
fn a_transaction_that_became_invalid_leaves_the_pool_and_the_block_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = open(directory.path());
    // Each is valid by itself, but after the first one alice cannot pay for the second.
    let probe = transfer(&chain, "alice", 0, "carol", RICH);
    let info = [probe.clone(), u32::try_from(probe.len()).unwrap().encode()].concat();
    let info = chain
        .call(chain.head_hash(), "TransactionPaymentApi_query_info", &info)
        .unwrap();
    let fee = Balance::decode(&mut &info[info.len() - 16..]).unwrap();
    assert!(fee > 0);
    let most = transfer(&chain, "alice", 0, "carol", RICH - fee - fee / 2);
    let next = transfer(&chain, "alice", 1, "carol", 1);
    let first = chain.submit(most).unwrap();
    let broke = chain.submit(next).unwrap();
    let before = issuance(&chain);
    let sealed = chain.seal(1, Empty::Skip).unwrap();
    assert_eq!(sealed.lost, [(broke.hash, Loss::Invalid)]);
    let block = sealed.block.unwrap();
    assert_eq!(block.included, [first.hash]);
    assert_eq!(chain.body(block.hash).unwrap().unwrap().len(), 2);
    assert_eq!(chain.pending(), 0);
    assert_eq!(issuance(&chain), before);
    assert_eq!(free(&chain, block.hash, "carol"), RICH - fee - fee / 2);
}

#[test]
fn altered_transactions_are_refused_and_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = open(directory.path());
    let good = transfer(&chain, "alice", 0, "carol", UNITS);
    for at in 0..good.len() {
        assert!(chain.submit(good[..at].to_vec()).is_err(), "cut at {at}");
        for bit in [0, 3, 7] {
            let mut altered = good.clone();
            altered[at] ^= 1 << bit;
            assert!(chain.submit(altered).is_err(), "bit {bit} of byte {at}");
        }
    }
    let longer = [good.clone(), vec![0]].concat();
    assert!(chain.submit(longer).is_err());
    assert_eq!(chain.pending(), 0);
    chain.submit(good).unwrap();
    assert_eq!(seal(&mut chain).included.len(), 1);
}

#[test]
fn calls_with_bad_arguments_are_errors_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let chain = open(directory.path());
    let head = chain.head_hash();
    let call = |method, arguments: &[u8]| chain.call(head, method, arguments);
    assert!(matches!(
        call("No_such_call", &[]),
        Err(ReadError::Execute(_))
    ));
    assert!(matches!(
        call("BlockBuilder_apply_extrinsic", &[9; 40]),
        Err(ReadError::Execute(_))
    ));
    assert!(matches!(
        chain.storage(sp_core::H256::repeat_byte(7), b"x"),
        Err(ReadError::UnknownBlock(_))
    ));
    let nonce = call("AccountNonceApi_account_nonce", &account("alice").encode()).unwrap();
    assert_eq!(nonce, 0_u32.encode());
}

#[test]
fn states_are_kept_for_the_window_and_not_longer() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = open(directory.path());
    let transaction = transfer(&chain, "alice", 0, "carol", UNITS);
    chain.submit(transaction).unwrap();
    let first = seal(&mut chain);
    for _ in 0..HISTORY {
        chain.seal(1, Empty::Seal).unwrap();
    }
    assert_eq!(free(&chain, first.hash, "carol"), UNITS);
    assert!(matches!(
        chain.storage(chain.genesis_hash(), b"x"),
        Err(ReadError::StateGone { number: 0, .. })
    ));
    // Also after a restart.
    drop(chain);
    let mut chain = open(directory.path());
    assert_eq!(free(&chain, first.hash, "carol"), UNITS);
    chain.seal(1, Empty::Seal).unwrap();
    assert!(chain.storage(first.hash, b"x").is_err());
    assert_eq!(free(&chain, chain.head_hash(), "carol"), UNITS);
    assert!(chain.header(first.hash).unwrap().is_some());
}

#[test]
fn a_restart_keeps_everything_and_a_different_genesis_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = open(directory.path());
    for nonce in 0..5 {
        let transaction = transfer(&chain, "alice", nonce, "carol", UNITS);
        chain.submit(transaction).unwrap();
        seal(&mut chain);
    }
    let (head, root) = (chain.head_hash(), chain.head().state_root);
    drop(chain);
    let chain = open(directory.path());
    assert_eq!((chain.head_hash(), chain.head().state_root), (head, root));
    assert_eq!(free(&chain, head, "carol"), 5 * UNITS);
    assert_eq!(chain.next_nonce(&account("alice")).unwrap(), 5);
    drop(chain);
    let other = Genesis {
        endowed: vec![(account("alice"), RICH)],
    };
    assert!(matches!(
        Chain::open(directory.path(), &other, PoolLimits::default()),
        Err(OpenError::OtherGenesis { .. })
    ));
}

#[test]
fn an_unsound_genesis_is_refused() {
    let check = |endowed| {
        let directory = tempfile::tempdir().unwrap();
        Chain::open(
            directory.path(),
            &Genesis { endowed },
            PoolLimits::default(),
        )
        .err()
        .unwrap()
    };
    assert!(matches!(
        check(vec![(account("a"), 1)]),
        OpenError::EndowedTooLittle { .. }
    ));
    let twice = vec![(account("a"), RICH), (account("a"), RICH)];
    assert!(matches!(check(twice), OpenError::EndowedTwice { .. }));
    assert!(matches!(
        check(vec![(account("a"), Balance::MAX)]),
        OpenError::EndowedTooMuch
    ));
}

#[test]
fn the_configuration_is_read_strictly() {
    let read = serde_json::from_str::<DevChainConfig>;
    let alice = account("alice");
    let text = format!(r#"{{"data_dir": "x", "endowed": [{{"account": "{alice}", "ail": 7}}]}}"#);
    let config = read(&text).unwrap();
    assert_eq!(config.genesis().endowed, [(alice, 7 * UNITS)]);
    assert!(config.listen.ip().is_loopback());
    assert!(read(r#"{"data_dir": "x", "port": 1}"#).is_err());
    assert!(read(r#"{"data_dir": "x", "block_interval_ms": 0}"#).is_err());
}

const CHILD_DIRECTORY: &str = "AI_LINK_DEVCHAIN_TEST_CHILD";

/// Not a test of its own: the process that `a_killed_chain_has_every_block_it_announced` kills.
#[test]
fn child_that_makes_blocks() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else {
        return;
    };
    let mut chain = open(Path::new(&directory));
    let mut nonce = chain.next_nonce(&account("alice")).unwrap();
    loop {
        let transaction = transfer(&chain, "alice", nonce, "carol", UNITS);
        chain.submit(transaction).unwrap();
        let block = seal(&mut chain);
        nonce += 1;
        // Straight to the pipe, past the test harness's capture.
        let mut out = std::io::stderr().lock();
        writeln!(
            out,
            "sealed {} {}",
            block.header.number,
            hex::encode(block.hash)
        )
        .unwrap();
    }
}

#[test]
fn a_killed_chain_has_every_block_it_announced() {
    let directory = tempfile::tempdir().unwrap();
    let mut announced = (0, String::new());
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_makes_blocks", "--nocapture"])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let wanted = announced.0 + 3 * round;
        while announced.0 < wanted {
            let line = lines.next().unwrap().unwrap();
            let Some(rest) = line.strip_prefix("sealed ") else {
                continue;
            };
            let (number, hash) = rest.split_once(' ').unwrap();
            announced = (number.parse::<u32>().unwrap(), hash.to_owned());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it managed to announce before it died.
        for line in lines.map_while(Result::ok) {
            let Some(rest) = line.strip_prefix("sealed ") else {
                continue;
            };
            let Some((number, hash)) = rest.split_once(' ') else {
                continue;
            };
            if let (Ok(number), 64) = (number.parse(), hash.len()) {
                announced = (number, hash.to_owned());
            }
        }

        // Opening verifies the state against its root.
        let chain = open(directory.path());
        let head = chain.head().number;
        let hash = chain.hash_at(announced.0).unwrap().unwrap();
        assert_eq!(hex::encode(hash), announced.1);
        assert!(
            head == announced.0 || head == announced.0 + 1,
            "{head} {announced:?}"
        );
        assert_eq!(
            free(&chain, chain.head_hash(), "carol"),
            Balance::from(head) * UNITS
        );
        assert_eq!(chain.next_nonce(&account("alice")).unwrap(), head);
    }
}
