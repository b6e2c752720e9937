//! Embedded single-node chain: executes the runtime natively and speaks Substrate JSON-RPC.
