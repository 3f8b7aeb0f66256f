//! Values of the application's to payloads and back, and what is said about calls as bytes.
//!
//! In: anything that serde writes or reads. Out: payloads in JSON or MessagePack, or what is wrong in words. Invariant:
//! a payload is read by the format that it says, and by no other.

use bytes::Bytes;
use fanfare_protocol::call::ClientCall;
use fanfare_protocol::{ClientFrame, Payload, PayloadFormat, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn encoded(call: ClientCall) -> Bytes {
    codec::encode_client(&ClientFrame::Call(call))
}

pub(crate) fn encode(value: &impl Serialize, format: PayloadFormat) -> Result<Payload, String> {
    match format {
        PayloadFormat::MessagePack => {
            rmp_serde::to_vec_named(value).map(Payload::message_pack).map_err(|error| error.to_string())
        }
        _ => serde_json::to_vec(value).map(Payload::json).map_err(|error| error.to_string()),
    }
}

/// Reads a value, in the format that it says.
pub(crate) fn decode<T: DeserializeOwned>(payload: &Payload) -> Result<T, String> {
    match payload.format {
        PayloadFormat::Json => serde_json::from_slice(&payload.bytes).map_err(|error| error.to_string()),
        PayloadFormat::MessagePack => {
            rmp_serde::from_slice(&payload.bytes).map_err(|error| error.to_string())
        }
        other => Err(format!("it is {other}, and neither JSON nor MessagePack")),
    }
}
