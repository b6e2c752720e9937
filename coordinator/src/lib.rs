//! Matching, job ledger and settlement batches.
