//! The end-to-end tests, as one program: each file is a part of the server, seen from outside.
//!
//! One program is built in a fraction of the time that one for each file takes. Those that are run in a way of their
//! own are programs of their own: `architecture` reads the code, `back_ends` starts itself anew as the server that it
//! kills, `crowd` is to have the processors for itself, and `last_release` needs an older client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod access;
mod api;
mod application;
mod close;
mod cluster;
mod compatibility;
mod door;
mod doors;
#[path = "../../nats/tests/harness/mod.rs"]
mod harness;
mod key_sets;
mod lasting;
mod lifecycle;
mod operators;
mod presence;
mod promises;
mod proxied;
mod revocation;
mod runs;
mod several;
mod signalr;
mod slow;
mod unreliable;
mod webhooks;
mod websocket;
