//! `fanfare listen`: connect, join, watch, and print what arrives until told to stop.

use std::num::NonZeroU64;

use fanfare_client::{Client, Event};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::arguments::ListenArguments;
use crate::connection::leave;
use crate::failure::Failure;
use crate::output;
use crate::printing::print;
use crate::stopping::Stopping;
use crate::watching;

/// So many lines about watched groups wait to be printed.
const LINES: usize = 64;

pub(crate) async fn run(arguments: ListenArguments) -> Result<(), Failure> {
    let mut config = arguments.connection.config()?;
    if arguments.no_reconnect {
        config = config.reconnect(None);
    }
    let client = arguments.connection.connect(config).await?;
    let mut stopping = Stopping::new()?;
    let outcome = tokio::select! {
        outcome = listen(&client, &arguments) => outcome,
        // As for any program that is told to stop: a clean end.
        () = stopping.signal() => Ok(()),
    };
    // What is still on its way to us is of no use now.
    let _ = leave(&client, &mut stopping).await;
    outcome
}

async fn listen(client: &Client, arguments: &ListenArguments) -> Result<(), Failure> {
    if arguments.json {
        print(output::welcome(client.connection_id(), &client.user())).await?;
    } else {
        print(format!(
            "* connected as {}, {}",
            output::visible(client.user().as_str()),
            client.connection_id()
        ))
        .await?;
    }
    // Printed while the joins go on: what arrives meanwhile must not fill the queue that the answers wait behind.
    let joins = async {
        for group in &arguments.groups {
            client.join(group.clone()).await.map_err(|error| {
                Failure::failed(format!("cannot join {}: {error}", output::visible(group.as_str())))
            })?;
        }
        std::future::pending().await
    };
    let (lines, mut told) = mpsc::channel(LINES);
    let mut watching = JoinSet::new();
    for group in &arguments.watches {
        let (client, group, json, lines) = (client.clone(), group.clone(), arguments.json, lines.clone());
        watching.spawn(async move { watching::tell(&client, &group, json, &lines).await });
    }
    let watches = async {
        while let Some(ended) = watching.join_next().await {
            ended.map_err(|failed| Failure::failed(format!("cannot watch: {failed}")))??;
        }
        std::future::pending().await
    };
    let printing = async {
        let mut left = arguments.count.map(NonZeroU64::get);
        loop {
            let event = tokio::select! {
                event = client.next() => event,
                // One end of it is here, so that there is always something to come.
                Some(line) = told.recv() => {
                    print(line).await?;
                    continue;
                }
            };
            let Some(event) = event else { return Ok(()) };
            if arguments.json {
                print(output::object(&event)).await?;
            } else {
                print(output::line(&event)).await?;
            }
            match &event {
                Event::Message(_) => {
                    left = left.map(|left| left - 1);
                    if left == Some(0) {
                        return Ok(());
                    }
                }
                Event::Closed { reason, .. } => return Err(Failure::failed(reason.to_string())),
                _ => {}
            }
        }
    };
    tokio::select! {
        failed = joins => failed,
        failed = watches => failed,
        outcome = printing => outcome,
    }
}
