//! What one connection holds: its grants, and when and by what it got them.
//!
//! In: a checked token, a certificate, or development's word. Out: answers. Invariant: a pass never changes; a refresh is
//! another pass.

use std::fmt;

use super::Seconds;
use super::grant::Grants;

pub(crate) struct Pass {
    pub(crate) grants: Grants,
    /// When the token ends, leeway included. `Seconds::MAX`: never.
    pub(crate) ends: Seconds,
    /// The earliest moment at which it can have been issued, by this server's clock: the issuer's may be ahead. `None`: it does not
    /// say when it was.
    pub(crate) issued: Option<Seconds>,
    /// The token's own id (`jti`), or the certificate's serial number.
    pub(crate) token: Option<String>,
    pub(crate) proof: Proof,
}

/// What a client proved its name with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Token,
    Certificate,
    /// A development server believes any name.
    Development,
}

impl fmt::Display for Proof {
    /// In words, as what grants something.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "the token",
            Self::Certificate => "the server's configuration for this certificate",
            Self::Development => "the development server",
        })
    }
}

impl Pass {
    /// Development: everything, and for ever. It counts as issued now, so that a sign-out ends it.
    pub(crate) fn development() -> Self {
        Self {
            grants: Grants::everything(),
            ends: Seconds::MAX,
            issued: Some(super::now()),
            token: None,
            proof: Proof::Development,
        }
    }

    /// The moments at which something of it ends.
    pub(crate) fn all_ends(&self) -> impl Iterator<Item = Seconds> + '_ {
        std::iter::once(self.ends).filter(|ends| *ends != Seconds::MAX).chain(self.grants.ends())
    }
}
