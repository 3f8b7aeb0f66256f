//! What a section is, by its label.
//!
//! In: sections. Out: which of them are certificates or keys, and words for the rest. Invariant: a section that
//! somebody who gives certificates could have meant to be used is used, or refused with its line.

use crate::Block;

/// A section that cannot be used where certificates are wanted, and is not passed over either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} in line {line}, which cannot be used here; take it out, or convert it")]
pub struct Unused {
    /// The line with its BEGIN.
    pub line: usize,
    /// What it is.
    pub what: &'static str,
}

/// The certificates among these.
///
/// Keys, parameters and requests, which stand in one file with a certificate, are passed over. Everything else is
/// refused: certificates in a form of their own, lists of revoked ones (which would not be heeded), and what is not
/// known.
///
/// # Errors
/// For the first that is refused, if there is a certificate at all; without one there is none to be found, which the
/// caller says better.
pub fn certificates(blocks: &[Block]) -> Result<Vec<&[u8]>, Unused> {
    let found: Vec<&[u8]> =
        blocks.iter().filter(|block| is_certificate(block.label())).map(Block::der).collect();
    let passed_over = |label: &str| {
        is_certificate(label)
            || is_key(label)
            || label.ends_with("PARAMETERS")
            || matches!(
                label,
                "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" | "PUBLIC KEY" | "RSA PUBLIC KEY"
            )
    };
    match blocks.iter().find(|block| !passed_over(block.label())) {
        Some(block) if !found.is_empty() => Err(Unused { line: block.line(), what: describe(block.label()) }),
        _ => Ok(found),
    }
}

/// Whether it is a certificate. The second label is what it was called before RFC 1421 (RFC 7468, section 5.3).
#[must_use]
pub fn is_certificate(label: &str) -> bool {
    matches!(label, "CERTIFICATE" | "X509 CERTIFICATE")
}

/// Whether it is a private key, of whatever form.
#[must_use]
pub fn is_key(label: &str) -> bool {
    label.ends_with("PRIVATE KEY")
}

/// What it is, for a message that says it is not what was wanted.
#[must_use]
pub fn describe(label: &str) -> &'static str {
    match label {
        label if is_key(label) => "a private key",
        label if is_certificate(label) => "a certificate",
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
            "a certificate request (what is sent to an authority, not what comes back)"
        }
        "TRUSTED CERTIFICATE" => "a certificate in OpenSSL's own form (convert it with `openssl x509`)",
        "PUBLIC KEY" | "RSA PUBLIC KEY" => "a public key",
        "X509 CRL" => "a revocation list",
        "EC PARAMETERS" => "the parameters of a curve",
        "PKCS7" | "CMS" => "a PKCS#7 bundle (convert it with `openssl pkcs7 -print_certs`)",
        _ => "something else",
    }
}
