//! What scenarios say of presence, and what the application has of a watch.
//!
//! In: fields of frames. Out: frames; and what a watch gave, as scenarios write it.

use std::sync::Arc;

use fanfare_client::{Watch, WatchEvent};
use fanfare_protocol::UserName;
use fanfare_protocol::presence::{PresenceFrame, Present};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::server::group;

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

/// A frame of the server.
pub(crate) fn frame(name: &str, fields: &Value) -> PresenceFrame {
    let group = group(fields["group"].as_str().unwrap());
    let present = || {
        let all = fields["present"].as_object().unwrap().iter();
        let one = |(name, connections): (&String, &Value)| Present {
            user: user(name),
            connections: u32::try_from(connections.as_u64().unwrap()).unwrap(),
            data: None,
        };
        all.map(one).collect()
    };
    let revision = fields["revision"].as_u64().unwrap_or(0);
    let is = |field: &str| fields[field].as_bool().unwrap();
    match name {
        "Snapshot" => PresenceFrame::Snapshot {
            group,
            revision,
            begins: is("begins"),
            complete: is("complete"),
            present: present(),
        },
        "Changes" => {
            let left = fields["left"].as_array().unwrap().iter();
            let left = left.map(|name| user(name.as_str().unwrap())).collect();
            PresenceFrame::Changes { group, revision, present: present(), left }
        }
        _ => PresenceFrame::Ended {
            group,
            code: u16::try_from(fields["code"].as_u64().unwrap()).unwrap(),
            reason: fields["reason"].as_str().unwrap().to_owned(),
        },
    }
}

/// The next that there is of a watch.
pub(crate) async fn next(watch: &Arc<Mutex<Option<Watch>>>) -> Value {
    let watch = watch.lock().await;
    match watch.as_ref().unwrap().next().await {
        Some(WatchEvent::Changed { present, left }) => {
            let present: Map<String, Value> =
                present.iter().map(|one| (one.user.as_str().to_owned(), json!(one.connections))).collect();
            let left: Vec<&str> = left.iter().map(UserName::as_str).collect();
            json!({ "present": present, "left": left })
        }
        Some(WatchEvent::Ended { code, .. }) => json!({ "ended": code }),
        other => panic!("no scenario knows {other:?}"),
    }
}
