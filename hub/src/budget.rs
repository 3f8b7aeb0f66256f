//! How much may wait for all connections together, for one user's, and for one address's.
//!
//! In: each connection with its user and its address; what its outbox needs. Out: whether it may have that.
//! Invariants: what was given is given back with the connection, so that the sums cannot drift; nobody gets more than
//! the bounds, however many ask at a time; those who hold much leave a quarter, and those who take nothing at the
//! moment an eighth, for users who hold little, so that whoever reads is not closed for what others do not read.
//!
//! A bound for each connection alone is none for all: a client that takes nothing and stays alive keeps a full
//! outbox, and has as many connections as it may have. What an outbox holds beside [`FREE_BYTES`] is taken from here
//! in steps, so that a delivery costs an addition in the outbox and nothing here, as a rule.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfare_protocol::UserName;
use parking_lot::Mutex;

/// What every outbox may hold without asking: what waits for a moment for a client that reads.
pub(crate) const FREE_BYTES: usize = 4 * 1024;

/// What QUIC keeps of what was sent to a client, until it is acknowledged: 256 KiB fill 20 Mbit/s over 100 ms. What
/// does not fit waits in the outbox, which is bounded and knows what to do when it is full.
pub const SEND_WINDOW: usize = 256 * 1024;

/// What is little for all connections of one user.
const LITTLE_BYTES: usize = 128 * 1024;

/// How much is taken at a time.
const STEP_BYTES: usize = 16 * 1024;

/// How many bytes may wait, beside 4 KiB for each connection: in outboxes, and in QUIC for clients that take nothing
/// at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetLimits {
    /// For all connections. Default 2 GiB.
    pub all: usize,
    /// For each user's. Default 128 MiB: a hundred devices that sleep.
    pub per_user: usize,
    /// For each address's (an IPv6 /64 counts as one). Default 1 GiB: half of all.
    pub per_address: usize,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self { all: 2 << 30, per_user: 128 << 20, per_address: 1 << 30 }
    }
}

/// What waits for all connections together: [`Hub::budget`](crate::Hub::budget).
#[derive(Debug)]
pub struct Budget {
    limits: BudgetLimits,
    all: AtomicUsize,
    users: Shares<UserName>,
    addresses: Shares<IpAddr>,
}

/// The sums of those who have connections. A sum is shared by them, and found by a newcomer.
#[derive(Debug)]
struct Shares<K>(Mutex<HashMap<K, Arc<AtomicUsize>>>);

impl<K: Eq + Hash + Clone> Shares<K> {
    fn find(&self, of: &K) -> Arc<AtomicUsize> {
        Arc::clone(self.0.lock().entry(of.clone()).or_default())
    }

    /// Forgets a sum that the caller is the last to hold.
    fn leave(&self, of: &K, sum: &mut Arc<AtomicUsize>) {
        let mut shares = self.0.lock();
        // One here and one with the caller. Nobody finds another meanwhile.
        if Arc::strong_count(sum) <= 2 {
            shares.remove(of);
        }
        *sum = Arc::default();
    }
}

impl Budget {
    /// Nothing waits yet.
    pub(crate) fn new(limits: BudgetLimits) -> Self {
        let (users, addresses) = (Shares(Mutex::default()), Shares(Mutex::default()));
        Self { limits, all: AtomicUsize::new(0), users, addresses }
    }

    /// Whether those who take nothing have to go soon: there is less left than what is kept for those who hold little.
    pub fn is_short(&self) -> bool {
        self.all.load(Ordering::Relaxed) > open_to_all(self.limits.all)
    }

    /// What waits at this moment, and how much may.
    pub fn level(&self) -> (usize, usize) {
        (self.all.load(Ordering::Relaxed), self.limits.all)
    }

    /// What a connection asks by. `address` is what counts as one.
    pub(crate) fn account(self: &Arc<Self>, user: &UserName, address: IpAddr) -> Account {
        Account {
            by_user: self.users.find(user),
            by_address: self.addresses.find(&address),
            budget: Arc::clone(self),
            user: user.clone(),
            address,
            held: AtomicUsize::new(0),
        }
    }
}

/// One connection's part in it.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Arc<Budget>,
    user: UserName,
    address: IpAddr,
    by_user: Arc<AtomicUsize>,
    by_address: Arc<AtomicUsize>,
    held: AtomicUsize,
}

impl Account {
    /// Takes so many bytes for an outbox, or none. Tells whether it did.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let holds_little = self.by_user.load(Ordering::Relaxed) + bytes <= LITTLE_BYTES;
        let all = self.budget.limits.all;
        self.take_up_to(bytes, if holds_little { all } else { open_to_all(all) })
    }

    /// Takes what QUIC keeps for a peer that takes no more at the moment.
    pub(crate) fn take_window(&self) -> bool {
        self.take_up_to(SEND_WINDOW, self.budget.limits.all / 8 * 7)
    }

    fn take_up_to(&self, bytes: usize, all: usize) -> bool {
        let BudgetLimits { per_user, per_address, .. } = self.budget.limits;
        let sums = [(&self.budget.all, all), (&*self.by_user, per_user), (&*self.by_address, per_address)];
        for (at, (sum, most)) in sums.iter().enumerate() {
            if sum.fetch_add(bytes, Ordering::Relaxed) + bytes > *most {
                for (sum, _) in sums.iter().take(at + 1) {
                    sum.fetch_sub(bytes, Ordering::Relaxed);
                }
                return false;
            }
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, bytes: usize) {
        for sum in [&self.budget.all, &*self.by_user, &*self.by_address, &self.held] {
            sum.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.give_back(self.held.load(Ordering::Relaxed));
        self.budget.users.leave(&self.user, &mut self.by_user);
        self.budget.addresses.leave(&self.address, &mut self.by_address);
    }
}

/// What those may fill who hold much.
fn open_to_all(all: usize) -> usize {
    all / 4 * 3
}

/// How much to hold for so many bytes that wait: whole steps, for what is beyond the free ones.
pub(crate) fn steps(bytes: usize) -> usize {
    bytes.saturating_sub(FREE_BYTES).next_multiple_of(STEP_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(number: usize) -> UserName {
        UserName::new(&format!("user {number}")).unwrap()
    }

    fn address(number: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, number])
    }

    #[test]
    fn each_bound_holds_and_what_was_held_comes_back() {
        let budget = Arc::new(Budget::new(BudgetLimits { all: 100, per_user: 50, per_address: 70 }));
        let alice = budget.account(&user(1), address(1));
        assert!(alice.take(50));
        assert!(!alice.take(1), "her share is used up");
        assert!(!budget.account(&user(1), address(2)).take(1), "from wherever she comes");
        let bob = budget.account(&user(2), address(1));
        assert!(!bob.take(21), "their address's share is used up");
        assert!(bob.take(20));
        let carol = budget.account(&user(3), address(2));
        assert!(!budget.is_short());
        assert!(!carol.take(31), "there is no more");
        assert!(carol.take(30));
        assert_eq!(budget.level(), (100, 100));
        assert!(budget.is_short());
        drop(alice);
        assert!(carol.take(20));
        drop((bob, carol));
        assert_eq!(budget.level(), (0, 100));
        assert!(budget.users.0.lock().is_empty() && budget.addresses.0.lock().is_empty());
    }

    #[test]
    fn who_holds_much_leaves_something_to_who_holds_little() {
        let all = 4 << 20;
        let budget = Arc::new(Budget::new(BudgetLimits { all, per_user: all, per_address: all }));
        let hog = budget.account(&user(1), address(1));
        assert_eq!((0..1_000).filter(|_| hog.take(STEP_BYTES)).count(), 192);
        assert_eq!(budget.level().0, all / 4 * 3);
        let reader = budget.account(&user(2), address(2));
        assert!(reader.take(LITTLE_BYTES));
        assert!(!reader.take(1), "that is not little any more");
        assert!(budget.is_short());
    }

    #[test]
    fn a_room_that_is_filled_up_to_what_is_kept_for_others_is_not_short_yet() {
        let budget =
            Arc::new(Budget::new(BudgetLimits { all: 1 << 20, per_user: 1 << 20, per_address: 1 << 20 }));
        let hog = budget.account(&user(1), address(1));
        assert!(hog.take(768 * 1024) && !hog.take(1));
        assert!(!budget.is_short());
        assert!(budget.account(&user(2), address(2)).take(1));
        assert!(!budget.is_short(), "who has gone gave it back");
        let reader = budget.account(&user(2), address(2));
        assert!(reader.take(1) && budget.is_short());
    }

    #[test]
    fn what_quic_keeps_for_those_who_take_nothing_leaves_an_eighth() {
        let all = 8 << 20;
        let budget = Arc::new(Budget::new(BudgetLimits { all, per_user: all, per_address: all }));
        let stuck = budget.account(&user(1), address(1));
        assert_eq!((0..100).filter(|_| stuck.take_window()).count(), 28, "seven MiB, 256 KiB each");
        assert_eq!(budget.level(), (7 << 20, all));
        assert!(
            budget.account(&user(2), address(2)).take(128 * 1024),
            "there is something for who holds little"
        );
        assert!(!budget.account(&user(3), address(3)).take(128 * 1024 + 1), "and not for who wants much");
    }

    #[test]
    fn what_is_free_and_what_is_taken_at_a_time_is_as_it_is_documented() {
        let limits = BudgetLimits::default();
        assert_eq!((limits.all, limits.per_user, limits.per_address), (2 << 30, 128 << 20, 1 << 30));
        assert_eq!([0, 4_096, 4_097, 20_480, 20_481].map(steps), [0, 0, 16_384, 16_384, 32_768]);
    }

    proptest! {
        /// Whatever they do, the sums are those of a model.
        #[test]
        fn sums_do_not_drift(acts in proptest::collection::vec((0..6_usize, 0..3_u8, 0..40_usize), 0..200)) {
            let budget = Arc::new(Budget::new(BudgetLimits { all: 200, per_user: 90, per_address: 120 }));
            let mut accounts: Vec<Option<(Account, usize)>> = (0..6).map(|_| None).collect();
            for (who, from, bytes) in acts {
                match &mut accounts[who] {
                    none @ None => *none = Some((budget.account(&user(who / 2), address(from)), 0)),
                    Some((account, held)) if bytes > 0 => {
                        if account.take(bytes) {
                            *held += bytes;
                        }
                    }
                    some => *some = None,
                }
                let held: usize = accounts.iter().flatten().map(|(_, held)| held).sum();
                prop_assert_eq!(budget.level(), (held, 200));
                prop_assert!(held <= 200);
            }
            accounts.clear();
            prop_assert_eq!(budget.level().0, 0);
            prop_assert!(budget.users.0.lock().is_empty() && budget.addresses.0.lock().is_empty());
        }
    }
}
