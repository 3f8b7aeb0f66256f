//! Makes tokens for users that a back end lets in.
//!
//! In: what a token is to allow. Out: a token. Invariant: it is made by the rules that the server checks tokens by.
//! Whether its user would be let in with it is asked by whoever gives it out (`api/command.rs`).

use std::sync::Arc;

use fanfare_protocol::{Code, Denial, UserName};
use fanfare_token::{GrantClaim, Minter, Seconds, TokenRules};
use serde_json::{Map, Value, json};

/// What tokens are made with.
#[derive(Debug, Clone)]
pub struct Minting {
    minter: Arc<Minter>,
    user_claim: String,
    audience: Option<String>,
    issuer: Option<String>,
    longest: Seconds,
}

/// A token that was made.
pub(crate) struct Minted {
    pub(crate) token: String,
    /// Its id, by which it can be revoked.
    pub(crate) jti: String,
    pub(crate) expires: Seconds,
}

impl Minting {
    /// By this key, and so that these rules are met.
    #[must_use]
    pub fn new(minter: Minter, rules: &TokenRules) -> Self {
        Self {
            minter: Arc::new(minter),
            user_claim: rules.user_claim.clone(),
            audience: rules.audience.first().cloned(),
            issuer: rules.issuer.first().cloned(),
            longest: rules.longest.into(),
        }
    }

    /// A token for `user` that lasts so many seconds.
    pub(crate) fn mint(
        &self,
        user: &UserName,
        seconds: u64,
        jti: Option<String>,
        grants: &[GrantClaim],
    ) -> Result<Minted, Denial> {
        let invalid = |detail| Denial { code: Code::InvalidRequest, detail };
        if seconds > self.longest {
            return Err(invalid(format!("tokens last {} s at most here", self.longest)));
        }
        let jti = jti.unwrap_or_else(|| format!("{:032x}", fastrand::u128(..)));
        if !(1..=256).contains(&jti.len()) {
            return Err(invalid("a token's id (jti) has 1 to 256 bytes".to_owned()));
        }
        GrantClaim::check(grants).map_err(invalid)?;
        let now = super::now();
        let expires = now.saturating_add(seconds);
        let mut claims = Map::from_iter([
            ("iat".to_owned(), json!(now)),
            ("exp".to_owned(), json!(expires)),
            ("jti".to_owned(), json!(jti)),
            ("grants".to_owned(), serde_json::to_value(grants).unwrap_or_default()),
        ]);
        let others = [("aud", &self.audience), ("iss", &self.issuer)];
        let others = others.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        claims.extend(others.map(|(name, value)| (name.to_owned(), json!(value))));
        claims.insert(self.user_claim.clone(), Value::String(user.as_str().to_owned()));
        let token = self.minter.sign(&claims).map_err(|error| {
            tracing::error!(%error, "a token could not be made");
            Denial {
                code: Code::Internal,
                detail: "the token could not be made; the log says why".to_owned(),
            }
        })?;
        Ok(Minted { token, jti, expires })
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::GroupName;
    use fanfare_token::{Right, TokenKey};

    use super::*;
    use crate::access::{KeySets, Tokens, now};

    #[test]
    fn what_is_made_is_taken_here_whatever_the_rules() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("secret");
        std::fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
        let mut rules = TokenRules::new(vec![TokenKey::read_secret(&file).unwrap()]);
        rules.user_claim = "preferred_username".to_owned();
        rules.audience = vec!["app".to_owned(), "other".to_owned()];
        rules.issuer = vec!["sign-in".to_owned()];
        rules.longest = 600;
        let minting = Minting::new(Minter::read_secret(&file).unwrap(), &rules);
        let tokens = Tokens::new(Some(rules), KeySets::none());
        let alice = UserName::new("alice").unwrap();
        let grant = GrantClaim {
            group: Some("room-*".to_owned()),
            user: None,
            all: None,
            may: vec![Right::Join],
            exp: None,
        };
        let minted = minting.mint(&alice, 600, None, std::slice::from_ref(&grant)).ok().unwrap();
        let (user, permissions) = tokens.verify(&minted.token, now()).unwrap();
        assert_eq!((user, permissions.token.as_ref()), (alice.clone(), Some(&minted.jti)));
        assert!(permissions.grants.may_join(&GroupName::new("room-1").unwrap(), now()));
        let named = minting.mint(&alice, 1, Some("a".to_owned()), &[]).ok().unwrap();
        assert_eq!(named.jti, "a");
        for refused in [
            minting.mint(&alice, 601, None, &[]),
            minting.mint(&alice, 1, Some(String::new()), &[]),
            minting.mint(&alice, 1, Some("x".repeat(257)), &[]),
            minting.mint(&alice, 1, None, &[GrantClaim { user: Some("x".to_owned()), ..grant }]),
        ] {
            assert_eq!(refused.err().map(|denial| denial.code), Some(Code::InvalidRequest));
        }
    }
}
