//! A back end's end point, as it is described: where it is, what it is asked and told, what requests to it are signed
//! with, and which addresses it may be at. What is done with it is in `webhooks`.

mod endpoint;
mod kind;
mod reach;
mod secret;

pub(crate) use self::endpoint::check;
pub use self::endpoint::{OnFailure, Webhook, WebhookError};
pub use self::kind::WebhookEvent;
pub(crate) use self::reach::Reach;
pub(crate) use self::secret::signatures;
pub use self::secret::{SecretError, WebhookSecret};
