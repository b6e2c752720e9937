//! A chain in memory that seals a block per call, for the runtime's tests.

use ai_link_runtime::{
    AccountId, Hash, Header, RuntimeCall, Signature, SignedPayload, TxExtension,
    UncheckedExtrinsic, VERSION, api, dev_endowed, genesis_config, timestamp_inherent,
};
use codec::{Decode, Encode};
use sp_core::{Pair, ed25519};
use sp_io::TestExternalities;
use sp_runtime::{
    ApplyExtrinsicResult, BuildStorage, ExtrinsicInclusionMode, StateVersion,
    generic::Era,
    traits::{BlakeTwo256, Hash as _, Header as _},
};

/// 2025-01-01T00:00:00Z, so that times look like times.
const START: u64 = 1_735_689_600_000;

pub(crate) fn key(uri: &str) -> ed25519::Pair {
    ed25519::Pair::from_string(uri, None).unwrap()
}

pub(crate) fn account(uri: &str) -> AccountId {
    AccountId::new(key(uri).public().0)
}

/// A transaction that names `sender` and carries a signature by `key`.
pub(crate) fn signed(
    key: &ed25519::Pair,
    sender: AccountId,
    nonce: u32,
    genesis: Hash,
    call: RuntimeCall,
) -> UncheckedExtrinsic {
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
    let implicit = (
        (),
        VERSION.spec_version,
        VERSION.transaction_version,
        genesis,
        genesis, // the block an immortal transaction refers to
        (),
        (),
        (),
    );
    let payload = SignedPayload::from_raw(call.clone(), extension.clone(), implicit);
    let signature = payload.using_encoded(|bytes| key.sign(bytes));
    UncheckedExtrinsic::new_signed(
        call,
        sender.into(),
        Signature::Ed25519(signature),
        extension,
    )
}

pub(crate) struct Chain {
    pub(crate) ext: TestExternalities,
    pub(crate) genesis: Hash,
    pub(crate) parent: Hash,
    pub(crate) number: u32,
    pub(crate) now: u64,
}

impl Chain {
    pub(crate) fn new() -> Self {
        let storage = genesis_config(&dev_endowed()).build_storage().unwrap();
        let mut ext = TestExternalities::new_with_code_and_state(&[], storage, StateVersion::V1);
        let state_root =
            ext.execute_with(|| Hash::decode(&mut &sp_io::storage::root(StateVersion::V1)[..]));
        let empty = BlakeTwo256::ordered_trie_root(Vec::new(), StateVersion::V0);
        let header = Header::new(
            0,
            empty,
            state_root.unwrap(),
            Hash::zero(),
            Default::default(),
        );
        let genesis = header.hash();
        Self {
            ext,
            genesis,
            parent: genesis,
            number: 0,
            now: START,
        }
    }

    /// Asks the runtime something; whatever it writes meanwhile is thrown away, as a node does for
    /// every call that is not part of making a block.
    pub(crate) fn query<R: Decode>(&mut self, method: &str, arguments: &impl Encode) -> R {
        self.ext.execute_with(sp_io::storage::start_transaction);
        let output = self.call(method, arguments);
        self.ext.execute_with(sp_io::storage::rollback_transaction);
        output
    }

    /// Calls the runtime and keeps what it writes.
    pub(crate) fn call<R: Decode>(&mut self, method: &str, arguments: &impl Encode) -> R {
        let output = self
            .ext
            .execute_with(|| api::dispatch(method, &arguments.encode()))
            .unwrap_or_else(|| panic!("the runtime has no call {method}"));
        R::decode(&mut &output[..]).unwrap()
    }

    pub(crate) fn sign(&mut self, uri: &str, nonce: u32, call: RuntimeCall) -> UncheckedExtrinsic {
        signed(&key(uri), account(uri), nonce, self.genesis, call)
    }

    /// Seals a block with the inherent and `transactions`, one second after the last one.
    pub(crate) fn block(
        &mut self,
        transactions: Vec<UncheckedExtrinsic>,
    ) -> (Header, Vec<ApplyExtrinsicResult>) {
        self.now += 1_000;
        self.number += 1;
        let header = Header::new(
            self.number,
            Hash::zero(),
            Hash::zero(),
            self.parent,
            Default::default(),
        );
        let mode: ExtrinsicInclusionMode = self.call("Core_initialize_block", &header);
        assert_eq!(mode, ExtrinsicInclusionMode::AllExtrinsics);
        let inherent: ApplyExtrinsicResult = self.call(
            "BlockBuilder_apply_extrinsic",
            &timestamp_inherent(self.now),
        );
        assert_eq!(inherent, Ok(Ok(())));
        let results = transactions
            .iter()
            .map(|transaction| self.call("BlockBuilder_apply_extrinsic", transaction))
            .collect();
        let header: Header = self.call("BlockBuilder_finalize_block", &());
        self.parent = header.hash();
        (header, results)
    }

    /// Lets time pass before the next block.
    pub(crate) fn skip(&mut self, milliseconds: u64) {
        self.now += milliseconds;
    }
}
