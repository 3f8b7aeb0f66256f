//! A server from the fewest words: settings one after the other, and then it runs.
//!
//! In: settings as an application has them. Out: a running [`Server`]. Invariant: nothing is decided here; what is not
//! set is the [`Config`]'s default, and what makes no sense together is found by the start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use fanfare_token::TokenRules;

use crate::access::ClientCertificates;
use crate::admin::Administration;
use crate::application::{MethodSet, Methods};
use crate::config::Config;
use crate::error::StartError;
use crate::quic::Identity;
use crate::server::Server;

/// A server that is being described. Made by [`Server::builder`].
#[derive(Debug, Default)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    config: Config,
    identity: Option<Identity>,
    administration: Option<Administration>,
    methods: Option<MethodSet>,
}

impl Server {
    /// Describes a server: the defaults of [`Config`], without a certificate yet.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Where clients connect (UDP). Port 0 takes any free port.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.config.listen = address;
        self
    }

    /// The certificate that the server proves itself to clients with. QUIC has no connections without one.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Lets clients in whose tokens these keys signed.
    pub fn tokens(mut self, rules: TokenRules) -> Self {
        self.config.tokens = Some(rules);
        self
    }

    /// Lets clients in that prove who they are with a certificate.
    pub fn certificates(mut self, certificates: Arc<dyn ClientCertificates>) -> Self {
        self.config.certificates = Some(certificates);
        self
    }

    /// For development, on loopback only: clients name their own user, everything is allowed, and pages of this machine
    /// may connect.
    pub fn development(mut self) -> Self {
        self.config.dev = true;
        self.config.origins.loopback = true;
        self
    }

    /// Lets pages of this origin connect, such as `https://app.example`.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.config.origins.allowed.push(origin.into());
        self
    }

    /// Where bans, the audit and the endpoint's keys are kept. Without one they end with the server.
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.config.state_dir = Some(directory.into());
        self
    }

    /// Where HTTP answers for health (TCP).
    pub fn http(mut self, address: SocketAddr) -> Self {
        self.config.http = Some(address);
        self
    }

    /// Where clients connect that UDP does not reach, and those of SignalR (TCP, with the certificate of
    /// [`Builder::identity`]). Port 0 takes any free port.
    pub fn web(mut self, address: SocketAddr) -> Self {
        self.config.web = Some(address);
        self
    }

    /// Where operators connect, and who they are.
    pub fn operators(mut self, administration: Administration) -> Self {
        self.administration = Some(administration);
        self
    }

    /// The application: what clients may call, and who may connect.
    pub fn methods<S: Clone + Send + Sync + 'static>(mut self, methods: Methods<S>) -> Self {
        self.methods = Some(methods.into_set());
        self
    }

    /// Changes any other setting.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Starts the server. It accepts connections when this returns. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there is no certificate, or [`Server::start`] fails.
    pub async fn start(self) -> Result<Server, StartError> {
        let identity = self.identity.ok_or(StartError::NoIdentity)?;
        Server::start_with(self.config, identity, self.administration, self.methods).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_certificate_nothing_starts() {
        let error = Server::builder().development().start().await.map(drop).unwrap_err();
        assert!(matches!(error, StartError::NoIdentity), "{error}");
    }
}
