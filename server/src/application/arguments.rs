//! A call's arguments to a handler's types and back, by the payload's format.
//!
//! In: payloads of either side. Out: values, or what is wrong with the arguments. Invariant: JSON and MessagePack are
//! an array with an element for each argument; text is one argument, and so are bytes, unless there are none.

use fanfare_protocol::{Code, Denial, Payload, PayloadFormat};
use serde::Serialize;
use serde::de::value::{Error as ValueError, SeqDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use super::call_error::CallError;

/// Reads arguments, or an item or a value.
///
/// # Errors
/// [`Code::ArgumentsInvalid`], with what is wrong in words for the caller's developer.
pub(super) fn decode<T: DeserializeOwned>(payload: &Payload) -> Result<T, CallError> {
    let bytes = &payload.bytes[..];
    match payload.format {
        PayloadFormat::Json => serde_json::from_slice(bytes).map_err(invalid),
        PayloadFormat::MessagePack => rmp_serde::from_slice(bytes).map_err(invalid),
        PayloadFormat::Text => {
            let text = std::str::from_utf8(bytes).map_err(invalid)?;
            T::deserialize(SeqDeserializer::<_, ValueError>::new(std::iter::once(text))).map_err(invalid)
        }
        PayloadFormat::Binary | PayloadFormat::Other(_) => {
            let argument = (!bytes.is_empty())
                .then(|| SeqDeserializer::<_, ValueError>::new(bytes.iter().copied()).into_deserializer());
            T::deserialize(SeqDeserializer::<_, ValueError>::new(argument.into_iter())).map_err(invalid)
        }
    }
}

/// Reads one value that stands alone: an item, or what a client answered.
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_value<T: DeserializeOwned>(payload: &Payload) -> Result<T, CallError> {
    match payload.format {
        PayloadFormat::Json | PayloadFormat::MessagePack => decode(payload),
        PayloadFormat::Text | PayloadFormat::Binary | PayloadFormat::Other(_) => {
            decode::<(T,)>(payload).map(|(value,)| value)
        }
    }
}

/// Writes a value: in MessagePack where that is what the other side writes, else in JSON.
///
/// # Errors
/// [`Code::Internal`] where it cannot be written, such as a map with keys that are no texts; the log says why.
pub(super) fn encode(value: &impl Serialize, format: PayloadFormat) -> Result<Payload, CallError> {
    match format {
        PayloadFormat::MessagePack => {
            rmp_serde::to_vec_named(value).map(Payload::message_pack).map_err(CallError::internal)
        }
        _ => serde_json::to_vec(value).map(Payload::json).map_err(CallError::internal),
    }
}

/// Any value as a payload in JSON: a tuple is several arguments, which clients of SignalR get as such.
///
/// ```
/// # use fanfare_server::{CallError, HubHandle, UserName};
/// use fanfare_server::json;
///
/// # fn tell(hub: &HubHandle, user: UserName) -> Result<(), CallError> {
/// hub.user(user).send("ReceiveMessage", json(&("alice", "hello", 7))?)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Code::Internal`] where it cannot be written, such as a map with keys that are no texts; the log says why.
pub fn json(value: &impl Serialize) -> Result<Payload, CallError> {
    encode(value, PayloadFormat::Json)
}

fn invalid(error: impl std::fmt::Display) -> CallError {
    Denial { code: Code::ArgumentsInvalid, detail: error.to_string() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_arguments() {
        let pair: (String, u32) = decode(&Payload::json(r#"["a", 1]"#)).unwrap();
        assert_eq!(pair, ("a".to_owned(), 1));
        let pair: (String, u32) = decode(&encode(&("a", 1), PayloadFormat::MessagePack).unwrap()).unwrap();
        assert_eq!(pair, ("a".to_owned(), 1));
        assert_eq!(decode::<(String,)>(&Payload::from("hello")).unwrap().0, "hello");
        assert_eq!(decode::<(String,)>(&Payload::from("")).unwrap().0, "");
        assert_eq!(decode::<(Vec<u8>,)>(&Payload::from([1, 2])).unwrap().0, [1, 2]);
        decode::<()>(&Payload::json("[]")).unwrap_err();
        decode::<[u8; 0]>(&Payload::json("[]")).unwrap();
        decode::<[u8; 0]>(&Payload::default()).unwrap();
        assert_eq!(decode_value::<String>(&Payload::from("hello")).unwrap(), "hello");
        assert_eq!(decode_value::<u8>(&Payload::json("7")).unwrap(), 7);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (payload, says) in [
            (Payload::json(r#"["a"]"#), "invalid length 1"),
            (Payload::json(r#"["a", 1, 2]"#), "trailing"),
            (Payload::json(r#"["a", -1]"#), "integer `-1`"),
            (Payload::json("["), "EOF"),
            (Payload::message_pack(vec![0xc1]), "Reserved"),
            (Payload::from("one"), "invalid length 1"),
            (Payload::new(PayloadFormat::Text, vec![0xff]), "utf-8"),
        ] {
            let error = decode::<(String, u32)>(&payload).unwrap_err();
            assert_eq!(error.code(), 2202, "{payload:?}");
            assert!(error.detail().contains(says), "{payload:?}: {}", error.detail());
        }
    }
}
