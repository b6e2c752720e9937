//! Accounts: who owns an object.

use std::fmt;
use std::str::FromStr;

use blake2::{Blake2b512, Digest};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// SS58 prefix of accounts of any Substrate network, used when an account is written.
const SUBSTRATE_PREFIX: u16 = 42;
/// SS58 prefix of CESS accounts (they begin with `cX`), accepted when one is read.
const CESS_PREFIX: u16 = 11_330;

/// An account: an ed25519 or sr25519 public key. Written as SS58 with prefix 42; read with prefix 42
/// or 11330.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub [u8; 32]);

/// Why a text is not an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAccountError {
    /// It is not base58, or has the wrong length.
    #[error("not an SS58 address of a 32-byte account")]
    NotSs58,
    /// It names another network.
    #[error("the SS58 address has network prefix {0}; this storage takes prefixes 42 and 11330")]
    OtherNetwork(u16),
    /// It was mistyped.
    #[error("the checksum of the SS58 address is wrong: it was mistyped or cut")]
    Checksum,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![SUBSTRATE_PREFIX as u8];
        bytes.extend(self.0);
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({self})")
    }
}

impl FromStr for Account {
    type Err = ParseAccountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The longest form: 2 bytes of prefix, 32 of key and 2 of checksum.
        let mut bytes = [0; 36];
        let length = bs58::decode(text)
            .onto(&mut bytes[..])
            .map_err(|_| ParseAccountError::NotSs58)?;
        let bytes = &bytes[..length];
        let (prefix, start) = match *bytes {
            [simple @ 0..=63, ..] => (u16::from(simple), 1),
            // Fourteen bits, laid out so that the first byte stays between 64 and 127.
            [first @ 64..=127, second, ..] => {
                let low = (first << 2) | (second >> 6);
                (u16::from(low) | u16::from(second & 0b11_1111) << 8, 2)
            }
            _ => return Err(ParseAccountError::NotSs58),
        };
        let (body, found) = bytes
            .len()
            .checked_sub(2)
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or(ParseAccountError::NotSs58)?;
        let key = body.get(start..).ok_or(ParseAccountError::NotSs58)?;
        let key: [u8; 32] = key.try_into().map_err(|_| ParseAccountError::NotSs58)?;
        if checksum(body) != found {
            return Err(ParseAccountError::Checksum);
        }
        if prefix != SUBSTRATE_PREFIX && prefix != CESS_PREFIX {
            return Err(ParseAccountError::OtherNetwork(prefix));
        }
        Ok(Self(key))
    }
}

impl Serialize for Account {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

fn checksum(body: &[u8]) -> [u8; 2] {
    let hash = Blake2b512::new()
        .chain_update(b"SS58PRE")
        .chain_update(body)
        .finalize();
    [hash[0], hash[1]]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";

    #[test]
    fn known_addresses() {
        let alice: Account = ALICE.parse().unwrap();
        assert_eq!(
            hex::encode(alice.0),
            "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d"
        );
        assert_eq!(alice.to_string(), ALICE);
        // The accounts of two public CESS gateways.
        for address in [
            "cXf3X3ugTnivQA9iDRYmLNzxSqybgDtpStBjFcBZEoH33UVaz",
            "cXjy16zpi3kFU6ThDHeTifpwHop4YjaF3EvYipTeJSbTjmayP",
        ] {
            let account: Account = address.parse().unwrap();
            assert_eq!(account.to_string().parse(), Ok(account));
        }
    }

    #[test]
    fn what_is_not_an_account_is_refused() {
        let mistyped = ALICE.replace("5Grw", "5Grx");
        assert_eq!(
            mistyped.parse::<Account>(),
            Err(ParseAccountError::Checksum)
        );
        // The same key on Polkadot.
        assert_eq!(
            "15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5".parse::<Account>(),
            Err(ParseAccountError::OtherNetwork(0))
        );
        for text in [
            "",
            "1",
            "5",
            "not base58 0OIl",
            &ALICE[..40],
            &ALICE.repeat(3),
        ] {
            assert_eq!(
                text.parse::<Account>(),
                Err(ParseAccountError::NotSs58),
                "{text}"
            );
        }
    }
}
