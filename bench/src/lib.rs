//! Measures hubs: the same payloads, the same receivers, the same run; see `docs/benchmarks/`.
//!
//! ```text
//!   main -> plan -> workloads -> harness (peer, process, connection), crowd (tally), publisher -> wire, payload
//!        -> figures -> budgets, table, plot
//! ```
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures: counts and nanoseconds far below 2^52"
)]
#![allow(missing_docs, unreachable_pub, reason = "a program's parts, not an interface")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod application;
pub mod back_end;
pub mod budgets;
pub mod connection;
pub mod crowd;
pub mod error;
pub mod figures;
pub mod harness;
pub mod machine;
pub mod payload;
pub mod peer;
pub mod peers;
pub mod plan;
pub mod plot;
pub mod process;
pub mod publisher;
pub mod report;
pub mod table;
pub mod tally;
pub mod text;
pub mod wire;
pub mod workloads;
