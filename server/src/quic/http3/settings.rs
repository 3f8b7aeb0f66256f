//! SETTINGS: what is offered to clients, and what is asked of theirs.
//!
//! In: a client's frame. Out: the few things in it that matter here; ours, which every draft of WebTransport takes.
//! docs/protocol/webtransport.md has the table of drafts with the source of each number.
//!
//! Invariant: one session, and no flow control of sessions: both are the same thing, since a value of 1 says that
//! there is none (draft 13, section 5.1). QUIC's own flow control bounds everything.

use std::collections::BTreeSet;

use web_transport_proto::VarInt;

use super::breach::Breach;
use super::frame;
use super::request::MOST_FIELDS_BYTES;

/// The type of the control stream (RFC 9114 section 6.2.1).
pub(super) const CONTROL: u64 = 0x00;

/// The most bytes of a client's settings. Browsers send some fifty.
pub(super) const MOST_BYTES: u64 = 4 * 1024;

const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
const H3_DATAGRAM: u64 = 0x33;
/// Before RFC 9297. Browsers still send it beside the other.
const H3_DATAGRAM_DRAFT_4: u64 = 0xff_d277;
/// `SETTINGS_WT_INITIAL_MAX_DATA`, and of streams that go one way and both.
const INITIAL_LIMITS: [u64; 3] = [0x2b61, 0x2b64, 0x2b65];

/// All dialects' settings at once: whoever does not know one passes over it (RFC 9114 section 7.2.4).
const OFFERED: [(u64, u64); 9] = [
    (MAX_FIELD_SECTION_SIZE, MOST_FIELDS_BYTES),
    (ENABLE_CONNECT_PROTOCOL, 1),
    (H3_DATAGRAM, 1),
    (H3_DATAGRAM_DRAFT_4, 1),
    // SETTINGS_ENABLE_WEBTRANSPORT: drafts 2 to 6.
    (0x2b60_3742, 1),
    // A number of sessions, of the same time: in no draft that was found, but in libraries.
    (0x2b60_3743, 1),
    // SETTINGS_WEBTRANSPORT_MAX_SESSIONS: drafts 7 to 12.
    (0xc671_706a, 1),
    // SETTINGS_WT_MAX_SESSIONS: drafts 13 and 14.
    (0x14e9_cd29, 1),
    // SETTINGS_WT_ENABLED: from draft 15 on.
    (0x2c7c_f000, 1),
];

/// What a client's settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::quic) struct Settings {
    /// It takes datagrams. Every draft demands it of a client.
    pub(in crate::quic) datagrams: bool,
    /// It would like flow control of sessions, and may wait for credit although nobody has promised any.
    pub(in crate::quic) flow_control: bool,
}

/// What our control stream begins with.
pub(super) fn offer() -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in OFFERED {
        frame::put(id, &mut payload);
        frame::put(value, &mut payload);
    }
    let mut bytes = Vec::new();
    frame::put(CONTROL, &mut bytes);
    bytes.extend_from_slice(&frame::frame(frame::SETTINGS, &payload));
    bytes
}

impl Settings {
    /// Reads a client's.
    pub(super) fn decode(mut payload: &[u8]) -> Result<Self, Breach> {
        let (mut settings, mut seen) = (Self::default(), BTreeSet::new());
        while !payload.is_empty() {
            let mut number = || VarInt::decode(&mut payload).map_err(|_| Breach::FrameMalformed);
            let (id, value) = (number()?.into_inner(), number()?.into_inner());
            if !seen.insert(id) {
                return Err(Breach::SettingTwice);
            }
            match id {
                // RFC 9114 section 11.2.2.
                0x00 | 0x02..=0x05 => return Err(Breach::SettingOfHttp2),
                // RFC 9297 section 2.1.1.
                H3_DATAGRAM if value > 1 => return Err(Breach::SettingValue),
                H3_DATAGRAM | H3_DATAGRAM_DRAFT_4 => settings.datagrams |= value == 1,
                _ if INITIAL_LIMITS.contains(&id) => settings.flow_control |= value > 0,
                _ => {}
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(settings: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (id, value) in settings {
            frame::put(*id, &mut bytes);
            frame::put(*value, &mut bytes);
        }
        bytes
    }

    #[test]
    fn what_matters_is_read_and_the_rest_is_passed_over() {
        let nothing = Settings::default();
        let datagrams = Settings { datagrams: true, ..nothing };
        for (settings, read) in [
            (&[][..], nothing),
            (&[(0x33, 1)], datagrams),
            (&[(0xff_d277, 1)], datagrams),
            (&[(0x33, 0), (0xff_d277, 1)], datagrams),
            (&[(0x33, 0)], nothing),
            (&[(0x33, 1), (0x21, 7), (0x1f * 1_000 + 0x21, 9), (0xc671_706a, 1)], datagrams),
            (&[(0x33, 1), (0x2b61, 1)], Settings { datagrams: true, flow_control: true }),
            (&[(0x33, 1), (0x2b64, 0), (0x2b65, 0)], datagrams),
        ] {
            assert_eq!(Settings::decode(&encoded(settings)), Ok(read), "{settings:x?}");
        }
    }

    #[test]
    fn what_http3_forbids_is_refused() {
        for (settings, breach) in [
            (&[(0x33, 1), (0x33, 1)][..], Breach::SettingTwice),
            (&[(0x21, 1), (0x21, 2)], Breach::SettingTwice),
            (&[(0x00, 1)], Breach::SettingOfHttp2),
            (&[(0x02, 0)], Breach::SettingOfHttp2),
            (&[(0x05, 9)], Breach::SettingOfHttp2),
            (&[(0x33, 2)], Breach::SettingValue),
        ] {
            assert_eq!(Settings::decode(&encoded(settings)), Err(breach), "{settings:x?}");
        }
        for cut in [&b"\x40"[..], b"\x33", b"\x33\x40", b"\xff\xff"] {
            assert_eq!(Settings::decode(cut), Err(Breach::FrameMalformed), "{cut:x?}");
        }
    }

    #[test]
    fn the_offer_is_one_frame_with_every_dialects_setting_and_no_flow_control() {
        let bytes = offer();
        let mut rest = bytes.as_slice();
        let mut number = || VarInt::decode(&mut rest).unwrap().into_inner();
        assert_eq!((number(), number()), (CONTROL, frame::SETTINGS));
        assert_eq!(number(), rest.len() as u64);
        for id in [0x08, 0x33, 0xff_d277, 0x2b60_3742, 0xc671_706a, 0x14e9_cd29, 0x2c7c_f000] {
            assert!(OFFERED.contains(&(id, 1)), "{id:x}");
        }
        assert!(OFFERED.iter().all(|(id, _)| !INITIAL_LIMITS.contains(id)));
        assert!(Settings::decode(rest).unwrap().datagrams);
    }
}
