//! A back end that is asked and told over HTTP: a real HTTPS server that answers, refuses, breaks off, is slow or down.

mod events;
mod questions;
mod trouble;

use fanfare_server::{Config, Webhook, WebhookEvent};
use fanfare_tests::Hub;
use fanfare_tests::receiver::Receiver;

/// A hub with one end point.
async fn hub(receiver: &Receiver, change: impl FnOnce(&mut Webhook)) -> Hub {
    Hub::with(settings(receiver, change)).await
}

/// Settings with one end point, `billing`.
fn settings(receiver: &Receiver, change: impl FnOnce(&mut Webhook)) -> impl FnOnce(&mut Config) {
    let mut webhook = receiver.webhook("billing");
    change(&mut webhook);
    move |config| config.webhooks.push(webhook)
}

/// It is told everything.
fn everything(webhook: &mut Webhook) {
    webhook.events = WebhookEvent::ALL.to_vec();
}
