//! Ids that were given out to clients of SignalR before they connect, and nothing kept of them until they come.
//!
//! In: a wish to connect, and later the id that it was given. Out: an id that proves itself, and its place while there
//! is a connection. Invariants: who has not negotiated cannot make one up, nor use another user's; each is used once,
//! and not after its time; what is kept is kept of those that came alone, so that any number that never come costs
//! nothing. A restarted server knows none of its former ones, as it has none of their connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use fanfare_protocol::{ConnectionId, UserName};
use fanfare_signalr::negotiate::{ConnectRefusal, NegotiateVersion};
use parking_lot::Mutex;

/// An id can be used in the slot in which it was made, and in so many after it: 15 to 20 s.
const SLOT: Duration = Duration::from_secs(5);
const SLOTS: u64 = 3;

/// How many bytes of an id prove it. The id opens nothing for who cannot show who they are.
const PROOF_BYTES: usize = 8;

/// How many bytes of a token are its own.
const SECRET_BYTES: usize = 16;

/// How many characters an id has when it is written.
const ID_CHARACTERS: usize = 26;

/// What is given out, and what of it is in use.
pub(crate) struct Negotiations {
    /// None where the system has no randomness: nothing is negotiated then.
    key: Option<hmac::Key>,
    begun: Instant,
    /// What ids of this server's connections begin with.
    node: [u8; 4],
    next: AtomicU32,
    claimed: Mutex<HashMap<ConnectionId, Claim>>,
}

/// One that was used.
struct Claim {
    /// The last slot in which it is kept, where its connection has ended.
    until: u64,
    is_connected: bool,
    /// What it was negotiated in: a version 1 id is not opened by itself, and does not tell that it is in use.
    version: NegotiateVersion,
    user: UserName,
}

/// A connection's claim to its id. Dropped, the connection has ended.
pub(crate) struct Claimed {
    id: ConnectionId,
    of: Arc<Negotiations>,
}

impl Negotiations {
    pub(crate) fn new(node: [u8; 4]) -> Arc<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new()).ok();
        let (next, claimed) = (AtomicU32::new(0), Mutex::default());
        Arc::new(Self { key, begun: Instant::now(), node, next, claimed })
    }

    /// The id of a connection to come, and the token that opens it: in version 0 the id itself.
    pub(crate) fn negotiate(
        &self,
        version: NegotiateVersion,
        user: &UserName,
    ) -> Option<(ConnectionId, String)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let proof = self.proof(version, number, user, self.slot())?;
        let mut own = [0; 12];
        for (place, byte) in own.iter_mut().zip(number.into_iter().chain(proof)) {
            *place = byte;
        }
        let id = ConnectionId::on_node(self.node, own);
        let token = match version {
            NegotiateVersion::Zero => id.to_string(),
            NegotiateVersion::One => format!("{id}{}", hex(&self.secret(&id)?)),
        };
        Some((id, token))
    }

    /// The id that a token opens, from now on that of a connection.
    ///
    /// # Errors
    /// Nobody has negotiated it, or it was too long ago, or its connection has ended; or it has one.
    pub(crate) fn claim(
        self: &Arc<Self>,
        token: &str,
        user: &UserName,
    ) -> Result<(ConnectionId, Claimed), ConnectRefusal> {
        let (id, version) = self.read(token, user).ok_or(ConnectRefusal::NoConnection)?;
        let now = self.slot();
        let mut claimed = self.claimed.lock();
        match claimed.get(&id) {
            Some(Claim { is_connected: true, .. }) => return Err(ConnectRefusal::AlreadyConnected),
            Some(Claim { is_connected: false, .. }) => return Err(ConnectRefusal::NoConnection),
            None => {}
        }
        if claimed.len() == claimed.capacity() {
            claimed.retain(|_, claim| claim.is_connected || claim.until >= now);
        }
        // Longer than any that is made now can be used.
        claimed.insert(id, Claim { until: now + SLOTS, is_connected: true, version, user: user.clone() });
        Ok((id, Claimed { id, of: Arc::clone(self) }))
    }

    /// The id in a token, where that was made here, and not too long ago. One that is in use is known by its claim.
    fn read(&self, token: &str, user: &UserName) -> Option<(ConnectionId, NegotiateVersion)> {
        let (id, secret) = token.split_at_checked(ID_CHARACTERS)?;
        let id: ConnectionId = id.parse().ok()?;
        let version = if secret.is_empty() { NegotiateVersion::Zero } else { NegotiateVersion::One };
        if version == NegotiateVersion::One {
            verify_slices_are_equal(secret.as_bytes(), hex(&self.secret(&id)?).as_bytes()).ok()?;
        }
        if self.claimed.lock().get(&id).is_some_and(|claim| (claim.version, &claim.user) == (version, user)) {
            return Some((id, version));
        }
        let (_, own) = id.as_bytes().split_at_checked(self.node.len())?;
        let (number, proof) = own.split_first_chunk::<4>()?;
        let now = self.slot();
        let is_proved = (now.saturating_sub(SLOTS)..=now)
            .filter_map(|slot| self.proof(version, *number, user, slot))
            .any(|right| verify_slices_are_equal(proof, &right).is_ok());
        is_proved.then_some((id, version))
    }

    /// What nobody else can make for an id's number, the version that it was negotiated in, and the time.
    fn proof(
        &self,
        version: NegotiateVersion,
        number: [u8; 4],
        user: &UserName,
        slot: u64,
    ) -> Option<[u8; PROOF_BYTES]> {
        self.tag(&[
            b"id",
            &[version.number()],
            &self.node,
            &number,
            &slot.to_be_bytes(),
            user.as_str().as_bytes(),
        ])
    }

    /// What opens a connection whose id may be told to others.
    fn secret(&self, id: &ConnectionId) -> Option<[u8; SECRET_BYTES]> {
        self.tag(&[b"token", id.as_bytes()])
    }

    fn tag<const BYTES: usize>(&self, parts: &[&[u8]]) -> Option<[u8; BYTES]> {
        let tag = hmac::sign(self.key.as_ref()?, &parts.concat());
        let mut cut = [0; BYTES];
        for (place, byte) in cut.iter_mut().zip(tag.as_ref()) {
            *place = *byte;
        }
        Some(cut)
    }

    fn slot(&self) -> u64 {
        self.begun.elapsed().as_secs() / SLOT.as_secs()
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(claim) = self.of.claimed.lock().get_mut(&self.id) {
            // It cannot be used again, as long as it could.
            claim.is_connected = false;
            claim.until = self.of.slot() + SLOTS;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> UserName {
        UserName::new("alice").unwrap()
    }

    fn negotiations() -> Arc<Negotiations> {
        Negotiations::new([1, 2, 3, 4])
    }

    /// The same when so many slots have gone by.
    fn later(of: &Arc<Negotiations>, slots: u32) -> Arc<Negotiations> {
        let begun = of.begun.checked_sub(SLOT * slots).unwrap();
        let claimed = std::mem::take(&mut *of.claimed.lock());
        let next = AtomicU32::new(of.next.load(Ordering::Relaxed));
        Arc::new(Negotiations {
            key: of.key.clone(),
            begun,
            node: of.node,
            next,
            claimed: Mutex::new(claimed),
        })
    }

    #[test]
    fn each_id_opens_one_connection_by_what_was_negotiated_alone() {
        let negotiations = negotiations();
        let (open, token) = negotiations.negotiate(NegotiateVersion::One, &alice()).unwrap();
        let (plain, same) = negotiations.negotiate(NegotiateVersion::Zero, &alice()).unwrap();
        assert_eq!(plain.to_string(), same);
        assert!(open.as_bytes().starts_with(&[1, 2, 3, 4]), "the node is in it, as in any other");
        assert_eq!(
            negotiations.claim(&open.to_string(), &alice()).err(),
            Some(ConnectRefusal::NoConnection),
            "a secret opens it"
        );
        let other = UserName::new("mallory").unwrap();
        assert_eq!(
            negotiations.claim(&token, &other).err(),
            Some(ConnectRefusal::NoConnection),
            "whose it is"
        );
        let (id, claimed) = negotiations.claim(&token, &alice()).ok().unwrap();
        assert_eq!(id, open);
        assert_eq!(negotiations.claim(&token, &alice()).err(), Some(ConnectRefusal::AlreadyConnected));
        drop(claimed);
        assert_eq!(
            negotiations.claim(&token, &alice()).err(),
            Some(ConnectRefusal::NoConnection),
            "it was used"
        );
        assert_eq!(negotiations.claim(&same, &alice()).ok().unwrap().0, plain);
    }

    #[test]
    fn what_was_not_negotiated_here_opens_nothing() {
        let (here, elsewhere) = (negotiations(), negotiations());
        let (_, token) = elsewhere.negotiate(NegotiateVersion::One, &alice()).unwrap();
        let (_, id) = elsewhere.negotiate(NegotiateVersion::Zero, &alice()).unwrap();
        let mut other = here.negotiate(NegotiateVersion::One, &alice()).unwrap().1;
        other.replace_range(other.len() - 1.., if other.ends_with('0') { "1" } else { "0" });
        let own = ConnectionId::on_node([1, 2, 3, 4], [0; 12]).to_string();
        for made_up in [token.as_str(), &id, &other, &own, "", "x", "\u{e9}".repeat(20).as_str()] {
            assert_eq!(here.claim(made_up, &alice()).err(), Some(ConnectRefusal::NoConnection), "{made_up}");
        }
    }

    #[test]
    fn an_id_lasts_as_long_as_it_may_and_its_claim_as_long_as_its_connection() {
        let fresh = negotiations();
        let tokens: Vec<String> =
            (0..3).map(|_| fresh.negotiate(NegotiateVersion::One, &alice()).unwrap().1).collect();
        let last = later(&fresh, 3);
        let (_, claimed) = last.claim(&tokens[0], &alice()).ok().unwrap();
        assert_eq!(last.claim(&tokens[0], &alice()).err(), Some(ConnectRefusal::AlreadyConnected));
        let too_late = later(&last, 1);
        assert_eq!(too_late.claim(&tokens[1], &alice()).err(), Some(ConnectRefusal::NoConnection));
        // Much later: it has a connection all the same.
        let much_later = later(&too_late, 100);
        assert_eq!(much_later.claim(&tokens[0], &alice()).err(), Some(ConnectRefusal::AlreadyConnected));
        drop(claimed);
    }

    #[test]
    fn what_is_kept_of_those_that_have_gone_goes() {
        let mut negotiations = negotiations();
        for _ in 0..50 {
            let (_, token) = negotiations.negotiate(NegotiateVersion::One, &alice()).unwrap();
            drop(negotiations.claim(&token, &alice()).ok().unwrap());
            negotiations = later(&negotiations, 4);
        }
        assert!(negotiations.claimed.lock().len() < 10);
    }
}
