//! The application behind the hub: its methods, and its hooks on connections that come and go.
//!
//! From the bottom up: `link` is one connection's calls, with `inlet` and `events`; `caller` is what can be done for
//! whoever calls, and `seat` a call's place meanwhile; `extract`, `answer` and `handler` are how an application's
//! functions look; `method`, `methods` and `hooks` are what it registers; `running` carries one call out, `telling` and
//! `groups` tell what happens; `serving` is all of it while a server runs, and `attached` is what the edge has of it
//! for one connection.
//!
//! Invariants: a handler that is slow, panics or never returns costs only its caller (promise 15); whatever a call
//! waits for ends with its connection.

mod answer;
mod arguments;
mod asking;
mod attached;
mod call_error;
mod caller;
mod connecting;
mod context;
pub(crate) mod description;
mod events;
mod extract;
mod groups;
mod guard;
mod handler;
mod hooks;
mod inlet;
mod limits;
mod link;
mod method;
mod methods;
mod running;
mod seat;
mod serving;
mod streams;
mod telling;

pub use answer::{Answer, IntoAnswer, Items, TryItems};
pub use arguments::json;
pub(crate) use attached::{Attached, Attachment};
pub use call_error::{CallError, OwnCode};
pub use caller::{Caller, InvokeError};
pub use connecting::{Connecting, Refusal};
pub use extract::{Args, Call, Cancellation, FromCall, Raw, State};
pub use handler::Handler;
pub(crate) use hooks::Decides;
pub use hooks::Left;
pub use limits::CallLimits;
pub(crate) use link::Opening;
pub use method::MethodService;
pub(crate) use methods::MethodSet;
pub use methods::Methods;
pub(crate) use serving::Application;
pub use streams::Upload;
