use crossterm::event::KeyModifiers;
use fanfare_protocol::admin::{ConnectionRow, Counters, GroupRow, Role, Totals};

use super::*;

pub(crate) fn status(role: Role) -> Status {
    Status {
        server: "fanfare/0.1.0".to_owned(),
        address: "127.0.0.1:4433".to_owned(),
        operator: "oncall".to_owned(),
        role,
        uptime: 60,
        dev: false,
        totals: Totals::default(),
        counters: Counters::default(),
        bans: 0,
        audit: fanfare_protocol::admin::AuditHead::default(),
    }
}

pub(crate) fn row(number: u8, user: &str) -> ConnectionRow {
    ConnectionRow {
        connection: ConnectionId::from_bytes([number; 16]),
        user: UserName::new(user).unwrap(),
        transport: "quic".to_owned(),
        address: format!("192.0.2.{number}:5000"),
        since: 1_000_000 - u64::from(number),
        groups: 1,
        outbox_frames: if number == 3 { 200 } else { 0 },
        outbox_bytes: 0,
        requests: u64::from(number),
        deliveries: u64::from(number) * 10,
        dropped: 0,
        rtt_us: u64::from(number) * 1_000,
    }
}

pub(crate) fn snapshot(rows: Vec<ConnectionRow>, groups: &[(&str, u64)]) -> Update {
    Update {
        full: true,
        more: false,
        at_ms: 1_000_000_000,
        skipped: 0,
        totals: Totals { connections: rows.len() as u64, users: 2, groups: groups.len() as u64 },
        counters: Counters { sends: 5, deliveries: 50, ..Counters::default() },
        connections: rows,
        gone_connections: Vec::new(),
        groups: groups
            .iter()
            .map(|(name, members)| GroupRow {
                group: GroupName::new(name).unwrap(),
                members: *members,
                users: 1,
            })
            .collect(),
        gone_groups: Vec::new(),
    }
}

/// A dashboard of a server with three connections, as an operator.
pub(crate) fn busy(role: Role) -> Model {
    let mut model = Model::new((120, 40), true);
    update(&mut model, Event::Attached(Box::new(status(role))));
    let rows = vec![row(1, "alice"), row(2, "bob"), row(3, "alice")];
    update(&mut model, Event::Update(Box::new(snapshot(rows, &[("room-1", 3), ("lobby", 1)]))));
    model
}

fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for character in keys.chars() {
        let code = match character {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            '\x08' => KeyCode::Backspace,
            other => KeyCode::Char(other),
        };
        effects.extend(update(model, Event::Key(KeyEvent::new(code, KeyModifiers::NONE))));
    }
    effects
}

fn users(model: &Model) -> Vec<String> {
    let listing = &model.place().listing;
    listing.items.iter().map(|item| listing.cells(item, model)[1].clone()).collect()
}

#[test]
fn views_open_and_close_and_the_selection_stays_on_its_item() {
    let mut model = busy(Role::Operator);
    press(&mut model, "2");
    assert_eq!(
        (&model.place().view, users(&model)),
        (&View::Connections, vec!["alice".into(), "alice".into(), "bob".into()])
    );
    press(&mut model, "jj");
    assert_eq!(model.place().listing.selected, 2);
    // A new one comes in before it.
    let mut more = snapshot(vec![row(9, "aaron")], &[]);
    more.full = false;
    update(&mut model, Event::Update(Box::new(more)));
    assert_eq!((model.place().listing.selected, users(&model)[3].as_str()), (3, "bob"));
    assert_eq!(press(&mut model, "\n"), [Effect::Look(ConnectionId::from_bytes([2; 16]))]);
    assert!(matches!(model.place().view, View::Connection(_)) && model.path.len() == 2);
    press(&mut model, "\x1b");
    assert_eq!(model.path.len(), 1);
    press(&mut model, "\x1b\x1b");
    assert_eq!(model.path.len(), 1, "the first view is never left");
    press(&mut model, "\t");
    assert_eq!(model.place().view, View::Users);
    press(&mut model, "\n");
    assert_eq!(users(&model), ["alice", "alice"], "all of hers");
    assert_eq!(
        press(&mut model, "4\n"),
        [Effect::Members(GroupName::new("room-1").unwrap())],
        "the largest first"
    );
}

#[test]
fn lists_are_filtered_as_one_types_and_sorted_by_any_column() {
    let mut model = busy(Role::Operator);
    press(&mut model, "2/BO");
    assert_eq!(users(&model), ["bob"]);
    press(&mut model, "\x08\x08192.0.2.3\n");
    assert_eq!(users(&model), ["alice"]);
    press(&mut model, "q\x1b");
    assert!(model.prompt.is_none() && users(&model).len() == 3, "Esc takes the filter away first");
    for column in 0..model.place().listing.columns.len() {
        assert_eq!(model.place().listing.sort, (column + 1) % model.place().listing.columns.len());
        press(&mut model, "s");
    }
    press(&mut model, "ssssSG");
    assert_eq!(model.place().listing.selected, 2);
    press(&mut model, "g");
    assert_eq!(model.place().listing.selected, 0);
}

#[test]
fn a_revocation_is_confirmed_only_when_the_server_said_what_it_would_do() {
    let mut model = busy(Role::Operator);
    press(&mut model, "2");
    let effects = press(&mut model, "rroom-*");
    assert_eq!(effects.len(), 6, "asked anew with every key");
    assert_eq!(press(&mut model, "\n"), [], "not told yet");
    let Some(Effect::Foretell(asked)) = effects.into_iter().last() else { panic!("nothing asked") };
    let receipt = Receipt { dry_run: true, connections: 2, ..Receipt::default() };
    update(&mut model, Event::Foretold(asked.clone(), Ok(receipt.clone())));
    // An answer that comes late changes nothing of what is known.
    let mut late = asked;
    if let AdminRequest::Revoke { groups, .. } = &mut late {
        *groups = fanfare_protocol::Pattern::new("room").unwrap();
    }
    update(&mut model, Event::Foretold(late, Ok(Receipt::default())));
    let Some(Prompt::Revoke(form)) = &model.prompt else { panic!("no dialog") };
    assert_eq!(revoke::told(form, model.picture.at_ms), Some(&Ok(receipt.clone())));
    press(&mut model, "x");
    assert_eq!(press(&mut model, "\n"), [], "something else was told");
    press(&mut model, "\x08\t2h\ttoo loud");
    let Some(Prompt::Revoke(form)) = &model.prompt else { panic!("no dialog") };
    assert_eq!(form.fields, ["room-*", "2h", "too loud"]);
    let told = revoke::request(form, model.picture.at_ms, true).unwrap();
    update(&mut model, Event::Foretold(told, Ok(receipt)));
    let effects = press(&mut model, "\n");
    let [Effect::Act("revoked", AdminRequest::Revoke { user, until, reason, dry_run: false, .. })] =
        &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((user.as_str(), *until, reason.as_str()), ("alice", Some(1_007_200), "too loud"));
    assert!(model.prompt.is_none());
    update(
        &mut model,
        Event::Done("revoked", Ok(Receipt { connections: 2, audit: 7, ..Receipt::default() })),
    );
    assert_eq!(model.notice.as_ref().unwrap().text, "revoked: 2 connections; record 7");
    // Bad input is told, and nothing is asked.
    press(&mut model, "rroom\t");
    assert_eq!(press(&mut model, "soon"), [], "no such time");
    press(&mut model, "\x1b");
    assert!(model.prompt.is_none());
}

#[test]
fn a_viewer_and_a_lost_server_are_told_why_nothing_is_done() {
    let mut model = busy(Role::Viewer);
    for key in ["2r", "2x", "5u"] {
        assert_eq!(press(&mut model, key), []);
        assert!(model.prompt.is_none());
        let notice = model.notice.take().unwrap();
        assert!(notice.bad && notice.text.contains("viewer"), "{notice:?}");
    }
    let mut model = busy(Role::Operator);
    update(&mut model, Event::Lost { reason: "gone".to_owned(), retry_ms: 500 });
    assert_eq!(press(&mut model, "2x"), []);
    assert!(model.notice.unwrap().text.contains("no server"));
}

#[test]
fn acts_on_the_selection_are_about_what_is_selected() {
    let mut model = busy(Role::Operator);
    let [Effect::Act("closed", AdminRequest::Kick { who: Who::Connection(_), .. })] =
        &press(&mut model, "2x")[..]
    else {
        panic!("not closed")
    };
    let [Effect::Act("closed", AdminRequest::Kick { who: Who::User(user), .. })] =
        &press(&mut model, "3x")[..]
    else {
        panic!("not closed")
    };
    assert_eq!(user.as_str(), "alice", "the one with most connections");
    assert_eq!(press(&mut model, "3y"), [Effect::Copy("alice".to_owned())]);
    let ban = |kind, groups: Option<&str>| BanRow {
        kind,
        user: Some(UserName::new("mallory").unwrap()),
        groups: groups.map(|groups| fanfare_protocol::Pattern::new(groups).unwrap()),
        jti: None,
        since: 1,
        until: None,
        reason: String::new(),
        author: "x".to_owned(),
    };
    update(&mut model, Event::Bans(vec![ban(BanKind::Group, Some("g"))]));
    assert!(matches!(&press(&mut model, "5u")[..], [Effect::Act("restored", AdminRequest::Restore { .. })]));
    update(&mut model, Event::Bans(vec![ban(BanKind::User, None)]));
    assert!(matches!(&press(&mut model, "u")[..], [Effect::Act("unbanned", AdminRequest::Unban { .. })]));
    update(&mut model, Event::Bans(vec![ban(BanKind::SignOut, None)]));
    assert_eq!(press(&mut model, "u"), []);
}

#[test]
fn pausing_holds_the_picture_and_time_goes_on() {
    let mut model = busy(Role::Operator);
    press(&mut model, "2p");
    let mut more = snapshot(vec![row(9, "zoe")], &[]);
    more.full = false;
    update(&mut model, Event::Update(Box::new(more)));
    assert_eq!(users(&model).len(), 3);
    press(&mut model, "p");
    assert_eq!(users(&model).len(), 4);
    press(&mut model, "?");
    assert!(model.help);
    press(&mut model, "q");
    assert!(!model.help, "any key closes the help, and does nothing else");
    assert_eq!(press(&mut model, "q"), [Effect::Quit]);
    press(&mut model, "\n");
    assert_eq!(update(&mut model, Event::Tick(10)), []);
    assert_eq!(update(&mut model, Event::Tick(1_010)).len(), 1, "what is open is asked for once a second");
}
