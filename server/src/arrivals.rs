//! Connections that the application has been asked about and that are not welcomed yet: what it does to one of them
//! meanwhile waits for the welcome.
//!
//! In: who is expected; messages and groups for them, and that one is turned away, from the application, back
//! ends and operators. Out: the same, when they have arrived. Invariants: a connection can be sent to from the
//! moment at which the application has heard of it; what waits comes right behind the welcome, in its order,
//! before anything that is sent later, and once; where the connection is not let in, all of it is gone, and
//! nobody has heard of it. One that is turned away is not let in, whatever is said of it afterwards.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fanfare_hub::{CloseReason, Publication};
use fanfare_protocol::{Code, ConnectionId, Denial, GroupName, Target, UserName};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::spread::come_back_after;

/// How many messages wait for a connection at most, and how many bytes of them: less than an outbox holds.
const MOST: usize = 64;
const MOST_BYTES: usize = 256 * 1024;

/// What a message takes beside its payload.
const OWN_BYTES: usize = 256;

/// How many groups wait for it.
const MOST_GROUPS: usize = 1_000;

/// Connections that are expected.
#[derive(Default)]
pub(crate) struct Arrivals(Mutex<HashMap<ConnectionId, Waiting>>, AtomicU64);

/// For whom a message was kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    number: u64,
    connections: Vec<ConnectionId>,
}

impl Kept {
    /// How many they are.
    pub(crate) fn count(&self) -> u64 {
        self.connections.len() as u64
    }
}

struct Waiting {
    user: UserName,
    /// With the numbers of those who keep them.
    messages: Vec<(u64, Publication)>,
    bytes: usize,
    groups: Vec<GroupName>,
    turned_away: Option<TurnedAway>,
    /// Told when it is.
    over: CancellationToken,
}

/// What a connection is told that is not let in, and after which time it may come back, where somebody chose one.
pub(crate) type TurnedAway = (CloseReason, Option<Duration>);

/// A connection that is expected. Dropped, it is not any more.
pub(crate) struct Expected {
    arrivals: Arc<Arrivals>,
    connection: ConnectionId,
    over: CancellationToken,
}

impl Arrivals {
    /// The application is about to hear of a connection.
    pub(crate) fn expect(self: &Arc<Self>, connection: ConnectionId, user: UserName) -> Expected {
        let over = CancellationToken::new();
        let waiting = Waiting {
            user,
            messages: Vec::new(),
            bytes: 0,
            groups: Vec::new(),
            turned_away: None,
            over: over.clone(),
        };
        self.0.lock().insert(connection, waiting);
        Expected { arrivals: Arc::clone(self), connection, over }
    }

    /// Turns a connection away, where it is expected; what is said first counts. Tells whether it is.
    pub(crate) fn turn_away(&self, connection: &ConnectionId, told: TurnedAway) -> bool {
        let mut expected = self.0.lock();
        let Some(waiting) = expected.get_mut(connection) else { return false };
        waiting.turned_away.get_or_insert(told);
        waiting.over.cancel();
        true
    }

    /// Whose an expected connection is.
    pub(crate) fn owner(&self, connection: &ConnectionId) -> Option<UserName> {
        self.0.lock().get(connection).map(|waiting| waiting.user.clone())
    }

    /// Keeps a message for those of its targets that are expected, and takes these out of it.
    ///
    /// # Errors
    /// [`Code::TooManyRequests`] where as much waits for one of them as may. Nothing is kept then.
    pub(crate) fn keep(&self, publication: &mut Publication) -> Result<Kept, Denial> {
        let of = |target: &Target| match target {
            Target::Connection(id) => Some(*id),
            _ => None,
        };
        if !publication.to.iter().any(|target| of(target).is_some()) {
            return Ok(Kept::default());
        }
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        let mut expected = self.0.lock();
        let mut kept = Vec::new();
        for id in publication.to.iter().filter_map(of) {
            let Some(waiting) = expected.get(&id) else { continue };
            if publication.except.contains(&id) || kept.contains(&id) {
                continue;
            }
            if !waiting.has_room(publication.payload.len()) {
                let detail = "as much waits for the connection's welcome as may".to_owned();
                return Err(Denial { code: Code::TooManyRequests, detail });
            }
            kept.push(id);
        }
        publication.to.retain(|target| of(target).is_none_or(|id| !expected.contains_key(&id)));
        for id in &kept {
            if let Some(waiting) = expected.get_mut(id) {
                waiting.bytes += publication.payload.len() + OWN_BYTES;
                let (to, except) = (vec![Target::Connection(*id)], Vec::new());
                waiting.messages.push((number, Publication { to, except, ..publication.clone() }));
            }
        }
        // Or it would get a second copy by another target, if it arrives just now.
        publication.except.extend(&kept);
        Ok(Kept { number, connections: kept })
    }

    /// Takes those who are expected out of a message: it is not for them.
    pub(crate) fn strike(&self, publication: &mut Publication) {
        let expected = self.0.lock();
        publication.to.retain(|target| match target {
            Target::Connection(id) => !expected.contains_key(id),
            _ => true,
        });
    }

    /// The message did not go to the others, and whoever sent it is told so: it is kept for nobody. Who has arrived
    /// meanwhile has it.
    pub(crate) fn take_back(&self, kept: &Kept) {
        let mut expected = self.0.lock();
        for id in &kept.connections {
            let Some(waiting) = expected.get_mut(id) else { continue };
            let bytes = &mut waiting.bytes;
            waiting.messages.retain(|(number, publication)| {
                let stays = *number != kept.number;
                if !stays {
                    *bytes = bytes.saturating_sub(publication.payload.len() + OWN_BYTES);
                }
                stays
            });
        }
    }

    /// Has a connection be in a group from its welcome on, where it is expected. Tells whether it is.
    pub(crate) fn join(&self, connection: &ConnectionId, group: &GroupName) -> bool {
        match self.0.lock().get_mut(connection) {
            Some(waiting) if waiting.groups.len() < MOST_GROUPS => {
                if !waiting.groups.contains(group) {
                    waiting.groups.push(group.clone());
                }
                true
            }
            _ => false,
        }
    }

    /// Takes that back. Tells whether there was anything.
    pub(crate) fn leave(&self, connection: &ConnectionId, group: &GroupName) -> bool {
        let mut expected = self.0.lock();
        let Some(waiting) = expected.get_mut(connection) else { return false };
        let before = waiting.groups.len();
        waiting.groups.retain(|name| name != group);
        waiting.groups.len() < before
    }
}

impl Waiting {
    fn has_room(&self, payload: usize) -> bool {
        self.messages.len() < MOST && self.bytes + payload + OWN_BYTES <= MOST_BYTES
    }
}

impl Expected {
    /// Waits until it is turned away.
    pub(crate) async fn turned_away(&self) -> TurnedAway {
        self.over.cancelled().await;
        let told =
            self.arrivals.0.lock().get(&self.connection).and_then(|waiting| waiting.turned_away.clone());
        told.unwrap_or_else(|| (Code::ClosedByOperator.into(), None))
    }

    /// It is in the hub: sends it what waited, and gives the groups that it is to be in; or closes it, where it was
    /// turned away a moment ago.
    pub(crate) fn arrive(self, hub: &Hub) -> Vec<GroupName> {
        // Under the lock, so that nothing that is sent later comes first.
        let mut expected = self.arrivals.0.lock();
        let Some(waiting) = expected.remove(&self.connection) else { return Vec::new() };
        if let Some((reason, after)) = waiting.turned_away {
            if let Some(member) = hub.connection(&self.connection) {
                hub.close(&member, reason, after.map(come_back_after));
            }
            return Vec::new();
        }
        for (_, publication) in waiting.messages {
            // It was within the limits when it was kept. Where this server may deliver nothing at this moment, it waits
            // in the outbox until it may.
            let _ = hub.send(publication.clone()).or_else(|_| hub.deliver(publication));
        }
        drop(expected);
        waiting.groups
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.arrivals.0.lock().remove(&self.connection);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;
    use fanfare_hub::{HubLimits, Open};
    use fanfare_protocol::{EventName, PayloadFormat, Sender, ServerFrame};
    use fanfare_token::Permissions;

    use super::*;
    use crate::hub::{read, register};

    fn id(number: u8) -> ConnectionId {
        ConnectionId::from_bytes([number; 16])
    }

    fn name(name: &str) -> UserName {
        UserName::new(name).unwrap()
    }

    fn publication(to: &[Target], except: &[ConnectionId], text: &str) -> Publication {
        Publication {
            from: Sender::Server,
            to: to.to_vec(),
            except: except.to_vec(),
            event: EventName::new("event").unwrap(),
            format: PayloadFormat::Text,
            payload: Bytes::copy_from_slice(text.as_bytes()),
            accepted: Instant::now(),
            counts: true,
        }
    }

    fn kept(arrivals: &Arrivals, publication: &mut Publication) -> Result<u64, Denial> {
        arrivals.keep(publication).map(|kept| kept.count())
    }

    fn texts(seat: &crate::hub::Seat) -> Vec<String> {
        let text = |frame| match frame {
            ServerFrame::Message(message) => message.text().unwrap().to_owned(),
            other => panic!("{other:?}"),
        };
        read(seat.member()).into_iter().map(text).collect()
    }

    #[test]
    fn what_waits_comes_with_the_arrival_in_its_order_and_once() {
        let hub = Hub::new(HubLimits::default(), Arc::new(Open));
        let arrivals = Arc::new(Arrivals::default());
        let expected = arrivals.expect(id(1), name("alice"));
        assert_eq!(arrivals.owner(&id(1)), Some(name("alice")));
        let (to_it, group) = (Target::Connection(id(1)), GroupName::new("room").unwrap());
        let others = [Target::Connection(id(2)), Target::User(name("alice"))];
        let mut first =
            publication(&[to_it.clone(), to_it.clone(), others[0].clone(), others[1].clone()], &[], "1");
        assert_eq!(kept(&arrivals, &mut first), Ok(1), "named twice, it gets one");
        assert_eq!((first.to.as_slice(), first.except.as_slice()), (&others[..], &[id(1)][..]));
        let mut excepted = publication(std::slice::from_ref(&to_it), &[id(1)], "not for it");
        assert_eq!((kept(&arrivals, &mut excepted), excepted.to.len()), (Ok(0), 0));
        arrivals.keep(&mut publication(std::slice::from_ref(&to_it), &[], "2")).unwrap();
        assert!(arrivals.join(&id(1), &group) && arrivals.join(&id(1), &group));
        assert!(!arrivals.join(&id(2), &group) && !arrivals.leave(&id(2), &group));
        let hall = GroupName::new("hall").unwrap();
        assert!(
            arrivals.join(&id(1), &hall) && arrivals.leave(&id(1), &hall) && !arrivals.leave(&id(1), &hall)
        );
        let seat = register(&hub, id(1), name("alice"), Permissions::development(1)).unwrap();
        assert_eq!(expected.arrive(&hub), [group]);
        assert_eq!(texts(&seat), ["1", "2"]);
        let mut later = publication(std::slice::from_ref(&to_it), &[], "3");
        assert_eq!((kept(&arrivals, &mut later), later.to.len()), (Ok(0), 1), "it is in the hub");
    }

    #[tokio::test]
    async fn who_is_turned_away_hears_what_was_said_first_and_is_closed_where_it_has_just_come_in() {
        let hub = Hub::new(HubLimits::default(), Arc::new(Open));
        let arrivals = Arc::new(Arrivals::default());
        let told = |reason: &str| CloseReason { code: Code::ClosedForNow, reason: reason.to_owned() };
        let expected = arrivals.expect(id(1), name("alice"));
        assert!(arrivals.turn_away(&id(1), (told("first"), None)));
        assert!(arrivals.turn_away(&id(1), (told("second"), None)));
        assert!(!arrivals.turn_away(&id(2), (told("nobody"), None)));
        assert_eq!(expected.turned_away().await, (told("first"), None));
        arrivals.join(&id(1), &GroupName::new("room").unwrap());
        let seat = register(&hub, id(1), name("alice"), Permissions::development(1)).unwrap();
        assert_eq!(expected.arrive(&hub), []);
        assert_eq!(seat.member().outbox().close_reason(), Some(told("first")));
    }

    #[test]
    fn what_waits_is_bounded_and_gone_with_who_does_not_arrive() {
        let arrivals = Arc::new(Arrivals::default());
        let expected = arrivals.expect(id(1), name("alice"));
        let to_it = Target::Connection(id(1));
        let keep = |text: &str| kept(&arrivals, &mut publication(std::slice::from_ref(&to_it), &[], text));
        for _ in 0..MOST {
            assert_eq!(keep("x"), Ok(1));
        }
        assert_eq!(keep("x").unwrap_err().code, Code::TooManyRequests);
        drop(expected);
        assert_eq!((keep("x"), arrivals.owner(&id(1))), (Ok(0), None));
        let _expected = arrivals.expect(id(1), name("alice"));
        let long = "x".repeat(MOST_BYTES - OWN_BYTES);
        assert_eq!(keep(&long), Ok(1));
        let mut both = publication(&[to_it.clone(), Target::Connection(id(2))], &[], "");
        assert_eq!(kept(&arrivals, &mut both).unwrap_err().code, Code::TooManyRequests);
        assert_eq!(both.to.len(), 2, "nobody was taken out");
        arrivals.strike(&mut both);
        assert_eq!(both.to, [Target::Connection(id(2))]);
        assert!(arrivals.0.lock().len() == 1);
    }

    #[test]
    fn what_is_taken_back_is_kept_for_nobody_and_leaves_its_room() {
        let hub = Hub::new(HubLimits::default(), Arc::new(Open));
        let arrivals = Arc::new(Arrivals::default());
        let expected = arrivals.expect(id(1), name("alice"));
        let to_it = Target::Connection(id(1));
        let keep =
            |text: &str| arrivals.keep(&mut publication(std::slice::from_ref(&to_it), &[], text)).unwrap();
        let long = "x".repeat(MOST_BYTES - 4 * OWN_BYTES);
        let (_first, second, _third) = (keep("1"), keep(&long), keep("3"));
        arrivals.take_back(&second);
        arrivals.take_back(&second);
        keep(&long[..MOST_BYTES / 2]);
        assert_eq!(arrivals.0.lock()[&id(1)].bytes, 2 + 3 * OWN_BYTES + MOST_BYTES / 2);
        let seat = register(&hub, id(1), name("alice"), Permissions::development(1)).unwrap();
        expected.arrive(&hub);
        let lengths: Vec<_> = texts(&seat).iter().map(String::len).collect();
        assert_eq!(lengths, [1, 1, MOST_BYTES / 2]);
    }
}
