//! What ends an HTTP/3 connection before its time, and the numbers that HTTP/3 has for it.
//!
//! In: what a client did. Out: a code of RFC 9114 section 8.1 or RFC 9204 section 6, and the reason in words.

use quinn::VarInt;

/// `H3_NO_ERROR`: nothing is wrong, and it ends.
pub(in crate::quic) const NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// `H3_REQUEST_INCOMPLETE`: a request's stream ended in the middle.
pub(super) const REQUEST_INCOMPLETE: VarInt = VarInt::from_u32(0x10d);

/// Why a connection ends: the client broke HTTP/3, or asks for more than anybody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::quic) enum Breach {
    #[error("a stream of this kind is there already")]
    SecondStream,
    #[error("only servers push")]
    ClientPushes,
    #[error("the control stream and those of QPACK stay open as long as the connection")]
    CriticalStreamClosed,
    #[error("a frame of this type may not be here")]
    FrameUnexpected,
    #[error("a frame's bytes are not what its type says")]
    FrameMalformed,
    #[error("too many requests, or too much in one of them")]
    TooMuch,
    #[error("a session's id is the number of a stream that a client can open and write both ways")]
    SessionId,
    #[error("a setting is there twice")]
    SettingTwice,
    #[error("a setting of HTTP/2 has no place in HTTP/3")]
    SettingOfHttp2,
    #[error("SETTINGS_H3_DATAGRAM is 0 or 1")]
    SettingValue,
    #[error("the control stream begins with SETTINGS")]
    SettingsMissing,
    #[error("the fields of a request cannot be decoded; the server has no dynamic table")]
    Fields,
    #[error("more came on QPACK's encoder stream than there is to say without a dynamic table")]
    EncoderStream,
    #[error("more came on QPACK's decoder stream than there is to say without a dynamic table")]
    DecoderStream,
}

impl Breach {
    pub(in crate::quic) fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::SecondStream | Self::ClientPushes => 0x103,
            Self::CriticalStreamClosed => 0x104,
            Self::FrameUnexpected => 0x105,
            Self::FrameMalformed => 0x106,
            Self::TooMuch => 0x107,
            Self::SessionId => 0x108,
            Self::SettingTwice | Self::SettingOfHttp2 | Self::SettingValue => 0x109,
            Self::SettingsMissing => 0x10a,
            Self::Fields => 0x200,
            Self::EncoderStream => 0x201,
            Self::DecoderStream => 0x202,
        })
    }
}
