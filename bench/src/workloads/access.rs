//! Revoking: from the operator's order to the user's removal. The others have nothing like it.

use std::time::{Duration, Instant};

use fanfare_client::{Client, ClientConfig, Event, OperatorClient, OperatorConfig, RequestError, Roots};
use fanfare_protocol::admin::{Action, Role};
use fanfare_protocol::{Code, Credential, Pattern, Token, UserName};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::{Fallible, Tried, wrong};
use crate::figures::Found;
use crate::harness::Harness;

const GROUP: &str = "g1";
const PATIENCE: Duration = Duration::from_secs(10);

/// Users join a group; each is revoked, hears of it, and cannot come back.
pub async fn revoke(harness: &Harness, users: u32) -> Fallible<Found> {
    let state = harness.directory.path().join("state");
    let operator = fanfare_certs::create_operator(&state, "bench", Role::Operator, time::Duration::hours(1))
        .tried("making an operator")?;
    let admin = harness.server.ready.split(' ').find_map(|word| word.strip_prefix("admin="));
    let admin = admin.ok_or_else(|| wrong("the server has no endpoint for operators"))?;
    let roots = || Roots::Store((*harness.roots).clone());
    let config = OperatorConfig::new(admin, roots(), operator.certificate, operator.key);
    let (operator, _) = OperatorClient::connect(config).await.tried("connecting as an operator")?;
    let server = harness.dialer.server().to_string();
    let (mut receipts, mut removals) = (latencies(), latencies());
    let mut clients = Vec::new();
    for user in 0..users {
        let token = Credential::Token(Token::new(harness.peer.token(user).unwrap_or_default().as_str()));
        let config = ClientConfig::new(server.clone(), token).roots(roots());
        let client = Client::connect(config).await.tried("connecting a user")?;
        client.join(GROUP).await.tried("joining")?;
        clients.push(client);
    }
    for (user, client) in clients.iter().enumerate() {
        let request = Action::Revoke {
            user: UserName::new(&format!("u{user}")).tried("a user's name")?,
            groups: Pattern::new(GROUP).tried("a group's name")?,
            until: None,
            reason: String::new(),
            dry_run: false,
        };
        let begun = Instant::now();
        let removed = async {
            loop {
                match timeout(PATIENCE, client.next()).await {
                    Ok(Some(Event::Removed { .. })) => return Ok(begun.elapsed()),
                    Ok(Some(_)) => {}
                    _ => return Err(wrong(format!("u{user} was revoked and not removed"))),
                }
            }
        };
        let ordered = async {
            let _: serde_json::Value = operator.ask(&request).await.tried("revoking")?;
            Ok(begun.elapsed())
        };
        let (removed, ordered) = tokio::try_join!(removed, ordered)?;
        for (times, took) in [(&mut removals, removed), (&mut receipts, ordered)] {
            times.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        match client.join(GROUP).await {
            Err(RequestError::Refused { code, .. }) if code == Code::BannedFromGroup.number() => {}
            other => return Err(wrong(format!("u{user} was revoked, and joining gave {other:?}"))),
        }
    }
    // Each waits until the server has read its farewell.
    let closing: JoinSet<_> = clients.into_iter().map(|client| async move { client.close().await }).collect();
    closing.join_all().await;
    operator.close().await;
    let microseconds = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    Ok(vec![
        ("removed_p50_us", microseconds(&removals, 0.5)),
        ("removed_p99_us", microseconds(&removals, 0.99)),
        ("receipt_p50_us", microseconds(&receipts, 0.5)),
        ("receipt_p99_us", microseconds(&receipts, 0.99)),
    ])
}

#[allow(clippy::expect_used, reason = "constants that hdrhistogram takes")]
fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("bounds")
}
