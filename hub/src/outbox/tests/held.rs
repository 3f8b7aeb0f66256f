//! What is held back: by a barrier, and by a pause of the whole hub.

use std::sync::atomic::Ordering;

use fanfare_protocol::GroupName;
use fanfare_protocol::presence::PresenceFrame;

use super::ending::{Bell, waiting_writer};
use super::*;
use crate::cluster::{Cluster, NoWay, NodeKey, Outgoing, Proof, Ticket, Topic};
use crate::sheet::Sheet;

/// A cluster that may be paused, and knows nothing else.
#[derive(Default)]
struct Paused(AtomicBool);

impl Cluster for Paused {
    fn delivers(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    fn wants(&self, _: Topic<'_>) -> Option<Arc<Proof>> {
        None
    }

    fn left(&self, _: Topic<'_>) {}

    fn publish(&self, _: &Outgoing<'_>) -> Result<Option<Ticket>, NoWay> {
        Ok(None)
    }

    fn watches(&self, _: &GroupName, _: u64) -> Vec<NodeKey> {
        Vec::new()
    }

    fn unwatches(&self, _: &GroupName, _: u64) {}
}

impl Paused {
    fn pause(&self, is_paused: bool) {
        self.0.store(is_paused, Ordering::Relaxed);
    }
}

fn one_of_several(frames: usize, overflow: Overflow) -> (Outbox, Arc<Paused>) {
    let cluster = Arc::new(Paused::default());
    let pause = Pause::of(Some(Arc::clone(&cluster) as _));
    (Outbox { pause, ..outbox(frames, 100_000, overflow) }, cluster)
}

fn say(outbox: &Outbox, byte: u8) -> Pushed {
    outbox.push_message(&envelope(&[byte]), 0)
}

/// What the writer gets now, in words.
fn told(outbox: &Outbox) -> Vec<String> {
    let word = |frame: ServerFrame| match frame {
        ServerFrame::Ack { request, .. } => format!("ack {request}"),
        ServerFrame::Message(message) => format!("message {}", message.payload[0]),
        ServerFrame::Lagged { dropped } => format!("lagged {dropped}"),
        ServerFrame::Presence(_) => "presence".to_owned(),
        other => panic!("{other:?}"),
    };
    let mut words = Vec::new();
    while let Some(frames) = take(outbox) {
        words.extend(frames.into_iter().map(word));
    }
    words
}

fn ending(outbox: &Outbox) -> Poll<Taken> {
    outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut Vec::new())
}

fn presence() -> Sheet {
    let group = GroupName::new("room").unwrap();
    Sheet::new(PresenceFrame::Changes { group, revision: 1, present: Vec::new(), left: Vec::new() })
}

#[test]
fn promise_18_what_is_behind_a_barrier_waits_until_it_is_settled_and_nothing_overtakes() {
    let (outbox, _) = one_of_several(10, Overflow::Disconnect);
    let (first, second) = (Proof::new(), Proof::new());
    outbox.push_notice(&ack(1));
    say(&outbox, 2);
    outbox.push_behind(Some(Arc::clone(&first)), &ack(3));
    say(&outbox, 4);
    outbox.push_behind(Some(Arc::clone(&second)), &ack(5));
    outbox.push_notice(&ack(6));
    assert_eq!(outbox.facts().frames, 8, "a barrier counts as one");
    assert_eq!(told(&outbox), ["ack 1", "message 2"]);
    assert!(told(&outbox).is_empty());
    let writer = waiting_writer(&outbox);
    second.settle();
    assert_eq!(writer.rings(), 0, "nobody waits for it yet");
    first.settle();
    assert_eq!(writer.rings(), 1);
    assert_eq!(told(&outbox), ["ack 3", "message 4", "ack 5", "ack 6"]);
    assert_eq!(depth(&outbox), (0, 0));
    outbox.push_behind(None, &ack(7));
    assert_eq!(depth(&outbox).0, 1, "where it is proven there is no barrier");
}

#[test]
fn a_writer_that_waits_for_a_proof_is_woken_by_an_end_as_well() {
    let (outbox, _) = one_of_several(10, Overflow::Disconnect);
    outbox.push_behind(Some(Proof::new()), &ack(1));
    let writer = waiting_writer(&outbox);
    outbox.end(Code::Internal.into());
    assert_eq!(writer.rings(), 1);
    assert_eq!(ending(&outbox), Poll::Ready(Taken::Ended));
}

#[test]
fn promise_19_while_the_hub_delivers_nothing_only_what_no_ban_forbids_goes_and_nothing_overtakes() {
    let (outbox, cluster) = one_of_several(20, Overflow::Disconnect);
    cluster.pause(true);
    outbox.push_notice(&ack(1));
    say(&outbox, 2);
    outbox.push_notice(&ack(3));
    assert!(outbox.push_presence(&presence()));
    let writer = waiting_writer_behind(&outbox, &["ack 1"]);
    say(&outbox, 4);
    assert_eq!(writer.rings(), 1, "it looks, and waits on");
    let writer = waiting_writer(&outbox);
    cluster.pause(false);
    assert_eq!(writer.rings(), 0);
    outbox.resume();
    assert_eq!(writer.rings(), 1);
    assert_eq!(told(&outbox), ["message 2", "ack 3", "presence", "message 4"]);

    cluster.pause(true);
    assert!(outbox.push_presence(&presence()));
    assert!(told(&outbox).is_empty(), "a ban may forbid to know who is there");
}

#[test]
fn promise_19_what_the_application_makes_for_a_client_is_held_back_like_a_message() {
    for finishes in [false, true] {
        let (outbox, cluster) = one_of_several(20, Overflow::Disconnect);
        let made = outbox.encode(&ack(2));
        let produce = || outbox.poll_produce(&mut Context::from_waker(Waker::noop()), &made);
        cluster.pause(true);
        outbox.push_notice(&ack(1));
        assert_eq!(produce(), Poll::Ready(true));
        outbox.push_notice(&ack(3));
        let writer = waiting_writer_behind(&outbox, &["ack 1"]);
        if finishes {
            outbox.finish(None);
            assert_eq!(told(&outbox), ["ack 3"]);
            continue;
        }
        cluster.pause(false);
        outbox.resume();
        assert_eq!(writer.rings(), 1);
        assert_eq!(told(&outbox), ["ack 2", "ack 3"]);
        // And by itself it goes at once.
        assert_eq!(produce(), Poll::Ready(true));
        assert_eq!(told(&outbox), ["ack 2"]);
    }
}

/// A writer that has taken this, and waits for more.
fn waiting_writer_behind(outbox: &Outbox, words: &[&str]) -> Arc<Bell> {
    assert_eq!(told(outbox), words);
    waiting_writer(outbox)
}

/// Holds back, and lets go.
type Hold = fn(&Outbox, &Paused) -> Box<dyn FnOnce(&Outbox, &Paused)>;

const HOLDS: [Hold; 2] = [
    |_, cluster| {
        cluster.pause(true);
        Box::new(|outbox, cluster| {
            cluster.pause(false);
            outbox.resume();
        })
    },
    |outbox, _| {
        let proof = Proof::new();
        outbox.push_behind(Some(Arc::clone(&proof)), &ack(1));
        Box::new(move |_, _| proof.settle())
    },
];

#[test]
fn promise_6_what_is_held_back_closes_nothing_whatever_the_policy_and_what_goes_for_it_is_told() {
    for hold in HOLDS {
        let (outbox, cluster) = one_of_several(200, Overflow::Disconnect);
        let release = hold(&outbox, &cluster);
        let mut displaced = 0;
        for _ in 0..250 {
            match say(&outbox, 2) {
                Pushed::Queued => {}
                Pushed::Displaced(messages) => displaced += messages,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(outbox.facts().dropped, displaced);
        assert!(displaced >= 50 && outbox.facts().frames <= 200);
        waiting_writer(&outbox);
        release(&outbox, &cluster);
        // Before the writer had its turn, and while what it took then is being written.
        assert_eq!(say(&outbox, 3), Pushed::Displaced(1));
        let taken = take(&outbox).unwrap();
        assert_eq!(taken[0], ServerFrame::Lagged { dropped: displaced + 1 });
        assert_eq!(say(&outbox, 3), Pushed::Displaced(1));
        assert_eq!(take(&outbox).unwrap()[0], ServerFrame::Lagged { dropped: 1 });
        // From then on it is the client that is slow.
        let overflow = (0..200).map(|_| say(&outbox, 4)).find(|pushed| *pushed != Pushed::Queued);
        assert_eq!(overflow, Some(Pushed::Overflowed));
    }
}

#[test]
fn an_answer_for_which_nothing_may_go_closes_also_what_is_held_back() {
    let (outbox, cluster) = one_of_several(3, Overflow::Disconnect);
    cluster.pause(true);
    for request in 0..3 {
        outbox.push_notice(&ack(request));
    }
    assert_eq!(say(&outbox, 1), Pushed::Dropped(1));
    assert_eq!(outbox.push_notice(&ack(3)), Pushed::Overflowed);
}

#[test]
fn promise_19_a_drain_throws_away_what_is_held_back_and_tells_it_before_the_last_word() {
    let (outbox, cluster) = one_of_several(20, Overflow::Disconnect);
    cluster.pause(true);
    outbox.push_notice(&ack(1));
    say(&outbox, 2);
    outbox.push_notice(&ack(3));
    assert!(outbox.push_presence(&presence()));
    outbox.push_behind(Some(Proof::new()), &ack(4));
    outbox.push_message(&run(&[5], 3), 0);
    let writer = waiting_writer_behind(&outbox, &["ack 1"]);
    outbox.finish(Some(&ack(6)));
    assert_eq!(writer.rings(), 1);
    assert_eq!(told(&outbox), ["lagged 4", "ack 3", "ack 4", "ack 6"]);
    assert_eq!((ending(&outbox), depth(&outbox)), (Poll::Ready(Taken::Finished), (0, 0)));
    assert_eq!(outbox.facts().dropped, 4);
}

#[test]
fn what_a_drain_throws_away_takes_no_place_any_more() {
    let (outbox, cluster) = one_of_several(20, Overflow::Disconnect);
    cluster.pause(true);
    (0..2).for_each(|byte| _ = say(&outbox, byte));
    outbox.push_message(&run(&[2], 3), 0);
    outbox.push_notice(&ack(3));
    outbox.finish(None);
    assert_eq!(take(&outbox).unwrap().len(), 2, "what was lost, and the answer");
    assert_eq!(depth(&outbox).0, 1, "the answer, which is being written");
}

#[test]
fn a_drain_does_not_wait_for_a_proof() {
    let (outbox, _) = one_of_several(20, Overflow::Disconnect);
    outbox.push_first(Some(Proof::new()), &ack(1));
    say(&outbox, 2);
    outbox.finish(Some(&ack(3)));
    assert_eq!(told(&outbox), ["ack 1", "lagged 1", "ack 3"]);
    assert_eq!(ending(&outbox), Poll::Ready(Taken::Finished));
}

#[test]
fn a_drain_without_a_last_word_tells_what_it_threw_away_and_one_that_delivers_writes_all() {
    let (outbox, cluster) = one_of_several(20, Overflow::Disconnect);
    say(&outbox, 1);
    cluster.pause(true);
    outbox.finish(None);
    assert_eq!(told(&outbox), ["lagged 1"]);
    assert_eq!(ending(&outbox), Poll::Ready(Taken::Finished));

    let (outbox, _) = one_of_several(20, Overflow::Disconnect);
    say(&outbox, 1);
    outbox.finish(Some(&ack(2)));
    assert_eq!(told(&outbox), ["message 1", "ack 2"]);
    outbox.lag(1);
    assert_eq!(ending(&outbox), Poll::Ready(Taken::Finished), "nothing comes behind the last word");
}

#[test]
fn promise_18_what_was_lost_on_the_way_is_told_alone_or_with_what_comes_next() {
    let (outbox, cluster) = one_of_several(20, Overflow::Disconnect);
    let writer = waiting_writer(&outbox);
    outbox.lag(3);
    assert_eq!(writer.rings(), 1);
    assert_eq!(told(&outbox), ["lagged 3"]);
    assert_eq!(outbox.facts().dropped, 0, "it is not known to have been for this one");
    assert!(outbox.push_presence(&presence()));
    outbox.lag(4);
    outbox.forget_presence(&GroupName::new("room").unwrap());
    assert_eq!(told(&outbox), ["lagged 4"], "also where what came next is not to be told any more");
    assert_eq!(depth(&outbox), (0, 0));

    // Where nothing was lost there is nothing to tell, and where something waits it is told with that.
    assert!(outbox.push_presence(&presence()));
    outbox.forget_presence(&GroupName::new("room").unwrap());
    assert_eq!(depth(&outbox), (0, 0));
    cluster.pause(true);
    say(&outbox, 1);
    outbox.lag(2);
    outbox.lag(2);
    assert_eq!(outbox.facts().frames, 1);
    assert!(told(&outbox).is_empty(), "with what comes next");
    cluster.pause(false);
    outbox.lag(u64::MAX);
    assert_eq!(told(&outbox), [format!("lagged {}", u64::MAX), "message 1".to_owned()]);
}

/// A client knows nothing before its first frame, and a SignalR client's is no message even.
#[test]
fn promise_18_nothing_is_told_before_the_first_frame_whatever_was_lost_before_it() {
    let (outbox, _) = one_of_several(20, Overflow::Disconnect);
    let proof = Proof::new();
    outbox.push_first(Some(Arc::clone(&proof)), &ack(1));
    outbox.lag(3);
    assert!(told(&outbox).is_empty());
    say(&outbox, 2);
    proof.settle();
    assert_eq!(told(&outbox), ["ack 1", "lagged 3", "message 2"]);
    assert_eq!(depth(&outbox), (0, 0));

    let alone = super::outbox(2, 100_000, Overflow::DropOldest);
    alone.push_first(None, &ack(1));
    say(&alone, 2);
    say(&alone, 3);
    assert_eq!(told(&alone), ["ack 1", "lagged 1", "message 3"]);
    assert_eq!(depth(&alone), (0, 0));
}

#[test]
fn room_for_more_is_told_when_presence_that_waits_is_forgotten() {
    let room = GroupName::new("room").unwrap();
    for (answers, has_room) in [(2, true), (3, false)] {
        let outbox = outbox(4, 100_000, Overflow::Disconnect);
        assert!(outbox.push_presence(&presence()));
        (0..answers).for_each(|request| _ = outbox.push_notice(&ack(request)));
        let (session, waker) = Bell::new();
        assert!(outbox.poll_room(&mut Context::from_waker(&waker)).is_pending());
        outbox.forget_presence(&room);
        assert_eq!(session.rings() > 0, has_room, "{answers} answers wait");
    }
}
