//! SDK and gateway: what applications talk to.
