//! What the files of a state directory are called that have to do with certificates.

/// File name of the development authority's certificate: what clients trust.
pub const CA_CERTIFICATE: &str = "ca.pem";
/// File name of the development authority's private key.
pub const CA_KEY: &str = "ca-key.pem";
/// File name of the server's certificate.
pub const SERVER_CERTIFICATE: &str = "server.pem";
/// File name of the server's private key.
pub const SERVER_KEY: &str = "server-key.pem";
/// File name of the certificate that the server shows to operators.
pub const ADMIN_CERTIFICATE: &str = "admin.pem";
/// File name of its private key.
pub(crate) const ADMIN_KEY: &str = "admin-key.pem";
/// File name of the list of operators' certificates that were revoked.
pub const OPERATORS_REVOKED: &str = "operators.crl.pem";
