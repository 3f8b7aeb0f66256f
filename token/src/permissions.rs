//! What one connection is permitted: its grants, and when and by what it got them.
//!
//! In: a checked token, a certificate, or development's word. Out: answers. Invariant: permissions never change; a
//! refresh brings others.

use std::fmt;

use crate::Seconds;
use crate::grant::Grants;

/// What one connection is permitted.
pub struct Permissions {
    /// What it may do.
    pub grants: Grants,
    /// When the token ends, leeway included. `Seconds::MAX`: never.
    pub ends: Seconds,
    /// The earliest moment at which it can have been issued, by this server's clock: the issuer's may be ahead. `None`:
    /// it does not say when it was.
    pub issued: Option<Seconds>,
    /// The token's own id (`jti`), or the certificate's serial number.
    pub token: Option<String>,
    /// What it proved its name with.
    pub proof: Proof,
}

/// What a client proved its name with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A token.
    Token,
    /// A certificate.
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

impl Permissions {
    /// Development: everything, and for ever. It counts as issued `now`, so that a sign-out ends it.
    #[must_use]
    pub fn development(now: Seconds) -> Self {
        Self {
            grants: Grants::everything(),
            ends: Seconds::MAX,
            issued: Some(now),
            token: None,
            proof: Proof::Development,
        }
    }

    /// In words, who grants what is granted.
    #[must_use]
    pub fn source(&self) -> impl fmt::Display {
        if self.grants.are_by_application() { "the application".to_owned() } else { self.proof.to_string() }
    }

    /// The moments at which something of it ends.
    pub fn all_ends(&self) -> impl Iterator<Item = Seconds> + '_ {
        std::iter::once(self.ends).filter(|ends| *ends != Seconds::MAX).chain(self.grants.ends())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_is_permitted_for_ever_and_says_what_grants_it() {
        let permissions = Permissions::development(7);
        assert_eq!(
            (permissions.ends, permissions.issued, permissions.token.as_deref()),
            (Seconds::MAX, Some(7), None)
        );
        assert_eq!(permissions.all_ends().next(), None);
        assert_eq!(permissions.proof.to_string(), "the development server");
        assert_eq!(Proof::Token.to_string(), "the token");
        assert_eq!(Proof::Certificate.to_string(), "the server's configuration for this certificate");
    }

    /// `explain` says it.
    #[test]
    fn who_grants_it_is_the_proof_or_the_application() {
        let permissions = Permissions::development(7);
        assert_eq!(format!("{}", permissions.source()), "the development server");
        let grants = permissions.grants.clone().by_application();
        let permissions = Permissions { grants, ..permissions };
        assert_eq!(format!("{}", permissions.source()), "the application");
    }

    #[test]
    fn what_ends_is_told_and_what_lasts_as_long_as_the_token_is_not_told_twice() {
        let claims = r#"[{"group": "a", "may": ["join"], "exp": 10}, {"group": "b", "may": ["join"]},
                         {"all": true, "may": ["send"], "exp": 5}]"#;
        let grants = Grants::parse(serde_json::from_str(claims).unwrap(), 0).unwrap();
        let permissions = Permissions { grants, ends: 99, ..Permissions::development(0) };
        assert_eq!(permissions.all_ends().collect::<Vec<_>>(), [99, 10, 5]);
    }
}
