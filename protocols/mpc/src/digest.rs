//! The digest of a long message, for receipts.
//!
//! BLAKE3 in its key derivation mode, which separates these digests from every other use of it. A
//! layer of a million values is eight megabytes, which every party digests: SHA-256 took as long for
//! that as all computing on them.

/// Context of BLAKE3's key derivation mode.
const CONTEXT: &str = "ai-link/mpc/digest/v2";

pub(crate) fn digest(message: &[u8]) -> [u8; 32] {
    blake3::derive_key(CONTEXT, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i * 7 % 251) as u8).collect()
    }

    /// Computed with the `blake3` package of PyPI, `derive_key_context` as above.
    #[test]
    fn digests_are_those_of_another_program() {
        for (bytes, want) in [
            (
                0,
                "46c878504c557ddb1bec8565560df5a1eba568465b90d9729460615e5e32f001",
            ),
            (
                1,
                "12cf00556824bd069c1706f1772375ef27eba7467a6b740fa5d25ff0814c8dbf",
            ),
            (
                100_000,
                "bf3f9423c1527fb7665f064f37433bc399be198e6c25ec11144d20cba2c47052",
            ),
        ] {
            assert_eq!(hex::encode(digest(&message(bytes))), want, "{bytes} bytes");
        }
    }

    #[test]
    fn every_byte_counts() {
        let message = message(70_000);
        let digested = digest(&message);
        for at in [0, 1, 1023, 1024, 65_535, message.len() - 1] {
            let mut other = message.clone();
            other[at] ^= 1;
            assert_ne!(digest(&other), digested, "byte {at}");
        }
        assert_ne!(digest(&message[1..]), digested);
    }
}
