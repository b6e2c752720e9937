//! Ciphertext arithmetic: thin, batched layers over `tfhe::core_crypto`.

pub(crate) mod bootstrap;
pub(crate) mod device;
pub(crate) mod keyswitch;
pub(crate) mod packing;
pub(crate) mod sum;
