//! CESS storage: segments, fragments, fids, the embedded store and client-side encryption.
