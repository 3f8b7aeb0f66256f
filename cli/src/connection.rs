//! How the client commands connect: from their arguments to a [`Client`].

use fanfare_client::{Client, ClientConfig, ConnectError, RequestError, Roots, RootsError, WebSocket};
use fanfare_protocol::Credential;

use crate::arguments::ConnectionArguments;
use crate::defaults::DEFAULT_SERVER;
use crate::failure::Failure;
use crate::stopping::Stopping;

impl ConnectionArguments {
    /// The client's configuration: trust in `--ca`, or else in the development authority of the state directory if
    /// there is one, or else in the system's authorities.
    ///
    /// # Errors
    /// When it is not said who to be, or said twice, or the token's file cannot be read.
    pub(crate) fn config(&self) -> Result<ClientConfig, Failure> {
        let development = self.state_dir.join(fanfare_certs::CA_CERTIFICATE);
        let roots = match &self.ca {
            Some(ca) => Roots::Pem(ca.clone()),
            None if development.exists() => Roots::Pem(development),
            None => Roots::System,
        };
        // There is a default, so that there is always one.
        let mut servers = self.servers.iter().cloned();
        let server = servers.next().unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let certificate = self.cert.as_ref().zip(self.key.as_ref());
        if certificate.is_some() && (self.user.is_some() || self.token.is_some()) {
            return Err(Failure::usage(
                "--cert says who to be, so there is nothing for --user and --token to say (FANFARE_USER and FANFARE_TOKEN \
                 count, too)",
            ));
        }
        let config = match (&self.user, &self.token) {
            (None, None) if let Some((cert, key)) = certificate => {
                ClientConfig::with_certificate(server, cert, key)
            }
            (Some(user), None) => ClientConfig::new(server, Credential::DevUser(user.clone())),
            (None, Some(token)) => crate::token_argument::client_config(server, token.expose())?,
            (Some(_), Some(_)) => {
                return Err(Failure::usage(
                    "--user and --token both say who to be; give one (FANFARE_USER and FANFARE_TOKEN count, too)",
                ));
            }
            (None, None) => {
                return Err(Failure::usage(
                    "missing: --token TOKEN, --cert FILE with --key FILE, or --user NAME where the server runs with --dev; see --help",
                ));
            }
        };
        let websocket = match self.websocket.as_deref() {
            None => WebSocket::SamePort,
            Some("off") => WebSocket::Off,
            Some(url) => WebSocket::At(url.to_owned()),
        };
        Ok(config.also_at(servers).roots(roots).websocket(websocket))
    }

    /// Connects. What the library says in its own terms about trust is said in those of the command line.
    pub(crate) async fn connect(&self, config: ClientConfig) -> Result<Client, Failure> {
        Client::connect(config).await.map_err(|error| match error {
            ConnectError::UnknownIssuer { .. } => {
                Failure::failed(format!("{}; {}", words(&error), self.advice()))
            }
            ConnectError::AllFailed { failures } => {
                let each = failures.iter().map(words).collect::<Vec<_>>().join("; ");
                let said = format!("none of {} servers could be connected to: {each}", failures.len());
                let is_untrusted =
                    |failure: &ConnectError| matches!(failure, ConnectError::UnknownIssuer { .. });
                if failures.iter().any(is_untrusted) {
                    Failure::failed(format!("{said}; {}", self.advice()))
                } else {
                    Failure::failed(said)
                }
            }
            ConnectError::Setting { setting: "also_at", problem } => {
                Failure::usage(format!("too many servers: {problem}; see --server and FANFARE_SERVER"))
            }
            ConnectError::Roots(RootsError::System { detail }) => Failure::failed(format!(
                "the system has no usable certificate authorities ({detail}); {}",
                self.advice()
            )),
            ConnectError::Roots(error) => Failure::failed(format!("{error}; {}", self.advice())),
            ConnectError::Address { address, problem } if self.websocket.as_ref() == Some(&address) => {
                Failure::usage(format!(
                    "{address:?} is not a WebSocket's URL: {problem}; see --websocket and FANFARE_WEBSOCKET"
                ))
            }
            ConnectError::Address { address, problem } => Failure::usage(format!(
                "{address:?} is not a server's address: {problem}; see --server and FANFARE_SERVER"
            )),
            error => error.into(),
        })
    }

    /// What to do when the server is not trusted.
    fn advice(&self) -> String {
        let development = self.state_dir.join(fanfare_certs::CA_CERTIFICATE);
        match &self.ca {
            Some(_) => "give the file of this server's authority with --ca".to_owned(),
            None if development.exists() => {
                "if this is the right server, give its --state-dir DIR, or its authority with --ca FILE"
                    .to_owned()
            }
            None => format!(
                "there is no development authority at {} either: give --state-dir DIR or --ca FILE",
                development.display()
            ),
        }
    }
}

/// An error without what the library says of its own settings.
fn words(error: &ConnectError) -> String {
    match error {
        ConnectError::UnknownIssuer { server, roots, detail } => format!(
            "the certificate of {server} is not signed by a trusted authority ({detail}); trusted: {roots}"
        ),
        error => error.to_string(),
    }
}

/// Closes the connection politely, so that the server does not take the client for lost. A signal ends the wait for a
/// server that does not answer.
pub(crate) async fn leave(client: &Client, stopping: &mut Stopping) -> Result<(), Failure> {
    tokio::select! {
        closed = client.close() => closed.map_err(|error| Failure::failed(error.to_string())),
        () = stopping.signal() => {
            Err(Failure::failed("left without an answer from the server; what was sent last may be lost"))
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::failed(error.to_string())
    }
}
