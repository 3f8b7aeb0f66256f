//! A file of keys, a secret, or a key set that a URL gave: `token/src/fuzzing.rs` has what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fanfare_token::fuzzing::key_file(input));
