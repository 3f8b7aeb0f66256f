//! Whose connections on other nodes are.
//!
//! In: connections' ids; what their nodes say of them. Out: their users, where they are there. Invariants: a welcomed
//! connection's user never changes, so what was said of one may be kept; of one that the application is still asked
//! about it may, so that is kept for nobody, and said only to whom that is no matter; nobody waits longer than an
//! answer may take; so many are kept at most ([`MOST`]).

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_cluster::Tallied;
use fanfare_protocol::{ConnectionId, UserName};
use parking_lot::Mutex;

use super::questions::read;

/// So many owners are kept, of at most 256 bytes each: some 1.3 MB. Then all are forgotten, and asked for anew.
const MOST: usize = 4_096;

/// Which connections are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// Those that are welcomed.
    Welcomed,
    /// Those that the application is still asked about as well: it may yet say that they are somebody else's.
    AlsoExpected,
}

/// Owners that were asked for a while ago.
#[derive(Default)]
pub(super) struct Owners(Mutex<HashMap<ConnectionId, UserName>>);

impl Owners {
    pub(super) fn keep(&self, said: &HashMap<ConnectionId, UserName>) {
        let mut kept = self.0.lock();
        if kept.len() + said.len() > MOST {
            kept.clear();
        }
        kept.extend(said.iter().take(MOST).map(|(id, user)| (*id, user.clone())));
    }

    pub(super) fn of(&self, ids: &[ConnectionId]) -> Option<HashMap<ConnectionId, UserName>> {
        let kept = self.0.lock();
        ids.iter().map(|id| Some((*id, kept.get(id)?.clone()))).collect()
    }
}

/// What some nodes have said so far, and who waits for all of them.
pub(super) struct Gathering<F> {
    owners: Mutex<HashMap<ConnectionId, UserName>>,
    /// Called by whoever is the last; locked by nobody else.
    then: Mutex<F>,
}

impl<F: FnOnce(HashMap<ConnectionId, UserName>)> Gathering<F> {
    /// Whoever made it has one part of it.
    pub(super) fn new(then: F) -> Arc<Self> {
        Arc::new(Self { owners: Mutex::default(), then: Mutex::new(then) })
    }

    pub(super) fn add(&self, ids: &[ConnectionId], tallied: Tallied) {
        for (_, body) in tallied.answers {
            let users = body.as_deref().and_then(read::<Vec<Option<UserName>>>).unwrap_or_default();
            let said = ids.iter().copied().zip(users).filter_map(|(id, user)| Some((id, user?)));
            self.owners.lock().extend(said);
        }
    }

    /// The last who lets go of it says what there is.
    pub(super) fn let_go(self: Arc<Self>) {
        if let Some(Self { owners, then }) = Arc::into_inner(self) {
            then.into_inner()(owners.into_inner());
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfare_cluster::NodeId;

    use super::*;

    fn said(numbers: std::ops::Range<usize>) -> HashMap<ConnectionId, UserName> {
        let id = |number: usize| ConnectionId::from_bytes((number as u128).to_be_bytes());
        numbers.map(|number| (id(number), UserName::new("bob").unwrap())).collect()
    }

    /// However many connections a client asks about.
    #[test]
    fn no_more_owners_are_kept_than_may_be() {
        let owners = Owners::default();
        owners.keep(&said(0..3));
        let ids: Vec<_> = said(0..3).into_keys().collect();
        assert_eq!(owners.of(&ids), Some(said(0..3)));
        assert_eq!(owners.of(&said(2..4).into_keys().collect::<Vec<_>>()), None, "of one it is not known");
        for first in (0..5 * MOST).step_by(100) {
            owners.keep(&said(first..first + 100));
            assert!(owners.0.lock().len() <= MOST);
        }
        owners.keep(&said(0..2 * MOST));
        assert_eq!(owners.0.lock().len(), MOST);
    }

    #[test]
    fn whoever_waits_is_told_once_when_the_last_has_answered() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let then = move |owners: HashMap<ConnectionId, UserName>| heard.lock().push(owners.len());
        let gathering = Gathering::new(then);
        let (first, second) = (Arc::clone(&gathering), Arc::clone(&gathering));
        gathering.let_go();
        let body = |text: &str| Some(bytes::Bytes::copy_from_slice(text.as_bytes()));
        let answer =
            |text| Tallied { answers: vec![(NodeId::new([1; 4]), body(text))], ..Tallied::default() };
        first.add(&said(0..2).into_keys().collect::<Vec<_>>(), answer(r#"["bob",null]"#));
        first.let_go();
        assert!(told.lock().is_empty());
        second.add(&said(2..3).into_keys().collect::<Vec<_>>(), answer("{}"));
        second.let_go();
        assert_eq!(*told.lock(), [1]);
    }
}
