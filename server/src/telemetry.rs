//! What the server counts and measures of itself.

mod histogram;
mod metrics;
mod process;

pub(crate) use metrics::Metrics;
pub use metrics::Snapshot;
pub(crate) use process::usage;
