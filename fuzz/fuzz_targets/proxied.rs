//! What stands before a connection, and in the headers of a request, where a proxy may have written it.
//! `server/src/fuzzing.rs` has what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fanfare_server::fuzzing::proxied(bytes));
