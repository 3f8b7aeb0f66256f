//! What a connection goes through, from its first packet to its end.
//!
//! `listener` lets attempts over QUIC in by `door` (how many at a time) and `admission` (how many in all); over TCP
//! `visit` does, with a `visitor` for each, and `web` makes WebSockets of them, or `signalr` for clients of SignalR, by
//! `negotiations`. From there on all are a `connection`: `handshake` finds out who it is; `session` reads and `writer`
//! writes, `inbound` makes requests of bytes, `router` carries them out, and `sends` those that are sends; `farewell` is
//! the last word. `expiry` and `rounds` look after those that are there.

pub(crate) mod admission;
pub(crate) mod announcer;
pub(crate) mod connection;
pub(crate) mod door;
pub(crate) mod expiry;
pub(crate) mod farewell;
pub(crate) mod handshake;
pub(crate) mod inbound;
pub(crate) mod listener;
pub(crate) mod negotiations;
pub(crate) mod rounds;
pub(crate) mod router;
pub(crate) mod sends;
pub(crate) mod session;
pub(crate) mod signalr;
pub(crate) mod visit;
pub(crate) mod visitor;
pub(crate) mod web;
pub(crate) mod writer;
