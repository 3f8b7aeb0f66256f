//! Any frame, for properties that all of them have.

use super::*;

fn any_user() -> impl Strategy<Value = UserName> {
    "\\PC{1,60}".prop_map(|text| user(&text))
}

fn any_group() -> impl Strategy<Value = GroupName> {
    "\\PC{1,60}".prop_map(|text| group(&text))
}

fn any_event() -> impl Strategy<Value = EventName> {
    "\\PC{1,60}".prop_map(|text| event(&text))
}

fn any_payload() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..2_000).prop_map(Bytes::from)
}

fn any_id() -> impl Strategy<Value = ConnectionId> {
    any::<[u8; 16]>().prop_map(ConnectionId::from_bytes)
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        any_id().prop_map(Target::Connection),
        any_user().prop_map(Target::User),
        any_group().prop_map(Target::Group),
        Just(Target::All),
    ]
}

fn any_sender() -> impl Strategy<Value = Sender> {
    prop_oneof![
        (any_id(), any_user()).prop_map(|(connection, user)| Sender::Connection { connection, user }),
        Just(Sender::Server),
    ]
}

fn any_format_and_bytes() -> impl Strategy<Value = Payload> {
    (any::<u8>(), any_payload()).prop_map(|(format, bytes)| Payload { format: format.into(), bytes })
}

fn any_failure() -> impl Strategy<Value = Failure> {
    (any::<u16>(), "\\PC{0,60}", any_format_and_bytes()).prop_map(|(code, detail, data)| Failure {
        code,
        detail,
        data,
    })
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Nothing),
        any_format_and_bytes().prop_map(Outcome::Value),
        any_failure().prop_map(Outcome::Failed),
    ]
}

fn any_method() -> impl Strategy<Value = MethodName> {
    "\\PC{1,60}".prop_map(|text| MethodName::new(&text).unwrap())
}

fn any_client_call() -> impl Strategy<Value = ClientCall> {
    let streams = proptest::collection::vec(any::<u64>(), 0..8);
    prop_oneof![
        (any::<u64>(), any_method(), any::<u32>(), streams, any_format_and_bytes()).prop_map(
            |(request, method, credit, streams, arguments)| {
                ClientCall::Invoke(Invoke { request, method, credit, streams, arguments })
            }
        ),
        any::<u64>().prop_map(|request| ClientCall::Cancel { request }),
        (any::<u64>(), any::<u32>()).prop_map(|(request, items)| ClientCall::Credit { request, items }),
        (any::<u64>(), any_format_and_bytes()).prop_map(|(stream, item)| ClientCall::Item { stream, item }),
        (any::<u64>(), proptest::option::of(any_failure()))
            .prop_map(|(stream, failure)| ClientCall::End { stream, failure }),
        (any::<u64>(), any_outcome()).prop_map(|(call, outcome)| ClientCall::Completion { call, outcome }),
    ]
}

fn any_server_call() -> impl Strategy<Value = ServerCall> {
    prop_oneof![
        (any::<u64>(), any_outcome())
            .prop_map(|(request, outcome)| ServerCall::Completion { request, outcome }),
        (any::<u64>(), any_format_and_bytes()).prop_map(|(request, item)| ServerCall::Item { request, item }),
        (any::<u64>(), any_method(), any_format_and_bytes())
            .prop_map(|(call, method, arguments)| ServerCall::Invoke { call, method, arguments }),
        any::<u64>().prop_map(|call| ServerCall::Cancel { call }),
        (any::<u64>(), any::<u32>()).prop_map(|(stream, items)| ServerCall::Credit { stream, items }),
        any::<u64>().prop_map(|stream| ServerCall::Stop { stream }),
    ]
}

fn any_presence() -> impl Strategy<Value = PresenceFrame> {
    let present = || {
        let one = (any_user(), any::<u32>(), proptest::option::of(any_format_and_bytes()))
            .prop_map(|(user, connections, data)| Present { user, connections, data });
        proptest::collection::vec(one, 0..8)
    };
    let left = proptest::collection::vec(any_user(), 0..8);
    prop_oneof![
        (any_group(), any::<u64>(), any::<[bool; 2]>(), present()).prop_map(
            |(group, revision, [begins, complete], present)| {
                PresenceFrame::Snapshot { group, revision, begins, complete, present }
            }
        ),
        (any_group(), any::<u64>(), present(), left).prop_map(|(group, revision, present, left)| {
            PresenceFrame::Changes { group, revision, present, left }
        }),
        (any_group(), any::<u16>(), "\\PC{0,200}").prop_map(|(group, code, reason)| PresenceFrame::Ended {
            group,
            code,
            reason
        }),
    ]
}

pub(super) fn any_frame() -> impl Strategy<Value = Frame> {
    let credential = prop_oneof![
        "\\PC{0,300}".prop_map(|token| Credential::Token(Token::new(token))),
        any_user().prop_map(Credential::DevUser),
        Just(Credential::Certificate),
    ];
    let send = (
        any::<u64>(),
        any::<bool>(),
        proptest::collection::vec(any_target(), 0..8),
        proptest::collection::vec(any_id(), 0..8),
        any::<bool>(),
        any_event(),
        any::<u8>(),
        any_payload(),
    );
    let client = prop_oneof![
        (any::<u32>(), any::<u64>(), credential).prop_map(|(protocol, features, credential)| {
            ClientFrame::Hello { protocol, features: Features::from_bits(features), credential }
        }),
        (any::<u64>(), any_group()).prop_map(|(request, group)| ClientFrame::Join { request, group }),
        (any::<u64>(), any_group()).prop_map(|(request, group)| ClientFrame::Leave { request, group }),
        send.prop_map(|(request, ack, to, except, others, event, format, payload)| {
            let format = format.into();
            ClientFrame::Send(Send { request, ack, to, except, others, event, format, payload })
        }),
        (any::<u64>(), any_target()).prop_map(|(request, target)| ClientFrame::Count { request, target }),
        (any::<u64>(), "\\PC{0,300}")
            .prop_map(|(request, token)| ClientFrame::Refresh { request, token: Token::new(token) }),
        any_client_call().prop_map(ClientFrame::Call),
        (any::<u64>(), any_group()).prop_map(|(request, group)| ClientFrame::Watch { request, group }),
        (any::<u64>(), any_group()).prop_map(|(request, group)| ClientFrame::Unwatch { request, group }),
    ];
    let reserved = (any::<u64>(), any::<u8>(), any::<[u8; 16]>(), any::<u64>());
    let welcome = (any::<u32>(), reserved, any_id(), any_user(), any::<[u32; 4]>(), "\\PC{0,40}");
    let server =
        prop_oneof![
            welcome.prop_map(|(protocol, reserved, connection, user, limits, server)| {
                let (features, node_bytes, session, position) = reserved;
                let features = Features::from_bits(features);
                let [frame_bytes, payload_bytes, groups, targets] = limits;
                let limits = Limits { frame_bytes, payload_bytes, groups, targets };
                ServerFrame::Welcome(Welcome {
                    protocol,
                    features,
                    connection,
                    node_bytes,
                    session,
                    position,
                    user,
                    limits,
                    server,
                })
            }),
            any::<[u64; 2]>().prop_map(|[request, count]| ServerFrame::Ack { request, count }),
            (any::<u64>(), any::<u16>(), "\\PC{0,200}")
                .prop_map(|(request, code, detail)| ServerFrame::Error { request, code, detail }),
            (any_sender(), any_target(), any_event(), any::<u8>(), any_payload()).prop_map(
                |(from, to, event, format, payload)| {
                    let format = format.into();
                    ServerFrame::Message(Message { from, to, event, format, payload })
                }
            ),
            (any_group(), any::<u64>()).prop_map(|(group, members)| ServerFrame::Joined { group, members }),
            (any_group(), any::<u16>(), "\\PC{0,200}")
                .prop_map(|(group, code, reason)| ServerFrame::Removed { group, code, reason }),
            (any::<u16>(), "\\PC{0,200}", any::<u32>()).prop_map(|(code, reason, retry_after_ms)| {
                ServerFrame::Goodbye { code, reason, retry_after_ms }
            }),
            any::<u64>().prop_map(|dropped| ServerFrame::Lagged { dropped }),
            (any::<Option<u32>>(), any::<u32>()).prop_map(|(count, seconds)| {
                let scope = count.map_or(ExpiryScope::Token, |count| ExpiryScope::Groups { count });
                ServerFrame::Expiring { scope, seconds }
            }),
            any_server_call().prop_map(ServerFrame::Call),
            any_presence().prop_map(ServerFrame::Presence),
        ];
    prop_oneof![client.prop_map(Frame::Client), server.prop_map(Frame::Server)]
}
