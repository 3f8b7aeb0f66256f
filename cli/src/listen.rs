//! `fanfare listen`: connect, join, and print what arrives until told to stop.

use std::io::Write;

use fanfare_client::Event;

use crate::arguments::ListenArguments;
use crate::failure::Failure;
use crate::output;
use crate::stopping::Stopping;

pub(crate) async fn run(arguments: ListenArguments) -> Result<(), Failure> {
    let mut config = arguments.connection.config();
    if arguments.no_reconnect {
        config = config.reconnect(None);
    }
    let client = arguments.connection.connect(config).await?;
    let mut stopping = Stopping::new()?;
    if arguments.json {
        print(&output::welcome(client.connection_id(), &client.user()))?;
    } else {
        print(&format!(
            "* connected as {}, {}",
            output::visible(client.user().as_str()),
            client.connection_id()
        ))?;
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
        let mut left = arguments.count;
        while let Some(event) = client.next().await {
            if arguments.json {
                print(&output::object(&event))?
            } else {
                print(&output::line(&event))?
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
    let outcome = tokio::select! {
        failed = joins => failed,
        outcome = printing => outcome,
        // As for any program that is told to stop: a clean end.
        () = stopping.signal() => Ok(()),
    };
    // Politely, so that the server does not take us for lost; what is still on its way to us is of no use now.
    let _ = client.close().await;
    outcome
}

/// One line, out at once: who reads it may be waiting for it.
fn print(line: &impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
