//! Arbitrary messages to the machines of a masked evaluation.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ai_link_mpc::testing::fuzz_machines(data));
