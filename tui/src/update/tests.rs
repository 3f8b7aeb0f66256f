use crossterm::event::{KeyModifiers, MouseEvent};
use fanfare_protocol::admin::{
    self, BanKind, BanRow, ConnectionDetail, ConnectionRow, Counters, GroupRow, Listing, MembershipOrigin,
    MembershipRow, NodeRow, QuicFacts, Role, Status, Totals, Update, Who,
};
use fanfare_protocol::{ConnectionId, GroupName, PayloadFormat, UserName};

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
        audit: admin::AuditHead::default(),
        acts_impaired: None,
        webhooks: Vec::new(),
        nodes: Vec::new(),
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
        sent_packets: 200,
        lost_packets: u64::from(number / 2),
        blocked_by_application: if number == 3 { 4 } else { 0 },
        congestion_events: 0,
        silent_ms: 0,
        calls: u64::from(number == 1),
        node: None,
    }
}

pub(crate) fn detail() -> ConnectionDetail {
    ConnectionDetail {
        row: row(1, "alice"),
        memberships: vec![
            MembershipRow::new(GroupName::new("room-1").unwrap(), MembershipOrigin::Operator),
            MembershipRow::new(GroupName::new("room-2").unwrap(), MembershipOrigin::Application),
        ],
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

pub(crate) fn snapshot(rows: Vec<ConnectionRow>, groups: &[(&str, u64)]) -> Update {
    Update {
        full: true,
        more: false,
        at_ms: 1_000_000_000,
        skipped: 0,
        totals: Totals { connections: rows.len() as u64, users: 2, groups: groups.len() as u64 },
        counters: Counters { sends: 5, deliveries: 50, ..Counters::default() },
        acts_impaired: None,
        webhooks: Vec::new(),
        nodes: Vec::new(),
        connections: rows,
        gone_connections: Vec::new(),
        groups: groups
            .iter()
            .map(|(name, members)| GroupRow {
                group: GroupName::new(name).unwrap(),
                members: *members,
                users: 1,
                deliveries: 10 * members,
                waiting_frames: 0,
                watchers: 0,
                users_at_most: false,
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
            // What confirms.
            '\x02' => KeyCode::F(2),
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

/// On a busy machine they come in one piece, and the terminal's library makes Alt of that.
#[test]
fn escape_and_a_key_behind_it_are_both_pressed() {
    let mut model = busy(Role::Operator);
    press(&mut model, "2/ali\n");
    let all = users(&model).len();
    update(&mut model, Event::Key(KeyEvent::new(KeyCode::Char('3'), KeyModifiers::ALT)));
    press(&mut model, "2");
    assert!(users(&model).len() > all, "the filter went with the Escape");
    press(&mut model, "?");
    assert!(model.help);
    update(&mut model, Event::Key(KeyEvent::new(KeyCode::Char('?'), KeyModifiers::ALT)));
    assert!(model.help, "closed, and opened again");
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
    // Nobody does anything, so they stand by name.
    press(&mut model, "j\n");
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
    assert_eq!(press(&mut model, "\x02"), [], "not told yet");
    let Some(Effect::Preview(asked)) = effects.into_iter().last() else { panic!("nothing asked") };
    let receipt = Receipt { dry_run: true, connections: 2, ..Receipt::default() };
    update(&mut model, Event::Previewed(asked.clone(), Ok(receipt.clone())));
    // An answer that comes late changes nothing of what is known.
    let mut late = asked;
    if let admin::Action::Revoke { groups, .. } = &mut late {
        *groups = fanfare_protocol::Pattern::new("room").unwrap();
    }
    update(&mut model, Event::Previewed(late, Ok(Receipt::default())));
    let Some(Prompt::Form(form)) = &model.prompt else { panic!("no dialog") };
    assert_eq!(form::told(form, model.server_ms()), Some(&Ok(receipt.clone())));
    press(&mut model, "x");
    assert_eq!(press(&mut model, "\x02"), [], "something else was told");
    press(&mut model, "\x08\t2h\ttoo loud");
    let Some(Prompt::Form(form)) = &model.prompt else { panic!("no dialog") };
    let typed: Vec<&str> = form.fields.iter().map(|field| field.value.as_str()).collect();
    assert_eq!(typed, ["room-*", "2h", "too loud"]);
    let told = form::request(form, model.server_ms(), true).unwrap();
    update(&mut model, Event::Previewed(told, Ok(receipt)));
    let effects = press(&mut model, "\x02");
    let [Effect::Act("revoked", admin::Action::Revoke { user, until, reason, dry_run: false, .. })] =
        &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((user.as_str(), *until, reason.as_str()), ("alice", Some(1_007_200), "too loud"));
    assert!(model.prompt.is_none());
    let request = effects.into_iter().next().and_then(|effect| match effect {
        Effect::Act(_, request) => Some(request),
        _ => None,
    });
    let receipt = Receipt { connections: 2, audit: 7, ..Receipt::default() };
    update(&mut model, Event::Done("revoked", request.unwrap(), Ok(receipt)));
    assert_eq!(model.notice.as_ref().unwrap().text, "revoked: 2 connections; record 7");
    // Bad input is told, and nothing is asked.
    press(&mut model, "rroom\t");
    assert_eq!(press(&mut model, "soon"), [], "no such time");
    press(&mut model, "\x1b");
    assert!(model.prompt.is_none());
}

#[test]
fn a_star_is_a_pattern_only_where_groups_are_forbidden() {
    for (act, why) in [("a", Some("--literal")), ("d", Some("--literal")), ("r", None)] {
        let mut model = busy(Role::Operator);
        press(&mut model, "2");
        press(&mut model, &format!("{act}room-*"));
        let Some(Prompt::Form(form)) = &model.prompt else { panic!("no dialog") };
        let request = form::request(form, model.server_ms(), false);
        assert_eq!(request.as_ref().err().is_some(), why.is_some(), "{act}: {request:?}");
        if let (Err(problem), Some(why)) = (&request, why) {
            assert!(problem.contains('*') && problem.contains(why), "{problem}");
            assert_eq!(press(&mut model, "\x02"), [], "it is not done");
        }
    }
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
    let done = |model: &mut Model, keys: &str| match press(model, keys).pop() {
        Some(Effect::Act(_, request)) => request,
        other => panic!("{keys}: {other:?}"),
    };
    assert!(matches!(done(&mut model, "2x\x02"), admin::Action::Kick { who: Who::Connection(_), .. }));
    let admin::Action::Kick { who: Who::User(user), reason } = done(&mut model, "3xbye\x02") else {
        panic!("no user")
    };
    assert_eq!((user.as_str(), reason.as_str()), ("alice", "bye"), "the one with most connections");
    assert!(matches!(done(&mut model, "4x\x02"), admin::Action::Kick { who: Who::Group(_), .. }));
    let admin::Action::Add { group, .. } = done(&mut model, "3astaff\x02") else { panic!("not added") };
    assert_eq!(group.as_str(), "staff");
    let admin::Action::Remove { group, .. } = done(&mut model, "4\nd\x02") else { panic!("not removed") };
    assert_eq!(group.as_str(), "room-1", "the group that one came from");
    let admin::Action::Send { to: Who::All, event, payload, format: PayloadFormat::Text } =
        done(&mut model, "1mhello\x02")
    else {
        panic!("not sent")
    };
    assert_eq!((event.as_str(), payload.as_str()), ("ReceiveMessage", "aGVsbG8="));
    assert!(matches!(done(&mut model, "3oreason\x02"), admin::Action::SignOut { .. }));
    assert_eq!(press(&mut model, "3a\x02"), [], "no group is typed");
    press(&mut model, "\x1b");
    // A ban waits for the server's word, as a revocation does.
    let Some(Effect::Preview(asked)) = press(&mut model, "3bspam").pop() else { panic!("not asked") };
    assert_eq!(press(&mut model, "\x02"), []);
    update(&mut model, Event::Previewed(asked, Err("no".to_owned())));
    assert_eq!(press(&mut model, "\x02"), [], "it was refused");
    press(&mut model, "\x1b");
    // By its name instead of its key.
    press(&mut model, "3:close\n");
    assert!(matches!(&model.prompt, Some(Prompt::Form(form)) if form.act == crate::model::Act::Close));
    press(&mut model, "\x1b:quit");
    assert_eq!(press(&mut model, "\n"), [Effect::Quit]);
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
    update(&mut model, Event::Bans(Listing::new(1, vec![ban(BanKind::Group, Some("g"))])));
    assert!(matches!(
        &press(&mut model, "5u\x02")[..],
        [Effect::Act("restored", admin::Action::Restore { .. })]
    ));
    let user = UserName::new("mallory").unwrap();
    let groups = fanfare_protocol::Pattern::new("g").unwrap();
    let mut told = |unchanged| {
        let (user, groups) = (user.clone(), groups.clone());
        let request = admin::Action::Restore { user, groups, reason: String::new() };
        let receipt = Receipt { audit: 2, unchanged, ..Receipt::default() };
        update(&mut model, Event::Done("restored", request, Ok(receipt)));
        model.notice.as_ref().unwrap().text.clone()
    };
    assert_eq!(told(false), "restored: mallory may be in g again; record 2");
    assert_eq!(told(true), "restored: there was nothing to lift; record 2");
    update(&mut model, Event::Bans(Listing::new(1, vec![ban(BanKind::User, None)])));
    assert!(matches!(
        &press(&mut model, "u\x02")[..],
        [Effect::Act("unbanned", admin::Action::Unban { .. })]
    ));
    update(&mut model, Event::Bans(Listing::new(1, vec![ban(BanKind::SignOut, None)])));
    assert!(matches!(
        &press(&mut model, "u\x02")[..],
        [Effect::Act("lifted", admin::Action::LiftSignOut { .. })]
    ));
    let token = BanRow { user: None, jti: Some("t1".to_owned()), ..ban(BanKind::Token, None) };
    update(&mut model, Event::Bans(Listing::new(1, vec![token])));
    assert!(matches!(
        &press(&mut model, "u\x02")[..],
        [Effect::Act("restored", admin::Action::RestoreToken { .. })]
    ));
}

#[test]
fn the_mouse_does_what_one_points_at() {
    let mut model = busy(Role::Operator);
    let click = |model: &mut Model, column, row| {
        let kind = MouseEventKind::Down(MouseButton::Left);
        update(model, Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
    };
    click(&mut model, 14, 1);
    assert_eq!(model.place().view, View::Connections, "the second tab");
    click(&mut model, 3, 5);
    assert_eq!(model.place().listing.selected, 2, "the third row");
    assert_eq!(click(&mut model, 3, 30), [], "below the last");
    assert_eq!(click(&mut model, 3, 5).len(), 1, "once more opens it");
    assert!(matches!(model.place().view, View::Connection(_)));
}

#[test]
fn pausing_holds_the_picture_and_time_goes_on() {
    let mut model = busy(Role::Operator);
    press(&mut model, "2p");
    let mut more = snapshot(vec![row(9, "zoe")], &[]);
    more.full = false;
    update(&mut model, Event::Update(Box::new(more)));
    assert_eq!(users(&model).len(), 3);
    let mut busier = row(2, "bob");
    busier.groups = 7;
    let mut more = snapshot(vec![busier], &[]);
    (more.full, more.at_ms) = (false, more.at_ms + 5_000);
    let shown = |model: &Model| -> Vec<Vec<String>> {
        let listing = &model.place().listing;
        listing.items.iter().map(|item| listing.cells(item, model)).collect()
    };
    let before = shown(&model);
    update(&mut model, Event::Update(Box::new(more)));
    assert_eq!(shown(&model), before, "no number moves");
    assert_eq!(model.server_ms(), 1_000_005_000, "but a ban for two hours is from now on");
    press(&mut model, "p");
    assert_eq!(users(&model).len(), 4);
    assert_ne!(shown(&model), before);
    press(&mut model, "?");
    assert!(model.help);
    press(&mut model, "q");
    assert!(!model.help, "any key closes the help, and does nothing else");
    assert_eq!(press(&mut model, "q"), [Effect::Quit]);
    press(&mut model, "\n");
    assert_eq!(update(&mut model, Event::Tick(10)), []);
    assert_eq!(update(&mut model, Event::Tick(1_010)).len(), 1, "what is open is asked for once a second");
}

#[test]
fn a_group_of_more_members_than_are_told_says_so() {
    let mut model = busy(Role::Operator);
    press(&mut model, "4\n");
    let rows = vec![row(1, "alice")];
    update(&mut model, Event::Members(GroupName::new("room-1").unwrap(), Listing::new(5_000, rows)));
    let listing = &model.place().listing;
    assert_eq!((listing.items.len(), listing.total), (1, 5_000));
}

/// As one of three nodes, with whoever is on this one.
pub(crate) fn clustered() -> Model {
    let mut model = busy(Role::Operator);
    let mut told = snapshot(vec![row(1, "alice"), row(2, "bob")], &[("room-1", 4)]);
    let node = |name: &str| NodeRow { name: name.to_owned(), ..NodeRow::default() };
    told.nodes = vec![NodeRow { is_this: true, ..node("a") }, node("b"), node("c")];
    update(&mut model, Event::Update(Box::new(told)));
    model
}

#[test]
fn a_member_on_another_node_is_shown_as_one_here_is_and_gone_when_it_is_no_member_any_more() {
    let mut model = clustered();
    press(&mut model, "4\n");
    let on = |node: &str, row: ConnectionRow| ConnectionRow { node: Some(node.to_owned()), ..row };
    let (here, there) = (on("a", row(1, "alice")), on("b", row(7, "carol")));
    let group = GroupName::new("room-1").unwrap();
    let told = Listing::new(2, vec![here.clone(), there.clone()]);
    update(&mut model, Event::Members(group.clone(), told));
    let cells = |model: &Model| -> Vec<Vec<String>> {
        let listing = &model.place().listing;
        listing.items.iter().map(|item| listing.cells(item, model)[1..3].to_vec()).collect()
    };
    assert_eq!(cells(&model), [["alice", "a"], ["carol", "b"]]);
    // She is acted on as anybody.
    press(&mut model, "j");
    assert!(matches!(press(&mut model, "\n")[..], [Effect::Look(id)] if id == there.connection));
    press(&mut model, "\x1b");
    update(&mut model, Event::Members(group, Listing::new(1, vec![here])));
    assert_eq!((cells(&model).len(), model.strangers.connections.len()), (1, 0));
}

#[test]
fn all_nodes_are_looked_at_and_the_one_alone_again() {
    let mut model = busy(Role::Operator);
    assert_eq!(press(&mut model, "n"), []);
    assert!(model.notice.as_ref().unwrap().bad && !model.all_nodes, "there is one node");
    let mut model = clustered();
    assert_eq!(press(&mut model, "2n"), [Effect::Scope(true)]);
    let mut told = snapshot(vec![ConnectionRow { node: Some("b".to_owned()), ..row(7, "carol") }], &[]);
    (told.totals.connections, told.nodes) = (12_000, model.picture.nodes.clone());
    told.totals.users = 9_000;
    let at_most = AtMost { users: true, groups: false };
    update(&mut model, Event::Everywhere(Box::new(told), at_most));
    let listing = &model.place().listing;
    assert_eq!((listing.total, listing.at_most, listing.columns[2].title), (12_000, false, "NODE"));
    press(&mut model, "3");
    let listing = &model.place().listing;
    assert_eq!((listing.total, listing.at_most), (9_000, true), "who is on two nodes is counted on both");
    press(&mut model, "2");
    press(&mut model, "/b\n");
    assert_eq!(model.place().listing.items.len(), 1, "it is found by its node");
    assert_eq!(press(&mut model, "n"), [Effect::Scope(false)]);
}

#[test]
fn another_server_is_as_old_as_it_says() {
    let mut model = busy(Role::Operator);
    update(&mut model, Event::Tick(3_600_000));
    update(&mut model, Event::Attached(Box::new(status(Role::Operator))));
    assert_eq!(model.attached_ms, 3_600_000, "its age is counted from there");
}

/// Every row of the table of keys does something that can be seen: on the model, or in what is asked for.
#[test]
fn every_key_of_the_table_does_something() {
    for binding in keymap::BINDINGS {
        for key in binding.keys {
            let seen = |model: &Model| {
                format!("{:?}", (&model.path, &model.prompt, model.help, &model.notice, model.is_paused()))
            };
            // One place for all: a member of a group, the second of three, reached from the groups; and the bans for
            // lifting.
            let mut model = busy(Role::Operator);
            let group = GroupName::new("room-1").unwrap();
            let rows = [1, 2, 3].map(|number| row(number, "alice")).to_vec();
            let ban = BanRow {
                kind: BanKind::User,
                user: Some(UserName::new("mallory").unwrap()),
                groups: None,
                jti: None,
                since: 1,
                until: None,
                reason: String::new(),
                author: "x".to_owned(),
            };
            update(&mut model, Event::Bans(Listing::new(1, vec![ban])));
            press(&mut model, if binding.action == Action::Lift { "5" } else { "4\n" });
            update(&mut model, Event::Members(group, Listing::new(3, rows)));
            press(&mut model, "j");
            let before = seen(&model);
            let effects = update(&mut model, Event::Key(KeyEvent::new(*key, KeyModifiers::NONE)));
            assert!(!effects.is_empty() || seen(&model) != before, "{} does nothing", binding.shown);
            if binding.acts {
                let asks = matches!(effects[..], [Effect::Act(..) | Effect::Preview(_)]);
                assert!(
                    asks || matches!(model.prompt, Some(Prompt::Form(_) | Prompt::Lift(..))),
                    "{}",
                    binding.shown
                );
                assert!(model.notice.is_none(), "{}: {:?}", binding.shown, model.notice);
            }
        }
    }
}

#[test]
fn what_is_pasted_is_never_an_order() {
    let orders = ["r", "b\n", "q", "3o\nreason\n", "\u{1b}OQ", "x\n\n\t\n", "u", ":close\n"];
    // Into no field nothing is taken at all.
    for text in orders {
        let mut model = busy(Role::Operator);
        press(&mut model, "2");
        assert_eq!(update(&mut model, Event::Paste(text.to_owned())), []);
        assert!(model.prompt.is_none() && model.notice.is_some(), "{text:?}");
    }
    // Into a field its first line is, and what is no text is left out.
    let mut model = busy(Role::Operator);
    press(&mut model, "3x");
    assert_eq!(update(&mut model, Event::Paste("too\u{1b}[2J loud\nx\n".to_owned())), []);
    let Some(Prompt::Form(form)) = &model.prompt else { panic!("no dialog") };
    assert_eq!(form.value("reason"), "too[2J loud");
    // Typed by a terminal that marks nothing, it fills fields, and confirms nothing.
    for text in ["3xbye\n\n\n\t\n", "5u\n\n", "3b2h\nspam\n\n\n", "3arooms\n\n\n", "1mhello\n\n\n"] {
        let mut model = busy(Role::Operator);
        let acts = press(&mut model, text).into_iter().filter(|effect| matches!(effect, Effect::Act(..)));
        assert_eq!(acts.count(), 0, "{text:?}");
    }
}
