//! Pictures of every view at several sizes, kept beside this file. `INSTA_UPDATE=always cargo test -p fanfare-tui` draws them
//! anew; look at the difference before it is committed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use fanfare_protocol::admin::{
    BanKind, BanRow, ConnectionDetail, Listing, MembershipRow, QuicFacts, Receipt, Role,
};
use fanfare_protocol::{GroupName, Pattern, UserName};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::draw;
use crate::keymap::BINDINGS;
use crate::model::Model;
use crate::update::tests::{busy, row};
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
            if let Effect::Foretell(request) = effect {
                let groups = [(GroupName::new("room-1").unwrap(), 2)].into();
                let receipt = Receipt { dry_run: true, connections: 2, groups, ..Receipt::default() };
                update(model, Event::Foretold(request, Ok(receipt)));
            }
        }
    }
}

/// A server with something in every view, and names that are no names.
fn full(role: Role) -> Model {
    let mut model = busy(role);
    let nasty = row(7, "日本語 \u{1f389} a\u{1b}[2J");
    let mut more = crate::update::tests::snapshot(vec![nasty], &[("日本 group", 2)]);
    more.full = false;
    update(&mut model, Event::Update(Box::new(more)));
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
    update(&mut model, Event::Bans(Listing { total: 1, rows: vec![ban] }));
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

fn detail() -> ConnectionDetail {
    ConnectionDetail {
        row: row(1, "alice"),
        memberships: vec![MembershipRow { group: GroupName::new("room-1").unwrap(), by_operator: true }],
        token_ends: Some(1_003_000),
        grant_ends: None,
        token_id: Some("t1".to_owned()),
        quic: QuicFacts {
            rtt_us: 1_000,
            sent_packets: 200,
            lost_packets: 3,
            mtu: 1_452,
            congestion_events: 2,
            ..QuicFacts::default()
        },
    }
}

#[test]
fn every_view_at_every_size() {
    for size in SIZES {
        for (number, name) in
            ["overview", "connections", "users", "groups", "bans", "audit"].iter().enumerate()
        {
            let mut model = full(Role::Operator);
            press(&mut model, &(number + 1).to_string());
            let picture = picture(&mut model, size);
            assert!(!picture.replace('\n', "").chars().any(char::is_control), "{name}");
            insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), picture);
        }
        let mut model = full(Role::Operator);
        press(&mut model, "2\n");
        update(&mut model, Event::Detail(Some(Box::new(detail()))));
        insta::assert_snapshot!(format!("detail_{}x{}", size.0, size.1), picture(&mut model, size));
        let mut model = full(Role::Operator);
        press(&mut model, "2rroom-*");
        insta::assert_snapshot!(format!("revoke_{}x{}", size.0, size.1), picture(&mut model, size));
    }
}

#[test]
fn a_server_without_anybody_one_that_is_lost_a_viewer_and_no_colours() {
    for size in SIZES {
        let name = |what: &str| format!("{what}_{}x{}", size.0, size.1);
        let mut model = Model::new(size, true);
        insta::assert_snapshot!(name("connecting"), picture(&mut model, size));
        press(&mut model, "2");
        insta::assert_snapshot!(name("empty"), picture(&mut model, size));
        let mut model = full(Role::Operator);
        update(&mut model, Event::Tick(10_000));
        update(&mut model, Event::Lost { reason: "it was restarted".to_owned(), retry_ms: 14_000 });
        update(&mut model, Event::Tick(13_000));
        insta::assert_snapshot!(name("lost"), picture(&mut model, size));
        let mut model = full(Role::Viewer);
        press(&mut model, "2r");
        insta::assert_snapshot!(name("viewer_acts"), picture(&mut model, size));
        press(&mut model, "?");
        insta::assert_snapshot!(name("viewer_help"), picture(&mut model, size));
    }
    // Without colours the same is said.
    let (mut with, mut without) = (full(Role::Operator), full(Role::Operator));
    without.colours = false;
    for model in [&mut with, &mut without] {
        press(model, "2j");
    }
    assert_eq!(picture(&mut with, SIZES[0]), picture(&mut without, SIZES[0]));
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(&without, frame)).unwrap();
    for cell in terminal.backend().buffer().content() {
        assert_eq!((cell.fg, cell.bg), (ratatui::style::Color::Reset, ratatui::style::Color::Reset));
    }
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

#[test]
fn only_the_rows_that_are_seen_are_built() {
    let mut model = Model::new((120, 40), true);
    let mut rows = Vec::new();
    for number in 0..100_000_u32 {
        let mut one = row((number % 200) as u8, &format!("user-{number}"));
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        one.connection = fanfare_protocol::ConnectionId::from_bytes(id);
        rows.push(one);
    }
    update(&mut model, Event::Update(Box::new(crate::update::tests::snapshot(rows, &[]))));
    press(&mut model, "2");
    let begun = std::time::Instant::now();
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
    for _ in 0..10 {
        press(&mut model, "j");
        terminal.draw(|frame| draw(&model, frame)).unwrap();
    }
    println!("a frame with 100,000 rows: {:?}", begun.elapsed() / 10);
    let begun = std::time::Instant::now();
    press(&mut model, "s");
    println!("100,000 rows in another order: {:?}", begun.elapsed());
    assert_eq!(model.place().listing.items.len(), 100_000);
}
