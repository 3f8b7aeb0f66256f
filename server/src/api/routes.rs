//! The HTTP API's paths, and the document that describes them (OpenAPI 3.1), made of the same lines.
//!
//! In: requests that were let in (`entrance.rs`). Out: answers in JSON, or a problem. Invariant: a path and its line in
//! the document are one, so that the document has all of them and no other.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use fanfare_protocol::{Code, ConnectionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, Info, License, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{
    AddBody, AddLastingBody, BanBody, CloseBody, MintBody, RemoveBody, RemoveLastingBody, RestoreBody,
    RestoreTokenBody, RevokeBody, RevokeTokenBody, SendBody, UserBody,
};
use super::command::{self, Api, pace_batch};
use super::entrance::{let_in, once};
use super::operation::{MOST_OPERATIONS, Operation};
use super::outcome::{Done, Minted, Outcome, Sent};
use super::page::PageQuery;
use super::problem::{Problem, ProblemBody};
use super::reading::{AuditQuery, ExplainQuery};
use super::request::{Asked, Json, at_most};
use super::row::{
    Bans, ConnectionDetail, Connections, Explained, Group, Groups, LastingMemberships, Presence, Records,
    Stats, User, Users,
};
use crate::access::ApiKey;

/// What all paths begin with.
pub(crate) const PATH: &str = "/api/v1";

/// The API's paths.
pub(crate) fn routes(api: &Arc<Api>) -> Router {
    let (router, document) = described();
    let document: Bytes = serde_json::to_vec(&document).unwrap_or_default().into();
    let described = move || {
        let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")];
        async move { (headers, document).into_response() }
    };
    let routes = router
        .fallback(|| async { Problem::new(Code::PathUnknown, "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Code::InvalidRequest, "this path is asked with another method")
                .with_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(from_fn_with_state(Arc::clone(api), once))
        .layer(from_fn_with_state(Arc::clone(api), let_in))
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(api));
    Router::new().route(&format!("{PATH}/openapi.json"), get(described)).nest(PATH, routes)
}

/// The paths behind a key, and what describes all of them.
fn described() -> (Router<Arc<Api>>, OpenApi) {
    let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let info = Info::builder()
        .title("Fanfare")
        .version("1")
        .description(Some(
            "Sends messages to users and groups, says who is here, and lets in and keeps out. Operators make keys. \
             Problems are RFC 9457's.",
        ))
        .license(Some(License::builder().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build()))
        .build();
    let base = OpenApiBuilder::new()
        .info(info)
        .components(Some(ComponentsBuilder::new().security_scheme("key", key).build()))
        .build();
    let (router, mut document) = OpenApiRouter::<Arc<Api>>::with_openapi(base)
        .routes(routes!(send))
        .routes(routes!(batch))
        .routes(routes!(add))
        .routes(routes!(remove))
        .routes(routes!(add_lasting))
        .routes(routes!(remove_lasting))
        .routes(routes!(close))
        .routes(routes!(ban))
        .routes(routes!(unban))
        .routes(routes!(revoke))
        .routes(routes!(restore))
        .routes(routes!(sign_out))
        .routes(routes!(lift_sign_out))
        .routes(routes!(revoke_token))
        .routes(routes!(restore_token))
        .routes(routes!(mint_token))
        .routes(routes!(groups))
        .routes(routes!(group))
        .routes(routes!(members))
        .routes(routes!(present))
        .routes(routes!(presence))
        .routes(routes!(users))
        .routes(routes!(user))
        .routes(routes!(user_connections))
        .routes(routes!(connections))
        .routes(routes!(connection))
        .routes(routes!(lasting))
        .routes(routes!(bans))
        .routes(routes!(explain))
        .routes(routes!(audit))
        .routes(routes!(stats))
        .split_for_parts();
    document.servers = Some(vec![utoipa::openapi::Server::new(PATH)]);
    (router, document)
}

/// An answer, with a line's end for who reads it in a terminal.
fn ok(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
        }
        Err(_) => Problem::new(Code::Internal, "the answer could not be written").into_response(),
    }
}

impl Api {
    async fn answer(&self, key: &Arc<ApiKey>, operation: Operation) -> Result<Response, Problem> {
        self.carry_out(key, operation).await.map(|outcome| ok(&outcome))
    }

    /// Looks something up, where messages do not wait for it.
    async fn look<T: Serialize + Send + 'static>(
        self: Arc<Self>,
        key: Arc<ApiKey>,
        look: impl FnOnce(&Self, &ApiKey) -> Result<T, Problem> + Send + 'static,
    ) -> Result<Response, Problem> {
        self.still_counts(&key)?;
        // What is of all nodes waits for them on its thread.
        let _turn = self.turn().await;
        let api = Arc::clone(&self);
        self.blocking(move || look(&api, &key).map(|found| ok(&found))).await
    }
}

type Answered = Result<Response, Problem>;

/// Operations, each with a path of its own.
macro_rules! operations {
    ($($(#[doc = $doc:literal])* $name:ident $path:tt $operation:ident($body:ident) $answer:ident;)*) => { $(
        $(#[doc = $doc])*
        #[utoipa::path(
            post,
            path = $path,
            tag = "operations",
            request_body = $body,
            params(("Idempotency-Key" = Option<String>, Header, description =
                "Carries the request out once, however often it comes; the answer is kept for an hour.")),
            responses(
                (status = 200, description = "What was done.", body = $answer),
                (status = "default", description = "Why it was not done.", body = ProblemBody,
                    content_type = "application/problem+json"),
            ),
            security(("key" = [])),
        )]
        async fn $name(
            State(api): State<Arc<Api>>,
            Extension(key): Extension<Arc<ApiKey>>,
            Json(body): Json<$body>,
        ) -> Answered {
            api.answer(&key, Operation::$operation(body)).await
        }
    )* };
}

operations! {
    /// Sends a message to users, groups, connections, or everyone.
    send "/send" Send(SendBody) Sent;
    /// Adds a user's connections, or one connection, to a group. They are told so. A ban holds.
    add "/add" Add(AddBody) Done;
    /// Removes a user's connections, or one connection, from a group. They may join again: to keep them out, revoke.
    remove "/remove" Remove(RemoveBody) Done;
    /// Makes a user a member of a group whenever it is here, until its time is over, and says what it may do there.
    add_lasting "/add-lasting" AddLasting(AddLastingBody) Done;
    /// Ends a lasting membership, and with it what it was the reason for.
    remove_lasting "/remove-lasting" RemoveLasting(RemoveLastingBody) Done;
    /// Closes connections, for a time or for good. Nobody is forbidden to come back.
    close "/close" Close(CloseBody) Done;
    /// Closes a user's connections, and lets in no more.
    ban "/ban" Ban(BanBody) Done;
    /// Lifts a ban.
    unban "/unban" Unban(UserBody) Done;
    /// Forbids a user groups, and removes it from there. It stays out.
    revoke "/revoke" Revoke(RevokeBody) Done;
    /// Lifts a revocation.
    restore "/restore" Restore(RestoreBody) Done;
    /// Refuses every token of a user that was issued up to now, and closes its connections.
    sign_out "/sign-out" SignOut(UserBody) Done;
    /// Lifts a sign-out.
    lift_sign_out "/lift-sign-out" LiftSignOut(UserBody) Done;
    /// Refuses a token, and closes the connections made with it.
    revoke_token "/revoke-token" RevokeToken(RevokeTokenBody) Done;
    /// Takes a token again that was revoked.
    restore_token "/restore-token" RestoreToken(RestoreTokenBody) Done;
    /// Makes a token for a user.
    mint_token "/mint-token" MintToken(MintBody) Minted;
}

/// Operations that are carried out in their order, each by itself: one that is refused keeps no other from it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Batch {
    /// 1 to 1,000 of them.
    #[serde(deserialize_with = "at_most::<_, _, MOST_OPERATIONS>")]
    #[schema(min_items = 1, max_items = 1_000)]
    operations: Vec<Operation>,
}

/// What became of each operation, in their order.
#[derive(Debug, Serialize, ToSchema)]
struct BatchAnswer {
    results: Vec<OperationAnswer>,
}

/// What became of one.
#[derive(Debug, Serialize, ToSchema)]
struct OperationAnswer {
    /// What the operation's own path would have answered.
    status: u16,
    /// What it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<Outcome>,
    /// Why it did nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemBody>,
}

/// Carries out many operations in one request, in order.
#[utoipa::path(
    post,
    path = "/batch",
    tag = "operations",
    request_body = Batch,
    params(("Idempotency-Key" = Option<String>, Header, description =
        "Carries the request out once, however often it comes; the answer is kept for an hour.")),
    responses(
        (status = 200, description = "What became of each.", body = BatchAnswer),
        (status = "default", description = "Why none was carried out.", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
async fn batch(
    State(api): State<Arc<Api>>,
    Extension(key): Extension<Arc<ApiKey>>,
    Json(Batch { operations }): Json<Batch>,
) -> Answered {
    if operations.is_empty() {
        return Err(Problem::invalid("a batch has 1 to 1000 operations"));
    }
    pace_batch(&key, operations.len())?;
    let mut results = Vec::with_capacity(operations.len());
    for operation in operations {
        results.push(match api.carry_out(&key, operation).await {
            Ok(outcome) => OperationAnswer { status: 200, done: Some(outcome), problem: None },
            Err(problem) => OperationAnswer {
                status: problem.status().as_u16(),
                done: None,
                problem: Some(problem.body()),
            },
        });
        // Others have their turn.
        tokio::task::consume_budget().await;
    }
    Ok(ok(&BatchAnswer { results }))
}

/// Questions, each with a path of its own.
macro_rules! questions {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident $path:tt ($($label:tt $place:ident)?) ($($query:ident)?) $answer:ident: $look:expr;
    )*) => { $(
        $(#[doc = $doc])*
        #[utoipa::path(
            get,
            path = $path,
            tag = "questions",
            params($(($label = String, Path, description = "A name, or an id."),)? $($query)?),
            responses(
                (status = 200, description = "What there is.", body = $answer),
                (status = "default", description = "Why it is not told.", body = ProblemBody,
                    content_type = "application/problem+json"),
            ),
            security(("key" = [])),
        )]
        async fn $name(
            State(api): State<Arc<Api>>,
            Extension(key): Extension<Arc<ApiKey>>,
            $(Asked(Path($place)): Asked<Path<String>>,)?
            $(Asked(Query(query)): Asked<Query<$query>>,)?
        ) -> Answered {
            let look = $look;
            api.look(key, move |api, key| look(api, key $(, $place)? $(, with::<$query>(query))?)).await
        }
    )* };
}

/// The query, whose type is said.
fn with<T>(query: T) -> T {
    query
}

questions! {
    /// Groups that have members, by their names.
    groups "/groups" () (PageQuery) Groups: |api: &Api, key: &ApiKey, page| api.groups(key, &page);
    /// One group, if it has members.
    group "/groups/{group}" ("group" group) () Group:
        |api: &Api, key: &ApiKey, name: String| api.group(key, command::group(&name)?);
    /// The connections in a group; `prefix` is of their users' names.
    members "/groups/{group}/members" ("group" group) (PageQuery) Connections:
        |api: &Api, key: &ApiKey, name: String, page| api.members(key, &command::group(&name)?, &page);
    /// The users in a group, each with the number of its connections there; `prefix` is of their names.
    present "/groups/{group}/users" ("group" group) (PageQuery) Users:
        |api: &Api, key: &ApiKey, name: String, page| api.present(key, &command::group(&name)?, &page);
    /// Who is in a group, user by user, with what the application says of them to those who may watch it.
    presence "/groups/{group}/presence" ("group" group) (PageQuery) Presence:
        |api: &Api, key: &ApiKey, name: String, page| api.presence(key, &command::group(&name)?, &page);
    /// Users who are here, by their names.
    users "/users" () (PageQuery) Users: |api: &Api, key: &ApiKey, page| api.users(key, &page);
    /// One user, if it is here.
    user "/users/{user}" ("user" user) () User:
        |api: &Api, key: &ApiKey, name: String| api.user(key, command::user(&name)?);
    /// A user's connections.
    user_connections "/users/{user}/connections" ("user" user) (PageQuery) Connections:
        |api: &Api, key: &ApiKey, name: String, page| api.user_connections(key, &command::user(&name)?, &page);
    /// Connections, by their ids; `prefix` is of their users' names.
    connections "/connections" () (PageQuery) Connections:
        |api: &Api, key: &ApiKey, page| api.connections(key, &page);
    /// One connection, with its groups.
    connection "/connections/{connection}" ("connection" connection) () ConnectionDetail:
        |api: &Api, key: &ApiKey, id: String| match id.parse::<ConnectionId>() {
            Ok(id) => api.connection(key, &id),
            Err(error) => Err(Problem::invalid(error.to_string())),
        };
    /// Lasting memberships, by users and groups; `prefix` is of the users' names.
    lasting "/lasting" () (PageQuery) LastingMemberships:
        |api: &Api, key: &ApiKey, page| api.lasting(key, &page);
    /// Bans, revocations, sign-outs and refused tokens in force; `prefix` is of the users' names.
    bans "/bans" () (PageQuery) Bans: |api: &Api, key: &ApiKey, page| api.bans(key, &page);
    /// Whether a user may join a group, and why.
    explain "/explain" () (ExplainQuery) Explained: |api: &Api, key: &ApiKey, query| api.explain(key, &query);
    /// What operators and back ends did, in order.
    audit "/audit" () (AuditQuery) Records: |api: &Api, key: &ApiKey, query| api.records(key, &query);
    /// How the server is.
    stats "/stats" () () Stats: |api: &Api, key: &ApiKey| api.stats(key);
}
