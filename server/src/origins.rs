//! Which pages may connect, over WebTransport and over WebSocket.
//!
//! In: the operator's list, and the origin that a browser says. Out: whether a page of that origin may connect.
//! Invariant: without a list none may (test `origins_are_denied_unless_they_are_listed`).

use fanfare_hub::CloseReason;
use fanfare_protocol::Code;

/// Which pages may connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// `https://app.example`: scheme, host, and port where it is not the scheme's own.
    pub allowed: Vec<String>,
    /// Whether pages of this machine may, on any port.
    pub loopback: bool,
}

impl Origins {
    /// Whether a page of this origin may connect.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        let listed = self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
        listed || (self.loopback && is_loopback(origin))
    }

    /// What a page of this origin is told where it may not connect; nothing where it may. Browsers always say it, and
    /// pages cannot change it. What is no browser can say what it likes, and is asked for a credential like everybody.
    pub(crate) fn refusal(&self, origin: Option<&[u8]>) -> Option<CloseReason> {
        let origin = str::from_utf8(origin?).unwrap_or("(not text)");
        if self.allows(origin) {
            return None;
        }
        let reason = format!("pages of {origin} may not connect here: the server does not list this origin");
        Some(CloseReason { code: Code::OriginRefused, reason })
    }
}

/// Whether this is the origin of a page on this machine.
fn is_loopback(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let Some(host) = host else { return false };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "0"),
    };
    port.parse::<u16>().is_ok() && ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_denied_unless_they_are_listed() {
        let nobody = Origins::default();
        let listed = Origins { allowed: vec!["https://app.example".to_owned()], loopback: false };
        let development = Origins { allowed: Vec::new(), loopback: true };
        for (origin, by_list, by_loopback) in [
            ("https://app.example", true, false),
            ("HTTPS://App.Example", true, false),
            ("https://app.example:8443", false, false),
            ("http://app.example", false, false),
            ("https://app.example.evil.example", false, false),
            ("null", false, false),
            ("", false, false),
            ("http://localhost", false, true),
            ("http://localhost:4480", false, true),
            ("https://127.0.0.1:1", false, true),
            ("http://[::1]:9", false, true),
            ("http://[::1]", false, true),
            ("http://localhost.evil.example", false, false),
            ("http://localhost:4480.evil.example", false, false),
            ("http://127.0.0.1.evil.example:80", false, false),
            ("http://localhost:", false, false),
            ("file://localhost", false, false),
        ] {
            assert!(!nobody.allows(origin), "{origin}");
            assert_eq!(listed.allows(origin), by_list, "{origin}");
            assert_eq!(development.allows(origin), by_loopback, "{origin}");
        }
    }
}
