//! SS58, the text form of Substrate accounts: base58 of `prefix ‖ key ‖ checksum`, where the
//! checksum is the first two bytes of blake2b-512 over `"SS58PRE" ‖ prefix ‖ key`.

/// The generic Substrate network prefix.
const PREFIX: u8 = 42;

pub(super) fn to_text(account: &[u8; 32]) -> String {
    let mut bytes = [0; 35];
    bytes[0] = PREFIX;
    bytes[1..33].copy_from_slice(account);
    let check = checksum(&bytes[..33]);
    bytes[33..].copy_from_slice(&check);
    bs58::encode(bytes).into_string()
}

pub(super) fn from_text(text: &str) -> Result<[u8; 32], Ss58Error> {
    let mut bytes = [0; 35];
    let length = bs58::decode(text)
        .onto(&mut bytes)
        .map_err(|_| Ss58Error::Base58)?;
    if length != bytes.len() {
        return Err(Ss58Error::Length { length });
    }
    if bytes[0] != PREFIX {
        return Err(Ss58Error::Prefix { found: bytes[0] });
    }
    if checksum(&bytes[..33]) != bytes[33..] {
        return Err(Ss58Error::Checksum);
    }
    let mut account = [0; 32];
    account.copy_from_slice(&bytes[1..33]);
    Ok(account)
}

fn checksum(prefixed: &[u8]) -> [u8; 2] {
    let hash = blake2b_simd::State::new()
        .update(b"SS58PRE")
        .update(prefixed)
        .finalize();
    [hash.as_bytes()[0], hash.as_bytes()[1]]
}

/// Why a text is no SS58 address of this network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ss58Error {
    /// Not base58, or longer than an address.
    #[error("not base58 of at most 35 bytes")]
    Base58,
    /// The checksum does not match: probably a typing error.
    #[error("the checksum does not match; is a character mistyped?")]
    Checksum,
    /// Not the length of a 32-byte account.
    #[error("{length} bytes, but an address has 35")]
    Length {
        /// Bytes found.
        length: usize,
    },
    /// An address of another network.
    #[error("network prefix {found}, but this network uses 42")]
    Prefix {
        /// The prefix found.
        found: u8,
    },
}
