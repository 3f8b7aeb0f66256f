//! The dialog of an action: what is typed, what it would do, and only then the action.
//!
//! Invariants: what the server can preview is done only when the server has said what exactly this would do; nothing
//! is done but by [`CONFIRM`], which no text that is pasted has in it.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use crossterm::event::{KeyCode, KeyEvent};
use fanfare_protocol::admin::{self, Receipt, Who};
use fanfare_protocol::{EventName, GroupName, Pattern, PayloadFormat, UserName};

use super::event::Effect;
use super::selection::{selected_user, selected_who};
use crate::model::{Act, Form, Model, Prompt, View};

/// What confirms an action. A text has letters, and line ends, and at worst control characters; a function key is a
/// sequence that begins with ESC, which terminals take out of what is pasted. Where one does not, it comes in one
/// burst with what is around it, and is not taken for a key (`app.rs`).
pub(crate) const CONFIRM: KeyCode = KeyCode::F(2);

/// Takes pasted text into the field that is typed in: its first line.
pub(super) fn paste(model: &mut Model, text: &str) -> Vec<Effect> {
    let now_ms = model.server_ms();
    let Some(Prompt::Form(form)) = &mut model.prompt else { return Vec::new() };
    if let Some(field) = form.fields.get_mut(form.focus) {
        field.value.push_str(text);
    }
    preview(form, now_ms)
}

/// Opens the dialog for what is selected.
pub(super) fn begin(model: &mut Model, act: Act) -> Vec<Effect> {
    let about_user = matches!(act, Act::Revoke | Act::Ban | Act::SignOut);
    let who = if about_user { selected_user(model).map(Who::User) } else { selected_who(model) };
    let who = match who {
        Some(who) => who,
        // With nothing selected it is about everyone: a message can be.
        None if act == Act::Send => Who::All,
        None => {
            let what = if about_user { "a user or a connection" } else { "a connection, a user or a group" };
            model.say(format!("select {what} first"), true);
            return Vec::new();
        }
    };
    let group = model.path.iter().rev().find_map(|place| match &place.view {
        View::Group(group) => Some(group.as_str().to_owned()),
        _ => None,
    });
    let form = Form::new(act, who, group);
    let effects = preview(&form, model.server_ms());
    model.prompt = Some(Prompt::Form(Box::new(form)));
    effects
}

pub(super) fn on_key(model: &mut Model, key: &KeyEvent) -> Vec<Effect> {
    let now_ms = model.server_ms();
    let Some(Prompt::Form(form)) = &mut model.prompt else { return Vec::new() };
    let fields = form.fields.len().max(1);
    match key.code {
        KeyCode::Esc => {
            model.prompt = None;
            return Vec::new();
        }
        // Also where one is used to it: a text that is pasted ends with one, as a rule.
        KeyCode::Tab | KeyCode::Down | KeyCode::Enter => form.focus = (form.focus + 1) % fields,
        KeyCode::BackTab | KeyCode::Up => form.focus = (form.focus + fields - 1) % fields,
        CONFIRM => return confirm(model),
        KeyCode::Backspace => {
            if let Some(field) = form.fields.get_mut(form.focus) {
                field.value.pop();
            }
            return preview(form, now_ms);
        }
        KeyCode::Char(character) => {
            if let Some(field) = form.fields.get_mut(form.focus) {
                field.value.push(character);
            }
            return preview(form, now_ms);
        }
        _ => {}
    }
    Vec::new()
}

fn confirm(model: &mut Model) -> Vec<Effect> {
    let now_ms = model.server_ms();
    let Some(Prompt::Form(form)) = &model.prompt else { return Vec::new() };
    // Not told yet, or it was refused, which the dialog shows.
    if form.act.can_be_previewed() && !matches!(told(form, now_ms), Some(Ok(_))) {
        return Vec::new();
    }
    let Ok(request) = request(form, now_ms, false) else { return Vec::new() };
    let done = form.act.done();
    model.prompt = None;
    vec![Effect::Act(done, request)]
}

/// What the server says of exactly what is typed; `None` while it has not said anything of that.
pub(crate) fn told(form: &Form, now_ms: u64) -> Option<&Result<Receipt, String>> {
    let asked = request(form, now_ms, true).ok()?;
    form.preview.as_ref().filter(|(request, _)| same(&asked, request)).map(|(_, outcome)| outcome)
}

/// Takes what the server says. Answers may come in another order than the questions.
pub(super) fn previewed(
    form: &mut Form,
    request: admin::Action,
    outcome: Result<Receipt, String>,
    now_ms: u64,
) {
    if told(form, now_ms).is_none() {
        form.preview = Some((request, outcome));
    }
}

/// Whether two requests differ in nothing but the moment at which the time that was typed is over.
fn same(a: &admin::Action, b: &admin::Action) -> bool {
    let timeless = |request: &admin::Action| {
        let mut request = request.clone();
        if let admin::Action::Revoke { until, .. } | admin::Action::Ban { until, .. } = &mut request {
            *until = until.map(|_| 0);
        }
        request
    };
    timeless(a) == timeless(b)
}

fn preview(form: &Form, now_ms: u64) -> Vec<Effect> {
    if !form.act.can_be_previewed() {
        return Vec::new();
    }
    request(form, now_ms, true).map(|request| vec![Effect::Preview(request)]).unwrap_or_default()
}

/// The request that is typed.
///
/// # Errors
/// What is wrong with it, for the operator.
pub(crate) fn request(form: &Form, now_ms: u64, dry_run: bool) -> Result<admin::Action, String> {
    let reason = form.value("reason").to_owned();
    let until = until(form.value("for"), now_ms)?;
    let who = form.who.clone();
    let user = || match &form.who {
        Who::User(user) => Ok::<UserName, String>(user.clone()),
        _ => Err("this is about a user".to_owned()),
    };
    let group = || match form.value("group") {
        // As the command line has it: a pattern would be taken for the name of one group.
        name if name.contains('*') => {
            Err("this is about one group, and no pattern: fanfare admin --literal takes a * as it stands"
                .to_owned())
        }
        name => GroupName::new(name).map_err(|_| "type a group".to_owned()),
    };
    Ok(match form.act {
        Act::Revoke => {
            let groups = Pattern::new(form.value("group"))
                .map_err(|_| "type a group; * stands for any run of characters".to_owned())?;
            admin::Action::Revoke { user: user()?, groups, until, reason, dry_run }
        }
        Act::Ban => admin::Action::Ban { user: user()?, until, reason, dry_run },
        Act::SignOut => admin::Action::SignOut { user: user()?, reason },
        Act::Close => admin::Action::Kick { who, reason },
        Act::Add => admin::Action::Add { who, group: group()?, reason },
        Act::Remove => admin::Action::Remove { who, group: group()?, reason },
        Act::Send => {
            let event = match form.value("event") {
                "" => "ReceiveMessage",
                event => event,
            };
            let event = EventName::new(event).map_err(|error| format!("event: {error}"))?;
            let payload = base64::engine::general_purpose::STANDARD.encode(form.value("text"));
            admin::Action::Send { to: who, event, payload, format: PayloadFormat::Text }
        }
    })
}

/// When a time that is typed is over, by the server's clock, which the feed tells.
fn until(lasting: &str, now_ms: u64) -> Result<Option<u64>, String> {
    if lasting.trim().is_empty() {
        return Ok(None);
    }
    let lasting: Duration =
        humantime::parse_duration(lasting).map_err(|_| "for: type a time like 90s, 2h or 30d".to_owned())?;
    let now = UNIX_EPOCH.checked_add(Duration::from_millis(now_ms));
    let until =
        now.and_then(|now| now.checked_add(lasting)).and_then(|until| until.duration_since(UNIX_EPOCH).ok());
    Ok(Some(until.ok_or("for: that is too long")?.as_secs()))
}
