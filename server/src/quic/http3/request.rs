//! What a request asks for, from the bytes of its fields, and what it is answered with.
//!
//! In: a field section (RFC 9204 section 4.5). Out: a session that is asked for, or the status for everything else.
//! web-transport-proto decodes; it takes a WebTransport CONNECT alone, and says of anything else what it stumbled
//! over.
//!
//! What it does not know is put to it in other words: fields are independent of each other, and of two with one name
//! the last counts for it, so that a field behind the others takes an earlier one's place. So one decoder does for
//! requests of every dialect and for those that are none (test `a_field_behind_the_others_takes_their_place`).

use std::error::Error;
use std::str::Utf8Error;

use web_transport_proto::http::StatusCode;
use web_transport_proto::{ConnectError, ConnectRequest, ConnectResponse};

use super::breach::Breach;
use super::frame;
use fanfare_protocol::WEBTRANSPORT_PATH;

/// The most bytes of a request's fields, which `SETTINGS_MAX_FIELD_SECTION_SIZE` says, and the decoder keeps to.
pub(super) const MOST_FIELDS_BYTES: u64 = 16 * 1024;

/// The `:protocol` of draft 15 and later. Earlier ones, and today's browsers, say `webtransport`.
const LATER_PROTOCOL: &str = "webtransport-h3";

/// `:protocol: webtransport`, and no `wt-available-protocols`: there is nothing to choose from, and a list that cannot
/// be read is to be passed over (draft 14, section 3.3).
const AS_WEBTRANSPORT: &[u8] = b"\x27\x02:protocol\x0cwebtransport\x27\x0fwt-available-protocols\x00";
/// `:method: CONNECT`, which has a number.
const AS_CONNECT: &[u8] = b"\xcf";
/// `allow: CONNECT`, which a 405 needs (RFC 9110 section 15.5.6).
const ALLOW: &[u8] = b"\x25allow\x07CONNECT";

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::quic) enum Asked {
    /// A session.
    Session(Place),
    /// Something that there is not.
    Other(StatusCode),
}

/// Where a session is asked for, and from which page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::quic) struct Place {
    pub(in crate::quic) path: String,
    /// Browsers say it.
    pub(in crate::quic) origin: Option<Vec<u8>>,
}

impl From<ConnectRequest> for Place {
    fn from(request: ConnectRequest) -> Self {
        let origin = request.headers.get("origin").map(|origin| origin.as_bytes().to_vec());
        Self { path: request.url.path().to_owned(), origin }
    }
}

/// Decodes a section with more fields behind it.
fn decode(section: &[u8], fields: &[&[u8]]) -> Result<Place, ConnectError> {
    let section = [section, &fields.concat()].concat();
    ConnectRequest::decode(&mut frame::frame(frame::HEADERS, &section).as_slice()).map(Place::from)
}

/// What a request asks for.
pub(super) fn ask(section: &[u8]) -> Result<Asked, Breach> {
    let stumbled = match decode(section, &[]) {
        Ok(place) => return Ok(Asked::Session(place)),
        Err(ConnectError::WrongProtocol(Some(protocol))) if protocol == LATER_PROTOCOL => {
            decode(section, &[AS_WEBTRANSPORT])
        }
        Err(ConnectError::InvalidProtocol) => decode(section, &[AS_WEBTRANSPORT]),
        Err(error) => Err(error),
    };
    let stumbled = match stumbled {
        Ok(place) => return Ok(Asked::Session(place)),
        Err(stumbled) => stumbled,
    };
    Ok(Asked::Other(match stumbled {
        // Sound for QPACK, so that the connection's state is, too; for the decoder they are to be texts.
        ConnectError::QpackError(error) if error.source().is_some_and(<dyn Error>::is::<Utf8Error>) => {
            StatusCode::BAD_REQUEST
        }
        // A reference to a table that we said there is not, or bytes that are no fields (RFC 9204 section 2.2).
        ConnectError::QpackError(_) => return Err(Breach::Fields),
        ConnectError::FieldSectionTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        // RFC 9220 section 3.
        ConnectError::WrongProtocol(Some(_)) => StatusCode::NOT_IMPLEMENTED,
        ConnectError::WrongMethod(Some(_)) => match decode(section, &[AS_CONNECT, AS_WEBTRANSPORT]) {
            Ok(place) if place.path != WEBTRANSPORT_PATH => StatusCode::NOT_FOUND,
            _ => StatusCode::METHOD_NOT_ALLOWED,
        },
        ConnectError::InvalidMethod => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::BAD_REQUEST,
    }))
}

/// An answer: a HEADERS frame. It has `sec-webtransport-http3-draft: draft02`, which draft 2 asks for and the others
/// pass over.
pub(super) fn answer(status: StatusCode) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Fails only for more than 16 KiB of fields.
    let _ = ConnectResponse::new(status).encode(&mut bytes);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // Behind the frame's type and length, which are a byte each for so few fields.
        let section = [bytes.get(2..).unwrap_or_default(), ALLOW].concat();
        bytes = frame::frame(frame::HEADERS, &section);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field with its name and its value in letters, both shorter than 127 bytes.
    fn field(name: &str, value: &str) -> Vec<u8> {
        let mut bytes = vec![0x27];
        match name.len() {
            0..7 => bytes = vec![0x20 | u8::try_from(name.len()).unwrap()],
            long => bytes.push(u8::try_from(long - 7).unwrap()),
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(u8::try_from(value.len()).unwrap());
        bytes.extend_from_slice(value.as_bytes());
        bytes
    }

    fn section(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = vec![0, 0];
        for (name, value) in fields {
            bytes.extend_from_slice(&field(name, value));
        }
        bytes
    }

    const CONNECT: [(&str, &str); 5] = [
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/fanfare?token"),
        ("origin", "https://app.example"),
    ];

    /// The fields of a CONNECT, with others in their places; an empty one is left out.
    fn with(others: &[(&str, &str)]) -> Vec<u8> {
        let kept = CONNECT.iter().filter(|(name, _)| others.iter().all(|(other, _)| other != name));
        let fields: Vec<_> = kept.chain(others).copied().filter(|(_, value)| !value.is_empty()).collect();
        section(&fields)
    }

    #[test]
    fn a_session_is_asked_for_in_every_dialect() {
        let place = Place { path: "/fanfare".to_owned(), origin: Some(b"https://app.example".to_vec()) };
        for others in [
            &[(":protocol", "webtransport")][..],
            &[(":protocol", "webtransport"), ("sec-webtransport-http3-draft02", "1")],
            &[(":protocol", "webtransport-h3")],
            &[(":protocol", "webtransport-h3"), ("wt-available-protocols", "\"a\", \"b\"")],
            &[(":protocol", "webtransport"), ("wt-available-protocols", "((")],
            &[(":protocol", "webtransport-h3"), ("wt-available-protocols", "((")],
        ] {
            assert_eq!(ask(&with(others)), Ok(Asked::Session(place.clone())), "{others:?}");
        }
    }

    #[test]
    fn everything_else_has_a_status() {
        let webtransport = (":protocol", "webtransport");
        for (others, status) in [
            (&[(":protocol", "websocket")][..], StatusCode::NOT_IMPLEMENTED),
            (&[(":protocol", "connect-udp")], StatusCode::NOT_IMPLEMENTED),
            (&[], StatusCode::BAD_REQUEST),
            (&[(":method", "GET")], StatusCode::METHOD_NOT_ALLOWED),
            (&[(":method", "POST"), webtransport], StatusCode::METHOD_NOT_ALLOWED),
            (&[(":method", "GET"), (":path", "/favicon.ico")], StatusCode::NOT_FOUND),
            (&[(":method", "BREW")], StatusCode::METHOD_NOT_ALLOWED),
            (&[(":method", "G T")], StatusCode::NOT_IMPLEMENTED),
            (&[(":method", "")], StatusCode::BAD_REQUEST),
            (&[webtransport, (":scheme", "http")], StatusCode::BAD_REQUEST),
            (&[webtransport, (":scheme", "")], StatusCode::BAD_REQUEST),
            (&[webtransport, (":path", "")], StatusCode::BAD_REQUEST),
            (&[webtransport, (":authority", "")], StatusCode::BAD_REQUEST),
            (&[webtransport, (":authority", "a b")], StatusCode::BAD_REQUEST),
            (&[webtransport, ("a name", "with a space")], StatusCode::BAD_REQUEST),
        ] {
            assert_eq!(ask(&with(others)), Ok(Asked::Other(status)), "{others:?}");
        }
        let no_text = [with(&[]), b"\x21x\x02\xff\xfe".to_vec()].concat();
        assert_eq!(ask(&no_text), Ok(Asked::Other(StatusCode::BAD_REQUEST)));
        let long = section(&[("x", "y"); 500]);
        assert_eq!(ask(&long), Ok(Asked::Other(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)));
    }

    #[test]
    fn what_is_no_fields_is_a_breach() {
        // A dynamic reference, half a field, nothing at all.
        for section in [&b"\x00\x00\x80"[..], b"\x00\x00\x23a", b""] {
            assert_eq!(ask(section), Err(Breach::Fields), "{section:x?}");
        }
    }

    #[test]
    fn a_field_behind_the_others_takes_their_place() {
        let get = with(&[(":method", "GET"), (":protocol", "x"), ("wt-available-protocols", "((")]);
        assert!(decode(&get, &[]).is_err());
        let place = decode(&get, &[AS_CONNECT, AS_WEBTRANSPORT]).unwrap();
        assert_eq!(place.path, "/fanfare");
    }

    #[test]
    fn answers_are_frames_with_their_status() {
        for status in [StatusCode::OK, StatusCode::NO_CONTENT] {
            let decoded = ConnectResponse::decode(&mut answer(status).as_slice()).unwrap();
            assert_eq!(decoded.status, status);
        }
        let refused = answer(StatusCode::METHOD_NOT_ALLOWED);
        let error = ConnectResponse::decode(&mut refused.as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "expected 200, got: Some(405)");
        assert!(refused.ends_with(ALLOW));
        assert_eq!(usize::from(refused[1]), refused.len() - 2);
    }
}
