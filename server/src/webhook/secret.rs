//! Signatures of webhooks, as Standard Webhooks has them: HMAC-SHA256 over the id, the time and the body.
//!
//! In: secrets as they are written, `whsec_` and base64. Out: what the header `webhook-signature` says. Invariants: a
//! secret is in no log and no error; every secret of an end point signs, so that one can be replaced by another while
//! both are believed (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// How many bytes a secret has, as the specification says.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What requests to an end point are signed with, and what its back end checks them with. A clone is the same.
#[derive(Clone)]
pub struct WebhookSecret(Arc<hmac::Key>);

/// Why a text is no secret. It does not say what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It is something else.
    #[error("a secret of webhooks is whsec_ and 24 to 64 bytes in base64")]
    Unreadable,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

impl WebhookSecret {
    /// Reads one. White space around it, such as the line's end, does not belong to it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let base64 = text.trim().strip_prefix(PREFIX).ok_or(SecretError::Unreadable)?;
        let bytes = STANDARD.decode(base64).map_err(|_| SecretError::Unreadable)?;
        if !BYTES.contains(&bytes.len()) {
            return Err(SecretError::Unreadable);
        }
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
    }

    /// A new one, to be written down: 32 bytes by chance.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn generate() -> Result<String, SecretError> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SecretError::NoRandom)?;
        Ok(format!("{PREFIX}{}", STANDARD.encode(bytes)))
    }

    fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

/// What `webhook-signature` says of a request: a signature by each secret.
pub(crate) fn signatures(secrets: &[WebhookSecret], id: &str, seconds: u64, body: &[u8]) -> String {
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(id, seconds, body)).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = signatures(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_a_secret_is_replaced_both_sign() {
        let [old, new] = [0, 1].map(|_| WebhookSecret::parse(&WebhookSecret::generate().unwrap()).unwrap());
        let both = signatures(&[old.clone(), new.clone()], "msg_1", 7, b"{}");
        let each = [old, new].map(|secret| signatures(&[secret], "msg_1", 7, b"{}"));
        assert_ne!(each[0], each[1]);
        assert_eq!(both, each.join(" "));
        for (id, seconds, body) in [("msg_2", 7, "{}"), ("msg_1", 8, "{}"), ("msg_1", 7, "{ }")] {
            let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
            let [a, b] = [("msg_1", 7, "{}"), (id, seconds, body)]
                .map(|(id, seconds, body)| secret.sign(id, seconds, body.as_bytes()));
            assert_ne!(a, b, "{id} {seconds} {body}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_told() {
        let short = format!("whsec_{}", STANDARD.encode([0; 23]));
        let long = format!("whsec_{}", STANDARD.encode([0; 65]));
        for text in ["", "whsec_", "whsec_private!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &short, &long] {
            let error = WebhookSecret::parse(text).unwrap_err();
            assert_eq!(error, SecretError::Unreadable, "{text}");
            assert!(!error.to_string().contains("private"));
        }
        for bytes in [24, 64] {
            let text = format!("whsec_{}", STANDARD.encode(vec![0; bytes]));
            assert_eq!(format!("{:?}", WebhookSecret::parse(&text).unwrap()), "WebhookSecret");
        }
    }
}
