//! What other nodes want: where a publication goes.
//!
//! In: topics that a node wants or wants no more, nodes that go. Out: the nodes that a target may have somebody on.
//! Invariant: a node whose wishes are not all known here is sent everything (`Others::heard_all` says when they are),
//! so that not to know never means not to send.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::id::Places;
use crate::topic::TopicNumber;

/// What other nodes want.
#[derive(Debug, Default)]
pub(crate) struct Others {
    topics: HashMap<TopicNumber, Places, RandomState>,
    /// Nodes that there are.
    here: Places,
    /// Those of them whose wishes are not all known.
    unheard: Places,
}

impl Others {
    /// A node is there, and not all that it wants is known; nothing that it wanted before counts any more.
    pub(crate) fn begin(&mut self, place: usize) {
        self.forget(place);
        self.here.insert(place);
        self.unheard.insert(place);
    }

    /// Everything that this node wants is known.
    pub(crate) fn heard_all(&mut self, place: usize) {
        self.unheard.remove(place);
    }

    /// A node has gone.
    pub(crate) fn end(&mut self, place: usize) {
        self.forget(place);
        self.here.remove(place);
        self.unheard.remove(place);
    }

    fn forget(&mut self, place: usize) {
        if self.here.contains(place) {
            self.topics.retain(|_, places| {
                places.remove(place);
                !places.is_empty()
            });
        }
    }

    pub(crate) fn want(&mut self, place: usize, topic: TopicNumber) {
        self.topics.entry(topic).or_default().insert(place);
    }

    pub(crate) fn unwant(&mut self, place: usize, topic: TopicNumber) {
        if let Some(places) = self.topics.get_mut(&topic) {
            places.remove(place);
            if places.is_empty() {
                self.topics.remove(&topic);
            }
        }
    }

    /// The nodes that may have somebody whom a topic reaches.
    pub(crate) fn wanting(&self, topic: TopicNumber) -> Places {
        self.topics.get(&topic).copied().unwrap_or_default().with(self.unheard)
    }

    /// All nodes.
    pub(crate) fn here(&self) -> Places {
        self.here
    }

    /// Whether all that a node wants is known.
    pub(crate) fn is_heard(&self, place: usize) -> bool {
        !self.unheard.contains(place)
    }

    /// How many topics are wanted somewhere.
    pub(crate) fn topics(&self) -> usize {
        self.topics.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(list: &[usize]) -> Places {
        let mut places = Places::default();
        list.iter().for_each(|place| places.insert(*place));
        places
    }

    #[test]
    fn promise_18_whose_wishes_are_not_known_is_sent_everything() {
        let mut others = Others::default();
        let (one, two) = (TopicNumber(1), TopicNumber(2));
        others.begin(3);
        assert_eq!(others.wanting(one), places(&[3]));
        others.want(3, one);
        others.heard_all(3);
        assert_eq!((others.wanting(one), others.wanting(two)), (places(&[3]), places(&[])));
        others.begin(5);
        assert_eq!(others.wanting(two), places(&[5]));
        others.heard_all(5);
        others.begin(3);
        assert_eq!(
            (others.wanting(two), others.topics()),
            (places(&[3]), 0),
            "what was wanted before is gone"
        );
        others.want(3, two);
        others.end(3);
        assert_eq!((others.wanting(two), others.here()), (places(&[]), places(&[5])));
        others.want(5, one);
        others.unwant(5, one);
        assert_eq!(others.topics(), 0);
    }
}
