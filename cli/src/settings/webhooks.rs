//! A file of webhooks: the back ends that a server asks and tells. docs/webhooks.md has an example.
//!
//! In: TOML, and the files of secrets and authorities that it names. Out: end points, or what is wrong, with the file
//! and the end point. Invariant: a field that is not known is refused, and so is a secret that others may read.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::Pattern;
use fanfare_server::{Network, OnFailure, Webhook, WebhookEvent, WebhookSecret};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::failure::Failure;

/// A secret has about 50 bytes, and a file of it no more than a few.
const SECRET_BYTES: u64 = 4_096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    webhook: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    url: String,
    /// Files with a secret each, beside this one where they are no whole paths.
    #[serde(deserialize_with = "secret_files")]
    secrets: Vec<PathBuf>,
    #[serde(default)]
    connect: bool,
    #[serde(default)]
    invoke: Vec<String>,
    #[serde(default)]
    events: Vec<String>,
    groups: Option<Vec<String>>,
    #[serde(default)]
    on_failure: Option<OnFailureSetting>,
    connect_deadline: Option<String>,
    invoke_deadline: Option<String>,
    event_deadline: Option<String>,
    retry_for: Option<String>,
    batch: Option<usize>,
    requests: Option<usize>,
    questions: Option<usize>,
    waiting_in_memory: Option<usize>,
    waiting_on_disk: Option<u64>,
    #[serde(default)]
    allow: Vec<String>,
    /// The authority that issued its certificate, as PEM.
    ca: Option<PathBuf>,
}

/// Names of files. Somebody may have written a secret itself, which must not stand in an error.
fn secret_files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let refused =
        || D::Error::custom("secrets are files, as in [\"billing.secret\"], each with a secret in it");
    let toml::Value::Array(names) = toml::Value::deserialize(deserializer)? else { return Err(refused()) };
    let file = |name: toml::Value| match name {
        toml::Value::String(name) if !name.trim_start().starts_with("whsec_") => Ok(PathBuf::from(name)),
        _ => Err(refused()),
    };
    names.into_iter().map(file).collect()
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnFailureSetting {
    Close,
    Open,
}

/// Reads a file, and those that it names.
pub(crate) fn load(path: &Path) -> Result<Vec<Webhook>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read the webhooks in {}: {error}", path.display()))
    })?;
    let file: File = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Failure::usage(format!("{}:{line}: {}", path.display(), error.message()))
    })?;
    if file.webhook.is_empty() {
        return Err(Failure::usage(format!("{} has no [[webhook]]", path.display())));
    }
    let beside = path.parent().unwrap_or(Path::new(""));
    file.webhook.iter().map(|entry| endpoint(entry, path, beside)).collect()
}

fn endpoint(entry: &Entry, path: &Path, beside: &Path) -> Result<Webhook, Failure> {
    let name = entry.name.clone();
    let wrong =
        |problem: &dyn Display| Failure::usage(format!("{}: webhook {name:?}: {problem}", path.display()));
    let patterns = |texts: &[String]| -> Result<Vec<Pattern>, Failure> {
        texts.iter().map(|text| text.parse().map_err(|error| wrong(&format!("{text:?}: {error}")))).collect()
    };
    let secret = |file: &PathBuf| read_secret(&beside.join(file)).map_err(|problem| wrong(&problem));
    let secrets = entry.secrets.iter().map(secret).collect::<Result<_, _>>()?;
    let mut webhook = Webhook::new(entry.name.as_str(), &entry.url, secrets)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    webhook.connect = entry.connect;
    webhook.invoke = patterns(&entry.invoke)?;
    webhook.events = entry
        .events
        .iter()
        .map(|text| event(text).map_err(|problem| wrong(&problem)))
        .collect::<Result<_, _>>()?;
    webhook.groups = entry.groups.as_deref().map(patterns).transpose()?;
    webhook.on_failure = match entry.on_failure {
        Some(OnFailureSetting::Open) => OnFailure::Open,
        Some(OnFailureSetting::Close) | None => OnFailure::Close,
    };
    let time = |setting: &str, text: &Option<String>, default: Duration| -> Result<Duration, Failure> {
        let Some(text) = text else { return Ok(default) };
        humantime::parse_duration(text).map_err(|error| {
            wrong(&format!("{setting} is {text:?}: {error}; write a time such as 500ms, 30s or 1h"))
        })
    };
    webhook.connect_deadline = time("connect_deadline", &entry.connect_deadline, webhook.connect_deadline)?;
    webhook.invoke_deadline = time("invoke_deadline", &entry.invoke_deadline, webhook.invoke_deadline)?;
    webhook.event_deadline = time("event_deadline", &entry.event_deadline, webhook.event_deadline)?;
    webhook.retry_for = time("retry_for", &entry.retry_for, webhook.retry_for)?;
    webhook.batch = entry.batch.unwrap_or(webhook.batch);
    webhook.requests = entry.requests.unwrap_or(webhook.requests);
    webhook.questions = entry.questions.unwrap_or(webhook.questions);
    webhook.waiting_in_memory = entry.waiting_in_memory.unwrap_or(webhook.waiting_in_memory);
    webhook.waiting_on_disk = entry.waiting_on_disk.unwrap_or(webhook.waiting_on_disk);
    let network = |text: &String| text.parse::<Network>().map_err(|error| wrong(&error));
    webhook.allow = entry.allow.iter().map(network).collect::<Result<_, _>>()?;
    webhook.roots = match &entry.ca {
        Some(ca) => {
            let roots = fanfare_certs::load_roots(&beside.join(ca)).map_err(|error| wrong(&error))?;
            Some(Arc::new(roots))
        }
        None => None,
    };
    Ok(webhook)
}

fn event(text: &str) -> Result<WebhookEvent, String> {
    let known = WebhookEvent::ALL.into_iter().find(|event| event.name() == text);
    known.ok_or_else(|| {
        let names = WebhookEvent::ALL.map(WebhookEvent::name).join(", ");
        format!("there is no event {text:?}; there are {names}")
    })
}

fn read_secret(path: &Path) -> Result<WebhookSecret, String> {
    let failed = |problem: &dyn Display| format!("the secret in {}: {problem}", path.display());
    let facts = fs::metadata(path).map_err(|error| failed(&error))?;
    if facts.permissions().mode() & 0o077 != 0 {
        return Err(failed(&"others may read it; chmod 600 it"));
    }
    if facts.len() > SECRET_BYTES {
        return Err(failed(&"it is too long"));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    WebhookSecret::parse(&text).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Result<Vec<Webhook>, String> {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, WebhookSecret::generate().unwrap()).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(directory.path().join("open"), WebhookSecret::generate().unwrap()).unwrap();
        fs::set_permissions(directory.path().join("open"), fs::Permissions::from_mode(0o644)).unwrap();
        let path = directory.path().join("webhooks.toml");
        fs::write(&path, text).unwrap();
        load(&path).map_err(|failure| failure.to_string())
    }

    const FIRST: &str =
        "[[webhook]]\nname = \"billing\"\nurl = \"https://billing.example/hook\"\nsecrets = [\"secret\"]\n";

    #[test]
    fn every_field_is_read() {
        let text = format!(
            "{FIRST}connect = true\ninvoke = [\"Chat*\"]\nevents = [\"joined\", \"user_left\"]\ngroups = [\"room-*\"]\n\
             on_failure = \"open\"\nconnect_deadline = \"500ms\"\ninvoke_deadline = \"1m\"\nevent_deadline = \"2s\"\n\
             retry_for = \"1h\"\nbatch = 50\nrequests = 4\nquestions = 7\nwaiting_in_memory = 2000\n\
             waiting_on_disk = 3000\nallow = [\"10.0.0.0/8\"]\n"
        );
        let webhook = loaded(&text).unwrap().remove(0);
        assert_eq!(
            (webhook.name.as_str(), webhook.url().as_str()),
            ("billing", "https://billing.example/hook")
        );
        assert_eq!((webhook.connect, webhook.secrets.len(), webhook.on_failure), (true, 1, OnFailure::Open));
        assert_eq!(webhook.events, [WebhookEvent::Joined, WebhookEvent::UserLeft]);
        assert_eq!(
            [webhook.connect_deadline, webhook.invoke_deadline, webhook.event_deadline, webhook.retry_for]
                .map(|time| time.as_millis()),
            [500, 60_000, 2_000, 3_600_000]
        );
        assert_eq!((webhook.batch, webhook.requests, webhook.questions), (50, 4, 7));
        assert_eq!(
            (webhook.waiting_in_memory, webhook.waiting_on_disk, webhook.allow.len()),
            (2_000, 3_000, 1)
        );
        let patterns = (webhook.invoke.len(), webhook.groups.map(|groups| groups.len()));
        assert_eq!(patterns, (1, Some(1)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("", "has no [[webhook]]"),
            ("[[webhook]]\nname = 1\n", "webhooks.toml:2: "),
            ("[[webhook]]\nname = \"a\"\n", "webhooks.toml:1: missing field `url`"),
            (&FIRST.replace("[\"secret\"]", "\"whsec_private\""), "webhooks.toml:4: secrets are files"),
            (&FIRST.replace("[\"secret\"]", "[\"whsec_private\"]"), "webhooks.toml:4: secrets are files"),
            (&FIRST.replace("[\"secret\"]", "[7]"), "webhooks.toml:4: secrets are files"),
            (&format!("{FIRST}conect = true\n"), "webhooks.toml:5: unknown field `conect`"),
            (
                &format!("{FIRST}events = [\"join\"]\n"),
                "\"billing\": there is no event \"join\"; there are started",
            ),
            (&format!("{FIRST}retry_for = \"soon\"\n"), "retry_for is \"soon\""),
            (&format!("{FIRST}allow = [\"10.0.0.1/8\"]\n"), "has bits behind its prefix"),
            (&format!("{FIRST}on_failure = \"maybe\"\n"), "webhooks.toml:5: "),
            (&format!("{FIRST}ca = \"none.pem\"\n"), "none.pem"),
            (&FIRST.replace("[\"secret\"]", "[\"none\"]"), "none: No such file"),
            (&FIRST.replace("[\"secret\"]", "[\"open\"]"), "others may read it"),
            (&FIRST.replace("[\"secret\"]", "[\"webhooks.toml\"]"), "the secret in"),
            (&FIRST.replace("https://billing", "https://u:p@billing"), "a user or a password"),
        ] {
            let error = loaded(text).map(|_| ()).unwrap_err();
            assert!(error.contains(says), "{text}\n{error}");
            assert!(!error.contains('\n') && !error.contains("private"), "{error}");
        }
    }
}
