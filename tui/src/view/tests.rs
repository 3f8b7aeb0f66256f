//! Pictures of every view at several sizes, kept beside this file. `INSTA_UPDATE=always cargo test -p fanfare-tui`
//! draws them anew; look at the difference before it is committed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use fanfare_protocol::admin::{
    self, BanKind, BanRow, Counters, Listing, NodeRow, Receipt, Role, Times, WebhookError, WebhookRow,
};
use fanfare_protocol::{ConnectionId, GroupName, Pattern, UserName};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use super::draw;
use crate::keymap::BINDINGS;
use crate::model::{AtMost, Model, View};
use crate::update::tests::{busy, clustered, detail, row, snapshot, status};
use crate::update::{Effect, Event, update};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn picture(model: &mut Model, size: (u16, u16)) -> String {
    update(model, Event::Resize(size.0, size.1));
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| draw(model, frame)).unwrap();
    let picture = terminal.backend().to_string();
    // The backend notes behind a line what wide characters cover.
    let shown = |line: &str| {
        let line = line.split("\" Hidden by").next().unwrap_or_default();
        line.trim_matches('"').trim_end().to_owned()
    };
    picture.lines().map(shown).collect::<Vec<_>>().join("\n")
}

fn press(model: &mut Model, keys: &str) {
    for character in keys.chars() {
        let code = if character == '\n' { KeyCode::Enter } else { KeyCode::Char(character) };
        for effect in update(model, Event::Key(KeyEvent::new(code, KeyModifiers::NONE))) {
            if let Effect::Preview(request) = effect {
                let groups = [(GroupName::new("room-1").unwrap(), 2)].into();
                let receipt = Receipt { dry_run: true, connections: 2, groups, ..Receipt::default() };
                update(model, Event::Previewed(request, Ok(receipt)));
            }
        }
    }
}

/// A server with something in every view, and names that are no names.
fn full(role: Role) -> Model {
    let mut model = busy(role);
    let nasty = row(7, "日本語 \u{1f389} a\u{1b}[2J");
    let mut more = snapshot(vec![nasty], &[("日本 group", 2)]);
    more.full = false;
    update(&mut model, Event::Update(Box::new(more)));
    // Two minutes of traffic, for the charts and the percentiles.
    for second in 1..=120_u64 {
        let mut more = snapshot(Vec::new(), &[]);
        (more.full, more.at_ms) = (false, more.at_ms + second * 1_000);
        more.totals.connections = 4;
        let sends = (0..=second).map(|second| second % 17).sum();
        more.counters = Counters {
            sends,
            deliveries: sends * 10,
            requests: sends + 4,
            bytes_in: sends * 100,
            bytes_out: sends * 1_000,
            cpu_ms: second * 35,
            resident_bytes: 11_400_000,
            delivery_us: Times([(48, sends * 9), (383, sends), (12_287, second)].into()),
            ..Counters::default()
        };
        if second == 120 {
            // It is as busy as before.
            more.connections = vec![row(1, "alice")];
            (more.connections[0].requests, more.connections[0].deliveries) = (1 + 240, 10 + 2_400);
        }
        update(&mut model, Event::Update(Box::new(more)));
    }
    let ban = BanRow {
        kind: BanKind::Group,
        user: Some(UserName::new("mallory").unwrap()),
        groups: Some(Pattern::new("room-*").unwrap()),
        jti: None,
        since: 999_000,
        until: Some(1_003_600),
        reason: "spam".to_owned(),
        author: "oncall".to_owned(),
    };
    update(&mut model, Event::Bans(Listing::new(1, vec![ban])));
    update(
        &mut model,
        Event::Record(json!({
            "sequence": 1, "at_ms": 999_000_000_u64, "author": "oncall", "role": "operator",
            "act": { "ask": "revoke", "user": "mallory", "groups": "room-*", "dry_run": false },
            "outcome": { "done": { "connections": 1 } },
        })),
    );
    update(
        &mut model,
        Event::Record(json!({
            "sequence": 2, "at_ms": 999_900_000_u64, "author": "guest", "role": "viewer",
            "act": { "ask": "kick", "who": { "user": "bob" } },
            "outcome": { "refused": { "code": 3012, "message": "a viewer may look" } },
        })),
    );
    model
}

/// The states of a dashboard, each with a way to it.
fn states() -> [(&'static str, Model); 5] {
    let mut empty = Model::new((80, 24), true);
    update(&mut empty, Event::Attached(Box::new(status(Role::Operator))));
    update(&mut empty, Event::Update(Box::new(snapshot(Vec::new(), &[]))));
    let mut lost = full(Role::Operator);
    update(&mut lost, Event::Tick(10_000));
    update(&mut lost, Event::Lost { reason: "it was restarted".to_owned(), retry_ms: 14_000 });
    update(&mut lost, Event::Tick(13_000));
    let mut plain = full(Role::Operator);
    plain.colours = false;
    [
        ("empty", empty),
        ("busy", full(Role::Operator)),
        ("disconnected", lost),
        ("viewer", full(Role::Viewer)),
        ("plain", plain),
    ]
}

/// Every view and every dialog: its name, and the keys that lead to it from the overview.
const VIEWS: [(&str, &str); 21] = [
    ("overview", "1"),
    ("connections", "2"),
    ("users", "3"),
    ("groups", "4"),
    ("bans", "5"),
    ("audit", "6"),
    ("a user's connections", "3\n"),
    ("a group's members", "4\n"),
    ("a connection", "2\n"),
    ("a filter as it is typed", "2/ali"),
    ("a filter that nothing has", "2/zzz\n"),
    ("the palette", ":gro"),
    ("help", "?"),
    ("paused", "2p"),
    ("revoke", "2rroom-*"),
    ("ban", "3b2h"),
    ("sign out", "3o"),
    ("close", "4x"),
    ("add", "2alobby"),
    ("remove", "4\nd"),
    ("send", "4mhello"),
];

/// One file for each state and size, with every view and dialog in it.
#[test]
fn every_view_and_dialog_in_every_state_at_every_size() {
    for size in SIZES {
        for (state, _) in states() {
            let mut all = String::new();
            for (name, keys) in VIEWS {
                let mut model = states().into_iter().find(|(name, _)| *name == state).unwrap().1;
                update(&mut model, Event::Resize(size.0, size.1));
                press(&mut model, keys);
                if state != "empty" {
                    if name == "a connection" {
                        update(&mut model, Event::Detail(Some(Box::new(detail()))));
                    }
                    if let View::Group(group) = model.place().view.clone() {
                        let rows = [1, 2].map(|number| row(number, "alice")).to_vec();
                        update(&mut model, Event::Members(group, Listing::new(2, rows)));
                    }
                }
                let marks = state == "plain";
                let picture = if marks { marked(&mut model, size) } else { picture(&mut model, size) };
                assert!(!picture.replace('\n', "").chars().any(char::is_control), "{state} {name}");
                all += &format!("---- {name} ----\n{}\n", picture.trim_end());
            }
            insta::assert_snapshot!(format!("{state}_{}x{}", size.0, size.1), all);
        }
    }
    let mut connecting = Model::new(SIZES[0], true);
    insta::assert_snapshot!("connecting_80x24", picture(&mut connecting, SIZES[0]));
}

/// A picture without colours, and with marks for what says the same: `[` `]` around what is reversed, `*` around what
/// is bold.
fn marked(model: &mut Model, size: (u16, u16)) -> String {
    update(model, Event::Resize(size.0, size.1));
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| draw(model, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut lines = Vec::new();
    for row in buffer.content().chunks(size.0.into()) {
        let (mut line, mut before) = (String::new(), Modifier::empty());
        // What a wide character covers has no symbol of its own.
        let mut covered = 0;
        for cell in row {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{:?}", cell.symbol());
            if covered > 0 {
                covered -= 1;
                continue;
            }
            covered = cell.symbol().width().saturating_sub(1);
            let now = cell.modifier & (Modifier::REVERSED | Modifier::BOLD);
            for (modifier, begin, end) in [(Modifier::BOLD, '*', '*'), (Modifier::REVERSED, '[', ']')] {
                match (before.contains(modifier), now.contains(modifier)) {
                    (false, true) => line.push(begin),
                    (true, false) => line.push(end),
                    _ => {}
                }
            }
            before = now;
            line += cell.symbol();
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

#[test]
fn a_terminal_that_is_too_small_is_told_what_is_needed() {
    let mut model = full(Role::Operator);
    let picture = picture(&mut model, (40, 10));
    assert!(picture.replace('\n', " ").contains("needs 60 columns and 12 rows"), "{picture}");
    for size in [(1, 1), (60, 12), (61, 300), (1_000, 12)] {
        self::picture(&mut model, size);
        press(&mut model, "2r?");
        self::picture(&mut model, size);
        press(&mut model, "?");
        model.prompt = None;
    }
}

/// The help is drawn from the table of keys: every row of that is in it.
#[test]
fn the_help_has_every_key() {
    let mut model = full(Role::Operator);
    press(&mut model, "?");
    let help = picture(&mut model, (120, 40));
    for binding in BINDINGS {
        assert!(help.contains(binding.help), "{}", binding.help);
        assert!(help.contains(&format!("{:<8}{}", binding.shown, binding.help)), "{}", binding.shown);
    }
}

/// With a hundred thousand connections, of which a tenth changes with each look of the server.
/// `cargo test --release -p fanfare-tui how_long -- --ignored --nocapture` prints how long things take.
#[test]
#[ignore = "a benchmark"]
fn how_long_a_frame_and_a_key_take_with_a_hundred_thousand_rows() {
    const MANY: u32 = 100_000;
    let one = |number: u32, requests: u64| {
        let mut one = row((number % 200) as u8, &format!("user-{number}"));
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        one.connection = ConnectionId::from_bytes(id);
        (one.requests, one.rtt_us) = (requests, u64::from(number.wrapping_mul(2_654_435_761) % 100_000));
        one
    };
    let mut model = Model::new((200, 60), true);
    let rows = (0..MANY).map(|number| one(number, 0)).collect();
    update(&mut model, Event::Update(Box::new(snapshot(rows, &[]))));
    press(&mut model, "2ss");
    let mut terminal = Terminal::new(TestBackend::new(200, 60)).unwrap();
    let (mut deltas, mut keys, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    for look in 1..=20_u64 {
        // As the server cuts it: lines of 500 rows.
        let begun = std::time::Instant::now();
        for part in 0..20 {
            let rows = (0..500).map(|row| one((part * 500 + row) * 10 % MANY, look * 7)).collect();
            let mut more = snapshot(rows, &[]);
            (more.full, more.more, more.at_ms) = (false, part < 19, more.at_ms + look * 250);
            update(&mut model, Event::Update(Box::new(more)));
        }
        deltas.push(begun.elapsed());
        let begun = std::time::Instant::now();
        press(&mut model, "j");
        keys.push(begun.elapsed());
        let begun = std::time::Instant::now();
        terminal.draw(|frame| draw(&model, frame)).unwrap();
        frames.push(begun.elapsed());
    }
    let begun = std::time::Instant::now();
    press(&mut model, "/user-77");
    println!("each key of a filter: {:?}", begun.elapsed() / 8);
    for (name, mut times) in [("a look, in order again", deltas), ("a key", keys), ("a frame", frames)] {
        times.sort();
        println!("{name}: median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1]);
    }
    assert!(picture(&mut model, (200, 60)).contains("of 100000 rows"));
}

#[test]
fn that_acts_cannot_be_taken_stands_over_every_view() {
    let mut model = Model::new((120, 40), true);
    let mut told = snapshot(vec![row(1, "alice")], &[]);
    told.acts_impaired = Some("cannot use bans.redb: no\u{1b} space".to_owned());
    update(&mut model, Event::Update(Box::new(told)));
    for view in ["1", "2", "5", "6"] {
        press(&mut model, view);
        let shown = picture(&mut model, (120, 40));
        let line =
            " ! acts cannot be taken now: cannot use bans.redb: no\\u{1b} space; the server tries again";
        assert!(shown.contains(line), "{shown}");
    }
    update(&mut model, Event::Update(Box::new(snapshot(vec![row(1, "alice")], &[]))));
    assert!(!picture(&mut model, (120, 40)).contains("cannot be taken"));
}

#[test]
fn a_back_end_that_fails_is_told_first_with_what_it_said() {
    let mut model = Model::new((140, 40), true);
    let mut told = snapshot(vec![row(1, "alice")], &[]);
    assert!(!picture(&mut model, (140, 40)).contains("back ends"));
    let fine = WebhookRow { name: "audit".to_owned(), delivered: 40, ..WebhookRow::default() };
    let fails = WebhookRow {
        name: "billing".to_owned(),
        waiting: 7,
        oldest_seconds: Some(90),
        lost: 2,
        is_failing: true,
        last_error: Some(WebhookError { seconds_ago: 1, words: "it answers\u{1b} 500".to_owned() }),
        ..WebhookRow::default()
    };
    told.webhooks = vec![fine, fails];
    update(&mut model, Event::Update(Box::new(told)));
    let shown = picture(&mut model, (140, 40));
    let line = " back ends   billing FAILS: it answers\\u{1b} 500  0 told  7 waiting for 1m 30s 2 lost   \
                audit  40 told  0 waiting";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn the_nodes_of_a_cluster_are_told_this_one_first_and_then_those_with_a_trouble() {
    let mut model = Model::new((140, 40), true);
    let mut told = snapshot(vec![row(1, "alice")], &[]);
    let node = |name: &str, connections| NodeRow { name: name.to_owned(), connections, ..NodeRow::default() };
    let cut_off = NodeRow { age_ms: 4_200, missed: 7, ..node("c", 3) };
    let lost = NodeRow { is_lost: true, age_ms: 90_000, problem: Some("x".to_owned()), ..node("d", 0) };
    told.nodes = vec![node("b", 120), cut_off, NodeRow { is_this: true, ..node("a", 9) }, lost];
    update(&mut model, Event::Update(Box::new(told)));
    let shown = picture(&mut model, (140, 40));
    assert!(
        shown
            .contains(
                " nodes       132 connections on 3 nodes   a (this one) 9   d LOST 1m 30s ago   c 3 4s ago 7 LOST   \
                 b 120"
            ),
        "{shown}"
    );
}

#[test]
fn where_all_nodes_are_looked_at_the_first_line_says_so() {
    let mut model = clustered();
    let first = |model: &mut Model| picture(model, SIZES[0]).lines().next().unwrap().to_owned();
    assert!(!first(&mut model).contains("NODES"));
    press(&mut model, "n");
    assert!(first(&mut model).contains("up 1m  ALL 3 NODES"), "{}", first(&mut model));
    // Who is on two nodes is counted on both, and that is said.
    let mut told = snapshot(Vec::new(), &[]);
    told.nodes = model.picture.nodes.clone();
    told.totals.users = 3_000;
    let at_most = AtMost { users: true, groups: false };
    update(&mut model, Event::Everywhere(Box::new(told), at_most));
    let shown = picture(&mut model, SIZES[0]);
    assert!(shown.contains("at most 3000 users"), "{shown}");
}

/// What decides whom an action is about is a name like any other; what is said to people is a text.
#[test]
fn the_group_of_a_dialog_is_shown_so_that_it_is_told_apart() {
    let mut model = busy(Role::Operator);
    press(&mut model, "2ra\u{2800}b");
    assert!(picture(&mut model, SIZES[0]).contains("group   a\\u{2800}b_"));
    press(&mut model, "\n\na\u{2800}b");
    assert!(picture(&mut model, SIZES[0]).contains("reason  a\u{2800}b_"));
}

/// A notice has names that were made visible already, and the same again would be another name.
#[test]
fn a_notice_shows_names_as_lists_do() {
    let mut model = busy(Role::Operator);
    let groups = [(GroupName::new("a\u{2800}b").unwrap(), 1)].into();
    let request = admin::Action::Backup {};
    update(
        &mut model,
        Event::Done("revoked", request, Ok(Receipt { connections: 1, groups, ..Receipt::default() })),
    );
    let shown = picture(&mut model, SIZES[0]);
    assert!(shown.contains("1 connection (a\\u{2800}b 1)"), "{shown}");
}

/// A server that is stopped, or cannot be reached, is lost only after half a minute. Till then it was shown as live.
#[test]
fn a_server_that_says_nothing_is_not_shown_as_live() {
    let mut model = busy(Role::Operator);
    let header = |model: &mut Model| picture(model, SIZES[0]).lines().next().unwrap().to_owned();
    update(&mut model, Event::Tick(2_750));
    let live = header(&mut model);
    assert!(live.ends_with("operator  live"), "{live}");
    let mut idle = snapshot(Vec::new(), &[]);
    idle.full = false;
    update(&mut model, Event::Update(Box::new(idle)));
    update(&mut model, Event::Tick(5_500));
    assert!(header(&mut model).ends_with("operator  live"), "an update without a change is one");
    let up = |header: &str| header.split("  ").nth(1).unwrap().to_owned();
    let heard = up(&live);
    for (now_ms, words) in [(6_000, "no news for 3s"), (30_000, "no news for 27s")] {
        update(&mut model, Event::Tick(now_ms));
        let header = header(&mut model);
        assert!(header.ends_with(words), "{header}");
        assert_eq!(up(&header), heard, "it is not known to be up for longer");
    }
    press(&mut model, "p");
    assert!(header(&mut model).ends_with("no news for 27s"), "also while the picture stands still");
}

/// Keys that answered with `select ... first` were offered there.
#[test]
fn only_keys_that_work_are_offered() {
    for (keys, offered, not) in [
        ("1", &["m send to all", "? help"][..], &["r revoke", "x close", "Enter open", "s sort", "Esc"][..]),
        ("2", &["r revoke", "b ban", "x close", "Enter open", "s sort"], &["u lift", "Esc"]),
        ("4", &["x close", "Enter open"], &["r revoke"]),
        ("2\n", &["r revoke", "x close", "Esc back"], &["Enter open", "s sort"]),
        ("5", &["u lift", "/ filter"], &["r revoke", "Enter open"]),
        ("6", &["/ filter"], &["r revoke", "x close", "u lift"]),
        ("2/zzz\n", &["/ filter", "Esc back"], &["r revoke", "Enter open"]),
    ] {
        let mut model = full(Role::Operator);
        press(&mut model, keys);
        let shown = picture(&mut model, SIZES[1]);
        let footer = shown.lines().last().unwrap();
        for key in offered {
            assert!(footer.contains(key), "{keys:?}: {footer}");
        }
        for key in not {
            assert!(!footer.contains(key), "{keys:?}: {footer}");
        }
    }
}

#[test]
fn only_the_rows_that_are_seen_are_built() {
    let mut model = Model::new((120, 40), true);
    let rows = (0..250).map(|number| row(number, "somebody")).collect();
    update(&mut model, Event::Update(Box::new(snapshot(rows, &[]))));
    press(&mut model, "2G");
    let shown = picture(&mut model, (120, 40));
    assert_eq!(shown.matches("somebody").count(), 35, "all but the head, the foot and what is around them");
    assert!(shown.contains("192.0.2.0:5000") || shown.contains("192.0.2.249:5000"), "{shown}");
}
