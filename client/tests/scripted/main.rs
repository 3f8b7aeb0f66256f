//! The client against a server whose every word the test decides: real QUIC and TLS on the loopback interface.
//!
//! In: nothing. Out: what an application sees, and what a server gets, in situations that a real server brings about
//! rarely or never. No test sleeps: each waits for a condition, with a deadline.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod calls;
mod closing;
mod connect;
mod flow;
mod methods;
mod presence;
mod reconnect;
mod requests;
mod scenarios;
mod server;
mod several;
