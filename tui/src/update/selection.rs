//! What is selected: by name, as a user, as somebody to do something with.
//!
//! In: the model. Out: names and ids. Invariant: what is meant is the selected row, and where a screen is about one
//! connection, user or group and nothing on it is selected, that one.

use fanfare_protocol::UserName;
use fanfare_protocol::admin::Who;

use crate::model::{Item, Model, View};

/// What is selected, by name.
pub(super) fn named(model: &Model) -> Option<String> {
    match (model.place().listing.current(), &model.place().view) {
        (Some(Item::Connection(id)), _) | (None, View::Connection(id)) => Some(id.to_string()),
        (Some(Item::User(user)), _) => Some(user.as_str().to_owned()),
        (Some(Item::Group(group)), _) => Some(group.as_str().to_owned()),
        (Some(Item::Ban(at)), _) => {
            model.bans.rows.get(*at)?.user.as_ref().map(|user| user.as_str().to_owned())
        }
        _ => None,
    }
}

/// The user of what is selected.
pub(crate) fn selected_user(model: &Model) -> Option<UserName> {
    let of = |id| model.connection(id).map(|tracked| tracked.row.user.clone());
    match (model.place().listing.current(), &model.place().view) {
        (Some(Item::Connection(id)), _) | (None, View::Connection(id)) => of(id),
        (Some(Item::User(user)), _) | (None, View::User(user)) => Some(user.clone()),
        _ => None,
    }
}

/// What is selected, as somebody to do something with.
pub(crate) fn selected_who(model: &Model) -> Option<Who> {
    match (model.place().listing.current(), &model.place().view) {
        (Some(Item::Connection(id)), _) | (None, View::Connection(id)) => Some(Who::Connection(*id)),
        (Some(Item::User(user)), _) | (None, View::User(user)) => Some(Who::User(user.clone())),
        (Some(Item::Group(group)), _) | (None, View::Group(group)) => Some(Who::Group(group.clone())),
        _ => None,
    }
}
