//! A token's header and claims, signed as they should be: `token/src/fuzzing.rs` has what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fanfare_token::fuzzing::token(input));
