//! A token's header and claims, signed as they should be: `server/src/access/fuzzing.rs` has what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fanfare_server::fuzzing::token(input));
