//! Randomness of the operating system.

use ai_link_mpc::Secret32;
use ai_link_wire::Digest;
use zeroize::Zeroize as _;

/// 32 fresh secret bytes.
pub(crate) fn entropy() -> Result<Secret32, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let secret = Secret32::new(bytes);
    bytes.zeroize();
    Ok(secret)
}

/// A fresh contribution to a pool's number; no secret.
pub(crate) fn contribution() -> Result<Digest, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(Digest(bytes))
}
