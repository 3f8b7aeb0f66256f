//! Tokens as the server checks them: with the keys of its rules, and with those that URLs give.
//!
//! In: a token. Out: whom it names and what it permits, or why it is not taken. Invariant: a token that may be by a key
//! that is not known yet has the key sets fetched, and waits for that a moment where it may wait.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{Denial, UserName};
use fanfare_token::{Permissions, Refused, Seconds, TokenRules, Verifier};

use super::{KeySetUrl, KeySets};

/// How long somebody whose token names a key that is not known waits for the keys to be fetched.
const FETCH_PATIENCE: Duration = Duration::from_secs(3);

pub(crate) struct Tokens {
    verifier: Verifier,
    /// What the URLs give.
    sets: Arc<KeySets>,
}

impl Tokens {
    pub(crate) fn new(rules: Option<TokenRules>, sets: Arc<KeySets>) -> Self {
        Self { verifier: Verifier::new(rules, Arc::clone(&sets) as _), sets }
    }

    /// Goes on with other rules, and looks at the URLs again, of which there are as many as before. Who is connected
    /// stays connected.
    pub(crate) fn replace(&self, rules: TokenRules, urls: &[KeySetUrl]) {
        self.sets.reload(urls);
        self.verifier.replace(rules);
    }

    /// Who the token says, and what it allows; `None` where that is known only when the keys have been fetched again,
    /// which [`Tokens::verify_or_fetch`] waits for.
    pub(crate) fn verify_now(
        &self,
        token: &str,
        now: Seconds,
    ) -> Option<Result<(UserName, Permissions), Denial>> {
        match self.verifier.verify(token, now) {
            Err(Refused { may_be_by_a_new_key: true, .. }) => None,
            decided => Some(decided.map_err(|refused| refused.error.into())),
        }
    }

    /// Who the token says, and what it allows. Where it names a key that is not known, the keys are fetched again, but
    /// not waited for.
    pub(crate) fn verify(&self, token: &str, now: Seconds) -> Result<(UserName, Permissions), Denial> {
        self.verifier.verify(token, now).map_err(|Refused { error, may_be_by_a_new_key }| {
            if may_be_by_a_new_key {
                // Whoever asks again soon finds the new keys.
                let _ = self.sets.look_for_unknown();
            }
            error.into()
        })
    }

    /// The same, at this moment, but waits a little for keys that have to be fetched first.
    pub(crate) async fn verify_or_fetch(&self, token: &str) -> Result<(UserName, Permissions), Denial> {
        let Refused { error, may_be_by_a_new_key } = match self.verifier.verify(token, super::now()) {
            Ok(accepted) => return Ok(accepted),
            Err(refused) => refused,
        };
        if !may_be_by_a_new_key {
            return Err(error.into());
        }
        let Some(fetched) = self.sets.look_for_unknown() else { return Err(error.into()) };
        if tokio::time::timeout(FETCH_PATIENCE, fetched).await.is_err() {
            return Err(error.into());
        }
        self.verifier.verify(token, super::now()).map_err(|refused| refused.error.into())
    }
}
