//! PEM files: any bytes. `certs/src/fuzzing.rs` has what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| fanfare_certs::fuzzing::pem(file));
