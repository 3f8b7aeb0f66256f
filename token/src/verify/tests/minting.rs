//! Tokens that are made here: what is in them, and which files sign none.

use super::*;
use crate::{Extras, GrantClaim, Right};

fn refused(path: &Path) -> String {
    let error = Minter::read(path).map(drop).unwrap_err().to_string();
    assert!(error.contains(&*path.to_string_lossy()), "{error}");
    error
}

#[test]
fn a_minted_token_says_what_was_asked_for_and_nothing_else() {
    let files = Files::new();
    let minter = minter(&files.secret());
    let grants = [GrantClaim {
        group: Some("g".to_owned()),
        user: None,
        all: None,
        may: vec![Right::Join],
        exp: None,
    }];
    let said = |extras: Extras<'_>| -> Value {
        let token = minter.mint("alice", NOW, 60, &grants, extras).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice(&claims).unwrap()
    };
    let grants = json!([{ "group": "g", "may": ["join"] }]);
    let plain = json!({ "sub": "alice", "iat": NOW, "exp": NOW + 60, "grants": grants });
    assert_eq!(said(Extras::default()), plain);
    let extras = Extras { id: Some("id"), audience: Some("chat"), issuer: Some("me") };
    let mut full = plain;
    full["jti"] = json!("id");
    full["aud"] = json!("chat");
    full["iss"] = json!("me");
    assert_eq!(said(extras), full);
}

#[test]
fn what_minters_and_keys_say_of_themselves_has_no_key_in_it() {
    let files = Files::new();
    let secret = files.secret();
    assert_eq!(format!("{:?}", minter(&secret)), "Minter { algorithm: HS256, .. }");
    assert_eq!(format!("{:?}", keys(&secret)), "[TokenKey { id: None, algorithm: HS256, .. }]");
}

#[test]
fn a_file_that_signs_nothing_is_told_with_what_to_do() {
    let files = Files::new();
    let (private, public, _) = files.ed25519();
    let pem = std::fs::read_to_string(&private).unwrap();
    let named = |label: &str| files.write("named.pem", pem.replace("PRIVATE KEY", label));
    let encrypted = files.pem("encrypted.pem", "ENCRYPTED PRIVATE KEY", b"\x30\x00");
    for (path, words) in [
        (named("RSA PRIVATE KEY"), "line 1: it is not in PKCS #8: openssl pkcs8 -topk8"),
        (encrypted, "line 1: it is encrypted: openssl pkcs8 -in FILE"),
        (public, "line 1: it holds \"PUBLIC KEY\", and no private key in PKCS #8"),
        (files.pem("other.pem", "PRIVATE KEY", b"\x30\x00"), "its kind is not supported; take Ed25519"),
        (files.write("two.pem", format!("{pem}{pem}")), "it holds 2 keys; tokens are signed with one"),
        (files.write("cut.pem", &pem[..60]), "cut off"),
        (files.secret(), "it looks like a secret, 33 bytes of text, and is no private key in PEM"),
        (files.write("jwk", r#"{"kty":"OKP"}"#), "it looks like a JWK or a JWK Set, and is no private key"),
        (files.write("curve.pem", fanfare_pem::encode("EC PARAMETERS", b"curve")), "it holds 0 keys"),
    ] {
        let error = refused(&path);
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(refused(&named("EC PRIVATE KEY")).contains("it is not in PKCS #8"));
    let after_its_curve = format!("{}{pem}", fanfare_pem::encode("EC PARAMETERS", b"curve"));
    assert!(Minter::read(&files.write("after.pem", after_its_curve)).is_ok());
}
