//! An end point of a back end: where it is, what it is asked and told, and within which bounds.
//!
//! In: settings. Out: the same, or which of them makes no sense. Invariants: nothing goes unencrypted over a network;
//! an end point without a secret cannot be described, so that every request is signed.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{GroupName, Pattern};
use rustls::RootCertStore;
use url::{Host, Url};

use super::kind::WebhookEvent;
use super::reach::{self, Reach};
use super::secret::WebhookSecret;
use crate::network::Network;

/// How many end points there may be.
pub(crate) const MOST_ENDPOINTS: usize = 16;

/// How many secrets sign a request at most: two, while one is replaced, and a spare.
const MOST_SECRETS: usize = 4;

/// How many characters a name has at most: it is a file's, too.
const MOST_NAME: usize = 64;

/// What happens where a back end that is to be asked gives no answer that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The connection is refused for now.
    #[default]
    Close,
    /// The connection is let in with what its token says.
    Open,
}

/// An end point of a back end. Made by [`Webhook::new`]; the rest may be changed.
#[derive(Clone)]
#[non_exhaustive]
pub struct Webhook {
    /// What it is called in settings, logs and `top`; and the name of the file in which its events wait.
    pub name: String,
    url: Url,
    /// What requests are signed with: one, or several while one is replaced.
    pub secrets: Vec<WebhookSecret>,
    /// Whether it is asked about each connection. Default: no.
    pub connect: bool,
    /// Which methods it answers. Default: none.
    pub invoke: Vec<Pattern>,
    /// What it is told. Default: nothing.
    pub events: Vec<WebhookEvent>,
    /// Of which groups it is told. Default: of all.
    pub groups: Option<Vec<Pattern>>,
    /// What happens with a connection where it gives no answer. Default: it is refused for now.
    pub on_failure: OnFailure,
    /// How long an answer about a connection may take. Default 3 s, so that it ends before the handshake does.
    pub connect_deadline: Duration,
    /// How long the answer of a method may take. Default 30 s.
    pub invoke_deadline: Duration,
    /// How long the answer to events may take. Default 10 s.
    pub event_deadline: Duration,
    /// How many events go in one request at most; 1 is one event in each, in CloudEvents' binary mode. Default 1.
    pub batch: usize,
    /// How many requests with events may be on their way at a time. Default 16.
    pub requests: usize,
    /// How many questions about connections may be on their way at a time, and how many for methods; one more fails,
    /// and a connection is refused for now, whatever `on_failure` says. Default 1,000.
    pub questions: usize,
    /// For how long events are tried again. Default: a day.
    pub retry_for: Duration,
    /// How many events may wait in memory. Default 10,000, at about half a kilobyte each.
    pub waiting_in_memory: usize,
    /// How many may wait on the disk, where there is a state directory. Default 1,000,000.
    pub waiting_on_disk: u64,
    /// Networks that are not public, and are meant. In development loopback is allowed anyway.
    pub allow: Vec<Network>,
    /// Who is trusted to say whose server that is. Default `None`: whom the system trusts.
    pub roots: Option<Arc<RootCertStore>>,
}

/// What is wrong with an end point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// It is a file's name.
    #[error("a webhook's name is 1 to {MOST_NAME} characters of a-z, 0-9, - and _, not {0:?}")]
    Name(String),
    /// They would share a file.
    #[error("two webhooks have the name {0:?}")]
    NameTwice(String),
    /// It cannot be read.
    #[error("webhook {name:?}: its URL is none; write one like https://back-end.example/fanfare")]
    Url {
        /// Whose.
        name: String,
    },
    /// Everybody on the way could read and change what is said.
    #[error("webhook {name:?}: its URL must be https; http is for development, on this machine")]
    NotHttps {
        /// Whose.
        name: String,
    },
    /// It would be in logs, and nobody checks it.
    #[error("webhook {name:?}: its URL has a user or a password; requests are signed instead")]
    Credentials {
        /// Whose.
        name: String,
    },
    /// The operator's own network.
    #[error("webhook {name:?}: {}", reach::not_reached(*.address))]
    NotPublic {
        /// Whose.
        name: String,
        /// Where it is.
        address: IpAddr,
    },
    /// Nobody could tell who asks.
    #[error("webhook {name:?} needs 1 to {MOST_SECRETS} secrets, and has {found}")]
    Secrets {
        /// Whose.
        name: String,
        /// How many it has.
        found: usize,
    },
    /// It would be there for nothing.
    #[error("webhook {name:?} is asked nothing and told nothing: give it connect, invoke or events")]
    ForNothing {
        /// Whose.
        name: String,
    },
    /// Which of them counts would be chance.
    #[error("webhooks {first:?} and {second:?} are both asked about connections; one can be")]
    ConnectTwice {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// The handshake would end first.
    #[error(
        "webhook {name:?}: connect_deadline is {} ms; it must be shorter than the handshake's, {} ms",
        connect.as_millis(), handshake.as_millis()
    )]
    ConnectDeadline {
        /// Whose.
        name: String,
        /// Its deadline.
        connect: Duration,
        /// The handshake's.
        handshake: Duration,
    },
    /// A number is too small or too large.
    #[error("webhook {name:?}: {setting} is {found}; it must be from {lowest} to {highest}")]
    OutOfRange {
        /// Whose.
        name: String,
        /// Which one.
        setting: &'static str,
        /// What it is.
        found: u128,
        /// The smallest that it may be.
        lowest: u128,
        /// The largest that it may be.
        highest: u128,
    },
    /// There are too many of them.
    #[error("there are {0} webhooks; there may be {MOST_ENDPOINTS}")]
    TooMany(usize),
}

impl Webhook {
    /// An end point that is asked and told nothing yet.
    ///
    /// # Errors
    /// When its name or its URL cannot be one.
    pub fn new(
        name: impl Into<String>,
        url: &str,
        secrets: Vec<WebhookSecret>,
    ) -> Result<Self, WebhookError> {
        let name = name.into();
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if name.is_empty() || name.len() > MOST_NAME || !name.bytes().all(is_plain) {
            return Err(WebhookError::Name(name));
        }
        let Some(url) = Url::parse(url).ok().filter(Url::has_host) else {
            return Err(WebhookError::Url { name });
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebhookError::Credentials { name });
        }
        Ok(Self {
            name,
            url,
            secrets,
            connect: false,
            invoke: Vec::new(),
            events: Vec::new(),
            groups: None,
            on_failure: OnFailure::default(),
            connect_deadline: Duration::from_secs(3),
            invoke_deadline: Duration::from_secs(30),
            event_deadline: Duration::from_secs(10),
            batch: 1,
            requests: 16,
            questions: 1_000,
            retry_for: Duration::from_secs(24 * 60 * 60),
            waiting_in_memory: 10_000,
            waiting_on_disk: 1_000_000,
            allow: Vec::new(),
            roots: None,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// On which server it is: a path or a query may be private.
    #[must_use]
    pub fn shown_url(&self) -> String {
        let mut shown = self.url.clone();
        shown.set_path("");
        shown.set_query(None);
        shown.set_fragment(None);
        shown.into()
    }

    /// Whether it is to be told of an event of this kind, about this group if it is about one.
    pub(crate) fn wants(&self, kind: WebhookEvent, group: Option<&GroupName>) -> bool {
        kind == WebhookEvent::Lost || (self.has(kind) && group.is_none_or(|group| self.hears_of(group)))
    }

    /// Whether it is told of any event of this kind.
    pub(crate) fn has(&self, kind: WebhookEvent) -> bool {
        self.events.contains(&kind)
    }

    /// Whether it is told of what happens once for all nodes.
    pub(crate) fn tells_of_groups(&self) -> bool {
        use WebhookEvent::{GroupClosed, GroupOpened, UserJoined, UserLeft};
        [GroupOpened, GroupClosed, UserJoined, UserLeft].iter().any(|kind| self.has(*kind))
    }

    fn hears_of(&self, group: &GroupName) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.iter().any(|pattern| pattern.matches(group.as_str())))
    }

    /// Whether it answers this method.
    pub(crate) fn answers(&self, method: &str) -> bool {
        self.invoke.iter().any(|pattern| pattern.matches(method))
    }

    /// Which addresses it may be at.
    pub(crate) fn reach(&self, dev: bool) -> Reach {
        let mut allowed = self.allow.clone();
        if dev {
            allowed.extend(loopback());
        }
        Reach::new(allowed)
    }

    fn check(&self, dev: bool, handshake: Duration) -> Result<(), WebhookError> {
        let name = || self.name.clone();
        let literal = match self.url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        let is_here = literal.is_some_and(|address| address.to_canonical().is_loopback())
            || self.url.host_str() == Some("localhost");
        if self.url.scheme() != "https" && !(self.url.scheme() == "http" && dev && is_here) {
            return Err(WebhookError::NotHttps { name: name() });
        }
        if let Some(address) = literal.filter(|address| !self.reach(dev).covers(*address)) {
            return Err(WebhookError::NotPublic { name: name(), address });
        }
        if self.secrets.is_empty() || self.secrets.len() > MOST_SECRETS {
            return Err(WebhookError::Secrets { name: name(), found: self.secrets.len() });
        }
        if !self.connect && self.invoke.is_empty() && self.events.is_empty() {
            return Err(WebhookError::ForNothing { name: name() });
        }
        let wrong = |setting, found: u128, lowest: u128, highest: u128| {
            if (lowest..=highest).contains(&found) {
                return Ok(());
            }
            Err(WebhookError::OutOfRange { name: name(), setting, found, lowest, highest })
        };
        let day = 24 * 60 * 60 * 1_000;
        wrong("connect_deadline (milliseconds)", self.connect_deadline.as_millis(), 1, day)?;
        wrong("invoke_deadline (milliseconds)", self.invoke_deadline.as_millis(), 1, day)?;
        wrong("event_deadline (milliseconds)", self.event_deadline.as_millis(), 1, day)?;
        wrong("retry_for (milliseconds)", self.retry_for.as_millis(), 0, 30 * day)?;
        wrong("batch", self.batch as u128, 1, 1_000)?;
        wrong("requests", self.requests as u128, 1, 1_000)?;
        wrong("questions", self.questions as u128, 1, 100_000)?;
        wrong("waiting_in_memory", self.waiting_in_memory as u128, 1_000, 10_000_000)?;
        wrong("waiting_on_disk", self.waiting_on_disk.into(), 1_000, 1_000_000_000)?;
        if self.connect && self.connect_deadline >= handshake {
            let connect = self.connect_deadline;
            return Err(WebhookError::ConnectDeadline { name: name(), connect, handshake });
        }
        Ok(())
    }
}

/// This machine.
fn loopback() -> [Network; 2] {
    // Each is a network as `Network` has it (test `this_machine_is_two_networks`).
    ["127.0.0.0/8", "::1"]
        .map(|network| network.parse().unwrap_or_else(|_| IpAddr::V4(std::net::Ipv4Addr::LOCALHOST).into()))
}

/// Refuses end points that make no sense together.
///
/// # Errors
/// The first that is wrong, and what it may be.
pub(crate) fn check(webhooks: &[Webhook], dev: bool, handshake: Duration) -> Result<(), WebhookError> {
    if webhooks.len() > MOST_ENDPOINTS {
        return Err(WebhookError::TooMany(webhooks.len()));
    }
    let mut asked: Option<&Webhook> = None;
    for (at, webhook) in webhooks.iter().enumerate() {
        webhook.check(dev, handshake)?;
        if webhooks.iter().take(at).any(|other| other.name == webhook.name) {
            return Err(WebhookError::NameTwice(webhook.name.clone()));
        }
        if webhook.connect
            && let Some(other) = asked.replace(webhook)
        {
            let (first, second) = (other.name.clone(), webhook.name.clone());
            return Err(WebhookError::ConnectTwice { first, second });
        }
    }
    Ok(())
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("url", &self.shown_url())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDSHAKE: Duration = Duration::from_secs(5);

    fn webhook(url: &str) -> Webhook {
        let secret = WebhookSecret::parse(&WebhookSecret::generate().unwrap()).unwrap();
        let webhook = Webhook::new("billing", url, vec![secret]).unwrap();
        Webhook { connect: true, ..webhook }
    }

    fn told(webhook: Webhook, dev: bool) -> String {
        check(&[webhook], dev, HANDSHAKE).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn only_https_goes_over_a_network_and_only_where_it_is_public() {
        for (url, outside, dev) in [
            ("https://back-end.example/fanfare?key=1", "fine", "fine"),
            ("http://back-end.example/", "https", "https"),
            ("http://127.0.0.1:1/", "https", "fine"),
            ("http://[::1]:1/", "https", "fine"),
            ("http://localhost:1/", "https", "fine"),
            ("ftp://127.0.0.1/", "https", "https"),
            ("https://127.0.0.1/", "127.0.0.1 is not a public", "fine"),
            ("https://2130706433/", "127.0.0.1 is not a public", "fine"),
            ("https://0x7f.1/", "127.0.0.1 is not a public", "fine"),
            ("https://[::ffff:10.0.0.1]/", "is not a public", "is not a public"),
            ("https://169.254.169.254/", "is not a public", "is not a public"),
        ] {
            for (found, says) in [(told(webhook(url), false), outside), (told(webhook(url), true), dev)] {
                assert!(found.contains(says), "{url}: {found}");
            }
        }
        let allow = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(told(Webhook { allow, ..webhook("https://10.1.1.1/") }, false), "fine");
        assert_eq!(
            webhook("https://back-end.example:1/private?key=private").shown_url(),
            "https://back-end.example:1/"
        );
        assert!(!format!("{:?}", webhook("https://back-end.example/?key=private")).contains("private"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let fine = || webhook("https://back-end.example/");
        let secrets = fine().secrets;
        for (webhook, says) in [
            (Webhook { secrets: Vec::new(), ..fine() }, "needs 1 to 4 secrets, and has 0"),
            (Webhook { secrets: [&secrets[..]; 5].concat(), ..fine() }, "and has 5"),
            (Webhook { connect: false, ..fine() }, "asked nothing and told nothing"),
            (Webhook { connect_deadline: HANDSHAKE, ..fine() }, "shorter than the handshake's, 5000 ms"),
            (Webhook { batch: 0, ..fine() }, "batch is 0; it must be from 1 to 1000"),
            (Webhook { requests: 0, ..fine() }, "requests is 0"),
            (Webhook { retry_for: Duration::MAX, ..fine() }, "retry_for (milliseconds)"),
            (Webhook { waiting_in_memory: 1, ..fine() }, "waiting_in_memory is 1"),
        ] {
            let found = told(webhook, false);
            assert!(found.contains(says) && found.contains("\"billing\""), "{found}");
        }
        let twice = [fine(), Webhook { connect: false, events: vec![WebhookEvent::Left], ..fine() }];
        assert!(matches!(check(&twice, false, HANDSHAKE), Err(WebhookError::NameTwice(_))));
        let twice = [fine(), Webhook { name: "other".to_owned(), ..fine() }];
        assert!(matches!(check(&twice, false, HANDSHAKE), Err(WebhookError::ConnectTwice { .. })));
        assert!(matches!(check(&vec![fine(); 17], false, HANDSHAKE), Err(WebhookError::TooMany(17))));
        for (name, url, says) in [
            ("", "https://a.example", "name is 1 to 64"),
            ("../a", "https://a.example", "name is 1 to 64"),
            ("A", "https://a.example", "name is 1 to 64"),
            ("a", "a.example", "URL is none"),
            ("a", "https://", "URL is none"),
            ("a", "mailto:a@b", "URL is none"),
            ("a", "https://u:p@a.example", "a user or a password"),
        ] {
            let error = Webhook::new(name, url, Vec::new()).unwrap_err().to_string();
            assert!(error.contains(says), "{name} {url}: {error}");
        }
    }

    #[test]
    fn this_machine_is_two_networks() {
        let reach = webhook("https://a.example").reach(true);
        for (address, is_covered) in [("127.9.9.9", true), ("::1", true), ("10.0.0.1", false), ("::2", false)]
        {
            assert_eq!(reach.covers(address.parse().unwrap()), is_covered, "{address}");
        }
    }

    #[test]
    fn an_end_point_hears_of_what_it_asked_for() {
        let pattern = |text: &str| Pattern::new(text).unwrap();
        let webhook = Webhook {
            events: vec![WebhookEvent::GroupOpened, WebhookEvent::Started],
            groups: Some(vec![pattern("room-*"), pattern("lobby")]),
            invoke: vec![pattern("Chat*")],
            ..webhook("https://a.example")
        };
        for (kind, group, is_wanted) in [
            (WebhookEvent::Started, None, true),
            (WebhookEvent::Lost, None, true),
            (WebhookEvent::GroupOpened, Some("room-1"), true),
            (WebhookEvent::GroupOpened, Some("lobby"), true),
            (WebhookEvent::GroupOpened, Some("hall"), false),
            (WebhookEvent::GroupClosed, Some("room-1"), false),
        ] {
            let group = group.map(|name| GroupName::new(name).unwrap());
            assert_eq!(webhook.wants(kind, group.as_ref()), is_wanted, "{kind:?} {group:?}");
        }
        assert!(webhook.answers("ChatSend") && !webhook.answers("Send"));
        assert!(webhook.has(WebhookEvent::Started) && !webhook.has(WebhookEvent::Left));
    }
}
