//! How many bytes wait in one place for a connection, and what its account has given for them.
//!
//! In: bytes that come and go. Out: whether so many more may wait. Invariant: what waits beside [`FREE_BYTES`] is held
//! from the account, in whole steps, so that most that comes and goes asks it nothing.

use crate::budget::{Account, FREE_BYTES, steps};

/// What waits in one place for a connection: in its outbox, or what it has sent and nobody has taken yet
/// ([`Outbox::keep`](crate::Outbox::keep)).
#[derive(Debug, Default)]
pub struct Stock {
    pub(crate) bytes: usize,
    held: usize,
}

impl Stock {
    /// Takes from the account what `more` bytes need. Tells whether they may wait.
    #[inline(always)]
    pub(crate) fn hold(&mut self, account: Option<&Account>, more: usize) -> bool {
        // What is held are whole steps, so this asks what `steps` does, without a division.
        self.bytes + more <= FREE_BYTES + self.held || self.hold_more(account, more)
    }

    #[cold]
    fn hold_more(&mut self, account: Option<&Account>, more: usize) -> bool {
        // More than is held, since this is asked only then.
        let needed = steps(self.bytes + more);
        let Some(account) = account else { return true };
        let taken = account.take(needed - self.held);
        if taken {
            self.held = needed;
        }
        taken
    }

    /// Gives back what is not needed, where it is more than what is: less than that comes again.
    #[inline(always)]
    pub(crate) fn let_go(&mut self, account: Option<&Account>) {
        if self.held > 0 {
            self.let_go_of_steps(account);
        }
    }

    #[cold]
    fn let_go_of_steps(&mut self, account: Option<&Account>) {
        let needed = steps(self.bytes);
        if let Some(account) = account
            && self.held > needed.saturating_mul(2)
        {
            account.give_back(self.held - needed);
            self.held = needed;
        }
    }
}
