//! Streams of both directions: credit, ends, and what becomes of them with their connection.

use std::time::Duration;

use fanfare_client::{CallError as ClientError, Invocation};
use fanfare_protocol::Code;
use fanfare_server::{Args, CallError, Items, Methods, State, TryItems, Upload};
use fanfare_tests::{Hub, eventually, within};
use futures_util::{Stream, stream};

use super::Seen;

/// Counts up, and notes how far it was asked to.
fn numbers(seen: Seen, last: u32) -> impl Stream<Item = u32> {
    let inside = seen.enter();
    stream::unfold((0, inside), move |(next, inside)| {
        let seen = seen.clone();
        async move {
            (next < last).then(|| {
                seen.note(next.to_string());
                (next, (next + 1, inside))
            })
        }
    })
}

async fn count_up(
    State(seen): State<Seen>,
    Args((last,)): Args<(u32,)>,
) -> Result<Items<impl Stream<Item = u32>>, CallError> {
    if last == 13 {
        return Err(CallError::new("not that one"));
    }
    Ok(Items::new(numbers(seen, last)))
}

async fn fails_at_two() -> Result<TryItems<impl Stream<Item = Result<u32, CallError>>>, CallError> {
    Ok(TryItems::new(stream::iter([Ok(0), Ok(1), Err(CallError::new("two")), Ok(3)])))
}

async fn panics_at_two() -> Result<Items<impl Stream<Item = u32>>, CallError> {
    Ok(Items::new(stream::iter((0..9).map(|number| if number == 2 { panic!("on purpose") } else { number }))))
}

async fn one() -> Result<u32, CallError> {
    Ok(1)
}

fn methods(seen: &Seen) -> Methods<Seen> {
    Methods::with_state(seen.clone())
        .on("CountUp", count_up)
        .on("FailsAtTwo", fails_at_two)
        .on("PanicsAtTwo", panics_at_two)
        .on("One", one)
        .on("AddUp", add_up)
        .on("First", first)
        .on("Zip", zip)
        .configure(|limits| limits.grace = Duration::from_millis(50))
}

#[tokio::test]
async fn the_items_of_a_result_come_in_order_and_only_as_they_are_taken() {
    let seen = Seen::default();
    let hub = Hub::running(methods(&seen)).await;
    let alice = hub.client("alice").await;
    let mut items = within(alice.stream::<u32>("CountUp", &(1_000,))).await.unwrap();
    eventually("as many are made as there is credit for", || seen.lines().len() == 32).await;
    // The client's other calls do not wait for a stream.
    assert_eq!(within(alice.invoke::<u32>("One", &[0; 0])).await, Ok(1));
    assert_eq!(seen.lines().len(), 32);
    for wanted in 0..1_000 {
        assert_eq!(within(items.next()).await, Some(Ok(wanted)));
    }
    assert_eq!(within(items.next()).await, None);
    assert_eq!(within(items.next()).await, None);
    eventually("the stream is dropped", || seen.running() == 0).await;
    hub.stop().await;
}

/// And is no error (aspnetcore#46861).
#[tokio::test]
async fn a_stream_that_nobody_takes_any_more_is_stopped_at_once() {
    let seen = Seen::default();
    let hub = Hub::running(methods(&seen)).await;
    let alice = hub.client("alice").await;
    let mut items = within(alice.stream::<u32>("CountUp", &(u32::MAX,))).await.unwrap();
    assert_eq!(within(items.next()).await, Some(Ok(0)));
    drop(items);
    eventually("the stream is dropped", || seen.running() == 0).await;
    // With its connection, too.
    let _items = within(alice.stream::<u32>("CountUp", &(u32::MAX,))).await.unwrap();
    eventually("it runs", || seen.running() == 1).await;
    within(alice.close()).await.unwrap();
    eventually("the stream is dropped", || seen.running() == 0).await;
    hub.stop().await;
}

#[tokio::test]
async fn how_a_stream_fails_is_told_behind_its_items() {
    let seen = Seen::default();
    let hub = Hub::running(methods(&seen)).await;
    let alice = hub.client("alice").await;
    for (method, code) in [("FailsAtTwo", Code::CallFailed), ("PanicsAtTwo", Code::MethodPanicked)] {
        let mut items = within(alice.stream::<u32>(method, &[0; 0])).await.unwrap();
        assert_eq!(within(items.next()).await, Some(Ok(0)));
        assert_eq!(within(items.next()).await, Some(Ok(1)));
        let error = within(items.next()).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Some(code.number()), "{method}: {error}");
        assert_eq!(within(items.next()).await, None);
    }
    let mut refused = within(alice.stream::<u32>("CountUp", &(13,))).await.unwrap();
    let error = within(refused.next()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("not that one"), "{error}");
    // What is no stream is not asked for as one, and the reverse.
    let mut items = within(alice.stream::<u32>("One", &[0; 0])).await.unwrap();
    assert_eq!(within(items.next()).await.unwrap().unwrap_err().code(), Some(Code::NotAStream.number()));
    let error = within(alice.invoke::<u32>("CountUp", &(3,))).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::NotAStream.number()));
    eventually("nothing is left", || seen.running() == 0).await;
    hub.stop().await;
}

async fn add_up(mut numbers: Upload<u64>) -> Result<u64, CallError> {
    let mut sum = 0;
    while let Some(number) = numbers.next().await {
        sum += number?;
    }
    Ok(sum)
}

/// Reads one item, and has ended.
async fn first(mut numbers: Upload<u64>) -> Result<u64, CallError> {
    numbers.next().await.unwrap_or(Ok(0))
}

/// Items from two streams, as pairs.
async fn zip(
    left: Upload<u32>,
    right: Upload<String>,
) -> Result<TryItems<impl Stream<Item = Result<(u32, String), CallError>>>, CallError> {
    let pairs = stream::unfold((left, right), |(mut left, mut right)| async move {
        let (one, other) = (left.next().await?, right.next().await?);
        Some((one.and_then(|one| Ok((one, other?))), (left, right)))
    });
    Ok(TryItems::new(pairs))
}

#[tokio::test]
async fn a_client_streams_to_a_method() {
    let seen = Seen::default();
    let hub = Hub::running(methods(&seen)).await;
    let alice = hub.client("alice").await;
    let call = Invocation::new("AddUp").upload(stream::iter(1_u64..=1_000));
    assert_eq!(within(alice.call::<u64>(call)).await, Ok(500_500));
    let call = Invocation::new("AddUp").in_message_pack().upload(stream::iter(1_u64..=100));
    assert_eq!(within(alice.call::<u64>(call)).await, Ok(5_050));
    let call = Invocation::new("AddUp").upload(stream::iter(["one"]));
    let error = within(alice.call::<u64>(call)).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::ArgumentsInvalid.number()), "{error}");
    let error = within(alice.invoke::<u64>("AddUp", &[0; 0])).await.unwrap_err();
    assert!(error.to_string().contains("fewer streams than the method takes"), "{error}");

    let words = stream::iter(["a", "b", "c"]);
    let call = Invocation::new("Zip").upload(stream::iter(1_u32..)).upload(words);
    let mut pairs = within(alice.stream_call::<(u32, String)>(call)).await.unwrap();
    for wanted in [(1, "a"), (2, "b"), (3, "c")] {
        let (number, word) = within(pairs.next()).await.unwrap().unwrap();
        assert_eq!((number, word.as_str()), wanted);
    }
    assert_eq!(within(pairs.next()).await, None);
    hub.stop().await;
}

/// It is told to stop, and does not go on for ever (aspnetcore#7070).
#[tokio::test]
async fn a_client_that_streams_to_a_method_that_has_ended_stops() {
    let seen = Seen::default();
    let hub = Hub::running(methods(&seen)).await;
    let alice = hub.client("alice").await;
    let call = Invocation::new("First").upload(numbers(seen.clone(), u32::MAX));
    assert_eq!(within(alice.call::<u64>(call)).await, Ok(0));
    eventually("the client's stream is dropped", || seen.running() == 0).await;
    // While the call goes on, too: the other stream of this one ends at once.
    let call = Invocation::new("Zip").upload(numbers(seen.clone(), u32::MAX)).upload(stream::iter(["a"]));
    let mut pairs = within(alice.stream_call::<(u32, String)>(call)).await.unwrap();
    assert_eq!(within(pairs.next()).await, Some(Ok((0, "a".to_owned()))));
    assert_eq!(within(pairs.next()).await, None);
    drop(pairs);
    eventually("the client's stream is dropped", || seen.running() == 0).await;
    hub.stop().await;
}

async fn held(State(seen): State<Seen>, mut numbers: Upload<u64>) -> Result<(), CallError> {
    let _inside = seen.enter();
    while let Some(number) = numbers.next().await {
        match number {
            Ok(number) => seen.note(number.to_string()),
            Err(error) => seen.note(error.detail()),
        }
    }
    Ok(())
}

/// Their memory goes with the connection (aspnetcore#13065), and a method does not take it for the stream's end.
#[tokio::test]
async fn streams_end_with_their_connection() {
    let seen = Seen::default();
    let hub = Hub::running(Methods::with_state(seen.clone()).on("Held", held)).await;
    let alice = hub.client("alice").await;
    let waiting = stream::unfold(0_u64, |next| async move {
        if next > 0 {
            std::future::pending::<()>().await;
        }
        Some((next, next + 1))
    });
    let calling = alice.clone();
    let call = tokio::spawn(async move { calling.call::<()>(Invocation::new("Held").upload(waiting)).await });
    seen.line("0").await;
    within(alice.close()).await.unwrap();
    seen.line("the connection has ended before the stream").await;
    eventually("the method has ended", || seen.running() == 0).await;
    assert!(matches!(within(call).await.unwrap(), Err(ClientError::Request(_))));
    hub.stop().await;
}

#[tokio::test]
async fn streams_are_bounded_as_calls_are() {
    let seen = Seen::default();
    let hub = Hub::running(methods(&seen).configure(|limits| limits.streams = 2)).await;
    let alice = hub.client("alice").await;
    let _one = within(alice.stream::<u32>("CountUp", &(u32::MAX,))).await.unwrap();
    let other = within(alice.stream::<u32>("CountUp", &(u32::MAX,))).await.unwrap();
    let mut third = within(alice.stream::<u32>("CountUp", &(3,))).await.unwrap();
    let error = within(third.next()).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(Code::TooManyCalls.number()), "{error}");
    drop(other);
    eventually("there is room", || seen.running() == 1).await;
    let mut third = within(alice.stream::<u32>("CountUp", &(3,))).await.unwrap();
    assert_eq!(within(third.next()).await, Some(Ok(0)));
    hub.stop().await;
}

async fn subscribe(State(seen): State<Seen>) -> Result<Items<impl Stream<Item = u32>>, CallError> {
    seen.note("subscribed");
    Ok(Items::new(stream::pending()))
}

async fn publish(State(seen): State<Seen>) -> Result<(), CallError> {
    seen.note("published");
    Ok(())
}

/// Also where the first of two has streams, and does not hold the second up.
#[tokio::test]
async fn calls_begin_in_the_order_in_which_they_came() {
    let seen = Seen::default();
    let methods = Methods::with_state(seen.clone()).on("Subscribe", subscribe).on("Publish", publish);
    let hub = Hub::running(methods).await;
    let alice = hub.client("alice").await;
    for round in 1..=50 {
        let (items, published) = within(async {
            tokio::join!(alice.stream::<u32>("Subscribe", &[0; 0]), alice.invoke::<()>("Publish", &[0; 0]))
        })
        .await;
        published.unwrap();
        drop(items.unwrap());
        let lines = seen.lines();
        assert_eq!(lines.len(), 2 * round);
        assert_eq!(lines[lines.len() - 2..], ["subscribed", "published"], "in round {round}");
    }
    hub.stop().await;
}
