//! What an outbox takes from the budget of all, and when it gives it back.

use super::*;
use crate::budget::{Budget, BudgetLimits};

const STEP: usize = 16 * 1024;

fn budget(all: usize) -> Arc<Budget> {
    Arc::new(Budget::new(BudgetLimits { all, per_user: all, per_address: all }))
}

fn account(budget: &Arc<Budget>, user: &str) -> Account {
    budget.account(&UserName::new(user).unwrap(), [127, 0, 0, 1].into())
}

fn within(budget: &Arc<Budget>, overflow: Overflow) -> Outbox {
    Outbox::within(
        OutboxLimits { frames: 1_000, bytes: 1 << 30, overflow },
        account(budget, "bob"),
        None,
        Pause::default(),
    )
}

#[test]
fn four_kib_are_free_and_more_is_taken_and_given_back_in_steps() {
    let budget = budget(1 << 20);
    let outbox = within(&budget, Overflow::Disconnect);
    let level = || budget.level().0;
    outbox.push_message(&of_size(4_096), 0);
    assert_eq!(level(), 0);
    outbox.push_message(&of_size(100), 0);
    assert_eq!(level(), STEP);
    outbox.push_message(&of_size(STEP - 100), 0);
    assert_eq!(level(), STEP);
    outbox.push_message(&of_size(STEP), 0);
    assert_eq!(level(), 2 * STEP);
    outbox.push_message(&of_size(STEP), 0);
    assert_eq!(level(), 3 * STEP);
    // All is being written, and still held.
    assert_eq!(take(&outbox).unwrap().len(), 5);
    assert_eq!(level(), 3 * STEP);
    assert!(take(&outbox).is_none());
    assert_eq!(level(), 0);
    outbox.push_message(&of_size(5_000), 0);
    assert_eq!(level(), STEP, "and it begins again");
    drop(outbox);
    assert_eq!(level(), 0);
}

#[test]
fn twice_what_is_needed_is_kept_since_it_comes_again_and_more_is_given_back() {
    let budget = budget(1 << 20);
    // Each message is a batch. What is left of the two needs four steps.
    for (first, kept) in [(4 * STEP, 8 * STEP), (5 * STEP, 4 * STEP)] {
        let outbox = within(&budget, Overflow::Disconnect);
        outbox.push_message(&of_size(first), 0);
        outbox.push_message(&of_size(4 * STEP + 4_096), 0);
        assert_eq!(budget.level().0, first + 4 * STEP);
        take(&outbox);
        assert_eq!(budget.level().0, first + 4 * STEP, "not written yet");
        take(&outbox);
        assert_eq!(budget.level().0, kept);
    }
}

#[test]
fn what_all_together_may_hold_decides_beside_the_bounds_of_each() {
    let budget = budget(4 * STEP);
    let full = account(&budget, "alice");
    assert!(full.take(3 * STEP));
    let message = of_size(5_000);
    let closed = within(&budget, Overflow::Disconnect);
    assert_eq!(closed.push_message(&message, 0), Pushed::Queued);
    assert_eq!(closed.push_message(&of_size(STEP), 0), Pushed::Overflowed);
    drop(closed);

    let dropping = within(&budget, Overflow::DropOldest);
    assert_eq!(dropping.push_message(&message, 0), Pushed::Queued);
    assert_eq!(dropping.push_message(&of_size(STEP), 0), Pushed::Displaced(1));
    assert_eq!(budget.level(), (4 * STEP, 4 * STEP));
    assert_eq!(dropping.facts().bytes, STEP);
}

#[test]
fn what_is_held_already_is_not_asked_for_again() {
    let budget = budget(1 << 20);
    let outbox = within(&budget, Overflow::Disconnect);
    // It holds much, and so do all together: it would get nothing more.
    let much = 160 * 1024;
    assert_eq!(outbox.push_message(&of_size(much), 0), Pushed::Queued);
    let little: Vec<Account> = (0..8).map(|number| account(&budget, &format!("user {number}"))).collect();
    for account in &little {
        for _ in 0..100 {
            account.take(STEP);
        }
    }
    assert_eq!(budget.level().0, 1 << 20);
    assert_eq!(outbox.push_message(&of_size(4_000), 0), Pushed::Queued, "within its last step");
    assert_eq!(outbox.push_message(&of_size(STEP), 0), Pushed::Overflowed);
}

#[test]
fn what_quic_keeps_is_counted_while_the_writer_waits_where_there_is_room() {
    let budget = budget(1 << 20);
    let level = || budget.level().0;
    let outboxes: Vec<Outbox> = (0..4).map(|_| within(&budget, Overflow::Disconnect)).collect();
    let windows: Vec<Window<'_>> = outboxes.iter().map(Outbox::hold_window).collect();
    assert_eq!(level(), 3 * 256 * 1024, "an eighth is left for others");
    let uncounted: Vec<bool> = outboxes.iter().map(Outbox::is_uncounted).collect();
    assert_eq!(uncounted, [false, false, false, true]);
    drop(windows);
    assert_eq!(level(), 0);
    assert!(!outboxes.iter().any(Outbox::is_uncounted), "the writers go on");
    let alone = outbox(10, 1_000, Overflow::Disconnect);
    let window = alone.hold_window();
    assert!(!alone.is_uncounted(), "where nothing is shared there is nothing to count");
    drop(window);
}

#[test]
fn what_a_client_has_sent_is_kept_within_the_same_account_in_a_place_of_its_own() {
    let budget = budget(2 * STEP);
    let outbox = within(&budget, Overflow::Disconnect);
    let (mut calls, mut items) = (Stock::default(), Stock::default());
    let level = || budget.level().0;
    assert!(outbox.keep(&mut calls, 4_096) && outbox.keep(&mut items, 4_096));
    assert_eq!(level(), 0, "a little is free in each place");
    assert!(outbox.keep(&mut calls, 1) && outbox.keep(&mut items, STEP));
    assert_eq!(level(), 2 * STEP);
    assert!(!outbox.keep(&mut calls, STEP), "there is no more");
    assert!(outbox.keep(&mut calls, STEP - 1), "and of that nothing was counted");
    assert_eq!(outbox.push_message(&of_size(4_097), 0), Pushed::Overflowed, "it is one account");
    outbox.taken(&mut items, STEP);
    assert_eq!(level(), STEP);
    assert!(outbox.keep(&mut items, STEP));
    outbox.taken(&mut items, usize::MAX);
    outbox.taken(&mut calls, 4_096 + STEP);
    assert_eq!(level(), 0);
    assert!(outbox.keep(&mut items, 2 * STEP) && !outbox.keep(&mut calls, STEP));
}
