//! An operator's request: any bytes as JSON. `server/src/fuzzing.rs` has what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|request: &[u8]| fanfare_server::fuzzing::operator_request(request));
