//! How many sessions there may be at a time, and whose.
//!
//! In: operators who have shown their certificates. Out: a seat for each session, or none. Invariants: there are never
//! more than [`MOST`]; no name has more than [`EACH`], and viewers together have no more than half, so that neither a
//! loop in somebody's script nor a viewer's stolen certificate keeps an operator of another name out.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_protocol::admin::Role;
use parking_lot::Mutex;

use crate::moderation::Operator;

/// Far more than there are operators, few enough that they cost nothing.
const MOST: usize = 1_024;
/// For one name: dashboards on several screens, and commands beside them.
const EACH: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    viewers: usize,
    by_name: HashMap<String, usize>,
}

impl Seats {
    pub(super) fn take(self: &Arc<Self>, operator: &Operator) -> Option<Seat> {
        let Operator { name, role } = operator;
        let mut taken = self.0.lock();
        let own = taken.by_name.get(name).copied().unwrap_or(0);
        let views = *role == Role::Viewer;
        if taken.all >= MOST || own >= EACH || (views && taken.viewers >= MOST / 2) {
            return None;
        }
        taken.all += 1;
        taken.viewers += usize::from(views);
        taken.by_name.insert(name.clone(), own + 1);
        drop(taken);
        Some(Seat { seats: Arc::clone(self), name: name.clone(), views })
    }
}

/// One session's seat, given back on drop.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    name: String,
    views: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock();
        taken.all -= 1;
        taken.viewers -= usize::from(self.views);
        if let Some(own) = taken.by_name.get_mut(&self.name) {
            *own -= 1;
            if *own == 0 {
                taken.by_name.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str, role: Role) -> Operator {
        Operator { name: name.to_owned(), role }
    }

    #[test]
    fn nobody_takes_all_seats_and_viewers_leave_half() {
        let seats = Arc::new(Seats::default());
        let one: Vec<_> = (0..EACH + 9).filter_map(|_| seats.take(&who("dashboard", Role::Viewer))).collect();
        assert_eq!(one.len(), EACH, "more than its share");
        let viewers: Vec<_> = (0..MOST)
            .filter_map(|number| seats.take(&who(&format!("viewer {number}"), Role::Viewer)))
            .collect();
        assert_eq!(one.len() + viewers.len(), MOST / 2);
        let operators: Vec<_> =
            (0..MOST).filter_map(|number| seats.take(&who(&format!("{number}"), Role::Operator))).collect();
        assert_eq!(operators.len(), MOST / 2);
        assert!(seats.take(&who("late", Role::Operator)).is_none());
        drop((one, viewers, operators));
        let taken = seats.0.lock();
        assert_eq!((taken.all, taken.viewers, taken.by_name.len()), (0, 0, 0));
    }
}
