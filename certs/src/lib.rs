//! Certificates for Fanfare: a development authority, the server's leaf, operators' certificates, and checks of
//! a user's own PEM files.
//!
//! In come directories and file names. Out come a loaded [`Identity`] for a server, a root store for a
//! client, or an [`Error`] that names the file, the cause and what to do about it.
//!
//! What this crate keeps:
//! - A private key never appears in a `Debug` text or in an error.
//! - The authority on disk is never overwritten unasked; only the leaf derived from it is.
//! - A key and a certificate that are handed out belong together.
//! - One crypto provider: aws-lc-rs.
//!
//! | file | owns |
//! | --- | --- |
//! | `state_directory.rs` | the directory on disk: modes, the lock, atomic writes |
//! | `profile.rs` | what is written into each kind of certificate |
//! | `authority.rs` | the development authority: open, create, replace, issue |
//! | `server_leaf.rs` | when the server's leaf is kept and when it is made again |
//! | `host_name.rs` | the names a leaf is valid for |
//! | `operator.rs`, `revocation_list.rs` | operators' certificates: issued, revoked |
//! | `preparation.rs` | what a server needs at its start, before anything is written |
//! | `user.rs` | users' certificates: issued, and whom one names |
//! | `operator_check.rs` | whose certificate was shown to the server, and whether it still counts |
//! | `pem_file.rs` | bytes of a file to certificates and keys |
//! | `certificate.rs`, `private_key.rs` | checks of one certificate, of one key |
//! | `identity.rs`, `roots.rs`, `description.rs` | what callers load: a server's pair, a client's roots, a summary |
//! | `error.rs` | everything that can go wrong |
//!
//! All functions read and write files and so may block for some milliseconds. Call them before a runtime
//! starts, or from `spawn_blocking`.

mod authority;
mod certificate;
mod description;
mod error;
mod file_names;
#[cfg(test)]
mod fixture;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod host_name;
mod identity;
mod operator;
mod operator_check;
mod pem_file;
mod preparation;
mod private_key;
mod profile;
mod revocation_list;
mod roots;
mod server_leaf;
mod state_directory;
mod user;

pub use authority::{Authority, Issued};
pub use description::{Description, describe};
pub use error::Error;
pub use file_names::{
    ADMIN_CERTIFICATE, CA_CERTIFICATE, CA_KEY, OPERATORS_REVOKED, SERVER_CERTIFICATE, SERVER_KEY,
};
pub use identity::{Identity, load_identity};
pub use operator::{
    DEVELOPMENT_OPERATOR, OPERATOR_LIFETIME, OperatorCertificate, create_operator, development_operator,
    operator_files, revoke_certificate, revoke_operator,
};
pub use operator_check::OperatorCheck;
pub use preparation::{Prepared, Wanted, prepare};
pub use profile::{LEAF_LIFETIME, LEAF_RENEWAL};
pub use roots::load_roots;
pub use server_leaf::{Leaf, Reason, admin_leaf, server_leaf, server_leaf_at};
pub use user::{CertifiedName, UserCertificate, certified_name, create_user, user_verifier};
