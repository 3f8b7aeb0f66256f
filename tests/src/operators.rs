//! Operators of a [`Hub`]: the endpoint as the binary has it, and clients of it.
//!
//! In: a hub, a name and a role. Out: a connected [`OperatorClient`].

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fanfare_certs::{OPERATOR_LIFETIME, OperatorCheck, create_operator, operator_files};
use fanfare_client::{OperatorClient, OperatorConfig, OperatorError, Roots};
use fanfare_protocol::admin::{Role, Status};
use fanfare_server::{Administration, Identity, Operator, Operators};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;

use crate::{DEADLINE, Hub, within};

/// Who is an operator by the authority and the list in a state directory.
#[derive(Debug)]
struct InState(OperatorCheck);

impl Operators for InState {
    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        self.0.verifier().map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn identify(&self, chain: &[CertificateDer<'static>]) -> Result<Operator, String> {
        let (name, role) = self.0.identify(chain).map_err(|error| error.to_string())?;
        Ok(Operator { name, role })
    }
}

/// An endpoint on a free port of loopback.
pub(crate) fn administration(state: &Path) -> Administration {
    let leaf = fanfare_certs::admin_leaf(state, &[]).unwrap();
    Administration {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        identity: Identity { chain: leaf.identity.chain, key: leaf.identity.key },
        operators: Arc::new(InState(OperatorCheck::new(state))),
    }
}

/// What an operator with the certificate of this name connects with.
#[must_use]
pub fn config(hub: &Hub, name: &str) -> OperatorConfig {
    let address = hub.server.admin_address().expect("the hub has an endpoint for operators");
    let (certificate, key) = operator_files(hub.state(), name);
    let roots = Roots::Store((*hub.roots).clone());
    let mut config = OperatorConfig::new(address.to_string(), roots, certificate, key);
    // How fast the machine is, is tested nowhere.
    config.connect_timeout = DEADLINE;
    config
}

/// Issues a certificate and connects with it.
pub async fn connect(hub: &Hub, name: &str, role: Role) -> OperatorClient {
    create_operator(hub.state(), name, role, OPERATOR_LIFETIME).unwrap();
    let (client, status) = try_connect(hub, name).await.unwrap();
    assert_eq!((status.operator.as_str(), status.role), (name, role));
    client
}

/// Connects with a certificate that is there.
///
/// # Errors
/// Those of [`OperatorClient::connect`].
pub async fn try_connect(hub: &Hub, name: &str) -> Result<(OperatorClient, Status), OperatorError> {
    within(OperatorClient::connect(config(hub, name))).await
}
