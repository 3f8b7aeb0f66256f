//! HTTP: health, in development a page; and the API, by which back ends use the hub.
//!
//! `health` is by itself. Of the API, `entrance` lets in who shows a key, and `routes` has the paths and the document
//! that describes them. An `operation` is given a `body` and has an `outcome`, and `command` carries it out; `reading`
//! answers questions, with `row`s, a `page` at a time. `request` is what handlers take, `idempotency` what is carried
//! out once, and `problem` why something was not done.

mod body;
mod command;
mod entrance;
mod health;
mod idempotency;
mod operation;
mod outcome;
mod page;
mod problem;
mod reading;
mod request;
mod routes;
mod row;

pub(crate) use command::Api;
pub(crate) use health::{Http, certificate_hash, routes};
pub(crate) use routes::{PATH as API_PATH, routes as api_routes};
