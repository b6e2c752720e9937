#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ai_link_storage::fuzz::node_messages(bytes));
