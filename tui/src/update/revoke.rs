//! The dialog of a revocation: what is typed, what the server says that it would do, and only then the act.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossterm::event::{KeyCode, KeyEvent};
use fanfare_protocol::Pattern;
use fanfare_protocol::admin::{AdminRequest, Receipt};

use super::{Effect, say, selected_user};
use crate::model::{Model, Prompt, RevokeForm, View};

/// Opens the dialog for the selected user.
pub(super) fn begin(model: &mut Model) -> Vec<Effect> {
    let Some(user) = selected_user(model) else {
        say(model, "select a user or a connection first", true);
        return Vec::new();
    };
    // Where one came from a group, it is most likely about that.
    let group = model.path.iter().rev().find_map(|place| match &place.view {
        View::Group(group) => Some(group.as_str().to_owned()),
        _ => None,
    });
    let fields = [group.unwrap_or_default(), String::new(), String::new()];
    let form = RevokeForm { user, fields, focus: 0, foretold: None };
    let effects = foretell(&form, model.picture.at_ms);
    model.prompt = Some(Prompt::Revoke(Box::new(form)));
    effects
}

pub(super) fn on_key(model: &mut Model, key: &KeyEvent) -> Vec<Effect> {
    let now_ms = model.picture.at_ms;
    let Some(Prompt::Revoke(form)) = &mut model.prompt else { return Vec::new() };
    let fields = RevokeForm::FIELDS.len();
    match key.code {
        KeyCode::Esc => {
            model.prompt = None;
            return Vec::new();
        }
        KeyCode::Tab | KeyCode::Down => form.focus = (form.focus + 1) % fields,
        KeyCode::BackTab | KeyCode::Up => form.focus = (form.focus + fields - 1) % fields,
        KeyCode::Enter => return confirm(model),
        KeyCode::Backspace => {
            if let Some(field) = form.fields.get_mut(form.focus) {
                field.pop();
            }
            return foretell(form, now_ms);
        }
        KeyCode::Char(character) => {
            if let Some(field) = form.fields.get_mut(form.focus) {
                field.push(character);
            }
            return foretell(form, now_ms);
        }
        _ => {}
    }
    Vec::new()
}

/// Does it, if the server has said what exactly this would do.
fn confirm(model: &mut Model) -> Vec<Effect> {
    let now_ms = model.picture.at_ms;
    let Some(Prompt::Revoke(form)) = &model.prompt else { return Vec::new() };
    // Not told yet, or it was refused, which the dialog shows.
    let Some(Ok(_)) = told(form, now_ms) else { return Vec::new() };
    let Ok(act) = request(form, now_ms, false) else { return Vec::new() };
    model.prompt = None;
    vec![Effect::Act("revoked", act)]
}

/// What the server says of exactly what is typed; `None` while it has not said anything of that.
pub(crate) fn told(form: &RevokeForm, now_ms: u64) -> Option<&Result<Receipt, String>> {
    let asked = request(form, now_ms, true).ok()?;
    form.foretold.as_ref().filter(|(request, _)| same(&asked, request)).map(|(_, outcome)| outcome)
}

/// Takes what the server says. Answers may come in another order than the questions.
pub(super) fn foretold(
    form: &mut RevokeForm,
    request: AdminRequest,
    outcome: Result<Receipt, String>,
    now_ms: u64,
) {
    if told(form, now_ms).is_none() {
        form.foretold = Some((request, outcome));
    }
}

/// Whether two requests differ in nothing but the moment at which the time that was typed is over.
fn same(a: &AdminRequest, b: &AdminRequest) -> bool {
    match (a, b) {
        (
            AdminRequest::Revoke { user, groups, reason, until, .. },
            AdminRequest::Revoke { user: user_b, groups: groups_b, reason: reason_b, until: until_b, .. },
        ) => {
            user == user_b && groups == groups_b && reason == reason_b && until.is_some() == until_b.is_some()
        }
        _ => false,
    }
}

fn foretell(form: &RevokeForm, now_ms: u64) -> Vec<Effect> {
    request(form, now_ms, true).map(|request| vec![Effect::Foretell(request)]).unwrap_or_default()
}

/// The request that is typed.
///
/// # Errors
/// What is wrong with it, for the operator.
pub(crate) fn request(form: &RevokeForm, now_ms: u64, dry_run: bool) -> Result<AdminRequest, String> {
    let [group, lasting, reason] = &form.fields;
    let groups =
        Pattern::new(group).map_err(|_| "type a group; * stands for any run of characters".to_owned())?;
    let until = if lasting.trim().is_empty() {
        None
    } else {
        let lasting: Duration = humantime::parse_duration(lasting)
            .map_err(|_| "for: type a time like 90s, 2h or 30d".to_owned())?;
        // The server's clock, which the feed tells.
        let until = UNIX_EPOCH
            .checked_add(Duration::from_millis(now_ms))
            .and_then(|now: SystemTime| now.checked_add(lasting));
        let until = until.and_then(|until| until.duration_since(UNIX_EPOCH).ok());
        Some(until.ok_or("for: that is too long")?.as_secs())
    };
    Ok(AdminRequest::Revoke { user: form.user.clone(), groups, until, reason: reason.clone(), dry_run })
}
