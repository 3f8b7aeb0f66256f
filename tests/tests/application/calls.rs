//! Calls and their outcomes, in both directions.

use std::time::Duration;

use fanfare_client::{CallError as ClientError, Event, Invocation, Payload};
use fanfare_protocol::{Code, Target};
use fanfare_server::{
    Args, Call, CallError, Caller, Cancellation, GroupName, HubHandle, InvokeError, Methods, OwnCode, Raw,
    State, UserName,
};
use fanfare_tests::{Hub, eventually, message, next, within};

use super::Seen;

async fn send_private_message(
    hub: HubHandle,
    Args((user, text)): Args<(String, String)>,
) -> Result<(), CallError> {
    hub.user(UserName::new(&user)?).send("ReceiveMessage", text)?;
    Ok(())
}

async fn add_to_group(caller: Caller, Args((group,)): Args<(String,)>) -> Result<(), CallError> {
    let group = GroupName::new(&group)?;
    caller.join(&group)?;
    let text = format!("{} has joined the group {group}.", caller.connection());
    caller.hub().group(group).send("Send", text)?;
    Ok(())
}

async fn remove_from_group(caller: Caller, Args((group,)): Args<(String,)>) -> Result<(), CallError> {
    let group = GroupName::new(&group)?;
    caller.leave(&group);
    let text = format!("{} has left the group {group}.", caller.connection());
    caller.hub().group(group).send("Send", text)?;
    Ok(())
}

fn code(error: &ClientError) -> u16 {
    error.code().unwrap_or_else(|| panic!("{error}"))
}

/// The sample of SignalR's documentation, method by method.
#[tokio::test]
async fn promise_15_the_methods_of_an_application_do_what_they_say() {
    let methods = Methods::new()
        .on("SendPrivateMessage", send_private_message)
        .on("AddToGroup", add_to_group)
        .on("RemoveFromGroup", remove_from_group);
    let hub = Hub::running(methods).await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);

    within(alice.invoke::<()>("SendPrivateMessage", &("bob", "psst"))).await.unwrap();
    assert_eq!(message(&bob).await.text(), Some("psst"));

    within(bob.invoke::<()>("AddToGroup", &("room",))).await.unwrap();
    assert!(matches!(next(&bob).await, Event::Joined { group, members: 1 } if group.as_str() == "room"));
    let joined = message(&bob).await;
    assert_eq!(joined.event.as_str(), "Send");
    assert_eq!(joined.text().unwrap(), format!("{} has joined the group room.", bob.connection_id()));
    within(alice.invoke::<()>("AddToGroup", &("room",))).await.unwrap();
    assert!(message(&bob).await.text().unwrap().starts_with(&alice.connection_id().to_string()));
    within(bob.invoke::<()>("RemoveFromGroup", &("room",))).await.unwrap();
    message(&alice).await;
    assert!(message(&alice).await.text().unwrap().contains("has left the group room."));
    assert_eq!(hub.server.count(&Target::Group(fanfare_tests::group("room"))), 1);
    hub.stop().await;
}

async fn add(Args((one, other)): Args<(i64, i64)>) -> Result<i64, CallError> {
    one.checked_add(other).ok_or_else(|| {
        const TOO_MUCH: OwnCode = OwnCode::new(10_007).unwrap();
        CallError::own(TOO_MUCH, "that is too much").with_data(Payload::json("[1]"))
    })
}

async fn echo(Raw(arguments): Raw) -> Result<String, CallError> {
    Ok(format!("{} {}", arguments.format, arguments.bytes.len()))
}

#[tokio::test]
async fn values_and_errors_come_as_they_were_meant() {
    let hub = Hub::running(Methods::new().on("Add", add).on("Echo", echo)).await;
    let alice = hub.client("alice").await;
    assert_eq!(within(alice.invoke::<i64>("Add", &(1, 2))).await, Ok(3));
    let packed = Invocation::new("Add").in_message_pack().arguments(&(-1, 2));
    assert_eq!(within(alice.call::<i64>(packed)).await, Ok(1));
    let raw = Invocation::new("Echo").raw(Payload::from("hello"));
    assert_eq!(within(alice.call::<String>(raw)).await.unwrap(), "text 5");

    let own = within(alice.invoke::<i64>("Add", &(i64::MAX, 1))).await.unwrap_err();
    let data = Payload::json("[1]");
    assert_eq!(own, ClientError::Failed { code: 10_007, detail: "that is too much".into(), data });
    let unknown = within(alice.invoke::<i64>("add", &(1, 2))).await.unwrap_err();
    assert_eq!(code(&unknown), Code::MethodUnknown.number());
    assert!(unknown.to_string().contains("there is no method \"add\""), "{unknown}");
    for wrong in [serde_json::json!([1]), serde_json::json!([1, 2, 3]), serde_json::json!(["1", 2])] {
        let error = within(alice.invoke::<i64>("Add", &wrong)).await.unwrap_err();
        assert_eq!(code(&error), Code::ArgumentsInvalid.number(), "{wrong}: {error}");
    }
    let value = within(alice.invoke::<String>("Add", &(1, 2))).await.unwrap_err();
    assert!(matches!(value, ClientError::Value(_)), "{value}");
    let long = "x".repeat(alice.limits().payload_bytes as usize);
    let error = within(alice.invoke::<String>("Echo", &(long,))).await.unwrap_err();
    assert!(error.to_string().contains("the server allows"), "{error}");
    hub.stop().await;
}

#[tokio::test]
async fn a_server_without_an_application_says_so_before_anything_is_sent() {
    let hub = Hub::start().await;
    let alice = hub.client("alice").await;
    assert_eq!(within(alice.invoke::<()>("Any", &())).await, Err(ClientError::NotSupported));
    hub.stop().await;
}

async fn steps(State(seen): State<Seen>, Args((name,)): Args<(String,)>) -> Result<(), CallError> {
    let _inside = seen.enter();
    seen.note(format!("{name} begins"));
    seen.wait().await;
    seen.note(format!("{name} ends"));
    Ok(())
}

/// As in SignalR, so that the calls of one client keep their order. Nothing else waits for them.
#[tokio::test]
async fn promise_15_one_call_of_a_connection_runs_at_a_time_and_holds_up_nothing_else() {
    let seen = Seen::default();
    let hub = Hub::running(Methods::with_state(seen.clone()).on("Steps", steps)).await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    let call = |name: &'static str| {
        let alice = alice.clone();
        tokio::spawn(async move { alice.invoke::<()>("Steps", &(name,)).await })
    };
    let first = call("first");
    seen.line("first begins").await;
    let second = call("second");
    // Its own other requests, and everything of others, go on.
    assert_eq!(within(alice.count(Target::All)).await, Ok(2));
    let bobs = tokio::spawn(async move { bob.invoke::<()>("Steps", &("bob's",)).await });
    seen.line("bob's begins").await;
    assert_eq!(seen.lines(), ["first begins", "bob's begins"]);
    seen.open();
    seen.open();
    eventually("the second begins", || {
        seen.open();
        seen.lines().iter().any(|line| line == "second begins")
    })
    .await;
    let lines = seen.lines();
    let at = |wanted: &str| lines.iter().position(|line| line == wanted).unwrap();
    assert!(at("first ends") < at("second begins"), "{lines:?}");
    eventually("all are done", || {
        seen.open();
        seen.running() == 0
    })
    .await;
    for call in [first, second, bobs] {
        within(call).await.unwrap().unwrap();
    }
    hub.stop().await;
}

#[tokio::test]
async fn as_many_calls_run_at_a_time_as_the_application_says() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone()).on("Steps", steps).configure(|limits| {
        limits.in_flight = 2;
        limits.waiting = 1;
    });
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    let call = |name: &'static str| {
        let alice = alice.clone();
        tokio::spawn(async move { alice.invoke::<()>("Steps", &(name,)).await })
    };
    let calls = [call("a"), call("b")];
    seen.line("a begins").await;
    seen.line("b begins").await;
    // In this order: the third waits, and the fourth may not.
    let third = alice.invoke::<()>("Steps", &("c",));
    let fourth = alice.invoke::<()>("Steps", &("d",));
    let refused = async {
        let refused = fourth.await.unwrap_err();
        eventually("all are done", || {
            seen.open();
            seen.lines().iter().filter(|line| line.ends_with("ends")).count() >= 3
        })
        .await;
        refused
    };
    let (third, refused) = within(async { tokio::join!(third, refused) }).await;
    assert_eq!(third, Ok(()));
    assert_eq!(code(&refused), Code::TooManyCalls.number());
    for call in calls {
        within(call).await.unwrap().unwrap();
    }
    hub.stop().await;
}

async fn panics() -> Result<(), CallError> {
    panic!("on purpose")
}

#[tokio::test]
async fn promise_15_a_method_that_panics_is_a_code_for_its_caller() {
    let hub = Hub::running(Methods::new().on("Panics", panics).on("Add", add)).await;
    let alice = hub.client("alice").await;
    for _ in 0..3 {
        let error = within(alice.invoke::<()>("Panics", &[0; 0])).await.unwrap_err();
        assert_eq!(code(&error), Code::MethodPanicked.number());
        assert!(!error.to_string().contains("on purpose"), "{error}");
        assert_eq!(within(alice.invoke::<i64>("Add", &(1, 2))).await, Ok(3));
    }
    hub.stop().await;
}

async fn never(State(seen): State<Seen>) -> Result<(), CallError> {
    let _inside = seen.enter();
    seen.note("begins");
    std::future::pending().await
}

#[tokio::test]
async fn promise_15_a_method_that_never_returns_costs_its_caller_alone_and_ends_with_the_connection() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone())
        .on("Never", never)
        .on("Add", add)
        .configure(|limits| limits.grace = Duration::from_millis(50))
        .disconnected(|seen, caller, _| async move { seen.note(format!("{} is gone", caller.user())) });
    let hub = Hub::running(methods).await;
    let (alice, bob) = (hub.client("alice").await, hub.client("bob").await);
    let hanging = alice.clone();
    let call = tokio::spawn(async move { hanging.invoke::<()>("Never", &[0; 0]).await });
    seen.line("begins").await;
    assert_eq!(within(bob.invoke::<i64>("Add", &(1, 2))).await, Ok(3));
    assert_eq!(seen.running(), 1);
    within(alice.close()).await.unwrap();
    seen.line("alice is gone").await;
    eventually("the method is dropped", || seen.running() == 0).await;
    assert!(within(call).await.unwrap().is_err());
    hub.stop().await;
}

async fn watchful(
    State(seen): State<Seen>,
    caller: Caller,
    cancellation: Cancellation,
) -> Result<(), CallError> {
    let _inside = seen.enter();
    seen.note("begins");
    cancellation.cancelled().await;
    seen.note(format!("told, and ended: {}", caller.has_ended()));
    seen.wait().await;
    seen.note("cleaned up");
    Ok(())
}

/// SignalR's users wait for their handler to end before they hear that the connection has (aspnetcore#19367).
#[tokio::test]
async fn a_method_hears_at_once_that_its_connection_has_ended_and_disconnected_does_not_wait_for_it() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone())
        .on("Watchful", watchful)
        .disconnected(|seen, _, reason| async move {
            seen.note(format!("disconnected {:?}", reason.map(|reason| reason.code)));
        })
        .configure(|limits| limits.grace = fanfare_tests::DEADLINE);
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    let calling = alice.clone();
    let call = tokio::spawn(async move { calling.invoke::<()>("Watchful", &[0; 0]).await });
    seen.line("begins").await;
    within(alice.close()).await.unwrap();
    seen.line("told, and ended: true").await;
    seen.line("disconnected Some(Normal)").await;
    assert_eq!(seen.running(), 1);
    seen.open();
    seen.line("cleaned up").await;
    assert!(within(call).await.unwrap().is_err());
    hub.stop().await;
}

/// Not only streams (aspnetcore#11542).
#[tokio::test]
async fn an_ordinary_call_can_be_cancelled_and_so_can_one_that_waits() {
    let seen = Seen::default();
    let hub = Hub::running(Methods::with_state(seen.clone()).on("Watchful", watchful).on("Add", add)).await;
    let alice = hub.client("alice").await;
    let call = |method: &'static str| {
        let alice = alice.clone();
        tokio::spawn(async move { alice.invoke::<i64>(method, &[0; 0]).await })
    };
    let running = call("Watchful");
    seen.line("begins").await;
    let waiting = call("Watchful");
    assert_eq!(within(alice.count(Target::All)).await, Ok(1));
    waiting.abort();
    let _ = waiting.await;
    running.abort();
    let _ = running.await;
    seen.line("told, and ended: false").await;
    seen.open();
    // The place is free, and the one that waited never began.
    assert_eq!(within(alice.invoke::<i64>("Add", &(1, 2))).await, Ok(3));
    assert_eq!(seen.lines(), ["begins", "told, and ended: false", "cleaned up"]);
    hub.stop().await;
}

#[tokio::test]
async fn a_method_has_no_longer_than_its_deadline() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone())
        .on_within("Never", Duration::from_millis(50), never)
        .on("Add", add)
        .configure(|limits| limits.grace = Duration::from_millis(50));
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    let error = within(alice.invoke::<()>("Never", &[0; 0])).await.unwrap_err();
    assert_eq!(code(&error), Code::CallTimeout.number());
    assert_eq!(within(alice.invoke::<i64>("Add", &(1, 2))).await, Ok(3));
    assert_eq!(seen.running(), 0);
    hub.stop().await;
}

/// Waits for an answer that never comes.
async fn ask_briefly(caller: Caller) -> Result<String, CallError> {
    let answer = caller.invoke_raw("Never", Payload::json("[\"?\"]"), Duration::from_millis(50)).await;
    Ok(answer.unwrap_err().to_string())
}

async fn ask(caller: Caller, Args((method,)): Args<(String,)>) -> Result<String, CallError> {
    match caller.invoke::<bool>(&method, &("Are you sure?",)).await {
        Ok(answer) => Ok(answer.to_string()),
        Err(InvokeError::Failed { code, .. }) => Ok(format!("failed {code}")),
        Err(error) => Ok(error.to_string()),
    }
}

/// With one call in flight its answer would wait behind the call that waits for it, if it went the same way
/// (aspnetcore#41997).
#[tokio::test]
async fn a_method_can_wait_for_its_callers_answer_with_one_call_in_flight() {
    let methods = Methods::new().on("Ask", ask).on("AskBriefly", ask_briefly);
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    alice.on_invoke("Confirm", |(question,): (String,)| async move { Ok::<_, String>(question.len() < 20) });
    alice.on_invoke("Refuse", |_: (String,)| async { Err::<bool, _>("no".to_owned()) });
    alice.on_invoke("Never", |_: (String,)| std::future::pending::<Result<bool, String>>());
    alice.on_invoke("Number", |_: (String,)| async { Ok::<_, String>(7) });
    alice.on_invoke("Panics", |_: (String,)| async { panic!("on purpose") as Result<bool, String> });
    let inner = alice.clone();
    // The server carries the inner call out only when the outer one has ended, which waits for this one.
    alice.on_invoke("Count", move |_: (String,)| {
        let inner = inner.clone();
        async move { Ok::<_, String>(inner.count(Target::All).await.unwrap() == 1) }
    });
    for (method, answer) in [
        ("Confirm", "true"),
        ("Count", "true"),
        ("Refuse", "failed 2203"),
        ("Panics", "failed 5002"),
        ("Unknown", "failed 2201"),
    ] {
        assert_eq!(within(alice.invoke::<String>("Ask", &(method,))).await.unwrap(), answer, "{method}");
    }
    let late = within(alice.invoke::<String>("AskBriefly", &[0; 0])).await.unwrap();
    assert_eq!(late, "the client has not answered in time");
    let wrong = within(alice.invoke::<String>("Ask", &("Number",))).await.unwrap();
    assert!(wrong.starts_with("the client's answer cannot be read"), "{wrong}");
    hub.stop().await;
}

/// In a handler of the client's own, with one call in flight, and when the server ends in the middle (aspnetcore#5356).
#[tokio::test]
async fn a_client_can_call_from_within_its_own_handler() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone())
        .on("Ask", ask)
        .on("Add", add)
        .on("Never", never)
        .configure(|limits| limits.grace = Duration::from_millis(50));
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    let inner = alice.clone();
    alice.on_invoke("Add", move |_: (String,)| {
        let inner = inner.clone();
        async move { Ok::<_, String>(inner.invoke::<i64>("Add", &(1, 2)).await == Ok(3)) }
    });
    assert_eq!(within(alice.invoke::<String>("Ask", &("Add",))).await.unwrap(), "true");
    let (inner, told) = (alice.clone(), seen.clone());
    alice.on_invoke("Never", move |_: (String,)| {
        let (inner, told) = (inner.clone(), told.clone());
        async move {
            let ended = inner.invoke::<()>("Never", &[0; 0]).await;
            told.note("the inner call has ended");
            ended.map(|()| true).map_err(|error| error.to_string())
        }
    });
    let outer = alice.clone();
    let call = tokio::spawn(async move { outer.invoke::<String>("Ask", &("Never",)).await });
    seen.line("begins").await;
    hub.stop().await;
    assert!(within(call).await.unwrap().is_err());
}

async fn ask_and_note(State(seen): State<Seen>, caller: Caller) -> Result<(), CallError> {
    seen.note("asks");
    let answers = [caller.invoke::<()>("Confirm", &("a",)), caller.invoke::<()>("Confirm", &("b",))];
    let answers = futures_util::future::join_all(answers).await;
    seen.note("goes on");
    answers
        .into_iter()
        .collect::<Result<(), InvokeError>>()
        .map_err(|error| CallError::new(error.to_string()))
}

/// The code of one connection's calls runs one at a time all the same: a method that has its answer goes on when what
/// had its place meanwhile has ended, and ahead of what has not begun.
#[tokio::test]
async fn a_method_that_waits_for_its_client_lends_its_place_and_gets_it_back() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone()).on("Ask", ask_and_note).on("Steps", steps);
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    let (weak, told) = (alice.downgrade(), seen.clone());
    alice.on_invoke("Confirm", move |(name,): (String,)| {
        let (client, told) = (weak.upgrade().unwrap(), told.clone());
        async move {
            // Two are asked for; the first of them is in the place of the method that asks.
            if name == "a" {
                tokio::spawn(async move {
                    let (first, second) = (("first",), ("second",));
                    // In this order.
                    tokio::join!(client.invoke::<()>("Steps", &first), client.invoke::<()>("Steps", &second))
                });
                told.line("first begins").await;
                told.note("answers");
            }
            Ok::<_, String>(())
        }
    });
    let asked = alice.clone();
    let asking = tokio::spawn(async move { asked.invoke::<()>("Ask", &[0; 0]).await });
    seen.line("answers").await;
    // Behind the answer.
    assert_eq!(within(alice.count(Target::All)).await, Ok(1));
    eventually("both have begun", || {
        seen.open();
        seen.lines().iter().any(|line| line == "second begins")
    })
    .await;
    within(asking).await.unwrap().unwrap();
    eventually("all is done", || {
        seen.open();
        seen.running() == 0
    })
    .await;
    let lines = ["asks", "first begins", "answers", "first ends", "goes on", "second begins", "second ends"];
    assert_eq!(seen.lines(), lines);
    hub.stop().await;
}

/// The connection ends while it waits for its place: every place is given back once.
#[tokio::test]
async fn a_method_whose_connection_ends_while_it_waits_for_its_place_ends_like_any_other() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone())
        .on("Ask", ask_and_note)
        .on("Steps", steps)
        .configure(|limits| limits.grace = Duration::from_millis(50));
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    let (weak, told) = (alice.downgrade(), seen.clone());
    alice.on_invoke("Confirm", move |(name,): (String,)| {
        let (client, told) = (weak.upgrade().unwrap(), told.clone());
        async move {
            if name == "a" {
                tokio::spawn(async move { client.invoke::<()>("Steps", &("other",)).await });
                told.line("other begins").await;
                told.note("answers");
            }
            Ok::<_, String>(())
        }
    });
    let asked = alice.clone();
    let asking = tokio::spawn(async move { asked.invoke::<()>("Ask", &[0; 0]).await });
    seen.line("answers").await;
    // Behind the answer.
    assert_eq!(within(alice.count(Target::All)).await, Ok(1));
    within(alice.close()).await.unwrap();
    assert!(within(asking).await.unwrap().is_err());
    eventually("both have ended", || hub.server.metrics().calls_running == 0).await;
    assert!(seen.lines().iter().any(|line| line == "goes on"));
    hub.stop().await;
}

async fn ask_briefly_and_go_on(State(seen): State<Seen>, caller: Caller) -> Result<(), CallError> {
    let _inside = seen.enter();
    tokio::select! {
        _ = caller.invoke::<()>("Never", &[0; 0]) => panic!("nothing answers"),
        () = seen.wait() => {}
    }
    seen.note("goes on");
    seen.wait().await;
    Ok(())
}

/// A wait that its method gives up is over at once, and the method goes on beside what has its place. All places are
/// there behind it.
#[tokio::test]
async fn a_method_that_gives_up_waiting_for_its_client_goes_on_at_once() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone()).on("Ask", ask_briefly_and_go_on).on("Steps", steps);
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    alice.on_invoke("Never", |_: [u8; 0]| std::future::pending::<Result<(), String>>());
    let call = |method: &'static str, argument: Option<&'static str>| {
        let alice = alice.clone();
        tokio::spawn(async move { alice.invoke::<()>(method, &Vec::from_iter(argument)).await })
    };
    let asking = call("Ask", None);
    let first = call("Steps", Some("first"));
    seen.line("first begins").await;
    // Whichever of the two it is for: the other one comes with the next.
    eventually("it goes on", || {
        seen.open();
        seen.lines().iter().any(|line| line == "goes on")
    })
    .await;
    let second = call("Steps", Some("second"));
    for call in [asking, first, second] {
        eventually("it has ended", || {
            seen.open();
            call.is_finished()
        })
        .await;
        within(call).await.unwrap().unwrap();
    }
    // One at a time again.
    for call in [call("Steps", Some("third")), call("Steps", Some("third"))] {
        eventually("it has ended", || {
            seen.open();
            call.is_finished()
        })
        .await;
    }
    let lines = seen.lines();
    let thirds = lines.iter().filter(|line| line.starts_with("third")).collect::<Vec<_>>();
    assert_eq!(thirds, ["third begins", "third ends", "third begins", "third ends"]);
    hub.stop().await;
}

/// Lets nobody in but one user.
#[derive(Clone)]
struct OnlyFor<S>(S, &'static str);

impl<S: tower::Service<Call, Error = CallError>> tower::Service<Call> for OnlyFor<S>
where
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = CallError;
    type Future = futures_util::future::Either<S::Future, std::future::Ready<Result<S::Response, CallError>>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), CallError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        if call.caller().user().as_str() == self.1 {
            return futures_util::future::Either::Left(self.0.call(call));
        }
        let refused = CallError::new(format!("{} is not for you", call.method()));
        futures_util::future::Either::Right(std::future::ready(Err(refused)))
    }
}

/// Those of others, as they are published, and one of its own: for the methods that are there, and in the order in
/// which they were put around them.
#[tokio::test]
async fn layers_of_tower_are_around_the_methods_that_they_were_given() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone())
        .on("Steps", steps)
        .on("Add", add)
        .layer(
            tower::ServiceBuilder::new()
                .map_err(|error: tower::BoxError| match error.downcast() {
                    Ok(methods_own) => *methods_own,
                    Err(other) => CallError::new(format!("not now: {other}")),
                })
                .load_shed()
                .concurrency_limit(1),
        )
        .layer(tower::layer::layer_fn(|method| OnlyFor(method, "alice")))
        .on("Echo", echo);
    let hub = Hub::running(methods).await;
    let (alice, again, bob) = (hub.client("alice").await, hub.client("alice").await, hub.client("bob").await);
    let first = tokio::spawn(async move { alice.invoke::<()>("Steps", &("first",)).await });
    seen.line("first begins").await;
    // One at a time of everybody's, and not only of one connection's.
    let refused = within(again.invoke::<()>("Steps", &("second",))).await.unwrap_err();
    assert_eq!(code(&refused), Code::CallFailed.number());
    assert!(refused.to_string().contains("not now: service overloaded"), "{refused}");
    let refused = within(bob.invoke::<i64>("Add", &(1, 2))).await.unwrap_err();
    assert!(refused.to_string().contains("Add is not for you"), "{refused}");
    assert_eq!(within(bob.invoke::<String>("Echo", &("a",))).await.unwrap(), "json 5");
    seen.open();
    within(first).await.unwrap().unwrap();
    let own = within(again.invoke::<i64>("Add", &(i64::MAX, 1))).await.unwrap_err();
    assert_eq!(code(&own), 10_007, "the method's own errors go through");
    let second = tokio::spawn(async move { again.invoke::<()>("Steps", &("second",)).await });
    seen.line("second begins").await;
    seen.open();
    within(second).await.unwrap().unwrap();
    hub.stop().await;
}
