//! `fanfare listen`: connect, join, and print what arrives until told to stop.

use std::num::NonZeroU64;

use fanfare_client::{Client, Event};

use crate::arguments::ListenArguments;
use crate::connection::leave;
use crate::failure::Failure;
use crate::output;
use crate::printing::print;
use crate::stopping::Stopping;

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
    let printing = async {
        let mut left = arguments.count.map(NonZeroU64::get);
        while let Some(event) = client.next().await {
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
        Ok(())
    };
    tokio::select! {
        failed = joins => failed,
        outcome = printing => outcome,
    }
}
