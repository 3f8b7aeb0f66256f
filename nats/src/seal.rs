//! What tells a message of a node from one that somebody else has published.
//!
//! In: the bucket's secret; what stands before a message, the message, and for whom it is. Out: a tag, and whether one
//! is right. Invariant: whoever does not know the secret makes no tag, and a tag for one node is none for another. The
//! secret is an entry of the bucket, so that whoever may read that can be a node.

use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How many bytes of HMAC-SHA-256 (RFC 2104) are a tag; half of them, which is as much as there should be (section 5).
pub(crate) const TAG_BYTES: usize = 16;
/// How many bytes the secret has: as many as the hash gives (RFC 2104, section 3).
const SECRET_BYTES: usize = 32;

/// Makes and knows tags.
#[derive(Clone)]
pub(crate) struct Seal {
    key: hmac::Key,
    secret: String,
}

impl Seal {
    /// A secret for a bucket that is being made. None: the system gives no random bytes.
    pub(crate) fn secret() -> Option<String> {
        let mut bytes = [0; SECRET_BYTES];
        rand::fill(&mut bytes).ok()?;
        Some(STANDARD.encode(bytes))
    }

    /// By a secret that a bucket has. None: it is none.
    pub(crate) fn new(secret: &str) -> Option<Self> {
        let bytes = STANDARD.decode(secret).ok().filter(|bytes| bytes.len() == SECRET_BYTES)?;
        Some(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes), secret: secret.to_owned() })
    }

    /// The tag of a message to a node, or to all. What stands before it has always the same length.
    pub(crate) fn tag(&self, to: Option<[u8; 4]>, before: &[u8], message: &[u8]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        match to {
            Some(node) => {
                context.update(&[1]);
                context.update(&node);
            }
            None => context.update(&[0; 5]),
        }
        context.update(before);
        context.update(message);
        let whole = context.sign();
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut().zip(whole.as_ref()).for_each(|(byte, whole)| *byte = *whole);
        tag
    }

    /// The secret that it is made of, as it is in the bucket.
    pub(crate) fn own_secret(&self) -> &str {
        &self.secret
    }

    /// Whether this is that.
    pub(crate) fn is_of(&self, secret: &[u8]) -> bool {
        secret == self.secret.as_bytes()
    }

    /// Whether this is the tag.
    pub(crate) fn is_right(&self, tag: &[u8], to: Option<[u8; 4]>, before: &[u8], message: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.tag(to, before, message), tag).is_ok()
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_one_secret_one_message_and_one_node() {
        let [one, other] = [(); 2].map(|()| Seal::new(&Seal::secret().unwrap()).unwrap());
        let tag = one.tag(Some([1; 4]), b"before", b"message");
        assert!(one.is_right(&tag, Some([1; 4]), b"before", b"message"));
        assert!(!other.is_right(&tag, Some([1; 4]), b"before", b"message"));
        assert!(!one.is_right(&tag, Some([2; 4]), b"before", b"message"));
        assert!(!one.is_right(&tag, None, b"before", b"message"));
        assert!(!one.is_right(&tag, Some([1; 4]), b"befora", b"message"));
        assert!(!one.is_right(&tag, Some([1; 4]), b"before", b"messaga"));
        assert!(!one.is_right(&tag[1..], Some([1; 4]), b"before", b"message"));
    }

    #[test]
    fn a_seal_knows_its_secret() {
        let [one, other] = [(); 2].map(|()| Seal::secret().unwrap());
        let seal = Seal::new(&one).unwrap();
        assert!(seal.is_of(one.as_bytes()) && !seal.is_of(other.as_bytes()) && !seal.is_of(b"\xff"));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for wrong in ["", "c2hvcnQ=", "not base64, and long enough for thirty-two bytes"] {
            assert!(Seal::new(wrong).is_none(), "{wrong}");
        }
    }
}
