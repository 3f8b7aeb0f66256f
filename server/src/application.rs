//! The application behind the hub: its methods, and its hooks on connections that come and go.
//!
//! `methods` is what an application registers, `handler`, `extract` and `answer` are how its functions look, `caller`
//! is what they can do for whoever calls. `link` is one connection's calls, `running` carries one call out, `streams`
//! are its items. `serving` is what a running server asks; `hooks`, `events` and `groups` are what the application is
//! asked and told of connections, memberships and groups. The edge feeds links with frames, and knows nothing of what is behind them.
//!
//! Invariants: a handler that is slow, panics or never returns costs only its caller (promise 15); whatever a call
//! waits for ends with its connection.

mod answer;
mod arguments;
mod call_error;
mod caller;
mod connecting;
mod events;
mod extract;
mod groups;
mod handler;
mod hooks;
mod limits;
mod link;
mod methods;
mod running;
mod serving;
mod streams;

pub use answer::{Answer, IntoAnswer, Items, TryItems};
pub use call_error::{CallError, OwnCode};
pub use caller::{Caller, InvokeError};
pub use connecting::{Connecting, Refusal};
pub use extract::{Args, Call, Cancellation, FromCall, Raw, State};
pub use handler::Handler;
pub use hooks::Left;
pub use limits::CallLimits;
pub(crate) use link::{Attached, Link, Opening};
pub(crate) use methods::MethodSet;
pub use methods::Methods;
pub(crate) use serving::Application;
pub use streams::Upload;
