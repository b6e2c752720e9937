//! The `ai-link` command.
fn main() {}
