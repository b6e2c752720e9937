//! Who sends a request.
//!
//! Requests that change something carry three headers, as with DeOSS: `Account` (SS58, prefix 42 or
//! 11330), `Message` and `Signature`. DeOSS takes any text as the message and sr25519 as the
//! scheme. Here accounts are ed25519 or sr25519 keys (as on a chain, where an account is either), and
//! the message must be a deadline in Unix milliseconds that lies at most ten minutes ahead,
//! optionally followed by the request it is for:
//!
//! ```text
//! 1732340000000
//! 1732340000000 DELETE /file/56fe5489fa37425d5bfd4def2789eacc3ccf21185cb8102b76218de97e59f5f9
//! ```
//!
//! The first form can be replayed for any request until the deadline, like every signature of
//! DeOSS. The second, which [`HttpStore`](crate::HttpStore) uses, only for the same request. Neither
//! covers the body: the sender must compare the fid of the answer with its own.
//!
//! The signature is over the message or, as polkadot.js wallets do, over the message between
//! `<Bytes>` and `</Bytes>`, which no transaction of a chain can look like. It is written in
//! base58, or in hex with or without `0x`.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signature, VerifyingKey};

use crate::account::{Account, ParseAccountError};

/// Header with the account.
pub(crate) const ACCOUNT: &str = "account";
/// Header with what is signed.
pub(crate) const MESSAGE: &str = "message";
/// Header with the signature.
pub(crate) const SIGNATURE: &str = "signature";

/// What Substrate signs under.
const SR25519_CONTEXT: &[u8] = b"substrate";

/// How far ahead a deadline may lie.
const HORIZON: Duration = Duration::from_secs(600);

/// Signs requests for an account. Implemented by whoever holds the key, so that the key need not
/// come here.
pub trait RequestSigner: Send + Sync {
    /// The account, which is the ed25519 public key.
    fn account(&self) -> Account;

    /// The ed25519 signature over `message`.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// A [`RequestSigner`] made of an account and a function.
pub struct SignWith<F> {
    account: Account,
    sign: F,
}

impl<F: Fn(&[u8]) -> [u8; 64] + Send + Sync> SignWith<F> {
    /// Signs for `account` with `sign`.
    pub fn new(account: Account, sign: F) -> Self {
        Self { account, sign }
    }
}

impl<F: Fn(&[u8]) -> [u8; 64] + Send + Sync> RequestSigner for SignWith<F> {
    fn account(&self) -> Account {
        self.account
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        (self.sign)(message)
    }
}

impl<F> fmt::Debug for SignWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignWith")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// Signs with sr25519, as CESS's gateways want it (signing context "substrate").
pub struct Sr25519Signer(schnorrkel::Keypair);

impl Sr25519Signer {
    /// The key that Substrate derives from this secret seed.
    ///
    /// # Errors
    ///
    /// [`AuthError::Signature`] if it is no seed, which no 32 bytes are known not to be.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, AuthError> {
        let secret =
            schnorrkel::MiniSecretKey::from_bytes(seed).map_err(|_| AuthError::Signature)?;
        Ok(Self(
            secret.expand_to_keypair(schnorrkel::ExpansionMode::Ed25519),
        ))
    }
}

impl RequestSigner for Sr25519Signer {
    fn account(&self) -> Account {
        Account(self.0.public.to_bytes())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let context = schnorrkel::signing_context(SR25519_CONTEXT);
        self.0.sign(context.bytes(message)).to_bytes()
    }
}

impl fmt::Debug for Sr25519Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sr25519Signer")
            .field("account", &self.account())
            .finish_non_exhaustive()
    }
}

/// What a request says about its sender, as received.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// HTTP method, in capitals.
    pub method: &'a str,
    /// Path as sent, percent-encoded, without the query.
    pub path: &'a str,
    /// Header `Account`.
    pub account: Option<&'a str>,
    /// Header `Message`.
    pub message: Option<&'a str>,
    /// Header `Signature`.
    pub signature: Option<&'a str>,
}

/// Decides whether a request comes from the account it names.
pub trait Authorizer: Send + Sync + 'static {
    /// The account that sent this request.
    ///
    /// # Errors
    ///
    /// See [`AuthError`].
    fn authorize(&self, claim: &Claim<'_>, now: SystemTime) -> Result<Account, AuthError>;
}

/// Why a request is not accepted from the account it names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The header `Account` is not an account.
    #[error("the Account header is not an account")]
    Account(#[source] ParseAccountError),
    /// The deadline has passed, or the clocks differ.
    #[error("the deadline in the Message header has passed by {by:?}: sign again, check the clock")]
    Expired {
        /// By how much.
        by: Duration,
    },
    /// The message is not what this store wants signed.
    #[error(
        "the Message header must be a deadline in Unix milliseconds, \
         optionally followed by method and path"
    )]
    Message,
    /// A header is missing.
    #[error("the {0} header is missing: this request must be signed")]
    Missing(&'static str),
    /// The message was signed for another request.
    #[error("the Message header was signed for another request")]
    OtherRequest,
    /// The signature is wrong.
    #[error(
        "the Signature header is not an ed25519 or sr25519 signature of the message by the account"
    )]
    Signature,
    /// The deadline is too far ahead.
    #[error("the deadline in the Message header lies {by:?} ahead, at most 10 minutes are allowed")]
    TooFarAhead {
        /// By how much.
        by: Duration,
    },
    /// The store is not open to this account.
    #[error("account {0} may not write to this store")]
    UnknownAccount(Account),
}

/// Accepts ed25519 and sr25519 signatures as described in this module.
#[derive(Clone, Debug, Default)]
pub struct SignatureAuthorizer {
    accounts: Access,
}

/// Whose writes a store accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Anybody's who signs.
    #[default]
    Anyone,
    /// Only those of these accounts.
    Only(Vec<Account>),
}

impl SignatureAuthorizer {
    /// Accepts the writes of these accounts.
    pub fn new(accounts: Access) -> Self {
        Self { accounts }
    }
}

impl Authorizer for SignatureAuthorizer {
    fn authorize(&self, claim: &Claim<'_>, now: SystemTime) -> Result<Account, AuthError> {
        let account = claim.account.ok_or(AuthError::Missing("Account"))?;
        let message = claim.message.ok_or(AuthError::Missing("Message"))?;
        let signature = claim.signature.ok_or(AuthError::Missing("Signature"))?;

        let account: Account = account.parse().map_err(AuthError::Account)?;
        if let Access::Only(accounts) = &self.accounts
            && !accounts.contains(&account)
        {
            return Err(AuthError::UnknownAccount(account));
        }
        check_message(message, claim, now)?;
        let signature = parse_signature(signature).ok_or(AuthError::Signature)?;
        let verifies = |signed: &[u8]| verifies(account, signed, &signature);
        if verifies(message.as_bytes()) || verifies(wrapped(message).as_bytes()) {
            Ok(account)
        } else {
            Err(AuthError::Signature)
        }
    }
}

/// The values of the headers `Account`, `Message` and `Signature` for one request.
pub(crate) fn sign_request(
    signer: &dyn RequestSigner,
    method: &str,
    path: &str,
    deadline: SystemTime,
) -> [(&'static str, String); 3] {
    let message = format!("{} {method} {path}", unix_millis(deadline));
    let signature = signer.sign(wrapped(&message).as_bytes());
    [
        (ACCOUNT, signer.account().to_string()),
        (SIGNATURE, hex::encode(signature)),
        (MESSAGE, message),
    ]
}

fn check_message(message: &str, claim: &Claim<'_>, now: SystemTime) -> Result<(), AuthError> {
    let (deadline, request) = match message.split_once(' ') {
        Some((deadline, request)) => (deadline, Some(request)),
        None => (message, None),
    };
    // `parse` alone would take a sign too.
    if deadline.is_empty() || !deadline.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AuthError::Message);
    }
    let deadline: u64 = deadline.parse().map_err(|_| AuthError::Message)?;
    if let Some(request) = request {
        let (method, path) = request.split_once(' ').ok_or(AuthError::Message)?;
        if (method, path) != (claim.method, claim.path) {
            return Err(AuthError::OtherRequest);
        }
    }
    let now = unix_millis(now);
    if deadline <= now {
        return Err(AuthError::Expired {
            by: Duration::from_millis(now - deadline),
        });
    }
    let ahead = Duration::from_millis(deadline - now);
    if ahead > HORIZON {
        return Err(AuthError::TooFarAhead { by: ahead });
    }
    Ok(())
}

/// Whether the account signed this, by either scheme.
pub(crate) fn verifies(account: Account, message: &[u8], signature: &[u8; 64]) -> bool {
    let ed25519 = VerifyingKey::from_bytes(&account.0).is_ok_and(|key| {
        key.verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    });
    let sr25519 = || {
        let key = schnorrkel::PublicKey::from_bytes(&account.0).ok()?;
        let signature = schnorrkel::Signature::from_bytes(signature).ok()?;
        key.verify_simple(SR25519_CONTEXT, message, &signature).ok()
    };
    ed25519 || sr25519().is_some()
}

fn wrapped(message: &str) -> String {
    format!("<Bytes>{message}</Bytes>")
}

fn parse_signature(text: &str) -> Option<[u8; 64]> {
    let mut bytes = [0; 64];
    // 64 bytes are 128 digits in hex and at most 88 in base58.
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() == 128 {
        hex::decode_to_slice(digits, &mut bytes).ok()?;
    } else {
        let length = bs58::decode(text).onto(&mut bytes[..]).ok()?;
        if length != 64 {
            return None;
        }
    }
    Some(bytes)
}

fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    const PATH: &str = "/object/model.onnx";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn account() -> Account {
        Account(key().verifying_key().to_bytes())
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_732_340_000)
    }

    fn check(message: &str, signature: &str) -> Result<Account, AuthError> {
        check_as(&account().to_string(), message, signature)
    }

    fn check_as(account: &str, message: &str, signature: &str) -> Result<Account, AuthError> {
        let claim = Claim {
            method: "PUT",
            path: PATH,
            account: Some(account),
            message: Some(message),
            signature: Some(signature),
        };
        SignatureAuthorizer::default().authorize(&claim, now())
    }

    fn signed(message: &str) -> Result<Account, AuthError> {
        check(
            message,
            &hex::encode(key().sign(message.as_bytes()).to_bytes()),
        )
    }

    #[test]
    fn all_encodings_and_both_forms_are_accepted() {
        let message = "1732340060000";
        let plain = key().sign(message.as_bytes()).to_bytes();
        let wrapped = key().sign(b"<Bytes>1732340060000</Bytes>").to_bytes();
        for signature in [plain, wrapped] {
            for text in [
                hex::encode(signature),
                format!("0x{}", hex::encode(signature)),
                bs58::encode(signature).into_string(),
            ] {
                assert_eq!(check(message, &text), Ok(account()), "{text}");
            }
        }
    }

    #[test]
    fn own_signatures_verify() {
        let signer = SignWith::new(account(), |message: &[u8]| key().sign(message).to_bytes());
        let deadline = now() + Duration::from_secs(60);
        let [(_, account_text), (_, signature), (_, message)] =
            sign_request(&signer, "PUT", PATH, deadline);
        assert_eq!(check_as(&account_text, &message, &signature), Ok(account()));
        let elsewhere = sign_request(&signer, "DELETE", PATH, deadline);
        assert_eq!(
            check(&elsewhere[2].1, &elsewhere[1].1),
            Err(AuthError::OtherRequest)
        );
    }

    #[test]
    fn both_schemes_verify() {
        let signer = Sr25519Signer::from_seed(&[7; 32]).unwrap();
        let account = signer.account().to_string();
        let message = "1732340060000";
        let signature = hex::encode(signer.sign(message.as_bytes()));
        assert_eq!(
            check_as(&account, message, &signature),
            Ok(signer.account())
        );
        assert_eq!(check(message, &signature), Err(AuthError::Signature));
        assert_eq!(
            check_as(&account, "1732340060001", &signature),
            Err(AuthError::Signature)
        );
        // The weakest key of this group too.
        let identity = Account([0; 32]).to_string();
        let forged = hex::encode([0; 64]);
        assert_eq!(
            check_as(&identity, message, &forged),
            Err(AuthError::Signature)
        );
    }

    /// Substrate's development account, whose signatures anybody can make.
    #[test]
    fn alice_is_known() {
        let seed = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
        let mut bytes = [0; 32];
        hex::decode_to_slice(seed, &mut bytes).unwrap();
        let alice = Sr25519Signer::from_seed(&bytes).unwrap().account();
        assert_eq!(
            alice.to_string(),
            "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
        );
    }

    #[test]
    fn deadlines_are_kept() {
        let millis = |millis| Duration::from_millis(millis);
        assert_eq!(signed("1732340000001"), Ok(account()));
        assert_eq!(signed("1732340600000"), Ok(account()));
        assert_eq!(
            signed("1732340000000"),
            Err(AuthError::Expired { by: millis(0) })
        );
        assert_eq!(
            signed("1732339999999"),
            Err(AuthError::Expired { by: millis(1) })
        );
        assert_eq!(
            signed("1732340600001"),
            Err(AuthError::TooFarAhead {
                by: millis(600_001)
            })
        );
        for message in [
            "",
            "soon",
            "+1732340060000",
            "-1",
            " 1732340060000",
            "99999999999999999999999",
        ] {
            assert_eq!(signed(message), Err(AuthError::Message), "{message:?}");
        }
        assert_eq!(signed("1732340060000 "), Err(AuthError::Message));
        assert_eq!(signed("1732340060000 PUT"), Err(AuthError::Message));
        assert_eq!(
            signed("1732340060000 PUT /object/other"),
            Err(AuthError::OtherRequest)
        );
        assert_eq!(signed(&format!("1732340060000 PUT {PATH}")), Ok(account()));
    }

    #[test]
    fn signatures_must_fit() {
        let message = "1732340060000";
        let mut signature = key().sign(message.as_bytes()).to_bytes();
        signature[3] ^= 1;
        assert_eq!(
            check(message, &hex::encode(signature)),
            Err(AuthError::Signature)
        );
        for text in ["", "0x", "zz", &"1".repeat(10_000), &"f".repeat(128)] {
            assert_eq!(check(message, text), Err(AuthError::Signature));
        }
        let other = Account(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes());
        let signature = hex::encode(key().sign(message.as_bytes()).to_bytes());
        assert_eq!(
            check_as(&other.to_string(), message, &signature),
            Err(AuthError::Signature)
        );
        // The neutral element of the curve as a key: a forger's favourite.
        let mut weak = [0; 32];
        weak[0] = 1;
        let mut forged = [0; 64];
        forged[0] = 1;
        let weak = Account(weak).to_string();
        assert_eq!(
            check_as(&weak, message, &hex::encode(forged)),
            Err(AuthError::Signature)
        );
    }

    #[test]
    fn access_can_be_limited() {
        let message = "1732340060000";
        let signature = hex::encode(key().sign(message.as_bytes()).to_bytes());
        let address = account().to_string();
        let claim = Claim {
            method: "PUT",
            path: PATH,
            account: Some(&address),
            message: Some(message),
            signature: Some(&signature),
        };
        let only = |accounts| SignatureAuthorizer::new(Access::Only(accounts));
        assert_eq!(
            only(vec![account()]).authorize(&claim, now()),
            Ok(account())
        );
        assert_eq!(
            only(vec![Account([1; 32])]).authorize(&claim, now()),
            Err(AuthError::UnknownAccount(account()))
        );
        let unsigned = Claim {
            signature: None,
            ..claim
        };
        assert_eq!(
            only(vec![account()]).authorize(&unsigned, now()),
            Err(AuthError::Missing("Signature"))
        );
    }

    proptest! {
        #[test]
        fn any_headers_are_refused_without_panic(account: String, message: String, signature: String) {
            prop_assert!(check_as(&account, &message, &signature).is_err());
            prop_assert!(check(&message, &signature).is_err());
        }
    }
}
