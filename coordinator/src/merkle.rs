//! The root over an epoch's jobs: see [`ai_link_wire::merkle`].

pub use ai_link_wire::merkle::root;
