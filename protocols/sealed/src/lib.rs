//! Level `sealed`: a request and its streamed answer between an application and one worker that it trusts.
//!
//! Coordinator and relays see ciphertexts of padded lengths. The worker sees the data: at this level that is what the
//! application chose, by naming the worker or its operator ([`ai_link_wire::Trusted`]).
//!
//! # Encryption
//!
//! The request is encrypted by HPKE (RFC 9180) in mode base with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
//! ChaCha20-Poly1305, to a key that the worker made at most an hour ago and signed with its identity. `info` binds it to
//! the signed ticket and the worker: a request cannot be opened under another ticket.
//!
//! The answer's key is exported from the same context (RFC 9180, section 5.3) and mixed with a nonce of the worker, as
//! Oblivious HTTP has it (RFC 9458, section 4.4). Both directions are chunks with a counter and a final flag, as in Chunked
//! Oblivious HTTP (draft-ietf-ohai-chunked-ohttp, section 6). Here the counter is written in front of each chunk and
//! authenticated with it, so that a chunk that was left out, sent twice or moved is named as what it is ([`ChunkError`]).
//! A stream that ends before its final chunk was cut: [`Opener::finish`].
//!
//! Lengths are padded to 128 bytes: an answer that is streamed token by token would otherwise tell the length of each
//! token (Weiss et al., "What Was Your Prompt?", 2024). How many chunks there are and when they come is visible.
//!
//! # Not protected
//!
//! Who asks which worker for which model, when, and about how much. A worker that is broken into while its key lives;
//! requests under older keys are safe, since the worker forgets them. The worker itself.

#![forbid(unsafe_code)]

mod chunk;
mod key;
pub mod message;
pub mod package;
mod session;

pub use chunk::{ChunkError, Last, Opened, Opener, Sealer};
pub use key::{KeyError, WorkerKey};
pub use session::{
    ClientHalf, Opening, PendingAnswer, Receipts, ServerHalf, SessionError, accept, open,
};
