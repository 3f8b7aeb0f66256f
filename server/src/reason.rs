//! What people are told who are removed or closed: a reason in somebody's words, or else what the code says.
//!
//! In: an operator's or an application's words. Out: what goes to the client. Invariant: it fits into a close.

use fanfare_protocol::{Code, Denial};

/// The longest reason, in bytes: it goes to every connection concerned, and fits in a close (RFC 9000 section 19.19).
pub(crate) const REASON_BYTES: usize = 512;

/// Refuses a reason that is too long.
pub(crate) fn check(reason: &str) -> Result<(), Denial> {
    if reason.len() <= REASON_BYTES {
        return Ok(());
    }
    let detail = format!("the reason has more than {REASON_BYTES} bytes");
    Err(Denial { code: Code::InvalidRequest, detail })
}

/// The reason that is told.
pub(crate) fn told(reason: &str, code: Code) -> &str {
    if reason.is_empty() { code.sentence() } else { reason }
}
