//! From the command line to a connection as an operator: which certificate, which authority, and what to do when it
//! fails.

use std::path::{Path, PathBuf};

use fanfare_certs::CA_CERTIFICATE;
use fanfare_client::{ConnectError, OperatorClient, OperatorConfig, OperatorError, Roots};
use fanfare_protocol::admin::Status;

use super::arguments::AccessArguments;
use crate::failure::Failure;

impl AccessArguments {
    /// Where to connect, and with what.
    pub(crate) fn config(&self) -> Result<OperatorConfig, Failure> {
        let (certificate, key) = self.credentials()?;
        let ca = self.ca.clone().unwrap_or_else(|| self.state_dir.join(CA_CERTIFICATE));
        Ok(OperatorConfig::new(self.admin.clone(), Roots::Pem(ca), certificate, key))
    }

    /// Connects. Gives the server's status, too.
    pub(crate) async fn connect(&self) -> Result<(OperatorClient, Status), Failure> {
        OperatorClient::connect(self.config()?).await.map_err(Failure::from)
    }

    fn credentials(&self) -> Result<(PathBuf, PathBuf), Failure> {
        match (&self.operator_cert, &self.operator_key) {
            (Some(certificate), Some(key)) => Ok((certificate.clone(), key.clone())),
            (Some(certificate), None) => Ok((certificate.clone(), beside(certificate))),
            (None, Some(_)) => Err(Failure::usage(
                "--operator-key needs --operator-cert FILE, the certificate it belongs to",
            )),
            (None, None) => self.found(),
        }
    }

    /// The only one in the state directory. Of several none is guessed, not even the developer's: whoever's it is will
    /// be the author of what is done.
    fn found(&self) -> Result<(PathBuf, PathBuf), Failure> {
        let mut found: Vec<PathBuf> = std::fs::read_dir(&self.state_dir)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.starts_with("operator-") && name.ends_with(".pem") && !name.ends_with("-key.pem")
            })
            .filter(|path| beside(path).exists())
            .collect();
        found.sort();
        match found.as_slice() {
            [certificate] => Ok((certificate.clone(), beside(certificate))),
            [] => Err(Failure::failed(format!(
                "there is no operator's certificate in {}; give one with --operator-cert FILE, or its directory with \
                 --state-dir DIR (fanfare certs operator makes one)",
                self.state_dir.display()
            ))),
            several => {
                let names: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
                Err(Failure::usage(format!(
                    "there are several operators' certificates; give yours with --operator-cert FILE or in the variable \
                     FANFARE_OPERATOR_CERT: {}",
                    names.join(", ")
                )))
            }
        }
    }
}

/// `NAME-key.pem` beside `NAME.pem`.
fn beside(certificate: &Path) -> PathBuf {
    let name = certificate.file_stem().unwrap_or_default().to_string_lossy();
    certificate.with_file_name(format!("{name}-key.pem"))
}

/// What the library says in its own terms is said in those of the command line.
impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Connect(ConnectError::Address { address, problem }) => Self::usage(format!(
                "{address:?} is not a server's address: {problem}; see --admin and FANFARE_ADMIN"
            )),
            OperatorError::Connect(ConnectError::Roots(error)) => {
                Self::failed(format!("{error}; see --operator-cert, --operator-key, --ca and --state-dir"))
            }
            OperatorError::Connect(ConnectError::NotFanfare { server }) => Self::failed(format!(
                "{server} is not where operators connect; the server's ready line has that behind admin= (see --admin)"
            )),
            OperatorError::Connect(ConnectError::UnknownIssuer { server, roots, detail }) => {
                Self::failed(format!(
                    "the certificate of {server} is not signed by the operators' authority ({detail}); trusted: {roots}; \
                     give the server's own with --ca FILE or --state-dir DIR"
                ))
            }
            error => Self::failed(error.to_string()),
        }
    }
}
