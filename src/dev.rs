//! A whole network on this machine: every role in an operating-system process of its own, on loopback,
//! with all state in one directory.
//!
//! ```text
//! DIR/network.json           what runs where (read by every other command)
//! DIR/keys/NAME.key          ed25519 seeds, reproducible from --seed
//! DIR/NAME/config.toml       the configuration the process was started with
//! DIR/NAME/ready.json        written by the process when it serves: pid and addresses
//! DIR/NAME/log               its standard error
//! DIR/NAME/data/             its state
//! ```

pub(crate) mod layout;
mod miners;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod up;

pub(crate) use layout::{Network, StateDir};
