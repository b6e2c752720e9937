#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ai_link_wire::fuzz_entry::control(data));
