//! HTTP: health, and in development a page.

mod health;

pub(crate) use health::{Http, certificate_hash, routes};
