//! What one connection holds: its grants, and when and by which token it got them.
//!
//! In: a checked token, or development's word. Out: answers. Invariant: a pass never changes; a refresh is another pass.

use super::Seconds;
use super::grant::Grants;

pub(crate) struct Pass {
    pub(crate) grants: Grants,
    /// When the token ends, leeway included. `Seconds::MAX`: never.
    pub(crate) ends: Seconds,
    /// When the token was issued; 0 where it does not say.
    pub(crate) issued: Seconds,
    /// The token's own id (`jti`).
    pub(crate) token: Option<String>,
}

impl Pass {
    /// Development: everything, and for ever. It counts as issued now, so that a sign-out ends it.
    pub(crate) fn development() -> Self {
        Self { grants: Grants::everything(), ends: Seconds::MAX, issued: super::now(), token: None }
    }

    /// The moments at which something of it ends.
    pub(crate) fn all_ends(&self) -> impl Iterator<Item = Seconds> + '_ {
        std::iter::once(self.ends).filter(|ends| *ends != Seconds::MAX).chain(self.grants.ends())
    }
}
