//! Answers, and does by the application's word, what takes long beside the driver, which must not wait for it.
//!
//! In: questions of other nodes, from the driver. Out: their answers. Invariants: few are worked on at a time, one of
//! them about the audit, and few wait, so that nodes that ask hold up nobody here; what nobody waits for any more is
//! not begun; who is turned away is told so at once.

use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use fanfare_cluster::NodeId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::invoking::GivenThere;
use super::questions::{ANSWER, Answers, Question, to_bytes};
use super::side::Side;
use crate::handle::{Given, HubHandle};
use crate::lists::pack;
use crate::uptime;

/// So many questions wait.
const WAITING: usize = 1_024;

/// So many are worked on at a time.
const AT_ONCE: usize = 4;

/// So many clients are asked for other nodes at a time.
const CLIENTS: usize = 16_384;

/// A number takes so many bytes in an answer.
const NUMBER_BYTES: usize = 21;

/// What a group takes beside them, in bytes.
const GROUP_BYTES: usize = 40;

/// A question, and whose it is.
pub(super) struct Asked {
    pub(super) from: NodeId,
    pub(super) number: u64,
    pub(super) question: Question,
    pub(super) since: Instant,
}

/// Where questions wait.
#[derive(Clone)]
pub(super) struct Queue(mpsc::Sender<Asked>);

impl Queue {
    pub(super) fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Has it answered. False: there is no room, and it will not be.
    pub(super) fn add(&self, asked: Asked) -> bool {
        self.0.try_send(asked).is_ok()
    }
}

/// Answers them until nobody gives any more.
pub(super) async fn answer(side: Arc<Side>, handle: HubHandle, mut waiting: mpsc::Receiver<Asked>) {
    let (mut work, mut audits, mut clients) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    while let Some(asked) = waiting.recv().await {
        if let Question::Client(there) = asked.question {
            while clients.try_join_next().is_some() {}
            if uptime::now() >= asked.since + ANSWER || !side.lease.holds() {
                // It would be asked for nobody, or by who does not know what was decided.
                side.node.lock().answer(asked.from, asked.number, None);
                side.wake.notify_one();
                continue;
            }
            let asking = there.asking().zip(side.clients.get().and_then(Weak::upgrade));
            let whose = (asked.from, asked.number);
            match asking {
                Some((asking, known)) if clients.len() < CLIENTS => {
                    let side = Arc::clone(&side);
                    clients.spawn(async move { answer_with(&side, whose, known.ask(asking).await) });
                }
                Some(_) => answer_with(&side, whose, Given::TooMany),
                None => answer_with(&side, whose, Given::NotThere),
            }
            continue;
        }
        let is_audit = matches!(asked.question, Question::Chain(_));
        while !is_audit && work.len() >= AT_ONCE {
            // One that has panicked gave no answer, and its message has told why.
            let _ = work.join_next().await;
        }
        while audits.try_join_next().is_some() {}
        if uptime::now() >= asked.since + ANSWER {
            continue;
        }
        if is_audit && !audits.is_empty() {
            // It takes as long as an audit is, and the others wait for a second.
            side.node.lock().answer(asked.from, asked.number, None);
            continue;
        }
        let (side, handle) = (Arc::clone(&side), handle.clone());
        let answer = move || {
            if let Question::Order(order) = &asked.question {
                // Who does not know what was decided does nothing for others: it may have waited since that was asked.
                let done = side.lease.holds().then(|| to_bytes(&order.done(&handle)));
                side.node.lock().answer(asked.from, asked.number, done);
                side.wake.notify_one();
                return;
            }
            let answers = side.answers.get().and_then(Weak::upgrade);
            let body = answers.and_then(|answers| find(&*answers, &asked.question, side.longest));
            side.node.lock().answer(asked.from, asked.number, body);
            side.wake.notify_one();
        };
        if is_audit {
            audits.spawn_blocking(answer)
        } else {
            work.spawn_blocking(answer)
        };
    }
    // They may take as long as they like.
    clients.shutdown().await;
    while work.join_next().await.is_some() {}
    while audits.join_next().await.is_some() {}
}

/// Says what a client has given.
fn answer_with(side: &Side, (from, number): (NodeId, u64), given: Given) {
    // What does not fit would not go, and its asker would wait.
    // Who does not know what was decided says nothing, and the client may have been put out meanwhile.
    let given = GivenThere::of(given).filter(|_| side.lease.holds());
    let body = given.map(|given| to_bytes(&given)).filter(|body| body.len() <= side.longest);
    side.node.lock().answer(from, number, body);
    side.wake.notify_one();
}

/// The answer, in at most so many bytes.
fn find(answers: &dyn Answers, question: &Question, longest: usize) -> Option<Bytes> {
    let body = match question {
        Question::List(list) => pack(answers.part(list)?, longest),
        Question::UsersIn(groups) => {
            let room = longest.saturating_sub(groups.len().saturating_mul(GROUP_BYTES));
            to_bytes(&answers.users_in(groups, room / NUMBER_BYTES))
        }
        Question::Said { group, users } => to_bytes(&answers.said(group, users)),
        Question::Chain(noted) => to_bytes(&answers.chain(noted)?),
        Question::Connection(id) => to_bytes(&answers.detail(id)),
        Question::Explain { user, group } => to_bytes(&answers.verdicts(user, group)),
        _ => return None,
    };
    // What does not fit would not go, and its asker would wait.
    (body.len() <= longest).then_some(body)
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::admin::{ConnectionDetail, UserRow};
    use fanfare_protocol::{ConnectionId, GroupName, UserName};

    use super::*;
    use crate::cluster::questions::{ChainThere, SAID_BYTES, Said, UsersThere, Verdicts, read};
    use crate::lists::{Entry, Line, ListQuestion, Of, Part, Place};

    /// Has more of everything than fits.
    struct Many;

    impl Answers for Many {
        fn part(&self, _: &ListQuestion) -> Option<Part> {
            let entry = |number: usize| {
                let user = UserName::new(&format!("{number:05}")).unwrap();
                let at = Place { by: user.as_str().into(), id: None };
                Entry { at, line: Some(Line::User(UserRow { user, connections: 1 })) }
            };
            Some(Part { total: 5_000, entries: (0..5_000).map(entry).collect(), more: false })
        }

        fn users_in(&self, groups: &[GroupName], most: usize) -> Vec<UsersThere> {
            groups.iter().map(|_| UsersThere::Numbers(vec![u64::MAX; most])).collect()
        }

        fn said(&self, _: &GroupName, _: &[UserName]) -> Vec<Option<Said>> {
            vec![Some(Said { order: u64::MAX, data: "x".repeat(SAID_BYTES), format: 1 }); 100]
        }

        fn chain(&self, _: &[(String, Vec<String>)]) -> Option<ChainThere> {
            None
        }

        fn detail(&self, _: &ConnectionId) -> Option<ConnectionDetail> {
            None
        }

        fn verdicts(&self, _: &UserName, _: &GroupName) -> Verdicts {
            Verdicts { tokens: vec!["x".repeat(10_000)], ..Verdicts::default() }
        }
    }

    #[test]
    fn no_answer_is_longer_than_a_message_may_be() {
        let (longest, group) = (4_096, GroupName::new("g").unwrap());
        let list = Question::List(Box::new(ListQuestion::new(Of::Users, 5_000)));
        let users = Question::UsersIn(vec![group.clone()]);
        for question in [list, users, Question::Connection(ConnectionId::from_bytes([1; 16]))] {
            let body = find(&Many, &question, longest).unwrap();
            assert!(body.len() <= longest, "{question:?}: {}", body.len());
        }
        // Rather not known than waited for in vain.
        let user = UserName::new("u").unwrap();
        let said = Question::Said { group: group.clone(), users: vec![user.clone()] };
        for question in [said, Question::Explain { user, group }] {
            assert_eq!(find(&Many, &question, longest), None);
        }
        let body = find(&Many, &Question::Connection(ConnectionId::from_bytes([1; 16])), longest).unwrap();
        assert_eq!(read::<Option<ConnectionDetail>>(&body), Some(None));
    }

    #[tokio::test]
    async fn what_finds_no_room_is_told_at_once() {
        let (queue, _waiting) = Queue::new();
        let asked = |number| {
            let question = Question::Connection(ConnectionId::from_bytes([1; 16]));
            Asked { from: NodeId::new([0; 4]), number, question, since: Instant::now() }
        };
        let room = (0..WAITING as u64 + 5).filter(|number| queue.add(asked(*number))).count();
        assert_eq!(room, WAITING);
    }
}
