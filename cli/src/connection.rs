//! How the client commands connect: from their arguments to a [`Client`].

use fanfare_client::{Client, ClientConfig, ConnectError, Roots, RequestError};
use fanfare_protocol::Credential;

use crate::arguments::ConnectionArguments;
use crate::failure::Failure;

impl ConnectionArguments {
    /// The client's configuration: trust in `--ca`, or else in the development authority of the state directory if there is
    /// one, or else in the system's authorities.
    pub(crate) fn config(&self) -> ClientConfig {
        let development = self.state_dir.join(fanfare_certs::CA_CERTIFICATE);
        let roots = match &self.ca {
            Some(ca) => Roots::Pem(ca.clone()),
            None if development.exists() => Roots::Pem(development),
            None => Roots::System,
        };
        ClientConfig::new(self.server.clone(), Credential::DevUser(self.user.clone())).roots(roots)
    }

    /// Connects, with a hint where the state directory may be the wrong one.
    pub(crate) async fn connect(&self, config: ClientConfig) -> Result<Client, Failure> {
        Client::connect(config).await.map_err(|error| {
            let development = self.state_dir.join(fanfare_certs::CA_CERTIFICATE);
            let looked = self.ca.is_none() && !development.exists();
            match error {
                error @ ConnectError::UnknownIssuer { .. } if looked => Failure::failed(format!(
                    "{error}; there is no development authority at {} either: give --state-dir DIR or --ca FILE",
                    development.display()
                )),
                error => error.into(),
            }
        })
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
