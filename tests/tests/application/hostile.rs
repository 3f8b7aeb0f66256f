//! What a client may say about calls that makes no sense: bounded, a code, and nobody else is disturbed (promise 12).

use std::time::Duration;

use fanfare_protocol::call::{ClientCall, Invoke, Outcome, ServerCall};
use fanfare_protocol::{ClientFrame, Code, Credential, Features, MethodName, Payload, ServerFrame, Target};
use fanfare_server::{Args, CallError, Caller, Methods, State, Upload};
use fanfare_tests::peer::{Dialer, Peer};
use fanfare_tests::{Hub, eventually, user};

use super::Seen;

async fn read_never(State(seen): State<Seen>, _numbers: Upload<u64>) -> Result<(), CallError> {
    let _inside = seen.enter();
    seen.wait().await;
    Ok(())
}

async fn size(Args((text,)): Args<(String,)>) -> Result<usize, CallError> {
    Ok(text.len())
}

async fn ask(State(seen): State<Seen>, caller: Caller) -> Result<(), CallError> {
    let answered = caller.invoke::<bool>("Confirm", &("?",)).await;
    seen.note(format!("{answered:?}"));
    Ok(())
}

async fn welcomed(hub: &Hub, features: Features) -> Peer {
    let dialer = Dialer::new(&hub.roots);
    let mut peer = dialer.peer(hub.address()).await;
    let credential = Credential::DevUser(user("eve"));
    peer.send(&ClientFrame::Hello { protocol: 1, features, credential }).await;
    match peer.frame().await {
        Ok(ServerFrame::Welcome(welcome)) => assert_eq!(welcome.features, features),
        other => panic!("{other:?}"),
    }
    peer
}

fn invoke(request: u64, method: &str, streams: &[u64], arguments: Payload) -> ClientFrame {
    let method = MethodName::new(method).unwrap();
    let streams = streams.to_vec();
    ClientFrame::Call(ClientCall::Invoke(Invoke { request, method, credit: 0, streams, arguments }))
}

async fn refusal(peer: &mut Peer, wanted: u64) -> u16 {
    loop {
        match peer.frame().await.unwrap() {
            ServerFrame::Error { request, code, .. } if request == wanted => return code,
            ServerFrame::Call(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn promise_12_what_makes_no_sense_about_calls_is_refused_or_has_no_effect() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone())
        .on("ReadNever", read_never)
        .on("Size", size)
        .on("Ask", ask)
        .configure(|limits| limits.grace = Duration::from_millis(50));
    let hub = Hub::running(methods).await;
    let mut peer = welcomed(&hub, Features::CALLS).await;
    let none = Payload::json("[]");

    peer.send(&invoke(1, "Nobody", &[], none.clone())).await;
    assert_eq!(refusal(&mut peer, 1).await, Code::MethodUnknown.number());
    peer.send(&invoke(2, "ReadNever", &[7, 7], none.clone())).await;
    assert_eq!(refusal(&mut peer, 2).await, Code::InvalidRequest.number());
    peer.send(&invoke(3, "ReadNever", &[7], none.clone())).await;
    eventually("it runs", || seen.running() == 1).await;
    peer.send(&invoke(3, "Size", &[], none.clone())).await;
    assert_eq!(refusal(&mut peer, 3).await, Code::InvalidRequest.number());
    peer.send(&invoke(4, "ReadNever", &[7], none.clone())).await;
    assert_eq!(refusal(&mut peer, 4).await, Code::InvalidRequest.number());
    // As many as a frame has room for.
    let many: Vec<u64> = (300..20_300).collect();
    peer.send(&invoke(5, "ReadNever", &many, none.clone())).await;
    assert_eq!(refusal(&mut peer, 5).await, Code::TooManyCalls.number());

    // For numbers that nobody has.
    for call in [
        ClientCall::Cancel { request: 99 },
        ClientCall::Credit { request: 99, items: u32::MAX },
        ClientCall::Item { stream: 99, item: none.clone() },
        ClientCall::End { stream: 99, failure: None },
        ClientCall::Completion { call: 99, outcome: Outcome::Nothing },
    ] {
        peer.send(&ClientFrame::Call(call)).await;
    }
    for _ in 0..10_000 {
        let call = ClientCall::Credit { request: 3, items: u32::MAX };
        peer.send(&ClientFrame::Call(call)).await;
    }
    peer.send(&ClientFrame::Count { request: 6, target: Target::All }).await;
    loop {
        match peer.frame().await.unwrap() {
            ServerFrame::Ack { request: 6, count } => break assert_eq!(count, 1),
            ServerFrame::Call(ServerCall::Credit { stream: 7, .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    // More than there was credit for: the stream is over, and the connection goes on.
    for _ in 0..11 {
        let item = ClientCall::Item { stream: 7, item: Payload::json("1") };
        peer.send(&ClientFrame::Call(item)).await;
    }
    match peer.frame().await.unwrap() {
        ServerFrame::Call(ServerCall::Stop { stream: 7 }) => {}
        other => panic!("{other:?}"),
    }
    seen.open();
    match peer.frame().await.unwrap() {
        ServerFrame::Call(ServerCall::Completion { request: 3, outcome: Outcome::Nothing }) => {}
        other => panic!("{other:?}"),
    }

    // Deep, broken and long arguments.
    for (request, arguments) in [
        (10, Payload::json("[".repeat(60_000))),
        (11, Payload::message_pack(vec![0x91; 60_000])),
        (12, Payload::message_pack(vec![0xdd, 0xff, 0xff, 0xff, 0xff])),
        (13, Payload::message_pack(vec![0x91, 0xdb, 0xff, 0xff, 0xff, 0xff])),
        (14, Payload::json(vec![b'[', b'"', 0xff, b'"', b']'])),
    ] {
        peer.send(&invoke(request, "Size", &[], arguments)).await;
        match peer.frame().await.unwrap() {
            ServerFrame::Call(ServerCall::Completion {
                request: answered,
                outcome: Outcome::Failed(failure),
            }) => {
                assert_eq!((answered, failure.code), (request, Code::ArgumentsInvalid.number()));
            }
            other => panic!("{other:?}"),
        }
    }
    let long = Payload::json("x".repeat(65_537));
    peer.send(&invoke(15, "Size", &[], long)).await;
    assert_eq!(refusal(&mut peer, 15).await, Code::PayloadTooLarge.number());

    // An answer that nobody can read, and one that comes twice.
    peer.send(&invoke(20, "Ask", &[], none)).await;
    let call = match peer.frame().await.unwrap() {
        ServerFrame::Call(ServerCall::Invoke { call, .. }) => call,
        other => panic!("{other:?}"),
    };
    for _ in 0..2 {
        let outcome = Outcome::Value(Payload::json("nonsense"));
        peer.send(&ClientFrame::Call(ClientCall::Completion { call, outcome })).await;
    }
    match peer.frame().await.unwrap() {
        ServerFrame::Call(ServerCall::Completion { request: 20, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(seen.lines()[0].starts_with("Err(Answer("), "{:?}", seen.lines());
    hub.stop().await;
}

#[tokio::test]
async fn a_client_that_did_not_offer_calls_gets_none() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone()).on("Size", size);
    let hub = Hub::running(methods).await;
    let mut peer = welcomed(&hub, Features::NONE).await;
    peer.send(&invoke(1, "Size", &[], Payload::json("[\"a\"]"))).await;
    assert_eq!(refusal(&mut peer, 1).await, Code::NotKnownHere.number());
    assert_eq!(hub.server.metrics().unknown, 1);
    hub.stop().await;
}

/// Whoever does not read slows its own calls down, and is not closed for what the application says.
#[tokio::test]
async fn promise_12_calls_of_a_client_that_does_not_read_wait_for_it() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone()).on("Fill", fill).on("Size", size);
    let hub = Hub::running(methods).await;
    let dialer = Dialer::with(&hub.roots, &[fanfare_protocol::ALPN], 2_048);
    let mut peer = dialer.peer(hub.address()).await;
    let credential = Credential::DevUser(user("eve"));
    peer.send(&ClientFrame::Hello { protocol: 1, features: Features::CALLS, credential }).await;
    assert!(matches!(peer.frame().await, Ok(ServerFrame::Welcome(_))));
    let (mut sending, mut receiving) = peer.split();
    let calls = tokio::spawn(async move {
        for request in 0..200 {
            sending.send(&invoke(request, "Fill", &[], Payload::json("[]"))).await;
        }
        sending
    });
    let alice = hub.client("alice").await;
    assert_eq!(fanfare_tests::within(alice.invoke::<usize>("Size", &("abc",))).await, Ok(3));
    let mut outcomes = 0;
    while outcomes < 200 {
        match receiving.frame().await.unwrap() {
            ServerFrame::Call(ServerCall::Completion { outcome: Outcome::Value(_), .. }) => outcomes += 1,
            // More than may wait.
            ServerFrame::Error { code, .. } => {
                assert_eq!(code, Code::TooManyCalls.number());
                outcomes += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    drop(fanfare_tests::within(calls).await.unwrap());
    hub.stop().await;
}

async fn fill() -> Result<String, CallError> {
    Ok("x".repeat(60_000))
}

async fn read_all_and_wait(State(seen): State<Seen>, mut numbers: Upload<u64>) -> Result<(), CallError> {
    let _inside = seen.enter();
    while numbers.next().await.is_some() {}
    seen.note("read all");
    seen.wait().await;
    Ok(())
}

async fn add_up(mut numbers: Upload<u64>) -> Result<u64, CallError> {
    let mut sum = 0;
    while let Some(number) = numbers.next().await {
        sum += number?;
    }
    Ok(sum)
}

/// The number of a stream is free when the stream has ended, and the call that it belonged to may still run. What that
/// one does when it ends must not be done to the next stream of the number: it took the next one's end for its own.
#[tokio::test]
async fn a_streams_number_can_be_used_again_while_the_call_goes_on_that_had_it() {
    let seen = Seen::default();
    let methods =
        Methods::with_state(seen.clone()).on("ReadAllAndWait", read_all_and_wait).on("AddUp", add_up);
    let hub = Hub::running(methods).await;
    let mut peer = welcomed(&hub, Features::CALLS).await;
    let none = Payload::json("[]");
    let credit = async |peer: &mut Peer| match peer.frame().await.unwrap() {
        ServerFrame::Call(ServerCall::Credit { stream: 7, .. }) => {}
        other => panic!("{other:?}"),
    };
    peer.send(&invoke(1, "ReadAllAndWait", &[7], none.clone())).await;
    credit(&mut peer).await;
    peer.send(&ClientFrame::Call(ClientCall::End { stream: 7, failure: None })).await;
    seen.line("read all").await;
    peer.send(&invoke(2, "AddUp", &[7], none)).await;
    credit(&mut peer).await;
    peer.send(&ClientFrame::Call(ClientCall::Item { stream: 7, item: Payload::json("3") })).await;
    seen.open();
    match peer.frame().await.unwrap() {
        ServerFrame::Call(ServerCall::Completion { request: 1, outcome: Outcome::Nothing }) => {}
        other => panic!("{other:?}"),
    }
    peer.send(&ClientFrame::Call(ClientCall::Item { stream: 7, item: Payload::json("4") })).await;
    peer.send(&ClientFrame::Call(ClientCall::End { stream: 7, failure: None })).await;
    match peer.frame().await.unwrap() {
        ServerFrame::Call(ServerCall::Completion { request: 2, outcome: Outcome::Value(sum) }) => {
            assert_eq!(sum, Payload::json("7"));
        }
        other => panic!("{other:?}"),
    }
    hub.stop().await;
}

/// A later client may say outcomes that this server does not know, and what must be understood: of that nothing is
/// done.
#[tokio::test]
async fn promise_13_what_a_later_client_says_of_calls_is_skipped_and_counted() {
    let seen = Seen::default();
    let hub = Hub::running(Methods::with_state(seen.clone()).on("Size", size)).await;
    let mut peer = welcomed(&hub, Features::CALLS).await;
    let framed = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], body].concat();
    // An outcome 250 of a client's completion, and of a stream's end; an item with extension 251 behind it.
    for body in [&[130, 0, 250, 1][..], &[129, 7, 250], &[128, 7, 2, 1, b'1', 251, 251, 0, 0]] {
        peer.write(&framed(body)).await.unwrap();
    }
    peer.send(&invoke(1, "Size", &[], Payload::json("[\"ab\"]"))).await;
    match peer.frame().await.unwrap() {
        ServerFrame::Call(ServerCall::Completion { request: 1, outcome: Outcome::Value(size) }) => {
            assert_eq!(size, Payload::json("2"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(hub.server.metrics().unknown, 3);
    hub.stop().await;
}

async fn stand(State(seen): State<Seen>) -> Result<(), CallError> {
    let _inside = seen.enter();
    seen.wait().await;
    Ok(())
}

/// What waits of a client is memory, whichever way it goes: 64 calls and 160 items of 64 KiB a connection are 14 MiB,
/// and a user has many connections.
#[tokio::test]
async fn promise_12_calls_and_items_that_wait_are_counted_in_what_a_user_may_have_wait() {
    let seen = Seen::default();
    let methods =
        Methods::with_state(seen.clone()).on("Stand", stand).on("Size", size).on("ReadNever", read_never);
    let change = |config: &mut fanfare_server::Config| {
        config.outbox.bytes = 68 * 1024;
        // The least that there can be: what six calls of 60,000 bytes need, and seven do not have.
        config.budget.per_user = 388 * 1024;
    };
    let hub = Hub::assembled(tempfile::tempdir().unwrap(), change, methods).await;
    let mut peer = welcomed(&hub, Features::CALLS).await;
    let (none, long) = (Payload::json("[]"), Payload::json(format!("[{:?}]", "x".repeat(60_000 - 4))));
    let round = async |peer: &mut Peer, first: u64| {
        peer.send(&invoke(first, "Stand", &[], none.clone())).await;
        eventually("it runs", || seen.running() == 1).await;
        for request in first + 1..first + 10 {
            peer.send(&invoke(request, "Size", &[], long.clone())).await;
        }
        for request in first + 7..first + 10 {
            assert_eq!(refusal(peer, request).await, Code::TooManyCalls.number());
        }
    };
    let answers = async |peer: &mut Peer, first: u64| {
        for request in first + 1..first + 7 {
            match peer.frame().await.unwrap() {
                ServerFrame::Call(ServerCall::Completion {
                    request: answered,
                    outcome: Outcome::Value(_),
                }) => {
                    assert_eq!(answered, request);
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let completion = async |peer: &mut Peer, wanted: u64| match peer.frame().await.unwrap() {
        ServerFrame::Call(ServerCall::Completion { request, .. }) => assert_eq!(request, wanted),
        other => panic!("{other:?}"),
    };
    round(&mut peer, 100).await;
    seen.open();
    completion(&mut peer, 100).await;
    answers(&mut peer, 100).await;

    // What has begun waits no more, and neither does what was cancelled.
    round(&mut peer, 200).await;
    for request in 201..207 {
        peer.send(&ClientFrame::Call(ClientCall::Cancel { request })).await;
        completion(&mut peer, request).await;
    }
    seen.open();
    completion(&mut peer, 200).await;

    // Items that nobody reads: the stream ends with the one that there is no room for, and all is free with its method.
    peer.send(&invoke(300, "ReadNever", &[7], none.clone())).await;
    let ServerFrame::Call(ServerCall::Credit { stream: 7, items: 10 }) = peer.frame().await.unwrap() else {
        panic!("it has no credit")
    };
    for _ in 0..10 {
        peer.send(&ClientFrame::Call(ClientCall::Item { stream: 7, item: long.clone() })).await;
    }
    let ServerFrame::Call(ServerCall::Stop { stream: 7 }) = peer.frame().await.unwrap() else {
        panic!("it goes on")
    };
    peer.send(&invoke(301, "Size", &[], long.clone())).await;
    assert_eq!(refusal(&mut peer, 301).await, Code::TooManyCalls.number());
    seen.open();
    completion(&mut peer, 300).await;
    eventually("it has ended", || seen.running() == 0).await;
    round(&mut peer, 400).await;
    seen.open();
    completion(&mut peer, 400).await;
    answers(&mut peer, 400).await;
    hub.stop().await;
}
