// polkadot.js against a chain that begins with the well-known development accounts: connects, reads, submits.
//
//   node transfer.js ws://127.0.0.1:9944
//
// Prints one JSON object; exits with 1 when something is not as it should be.
import assert from 'node:assert/strict';
import { ApiPromise, Keyring, WsProvider } from '@polkadot/api';

const url = process.argv[2];
assert.match(url ?? '', /^ws:\/\//, 'give the chain\'s URL');
const api = await ApiPromise.create({ provider: new WsProvider(url), noInitWarn: true, throwOnConnect: true });

const keyring = new Keyring({ type: 'ed25519', ss58Format: 42 });
const alice = keyring.addFromUri('//Alice');
const someone = keyring.addFromUri(`//js//${Date.now()}`);

// Reads: the runtime's version, constants, an account.
const { specName, specVersion } = api.runtimeVersion;
assert.equal(specName.toString(), 'ai-link');
const window = api.consts.settlement.disputeWindow.toBigInt();
assert.equal(window, 12n * 60n * 60n * 1000n);
const free = async (account) => (await api.query.system.account(account)).data.free.toBigInt();
const before = await free(alice.address);
assert.ok(before > 1_000_000_000_000n, 'Alice is endowed');

// Submits, and follows until it is final.
const submit = (call, signer) => new Promise((resolve, reject) => {
  const failed = (error) => reject(error instanceof Error ? error : new Error(String(error)));
  call.signAndSend(signer, ({ status, events, dispatchError }) => {
    if (status.isInvalid || status.isDropped || status.isUsurped) failed(`the transaction is ${status.type}`);
    if (!status.isFinalized) return;
    if (dispatchError?.isModule) {
      const { section, name } = api.registry.findMetaError(dispatchError.asModule);
      failed(`${section}.${name}`);
    } else if (dispatchError) failed(dispatchError.toString());
    else resolve({ block: status.asFinalized.toHex(), events: events.map(({ event }) => `${event.section}.${event.method}`) });
  }).catch(failed);
});
const amount = 2_000_000_000_000n;
const transfer = await submit(api.tx.balances.transferKeepAlive(someone.address, amount), alice);
assert.ok(transfer.events.includes('balances.Transfer'), transfer.events.join());
assert.equal(await free(someone.address), amount);
assert.ok(await free(alice.address) < before - amount, 'fees are paid');

// A pallet of ours: what it does, and its own error.
const deposit = await submit(api.tx.settlement.deposit(1_000_000_000_000n), alice);
assert.ok(deposit.events.includes('settlement.Deposited'), deposit.events.join());
const escrow = (await api.query.settlement.escrow(alice.address)).unwrap();
assert.ok(escrow.free.toBigInt() >= 1_000_000_000_000n);
await assert.rejects(submit(api.tx.settlement.deposit(0), alice), /settlement.ZeroAmount/);

console.log(JSON.stringify({
  spec: `${specName}-${specVersion}`, transfer: transfer.block, deposit: deposit.block, events: transfer.events.length,
}));
await api.disconnect();
