//! Where servers are looked for that nobody names, and where they keep what outlives them.

/// Where client commands look for a server that nobody names, which is where `serve` listens.
pub(crate) const DEFAULT_SERVER: &str = "127.0.0.1:4433";

/// Where operators' commands look for it.
pub(crate) const DEFAULT_ADMIN: &str = "127.0.0.1:4434";

/// Where `serve` keeps what outlives it.
pub(crate) const DEFAULT_STATE: &str = ".fanfare";
