//! The lifting of a ban: what would be so again, and only then the action.
//!
//! In: the selected ban, and keys. Out: a question to the operator; the action that lifts the ban; what it has done in
//! words. Invariant: nothing is lifted but by [`CONFIRM`], after the operator was told what will be so again.

use crossterm::event::{KeyCode, KeyEvent};
use fanfare_protocol::admin::{self, BanKind};

use super::event::Effect;
use super::form::CONFIRM;
use crate::model::{Item, Model, Prompt};

/// Asks whether the selected ban is to be lifted.
pub(super) fn begin(model: &mut Model) -> Vec<Effect> {
    let ban = match model.place().listing.current() {
        Some(Item::Ban(at)) => model.bans.rows.get(*at).cloned(),
        _ => None,
    };
    let reason = String::new();
    let act = match ban.map(|ban| (ban.kind, ban.user, ban.groups, ban.jti)) {
        Some((BanKind::Group, Some(user), Some(groups), _)) => {
            Some(("restored", admin::Action::Restore { user, groups, reason }))
        }
        Some((BanKind::User, Some(user), ..)) => Some(("unbanned", admin::Action::Unban { user, reason })),
        Some((BanKind::SignOut, Some(user), ..)) => {
            Some(("lifted", admin::Action::LiftSignOut { user, reason }))
        }
        Some((BanKind::Token, _, _, Some(jti))) => {
            Some(("restored", admin::Action::RestoreToken { jti, reason }))
        }
        // The server sends none that names nothing.
        _ => None,
    };
    match act.and_then(|act| Some((lifted(&act.1)?, act))) {
        Some((what, act)) => model.prompt = Some(Prompt::Lift(what, Box::new(act))),
        None => model.say("select a ban first (key 5)", true),
    }
    Vec::new()
}

/// Takes the answer.
pub(super) fn on_key(model: &mut Model, key: &KeyEvent) -> Vec<Effect> {
    let code = key.code;
    if code != CONFIRM && code != KeyCode::Esc {
        return Vec::new();
    }
    match model.prompt.take() {
        Some(Prompt::Lift(_, act)) if code == CONFIRM => vec![Effect::Act(act.0, act.1)],
        _ => Vec::new(),
    }
}

/// What is so again when this is done; `None` for what lifts nothing.
pub(super) fn lifted(request: &admin::Action) -> Option<String> {
    let name = |name: &str| crate::text::visible(name);
    Some(match request {
        admin::Action::Restore { user, groups, .. } => {
            format!("{} may be in {} again", name(user.as_str()), name(groups.as_str()))
        }
        admin::Action::Unban { user, .. } => format!("{} may connect again", name(user.as_str())),
        admin::Action::LiftSignOut { user, .. } => {
            format!("tokens of {} from before count again", name(user.as_str()))
        }
        admin::Action::RestoreToken { jti, .. } => format!("the token {} counts again", name(jti)),
        _ => return None,
    })
}
