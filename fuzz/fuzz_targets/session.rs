//! A whole session: `Hello`, requests, and whatever else the bytes say. `server/src/fuzzing.rs` has what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| fanfare_server::fuzzing::session(input.1, usize::from(input.0)));
