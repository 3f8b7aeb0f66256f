//! Answers to operators as lines of JSON.

use bytes::Bytes;
use fanfare_protocol::Code;
use fanfare_protocol::admin::{AdminError, AdminReply};
use serde::Serialize;

use crate::moderation::StoreError;

pub(super) fn store_failed(error: &StoreError) -> AdminError {
    AdminError { code: Code::Internal.number(), message: error.to_string() }
}

/// An answer as a line.
pub(super) fn line<T: Serialize>(reply: &AdminReply<T>) -> Bytes {
    // Texts, numbers and values with texts as keys: there is nothing in it that JSON does not have.
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

pub(super) fn refusal(error: &AdminError) -> Bytes {
    line(&AdminReply::<()>::Error(error.clone()))
}
