//! One send on its way through the members: whom it leaves out, who has a copy already, how a copy goes, and what came
//! of it all.
//!
//! In: the members whom its targets reach, one after the other, from the registry, which holds the target's lock
//! meanwhile. Out: copies, in outboxes or in datagrams; counts. Invariant: nobody gets two copies, and nobody whom the
//! send leaves out gets one (promises 1 and 2).

use std::collections::HashSet;
use std::sync::Arc;

use fanfare_protocol::ConnectionId;

use crate::delivery::Delivery;
use crate::envelope::Envelope;
use crate::line::Unreliable;
use crate::member::Member;
use crate::outbox::Pushed;

/// How copies go.
pub(crate) trait Carrier {
    fn envelope(&self) -> &Envelope;

    /// Has the member get a copy, as one for the target at this position.
    fn carry<P>(&self, member: &Arc<Member<P>>, position: u16, delivery: &mut Delivery);
}

/// By the stream: through the outbox.
pub(crate) struct Queued<'a>(pub(crate) &'a Arc<Envelope>);

impl Carrier for Queued<'_> {
    fn envelope(&self) -> &Envelope {
        self.0
    }

    // Called for every copy of every message, and compiled into the loop over a group's members.
    #[inline(always)]
    fn carry<P>(&self, member: &Arc<Member<P>>, position: u16, delivery: &mut Delivery) {
        delivery.count(member.outbox().push_message(self.0, position), self.0.frames());
    }
}

/// By datagrams. Nothing waits, and nothing is kept.
pub(crate) struct Datagrams<'a>(pub(crate) &'a Arc<Envelope>);

impl Carrier for Datagrams<'_> {
    fn envelope(&self) -> &Envelope {
        self.0
    }

    fn carry<P>(&self, member: &Arc<Member<P>>, position: u16, delivery: &mut Delivery) {
        let datagram = self.0.datagram(position);
        let send = || member.line().send_datagram(datagram);
        let sent = match member.outbox().push_datagram(self.0, position, send) {
            Ok(sent) => sent,
            // A client that knows no datagrams, or that is told nothing any more.
            Err(pushed) => {
                if matches!(pushed, Pushed::Dropped(_)) {
                    member.count_datagram(Unreliable::Dropped);
                }
                return delivery.count(pushed, 1);
            }
        };
        member.count_datagram(sent);
        if sent != Unreliable::Dropped {
            delivery.datagram_bytes += self.0.datagram_bytes(position) as u64;
        }
        match sent {
            Unreliable::Sent => delivery.queued += 1,
            Unreliable::Displaced => {
                delivery.queued += 1;
                delivery.displaced += 1;
            }
            Unreliable::Dropped => delivery.displaced += 1,
        }
    }
}

/// A send on its way.
pub(crate) struct Visit<'a, C> {
    carrier: C,
    /// Where it is not for everybody whom it meets.
    sieve: Option<Sieve<'a>>,
    delivery: Delivery,
}

impl<'a, C: Carrier> Visit<'a, C> {
    pub(crate) fn new(carrier: C, except: &'a [ConnectionId]) -> Self {
        // With one target nobody is reached twice, and nothing needs to be remembered.
        let several = carrier.envelope().targets().len() > 1;
        let sieve = (several || !except.is_empty())
            .then(|| Sieve { except: Excluded::new(except), reached: several.then(HashSet::new) });
        Self { carrier, sieve, delivery: Delivery::default() }
    }

    /// Has a member get a copy, if it is to have one and has none yet.
    #[inline(always)]
    pub(crate) fn member<P>(&mut self, member: &Arc<Member<P>>, position: u16) {
        if self.sieve.as_mut().is_none_or(|sieve| sieve.passes(member.id())) {
            self.carrier.carry(member, position, &mut self.delivery);
        }
    }

    /// What came of it so far.
    pub(crate) fn delivery(&self) -> &Delivery {
        &self.delivery
    }
}

/// Who is to have a copy.
struct Sieve<'a> {
    except: Excluded<'a>,
    /// Who has one, where there are several targets.
    reached: Option<HashSet<ConnectionId>>,
}

impl Sieve<'_> {
    #[inline]
    fn passes(&mut self, id: ConnectionId) -> bool {
        !self.except.contains(&id) && self.reached.as_mut().is_none_or(|reached| reached.insert(id))
    }
}

/// The connections that a send leaves out: a few are compared one by one, many are looked up.
enum Excluded<'a> {
    Few(&'a [ConnectionId]),
    Many(HashSet<&'a ConnectionId>),
}

impl<'a> Excluded<'a> {
    fn new(ids: &'a [ConnectionId]) -> Self {
        if ids.len() <= 8 { Self::Few(ids) } else { Self::Many(ids.iter().collect()) }
    }

    #[inline]
    fn contains(&self, id: &ConnectionId) -> bool {
        match self {
            Self::Few(ids) => ids.contains(id),
            Self::Many(ids) => ids.contains(id),
        }
    }
}
