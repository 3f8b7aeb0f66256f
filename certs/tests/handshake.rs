//! TLS in memory: does a client that trusts the development authority accept the server's leaf, and only for
//! its names?
//!
//! In comes what the crate's public functions give out, nothing else. Out comes the handshake's verdict.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail like the test itself")]

use std::path::Path;
use std::sync::Arc;

use fanfare_certs::{Authority, Error, Identity, load_identity, load_roots, server_leaf};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use time::OffsetDateTime;

fn handshake(identity: &Identity, roots: RootCertStore, name: &str) -> Result<(), rustls::Error> {
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server))?;
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut bytes = &wire[..];
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets()?;
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut bytes = &wire[..];
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(())
}

fn roots(directory: &Path) -> RootCertStore {
    load_roots(&directory.join(fanfare_certs::CA_CERTIFICATE)).unwrap()
}

#[test]
fn a_client_that_trusts_the_authority_accepts_the_leafs_names_only() {
    let directory = tempfile::tempdir().unwrap();
    let names = ["chat.example", "*.rooms.example", "192.0.2.1"].map(str::to_owned);
    let leaf = server_leaf(directory.path(), &names).unwrap();
    for name in ["localhost", "127.0.0.1", "::1", "chat.example", "red.rooms.example", "192.0.2.1"] {
        handshake(&leaf.identity, roots(directory.path()), name).unwrap();
    }
    for name in ["example.com", "chat.example.com", "rooms.example", "127.0.0.2", "::2"] {
        let error = handshake(&leaf.identity, roots(directory.path()), name).unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "{name}: {error}");
    }
}

#[test]
fn a_leaf_loaded_from_its_files_serves_too() {
    let directory = tempfile::tempdir().unwrap();
    let leaf = server_leaf(directory.path(), &[]).unwrap();
    let identity = load_identity(&leaf.certificate, &leaf.key, OffsetDateTime::now_utc()).unwrap();
    assert_eq!(identity.description, leaf.identity.description);
    handshake(&identity, load_roots(&leaf.ca_certificate).unwrap(), "localhost").unwrap();
}

#[test]
fn a_client_of_another_authority_refuses() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let leaf = server_leaf(ours.path(), &[]).unwrap();
    Authority::create(theirs.path()).unwrap();
    let error = handshake(&leaf.identity, roots(theirs.path()), "localhost").unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[test]
fn after_a_replacement_old_clients_refuse_and_new_ones_accept() {
    let directory = tempfile::tempdir().unwrap();
    server_leaf(directory.path(), &[]).unwrap();
    let old_roots = roots(directory.path());
    Authority::replace(directory.path(), &[]).unwrap();
    let leaf = server_leaf(directory.path(), &[]).unwrap();
    assert!(handshake(&leaf.identity, old_roots, "localhost").is_err());
    handshake(&leaf.identity, roots(directory.path()), "localhost").unwrap();
}

#[test]
fn the_authoritys_own_certificate_does_not_serve() {
    let directory = tempfile::tempdir().unwrap();
    Authority::create(directory.path()).unwrap();
    let (certificate, key) = (directory.path().join("ca.pem"), directory.path().join("ca-key.pem"));
    let error = load_identity(&certificate, &key, OffsetDateTime::now_utc()).unwrap_err();
    assert!(matches!(error, Error::AuthorityAsLeaf { .. }), "{error}");
}
