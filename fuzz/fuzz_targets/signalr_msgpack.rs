//! A SignalR client's bytes in MessagePack: any, in chunks of any size. `signalr/src/fuzzing.rs` has what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| fanfare_signalr::fuzzing::message_pack(stream));
