//! Typed client of the registry and settlement pallets.
