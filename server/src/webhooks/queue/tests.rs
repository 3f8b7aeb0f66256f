use std::collections::{HashMap, HashSet};

use fanfare_protocol::{ConnectionId, GroupName, UserName};
use proptest::prelude::*;

use super::*;
use crate::webhooks::event::Event;

const LONGEST: Duration = Duration::from_secs(3_600);

fn of_connection(sequence: u64, connection: u8) -> Arc<Numbered> {
    let user = UserName::new("user").unwrap();
    let id = ConnectionId::on_node([0; 4], [connection; 12]);
    let event = Event::joined(id, &user, GroupName::new("group").unwrap());
    Arc::new(Numbered { epoch: 1, sequence, event: Event { at_ms: 1_000_000, ..event } })
}

fn of_node(sequence: u64) -> Arc<Numbered> {
    Arc::new(Numbered { epoch: 1, sequence, event: Event { at_ms: 1_000_000, ..Event::started() } })
}

fn numbers(batch: Option<Batch>) -> Vec<u64> {
    batch.into_iter().flatten().map(|event| event.sequence).collect()
}

fn middle() -> f64 {
    0.5
}

#[test]
fn of_one_connection_one_is_on_its_way_and_others_do_not_wait_for_it() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for (number, connection) in [(1, 1), (2, 1), (3, 2), (4, 1), (5, 2)] {
        queue.push(of_connection(number, connection));
    }
    let first = queue.next(now, 1).unwrap();
    assert_eq!((numbers(Some(first.clone())), numbers(queue.next(now, 1))), (vec![1], vec![3]));
    assert_eq!(queue.next(now, 1), None);
    queue.done(&first);
    assert_eq!(numbers(queue.next(now, 1)), [2]);
    assert_eq!((queue.next(now, 1), queue.len()), (None, 4));
}

#[test]
fn in_one_request_a_connections_events_follow_each_other() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for (number, connection) in [(1, 1), (2, 1), (3, 2), (4, 1), (5, 2)] {
        queue.push(of_connection(number, connection));
    }
    let batch = queue.next(now, 3).unwrap();
    assert_eq!(numbers(Some(batch.clone())), [1, 2, 3]);
    assert_eq!(queue.next(now, 3), None, "what is behind them waits");
    queue.done(&batch);
    assert_eq!(numbers(queue.next(now, 3)), [4, 5]);
}

#[test]
fn what_the_node_says_is_told_between_all_before_and_all_behind() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.push(of_connection(1, 1));
    queue.push(of_node(2));
    queue.push(of_connection(3, 2));
    for most in [1, 100] {
        let first = queue.next(now, most).unwrap();
        assert_eq!(numbers(Some(first.clone())), [1]);
        assert_eq!(queue.next(now, most), None);
        queue.failed(&first, Trouble::Down(Some(Duration::ZERO)), (now, 0), LONGEST, middle);
        queue.pause = None;
    }
    let first = queue.next(now, 100).unwrap();
    queue.done(&first);
    let started = queue.next(now, 100).unwrap();
    assert_eq!((numbers(Some(started.clone())), queue.next(now, 100)), (vec![2], None));
    queue.done(&started);
    assert_eq!(numbers(queue.next(now, 100)), [3]);
}

#[test]
fn what_is_refused_holds_up_its_own_connection_alone_and_longer_each_time() {
    let (mut queue, mut now) = (Queue::default(), Instant::now());
    queue.push(of_connection(1, 1));
    queue.push(of_connection(2, 1));
    queue.push(of_connection(3, 2));
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let batch = queue.next(now, 1).unwrap();
        assert_eq!(numbers(Some(batch.clone())), [1]);
        assert!(queue.failed(&batch, Trouble::Refused, (now, 0), LONGEST, middle).is_empty());
        let until = queue.wakes().unwrap();
        pauses.push((until - now).as_millis());
        if let Some(other) = queue.next(now, 1) {
            assert_eq!(numbers(Some(other.clone())), [3]);
            queue.done(&other);
        }
        assert_eq!(queue.next(until - Duration::from_millis(1), 1), None);
        now = until;
    }
    assert_eq!(pauses, [375, 750, 1_500, 3_000, 6_000, 12_000, 24_000, 45_000, 45_000, 45_000]);
}

#[test]
fn a_back_end_that_is_down_is_tried_with_one_request() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for number in 1..=5 {
        queue.push(of_connection(number, u8::try_from(number).unwrap()));
    }
    let sent: Vec<_> = (0..3).map(|_| queue.next(now, 1).unwrap()).collect();
    for batch in sent {
        queue.failed(&batch, Trouble::Down(None), (now, 0), LONGEST, middle);
    }
    let until = queue.wakes().unwrap();
    assert_eq!((until - now).as_millis(), 375, "three that failed together are one failure");
    assert_eq!(queue.next(until - Duration::from_millis(1), 1), None);
    let probe = queue.next(until, 1).unwrap();
    assert_eq!(numbers(Some(probe.clone())), [1]);
    assert_eq!(queue.next(until, 1), None, "one alone");
    queue.failed(&probe, Trouble::Down(Some(Duration::from_secs(9))), (until, 0), LONGEST, middle);
    assert_eq!((queue.wakes().unwrap() - until).as_secs(), 9, "it has said when");
    let later = queue.wakes().unwrap();
    let probe = queue.next(later, 1).unwrap();
    queue.done(&probe);
    assert_eq!((0..4).filter_map(|_| queue.next(later, 1)).count(), 4, "it is up again");
}

#[test]
fn what_is_too_old_is_given_up_when_it_fails_and_not_before() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.push(of_connection(1, 1));
    queue.push(of_connection(2, 1));
    let end = 1_000_000 + 3_600_000;
    let batch = queue.next(now, 1).unwrap();
    assert!(queue.failed(&batch, Trouble::Refused, (now, end), LONGEST, middle).is_empty());
    let now = queue.wakes().unwrap();
    let batch = queue.next(now, 1).unwrap();
    let given_up = queue.failed(&batch, Trouble::Refused, (now, end + 1), LONGEST, middle);
    assert_eq!(numbers(Some(given_up)), [1]);
    assert_eq!(queue.oldest().unwrap().sequence, 2);
    assert_eq!(numbers(queue.next(now, 1)), [2]);
}

#[test]
fn what_is_refused_again_and_again_is_given_up_and_holds_up_no_start() {
    let (mut queue, mut now) = (Queue::default(), Instant::now());
    queue.push(of_connection(1, 1));
    queue.push(of_connection(2, 1));
    queue.push(of_node(3));
    queue.push(of_connection(4, 2));
    let batch = queue.next(now, 9).unwrap();
    assert_eq!(numbers(Some(batch.clone())), [1, 2]);
    queue.failed(&batch, Trouble::Refused, (now, 0), LONGEST, middle);
    assert_eq!(queue.held_back(), 2);
    let started = queue.next(now, 9).unwrap();
    assert_eq!(numbers(Some(started.clone())), [3], "it waits for nobody who is refused");
    // Refused itself, it holds up nobody either.
    queue.failed(&started, Trouble::Refused, (now, 0), LONGEST, middle);
    let other = queue.next(now, 9).unwrap();
    assert_eq!(numbers(Some(other.clone())), [4]);
    queue.done(&other);
    let (mut tries, mut given_up) = (1, Batch::new());
    while given_up.is_empty() {
        now = queue.wakes().unwrap();
        let batch = queue.next(now, 9).unwrap();
        assert_eq!(batch.len(), 1, "alone");
        if batch[0].sequence == 1 {
            tries += 1;
        }
        given_up = queue.failed(&batch, Trouble::Refused, (now, 0), LONGEST, middle);
    }
    assert_eq!((numbers(Some(given_up)), tries), (vec![1], MOST_REFUSALS));
    assert!(queue.next(now, 9).unwrap().iter().any(|event| event.sequence == 2), "what is behind it goes on");
}

#[test]
fn while_a_back_end_is_tried_no_timer_runs() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.push(of_connection(1, 1));
    queue.push(of_connection(2, 2));
    let [refused, down] = [0; 2].map(|_| queue.next(now, 1).unwrap());
    queue.failed(&refused, Trouble::Refused, (now, 0), LONGEST, middle);
    queue.failed(&down, Trouble::Down(None), (now, 0), LONGEST, middle);
    let until = queue.wakes().unwrap();
    let probe = queue.next(until, 1).unwrap();
    assert_eq!(queue.wakes(), None, "what is on its way says when to go on");
    queue.failed(&probe, Trouble::Refused, (until, 0), LONGEST, middle);
    assert!(queue.wakes().unwrap() >= until);
}

#[test]
fn behind_a_back_end_that_is_down_too_long_all_that_is_too_old_is_given_up() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for (number, connection) in [(1, 1), (2, 1), (3, 2), (4, 3)] {
        queue.push(of_connection(number, connection));
    }
    let young = of_connection(5, 2);
    let at_ms = young.event.at_ms + 2;
    queue.push(Arc::new(Numbered { event: Event { at_ms, ..young.event.clone() }, ..*young }));
    // One is held back, one is on its way, and one waits.
    let [refused, sent, down] = [0; 3].map(|_| queue.next(now, 1).unwrap());
    queue.failed(&refused, Trouble::Refused, (now, 0), LONGEST, middle);
    let end = 1_000_000 + 3_600_000 + 1;
    let given_up = queue.failed(&down, Trouble::Down(None), (now, end), LONGEST, middle);
    assert_eq!(numbers(Some(given_up)), [4, 1, 2]);
    assert_eq!(numbers(Some(sent.clone())), [3]);
    queue.done(&sent);
    assert_eq!((queue.len(), queue.oldest().unwrap().sequence), (1, 5));
    assert_eq!(numbers(queue.next(now, 1)), [5]);
    assert!(queue.held.is_empty() && queue.ready.is_empty() && queue.subjects.len() == 1);
}

#[derive(Debug, Clone)]
enum Turn {
    Push(u8),
    Node,
    Send(usize),
    End(usize, Option<Trouble>),
    Wait(u16),
}

fn turn() -> impl Strategy<Value = Turn> {
    let trouble = prop_oneof![
        6 => Just(None),
        2 => Just(Some(Trouble::Refused)),
        1 => Just(Some(Trouble::Down(None))),
        1 => Just(Some(Trouble::Down(Some(Duration::from_secs(3))))),
    ];
    prop_oneof![
        8 => (0..5u8).prop_map(Turn::Push),
        1 => Just(Turn::Node),
        8 => (1..4usize).prop_map(Turn::Send),
        8 => (0..8usize, trouble).prop_map(|(which, trouble)| Turn::End(which, trouble)),
        2 => (0..5_000u16).prop_map(Turn::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever fails, each subject's events are taken in order, once, and none is left in the end.
    #[test]
    fn promise_17_events_of_a_connection_are_taken_in_order_and_none_is_lost(
        turns in prop::collection::vec(turn(), 1..200)
    ) {
        let (mut queue, mut now, mut last) = (Queue::default(), Instant::now(), 0);
        let (mut sent, mut taken) = (Vec::<Batch>::new(), Vec::new());
        let take = |queue: &mut Queue, batch: Batch, taken: &mut Vec<Arc<Numbered>>| {
            queue.done(&batch);
            taken.extend(batch);
        };
        // What is refused may be passed by what the node says.
        let mut refused = HashSet::new();
        for turn in turns {
            match turn {
                Turn::Push(connection) => {
                    last += 1;
                    queue.push(of_connection(last, connection));
                }
                Turn::Node => {
                    last += 1;
                    queue.push(of_node(last));
                }
                Turn::Send(most) => sent.extend(queue.next(now, most)),
                Turn::End(which, trouble) if which < sent.len() => {
                    let batch = sent.swap_remove(which);
                    match trouble {
                        None => take(&mut queue, batch, &mut taken),
                        Some(trouble) => {
                            if trouble == Trouble::Refused {
                                refused.extend(batch.iter().map(|event| event.event.subject()));
                            }
                            // As many refusals as it takes are a matter of another test.
                            taken.extend(queue.failed(&batch, trouble, (now, 0), LONGEST, middle));
                        }
                    }
                }
                Turn::End(..) => {}
                Turn::Wait(ms) => now += Duration::from_millis(ms.into()),
            }
            // What is on its way at one time has no subject twice.
            let mut subjects = HashMap::new();
            for (at, batch) in sent.iter().enumerate() {
                for event in batch {
                    prop_assert_eq!(*subjects.entry(event.event.subject()).or_insert(at), at);
                }
            }
        }
        for batch in std::mem::take(&mut sent) {
            take(&mut queue, batch, &mut taken);
        }
        while queue.len() > 0 {
            let Some(batch) = queue.next(now, 2) else {
                now = queue.wakes().expect("it waits for something");
                continue;
            };
            take(&mut queue, batch, &mut taken);
        }
        prop_assert!(queue.subjects.is_empty() && queue.ready.is_empty() && queue.barriers.is_empty());
        prop_assert_eq!(taken.len() as u64, last);
        let mut before = HashMap::new();
        let mut node = 0;
        for event in taken {
            let subject = event.event.subject();
            let of_subject = before.insert(subject.clone(), event.sequence).unwrap_or(0);
            prop_assert!(of_subject < event.sequence);
            prop_assert!(node < event.sequence || refused.contains(&subject));
            if subject == Subject::Node && !refused.contains(&subject) {
                node = node.max(event.sequence);
                let passed = before.iter().filter(|(subject, _)| !refused.contains(*subject));
                prop_assert!(passed.map(|(_, number)| *number).all(|number| number <= node));
            }
        }
    }
}
