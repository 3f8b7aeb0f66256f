//! The model's server, in a process of its own, so that it can be killed as a power cut kills one.
//!
//! In: a state directory, who signs tokens, and who hears webhooks. Out: where it is, and its operator. Invariant: it
//! ends with the test at the latest, since it stops where its standard input ends.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fanfare_certs::{OPERATOR_LIFETIME, create_operator, operator_files};
use fanfare_client::{
    ClientConfig, Credential, OperatorClient, OperatorConfig, OperatorError, Reconnect, Roots, Token,
};
use fanfare_protocol::admin::{
    Action, AuditVerdict, GroupRow, Listing, Page, Question, Receipt, Role, Status,
};
use fanfare_server::WebhookEvent;
use fanfare_tests::receiver::{self, Receiver};
use fanfare_tests::tokens::{self, Secret};
use fanfare_tests::{DEADLINE, Hub, within};
use rustls::RootCertStore;
use serde::{Deserialize, Serialize};

/// What tells the process about the server that it is.
const SETTINGS: &str = "FANFARE_MODEL_SERVER";

/// What the line that says where it is begins with.
const READY: &str = "ready ";

/// All that must be so to be the same server again.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    state: PathBuf,
    quic: SocketAddr,
    http: SocketAddr,
    /// The file that tokens are checked by.
    tokens: PathBuf,
    /// Who hears webhooks: a URL, a secret, an authority.
    webhook: (String, String, PathBuf),
}

impl Settings {
    pub(crate) fn new(state: &Path, tokens: &Secret, receiver: &Receiver) -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let webhook = (receiver.url(), receiver.secret().to_owned(), receiver.authority().to_owned());
        let (state, tokens) = (state.to_owned(), tokens.file().to_owned());
        Self { state, quic: anywhere, http: anywhere, tokens, webhook }
    }
}

/// Where it listens.
#[derive(Serialize, Deserialize)]
struct Addresses {
    quic: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
}

/// The running process.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Open as long as it might say something.
    _stdout: BufReader<ChildStdout>,
    settings: Settings,
    roots: Arc<RootCertStore>,
    operator: Arc<OperatorClient>,
}

impl Process {
    pub(crate) async fn start(mut settings: Settings) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "a_server_for_the_model", "--nocapture"])
            .env(SETTINGS, serde_json::to_string(&settings).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        // On a thread that may wait: clients go on meanwhile.
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            while stdout.read_line(&mut line).unwrap() > 0 {
                // The harness of tests has begun the line.
                if let Some((_, found)) = line.split_once(READY) {
                    return (serde_json::from_str::<Addresses>(found).unwrap(), stdout);
                }
                line.clear();
            }
            panic!("it did not start");
        });
        let (addresses, stdout) = within(reading).await.unwrap();
        settings.quic = addresses.quic;
        settings.http = addresses.http;
        let roots = Arc::new(fanfare_certs::load_roots(&settings.state.join("ca.pem")).unwrap());
        let (certificate, key) = operator_files(&settings.state, "oncall");
        if !certificate.exists() {
            create_operator(&settings.state, "oncall", Role::Operator, OPERATOR_LIFETIME).unwrap();
        }
        let trusts = Roots::Store((*roots).clone());
        let mut config = OperatorConfig::new(addresses.admin.to_string(), trusts, certificate, key);
        config.connect_timeout = DEADLINE;
        let (operator, _) = within(OperatorClient::connect(config)).await.unwrap();
        Self { child, stdin, _stdout: stdout, settings, roots, operator: Arc::new(operator) }
    }

    /// Kills it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().code(), None, "it had ended by itself");
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) {
        drop(self.stdin.take());
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        let ended = within(async {
            loop {
                match self.child.try_wait().unwrap() {
                    Some(ended) => return ended,
                    None => looks.tick().await,
                };
            }
        });
        assert!(ended.await.success());
    }

    /// The same server again, at the same addresses.
    pub(crate) async fn again(&self) -> Self {
        Self::start(self.settings.clone()).await
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.settings.http
    }

    /// The configuration of a client that shows a token.
    pub(crate) fn token_config(&self, token: impl AsRef<str>) -> ClientConfig {
        let credential = Credential::Token(Token::new(token.as_ref()));
        let roots = Roots::Store((*self.roots).clone());
        let soon = Duration::from_millis(20);
        ClientConfig::new(self.settings.quic.to_string(), credential)
            .roots(roots)
            .connect_timeout(DEADLINE)
            .request_timeout(DEADLINE)
            .reconnect(Reconnect::default().first_delay(soon))
    }

    pub(crate) fn operator(&self) -> Arc<OperatorClient> {
        Arc::clone(&self.operator)
    }

    pub(crate) async fn act(&self, action: Action) -> Result<Receipt, OperatorError> {
        within(self.operator.ask(&action)).await
    }

    pub(crate) async fn status(&self) -> Status {
        within(self.operator.ask(&Question::Status {})).await.unwrap()
    }

    pub(crate) async fn groups(&self) -> Vec<GroupRow> {
        let listing: Listing<GroupRow> =
            within(self.operator.ask(&Question::Groups(Page::default()))).await.unwrap();
        listing.rows
    }

    pub(crate) async fn verify_audit(&self) -> AuditVerdict {
        within(self.operator.ask(&Question::VerifyAudit { head: None })).await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What runs in the process: the server, until the standard input ends.
pub(crate) async fn serve() {
    let Ok(settings) = std::env::var(SETTINGS) else {
        return;
    };
    let Settings { state, quic, http, tokens, webhook } = serde_json::from_str(&settings).unwrap();
    let (url, secret, authority) = webhook;
    let mut webhook = receiver::webhook("model", &url, &secret, &authority);
    webhook.events = vec![
        WebhookEvent::Started,
        WebhookEvent::Joined,
        WebhookEvent::Left,
        WebhookEvent::GroupOpened,
        WebhookEvent::GroupClosed,
        WebhookEvent::Disconnected,
    ];
    let hub = Hub::at(&state, |config| {
        config.listen = quic;
        config.http = Some(http);
        config.tokens = Some(tokens::rules(&tokens));
        config.webhooks = vec![webhook];
        config.presence_grace = Duration::ZERO;
    })
    .await;
    let addresses = Addresses {
        quic: hub.address(),
        http: hub.server.http_address().unwrap(),
        admin: hub.server.admin_address().unwrap(),
    };
    println!("{READY}{}", serde_json::to_string(&addresses).unwrap());
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let _ = ended.await;
    hub.stop().await;
}
