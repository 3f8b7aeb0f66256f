//! That `explain` says what the door does, over random tokens, bans, grants and times; and which refusals it knows.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use fanfare_hub::{CloseReason, HubLimits};
use fanfare_protocol::admin::LastingRow;
use fanfare_protocol::{
    ClientFrame, ConnectionId, Credential, Features, Limits, PROTOCOL_VERSION, Pattern, ServerFrame, codec,
};
use fanfare_token::{TokenKey, TokenRules};
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::access::{self, Bans, Gate, KeySets, Tokens, Validity};
use crate::edge::admission::{Admission, Slot};
use crate::edge::expiry::Expiry;
use crate::edge::handshake::identify;
use crate::edge::router::Router;
use crate::hub::{Hub, Seat, read, register};
use crate::moderation::MemoryStore;
use crate::moderation::Moderation;
use crate::telemetry::Metrics;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: Seconds = 1_800_000_000;
/// How long tokens last at most.
const LONGEST: u32 = 600;
const LEEWAY: u32 = 20;

/// A server's door without sockets, and the same server's answers.
struct Rig {
    hub: Arc<Hub>,
    router: Arc<Router>,
    bans: Arc<Bans>,
    queries: Queries,
}

/// What operators can do, which is not asked about here: one for all cases.
fn moderation() -> Arc<Moderation> {
    static ACTS: LazyLock<Arc<Moderation>> = LazyLock::new(|| {
        let store = Box::new(MemoryStore::default());
        Arc::new(
            Moderation::open(
                store,
                hub(HubLimits::default(), open_gate()),
                Arc::default(),
                Arc::default(),
                Limits::default(),
            )
            .unwrap(),
        )
    });
    Arc::clone(&ACTS)
}

fn open_gate() -> Arc<Gate> {
    Arc::new(Gate::new(Arc::new(Tokens::new(None, KeySets::none())), Arc::default()))
}

fn hub(limits: HubLimits, gate: Arc<Gate>) -> Arc<Hub> {
    Arc::new(Hub::new(limits, gate))
}

impl Rig {
    fn new(per_user: usize, groups: u32, connections: usize) -> Self {
        let metrics = Arc::new(Metrics::default());
        let mut rules = TokenRules::new(vec![TokenKey::from_secret(SECRET).unwrap()]);
        (rules.leeway, rules.longest) = (LEEWAY, LONGEST);
        let validity = Validity { leeway: LEEWAY.into(), longest: Some(LONGEST.into()) };
        let bans = Arc::new(Bans::new(validity));
        let gate =
            Arc::new(Gate::new(Arc::new(Tokens::new(Some(rules), KeySets::none())), Arc::clone(&bans)));
        let bounds = HubLimits { per_user, groups: groups as usize, ..HubLimits::default() };
        let hub = hub(bounds, Arc::clone(&gate));
        let expiry = Expiry::new(Arc::clone(&hub), Arc::clone(&gate), std::time::Duration::from_secs(60));
        let limits = Limits { groups, ..Limits::default() };
        let router = Router::new(
            Arc::clone(&hub),
            Arc::clone(&metrics),
            limits,
            Arc::clone(&gate),
            Arc::new(expiry),
            None,
        );
        let router = Arc::new(router);
        let queries = Queries {
            hub: Arc::clone(&hub),
            gate,
            admission: Admission::new(connections, connections),
            moderation: moderation(),
            metrics,
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            dev: false,
            started: Instant::now(),
            webhooks: None,
            cluster: None,
            decides: Decides::default(),
        };
        Self { hub, router, bans, queries }
    }

    /// As a handshake does it.
    fn connect(&self, number: u8, token: &Token) -> Result<(Seat, Slot), Code> {
        let (features, credential) = (Features::NONE, Credential::Token(token.clone()));
        let hello = ClientFrame::Hello { protocol: PROTOCOL_VERSION, features, credential };
        let hello = codec::encode_client(&hello).slice(codec::PREFIX_BYTES..);
        let slot = self.queries.admission.admit(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let no_certificate = || Err(Code::CertificateRefused.into());
        let identified = pin!(identify(&hello, false, self.router.gate(), no_certificate));
        let Poll::Ready(identified) = identified.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("there are no keys to wait for");
        };
        let (user, permissions, _) = identified.map_err(|CloseReason { code, .. }| code)?;
        let id = ConnectionId::from_bytes([number; 16]);
        let seat = register(&self.hub, id, user, permissions);
        Ok((seat.map_err(|denial| denial.code)?, slot))
    }

    /// As a session does it.
    fn join(&self, member: &Arc<Member>, group: &GroupName) -> Result<(), Code> {
        read(member);
        self.router
            .route(member, member.user(), ClientFrame::Join { request: 1, group: group.clone() })
            .unwrap();
        match read(member).pop() {
            Some(ServerFrame::Ack { .. }) => Ok(()),
            Some(ServerFrame::Error { code, .. }) => Err(Code::try_from(u64::from(code)).unwrap()),
            other => panic!("no answer to a join: {other:?}"),
        }
    }

    /// The same, for a watch, which is ended again.
    fn watch(&self, member: &Arc<Member>, group: &GroupName) -> Result<(), Code> {
        read(member);
        let route = |frame| self.router.route(member, member.user(), frame).unwrap();
        route(ClientFrame::Watch { request: 1, group: group.clone() });
        let answer = read(member).into_iter().find_map(|frame| match frame {
            ServerFrame::Ack { .. } => Some(Ok(())),
            ServerFrame::Error { code, .. } => Some(Err(Code::try_from(u64::from(code)).unwrap())),
            _ => None,
        });
        route(ClientFrame::Unwatch { request: 2, group: group.clone() });
        answer.unwrap()
    }

    fn explain(&self, name: &str, group: &GroupName, token: Option<&Token>) -> Explanation {
        self.queries.explain(&user(name), group, token, access::now())
    }
}

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn sign(claims: &Value) -> Token {
    Token::new(encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).unwrap())
}

fn ban(kind: BanKind, subject: &str, groups: Option<&str>, since: Seconds, until: Option<Seconds>) -> BanRow {
    BanRow {
        kind,
        user: (kind != BanKind::Token).then(|| user(subject)),
        groups: groups.map(|groups| Pattern::new(groups).unwrap()),
        jti: (kind == BanKind::Token).then(|| subject.to_owned()),
        since,
        until,
        reason: String::new(),
        author: "oncall".to_owned(),
    }
}

/// Sets this thread's clock.
fn at(now: Seconds) {
    access::SET.set(Some(now));
}

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["alice", "bob"][..])
}

fn any_group() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["room-1", "room-2", "lobby"][..])
}

fn any_pattern() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["room-*", "room-1", "*", "lobby"][..])
}

/// A moment near [`NOW`], most often where something changes.
fn any_time() -> impl Strategy<Value = Seconds> {
    prop_oneof![(NOW - 60)..(NOW + 60), (NOW - 700)..(NOW + 700)]
}

fn any_token() -> impl Strategy<Value = Value> {
    let may = prop::sample::select(&["join", "send", "presence"][..]);
    let grant = (any_pattern(), may, prop::option::of(any_time()));
    let id = prop::option::weighted(0.5, prop::sample::select(&["t1", "t2"][..]));
    (
        any_name(),
        prop::option::weighted(0.7, any_time()),
        any_time(),
        prop::option::weighted(0.1, any_time()),
        id,
        prop::collection::vec(grant, 0..3),
    )
        .prop_map(|(sub, iat, exp, nbf, jti, grants)| {
            let mut claims = json!({ "sub": sub, "exp": exp });
            for (name, value) in [("iat", iat), ("nbf", nbf)] {
                if let Some(value) = value {
                    claims[name] = value.into();
                }
            }
            if let Some(jti) = jti {
                claims["jti"] = jti.into();
            }
            let grants = grants.into_iter().map(|(group, may, exp)| match exp {
                None => json!({ "group": group, "may": [may] }),
                Some(exp) => json!({ "group": group, "may": [may], "exp": exp }),
            });
            claims["grants"] = grants.collect();
            claims
        })
}

fn any_ban() -> impl Strategy<Value = BanRow> {
    let until = || prop::option::of(any_time());
    prop_oneof![
        (any_name(), any_pattern(), until()).prop_map(|(name, groups, until)| ban(
            BanKind::Group,
            name,
            Some(groups),
            NOW,
            until
        )),
        (any_name(), until()).prop_map(|(name, until)| ban(BanKind::User, name, None, NOW, until)),
        (any_name(), any_time()).prop_map(|(name, since)| ban(BanKind::SignOut, name, None, since, None)),
        (prop::sample::select(&["t1", "t2"][..]), until()).prop_map(|(id, until)| ban(
            BanKind::Token,
            id,
            None,
            NOW,
            until
        )),
    ]
}

fn any_lasting() -> impl Strategy<Value = LastingRow> {
    let may = prop::sample::select(vec![May::Both, May::Receive, May::Send]);
    let name = prop::sample::select(vec!["alice", "bob"]);
    (name, any_group(), may, prop::option::of(NOW + 1..NOW + 700)).prop_map(|(name, place, may, until)| {
        LastingRow {
            user: user(name),
            group: group(place),
            may,
            since: NOW,
            until,
            author: "oncall".to_owned(),
        }
    })
}

fn code(refusal: &Option<Refusal>) -> Option<Code> {
    refusal.as_ref().map(|refusal| Code::try_from(u64::from(refusal.code)).unwrap())
}

/// How a watch was foretold.
fn foretold(watch: Option<&Watching>) -> Result<(), Code> {
    match watch.unwrap() {
        Watching::May | Watching::Watches => Ok(()),
        Watching::MayNot(refusal) => Err(code(&Some(refusal.clone())).unwrap()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    /// Who is told "may" gets in, and who is told "may not" does not, with the code that was foretold.
    #[test]
    fn explain_and_the_door_agree(
        tokens in prop::collection::vec((any_token(), any_group()), 1..5),
        early in prop::collection::vec(any_ban(), 0..3),
        late in prop::collection::vec(any_ban(), 0..3),
        lifted in prop::bool::weighted(0.2),
        lasting in prop::collection::vec(any_lasting(), 0..3),
        wanted in any_group(),
        later in 0u64..700,
    ) {
        let rig = Rig::new(2, 2, 3);
        at(NOW);
        for ban in &early {
            rig.bans.put(ban.clone());
        }
        for row in lasting {
            rig.bans.lasting().put(row);
        }
        let mut connected = Vec::new();
        for ((claims, place), number) in tokens.iter().zip(1..) {
            let (token, place) = (sign(claims), group(place));
            let name = claims["sub"].as_str().unwrap();
            let told = rig.explain(name, &place, Some(&token));
            let by_token = told.token.clone().unwrap();
            match rig.connect(number, &token) {
                Err(refused) => {
                    prop_assert_eq!(code(&by_token.connect), Some(refused), "{:?}", told);
                    prop_assert_eq!(told.verdict, Verdict::MayNot);
                }
                Ok(seat) => {
                    prop_assert_eq!(&by_token.connect, &None, "{:?}", told);
                    let watched = rig.watch(seat.0.member(), &place);
                    prop_assert_eq!(foretold(by_token.watch.as_ref()), watched, "{:?}", told);
                    let joined = rig.join(seat.0.member(), &place);
                    prop_assert_eq!(code(&by_token.join), joined.err(), "{:?}", told);
                    let verdict = if joined.is_ok() { Verdict::May } else { Verdict::MayNot };
                    prop_assert_eq!(told.verdict, verdict);
                    connected.push(seat);
                }
            }
        }
        // Time passes, and operators act, without anybody being removed for it: that is somebody else's test.
        for ban in &late {
            rig.bans.put(ban.clone());
        }
        if lifted && let Some(ban) = early.first() {
            rig.bans.lift(&access::BanKey::from(ban));
        }
        at(NOW + later);
        let wanted = group(wanted);
        for name in ["alice", "bob"] {
            let told = rig.explain(name, &wanted, None);
            let mut outcomes = BTreeSet::new();
            for one in &told.connections {
                let member = rig.hub.connection(&one.connection).unwrap();
                prop_assert_eq!(foretold(one.watch.as_ref()), rig.watch(&member, &wanted), "{:?}", told);
                let joined = rig.join(&member, &wanted);
                outcomes.insert(joined.is_ok());
                prop_assert_eq!(code(&one.refusal), joined.err(), "{:?}", told);
            }
            let outcomes: Vec<bool> = outcomes.into_iter().collect();
            match (told.verdict, &outcomes[..]) {
                (Verdict::May, [true]) | (Verdict::MayNot, [false]) | (Verdict::Depends, [false, true]) => {}
                // Nobody is connected: "may not" is said only where no token at all would do.
                (Verdict::MayNot, []) => {
                    let claims = json!({
                        "sub": name, "exp": NOW + later + 100, "iat": NOW + later,
                        "grants": [{ "group": "*", "may": ["join"] }],
                    });
                    let outcome = rig.connect(99, &sign(&claims)).and_then(|seat| {
                        let joined = rig.join(seat.0.member(), &wanted);
                        drop(seat);
                        joined
                    });
                    prop_assert!(outcome.is_err(), "{:?}", told);
                }
                (Verdict::Depends, []) => {}
                other => prop_assert!(false, "{:?}: {:?}", other, told),
            }
        }
    }
}

/// What `explain` has to do with a code.
enum Known {
    /// It is foretold: the code is among the refusals of this answer.
    Foretold(Box<dyn Fn() -> Explanation>),
    /// It is not about whether a user may join a group.
    Elsewhere,
}

/// Every code there is, so that a new one has to be thought of here.
#[test]
fn every_refusal_that_keeps_somebody_out_is_explained() {
    let claims = |more: Value| {
        let mut claims = json!({
            "sub": "alice", "iat": NOW, "exp": NOW + 60, "jti": "t1", "grants": [{ "group": "room-*", "may": ["join"] }],
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name.as_str()] = value.clone();
        }
        claims
    };
    let with = move |more: Value, bans: Vec<BanRow>| -> Known {
        let token = sign(&claims(more));
        Known::Foretold(Box::new(move || {
            let rig = Rig::new(1, 1, 9);
            for ban in &bans {
                rig.bans.put(ban.clone());
            }
            rig.explain("alice", &group("room-1"), Some(&token))
        }))
    };
    let crowded = |per_user: usize, connections: usize, name: &'static str| {
        Known::Foretold(Box::new(move || {
            let rig = Rig::new(per_user, 1, connections);
            let grants = json!([{ "group": "*", "may": ["join"] }]);
            let claims = json!({ "sub": name, "iat": NOW, "exp": NOW + 60, "grants": grants });
            let seat = rig.connect(1, &sign(&claims)).unwrap();
            rig.join(seat.0.member(), &group("elsewhere")).unwrap();
            rig.explain("alice", &group("room-1"), None)
        }))
    };
    at(NOW);
    for code in Code::ALL {
        let known = match code {
            Code::TokenInvalid => Known::Foretold(Box::new(|| {
                Rig::new(1, 1, 9).explain("alice", &group("room-1"), Some(&Token::new("a.b.c")))
            })),
            Code::TokenExpired => with(json!({ "exp": NOW - 60 }), vec![]),
            Code::TokenNotYetValid => with(json!({ "nbf": NOW + 60 }), vec![]),
            Code::OtherUser => with(json!({ "sub": "bob" }), vec![]),
            Code::TokenRevoked => with(json!({}), vec![ban(BanKind::Token, "t1", None, NOW, None)]),
            Code::SignedOut => with(json!({}), vec![ban(BanKind::SignOut, "alice", None, NOW, None)]),
            Code::UserBanned => with(json!({}), vec![ban(BanKind::User, "alice", None, NOW, None)]),
            Code::NotGranted => with(json!({ "grants": [] }), vec![]),
            // Of a send alone.
            Code::Muted => Known::Elsewhere,
            Code::BannedFromGroup => {
                with(json!({}), vec![ban(BanKind::Group, "alice", Some("room-*"), NOW, None)])
            }
            Code::ServerFull => crowded(9, 1, "bob"),
            Code::UserFull => crowded(1, 9, "alice"),
            Code::TooManyGroups => crowded(9, 9, "alice"),
            // A door that takes no tokens; and one that takes only others'.
            Code::TokensNotConfigured => Known::Foretold(Box::new(|| {
                let mut rig = Rig::new(1, 1, 9);
                let gate = Gate::new(Arc::new(Tokens::new(None, KeySets::none())), Arc::clone(&rig.bans));
                rig.queries.gate = Arc::new(gate);
                rig.explain("alice", &group("room-1"), Some(&Token::new("a.b.c")))
            })),
            Code::TokenNotForHere => Known::Foretold(Box::new(|| {
                let mut rig = Rig::new(1, 1, 9);
                let mut rules = TokenRules::new(vec![TokenKey::from_secret(SECRET).unwrap()]);
                rules.audience = vec!["here".to_owned()];
                let tokens = Arc::new(Tokens::new(Some(rules), KeySets::none()));
                rig.queries.gate = Arc::new(Gate::new(tokens, Arc::clone(&rig.bans)));
                let claims = json!({ "sub": "alice", "exp": NOW + 60, "aud": "there" });
                rig.explain("alice", &group("room-1"), Some(&sign(&claims)))
            })),
            // Who connects from where, with what, and how, is not known here.
            Code::AddressFull
            | Code::DevUserRefused
            | Code::CertificateRefused
            | Code::OriginRefused
            | Code::PathUnknown
            // What an application says is known to it alone.
            | Code::ConnectRefused
            | Code::ConnectRefusedForNow
            | Code::MethodUnknown
            | Code::ArgumentsInvalid
            | Code::CallFailed
            | Code::CallCancelled
            | Code::NotAStream
            | Code::TooManyCalls
            | Code::StreamOverrun
            | Code::MethodPanicked
            | Code::CallTimeout
            | Code::BackEndUnavailable
            // Of a node alone: nobody is let in then, whoever it is.
            | Code::CutOff
            // Of back ends.
            | Code::IdempotencyMismatch
            | Code::IdempotencyInProgress
            | Code::ApiKeyRefused
            | Code::ApiKeyTooNarrow
            | Code::MintingNotConfigured
            | Code::TooManyRequests
            // The end of what was there.
            | Code::Normal
            | Code::ShuttingDown
            | Code::ClosedByOperator
            | Code::ClosedForNow
            | Code::RemovedFromGroup
            | Code::GrantEnded
            | Code::SlowConsumer
            // Bytes and requests that nobody may send.
            | Code::MalformedFrame
            | Code::FrameTooLarge
            | Code::TruncatedFrame
            | Code::HelloExpected
            | Code::HelloRepeated
            | Code::UnsupportedProtocol
            | Code::HandshakeTimeout
            | Code::StreamReset
            | Code::InvalidName
            | Code::NoTarget
            | Code::InvalidRequest
            | Code::NothingThere
            | Code::NotKnownHere
            | Code::ExtensionNotKnown
            | Code::TooManyTargets
            | Code::PayloadTooLarge
            // Operators' own.
            | Code::OperatorRefused
            | Code::ViewerMayNotAct
            | Code::Internal => Known::Elsewhere,
        };
        let Known::Foretold(explain) = known else { continue };
        let told = explain();
        let token = told.token.iter().flat_map(|token| [&token.connect, &token.join]).flatten();
        let refusals = told.connections.iter().filter_map(|one| one.refusal.as_ref());
        let mut all = token.chain(refusals).chain(&told.connecting);
        assert!(all.any(|refusal| refusal.code == code.number()), "{code:?} is not in {told:?}");
        assert_ne!(told.verdict, Verdict::May, "{code:?}: {told:?}");
        let named = format!("code {}", code.number());
        let by_operator = told.bans.iter().any(|ban| ban.kind != BanKind::SignOut);
        assert!(told.summary.contains(&named) || by_operator || told.token.is_none(), "{}", told.summary);
    }
}

#[test]
fn who_is_held_back_is_told_so() {
    at(NOW);
    let rig = Rig::new(1, 1, 1);
    let grants = json!([{ "group": "*", "may": ["join"] }]);
    let seat = rig
        .connect(1, &sign(&json!({ "sub": "alice", "iat": NOW, "exp": NOW + 60, "grants": grants })))
        .unwrap();
    let held_back = || rig.explain("alice", &group("room-1"), None).connections[0].held_back;
    assert!(!held_back());
    seat.0.member().hold_back(true);
    assert!(held_back());
}

#[test]
fn who_made_each_membership_is_told() {
    use fanfare_hub::Origin;
    use fanfare_protocol::admin::{Question, Role};
    at(NOW);
    let rig = Rig::new(4, 1, 4);
    let grants = json!([{ "group": "*", "may": ["join"] }]);
    let token = sign(&json!({ "sub": "alice", "iat": NOW, "exp": NOW + 60, "grants": grants }));
    let seats: Vec<_> = (1..=4).map(|number| rig.connect(number, &token).unwrap()).collect();
    let origins = [
        (Origin::Client, MembershipOrigin::Client),
        (Origin::Operator, MembershipOrigin::Operator),
        (Origin::Application, MembershipOrigin::Application),
    ];
    let room = group("room-1");
    for ((seat, _), (origin, _)) in seats.iter().zip(origins) {
        rig.hub.join(seat.member(), &room, origin).unwrap();
    }
    let told = rig.explain("alice", &room, None).connections;
    let made_by: Vec<_> = told.iter().map(|one| (one.made_by(), one.by_operator)).collect();
    let [client, operator, application] = origins.map(|(_, told)| Some(told));
    assert_eq!(made_by, [(client, false), (operator, true), (application, true), (None, false)]);
    let viewer = crate::moderation::Operator { name: "viewer".to_owned(), role: Role::Viewer };
    for ((seat, _), (_, origin)) in seats.iter().zip(origins) {
        let question = Question::Connection { connection: seat.member().id() };
        let answer: Value = serde_json::from_slice(&rig.queries.answer(&viewer, &question).unwrap()).unwrap();
        let memberships = json!([{
            "group": room, "by_operator": origin.needs_no_grant(), "origin": origin,
        }]);
        assert_eq!(answer["ok"]["memberships"], memberships);
    }
}

/// Where the application is asked behind the gate, "may" and "may not" are only said of what it cannot change.
#[test]
fn what_the_application_may_decide_is_said_to_depend_on_it() {
    let mut rig = Rig::new(9, 9, 9);
    at(NOW);
    let token = |grants: Value| sign(&json!({ "sub": "alice", "exp": NOW + 500, "grants": grants }));
    let granted = token(json!([{ "group": "lobby", "may": ["join"] }]));
    let (plain, lobby) = (token(json!([])), group("lobby"));
    let seat = rig.connect(1, &granted).unwrap();
    let verdicts = |rig: &Rig| {
        [Some(&granted), Some(&plain), None].map(|token| rig.explain("alice", &lobby, token).verdict)
    };
    for (connections, joins, expected) in [
        (false, false, [Verdict::May, Verdict::MayNot, Verdict::May]),
        (false, true, [Verdict::Depends, Verdict::MayNot, Verdict::Depends]),
        // It may refuse, and it may grant.
        (true, false, [Verdict::Depends, Verdict::Depends, Verdict::May]),
        (true, true, [Verdict::Depends; 3]),
    ] {
        rig.queries.decides = Decides { connections, joins };
        assert_eq!(verdicts(&rig), expected, "connected: {connections}, joining: {joins}");
        let told = rig.explain("alice", &lobby, Some(&granted));
        assert_eq!(told.by_application, connections || joins);
        assert_eq!(
            told.summary.contains("depends on the application"),
            connections || joins,
            "{}",
            told.summary
        );
        assert_eq!(told.may_join, told.verdict == Verdict::May);
    }
    // Whoever is in joins nothing, and who is banned stays out, whatever the application says.
    rig.join(seat.0.member(), &lobby).unwrap();
    assert_eq!(rig.explain("alice", &lobby, None).verdict, Verdict::May);
    rig.bans.put(ban(BanKind::Group, "alice", Some("lob*"), NOW, None));
    assert_eq!(rig.explain("alice", &lobby, Some(&granted)).verdict, Verdict::MayNot);
    assert_eq!(rig.explain("alice", &lobby, Some(&plain)).verdict, Verdict::MayNot);
    rig.bans.put(ban(BanKind::User, "alice", None, NOW, None));
    assert_eq!(rig.explain("alice", &lobby, Some(&granted)).verdict, Verdict::MayNot);
}
