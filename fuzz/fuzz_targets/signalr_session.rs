//! A whole session of a client of SignalR: its handshake, calls, items, and whatever else the bytes say.
//! `server/src/fuzzing/signalr.rs` has what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

// A chunk's size has seven bits, and the eighth says whether there is an application.
fuzz_target!(|input: (u8, &[u8])| {
    fanfare_server::fuzzing::signalr_session(input.1, usize::from(input.0 & 127), input.0 >= 128);
});
