//! `fanfare serve`: a server from its settings to its end, with what the operating system says in between.
//!
//! In: settings, and the signals SIGHUP (load the certificate again), SIGTERM and SIGINT (drain; the second time, exit at
//! once). Out: one line on stdout when it accepts connections, the log on stderr, and an exit code.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::Code;
use fanfare_server::{Administration, Identity, Server, StartError};
use time::OffsetDateTime;
use tokio::signal::unix::SignalKind;
use tracing_subscriber::EnvFilter;

use crate::arguments::{DEFAULT_ADMIN, DEFAULT_SERVER};
use crate::failure::Failure;
use crate::operators::StateOperators;
use crate::output::may_colour;
use crate::settings::{Certificate, LoadedTokens, Plan, ServeArguments, TokenSettings};
use crate::stopping::{Stopping, on};

/// How often the development certificate is looked at, which is made again three days before its end.
const RENEWAL_CHECK: Duration = Duration::from_secs(3_600);

/// What a process exits with when it is interrupted: 128 and the number of SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Failure> {
    let plan = Plan::new(arguments)?;
    start_log(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the system gives no threads: {error}")))?;
    runtime.block_on(serve(plan))
}

fn start_log(arguments: &ServeArguments) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&arguments.log).map_err(|error| {
        Failure::usage(format!("--log {:?}: {error}; try info or fanfare_server=debug", arguments.log))
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if arguments.json {
        log.json().init();
    } else {
        let colours = std::io::stderr().is_terminal() && may_colour();
        log.with_ansi(colours).with_target(false).init();
    }
    Ok(())
}

async fn serve(plan: Plan) -> Result<(), Failure> {
    let Plan { config, certificate, tokens, skipped_keys, certified, admin } = plan;
    tell_of_skipped(&skipped_keys);
    let has_tokens = config.tokens.is_some() || certified.is_some();
    let state_dir = config.state_dir.clone();
    let dev = config.dev;
    // Before the ready line: a signal that comes right after it must not end the process the rough way.
    let mut stopping = Stopping::new()?;
    let mut hangup = on(SignalKind::hangup())?;
    let identity = load(certificate.clone(), state_dir.clone()).await?;
    let names = admin.as_ref().map(|(_, names)| names.clone());
    let administration = match admin {
        None => None,
        Some((listen, names)) => Some(administration(listen, names, &state_dir, dev).await?),
    };
    let server = Server::start(config, identity, administration).await.map_err(|error| match error {
        StartError::Config(error) => Failure::usage(error.to_string()),
        error => Failure::failed(error.to_string()),
    })?;

    let mut out = std::io::stdout();
    let admin = server.admin_address().map_or(String::new(), |admin| format!(" admin={admin}"));
    let http = server.http_address().map_or(String::new(), |http| format!(" http={http}"));
    writeln!(out, "ready quic={}{admin}{http}", server.address())?;
    out.flush()?;
    if dev {
        let beside = if state_dir.as_os_str() == ".fanfare" {
            String::new()
        } else {
            format!(" --state-dir {}", state_dir.display())
        };
        let (server_admin, page) = (server.admin_address(), server.http_address());
        tracing::info!("development: anyone on this machine may be any user");
        // The address is left out where every client command takes it by itself.
        let server = match server.address() {
            address if address.to_string() == DEFAULT_SERVER => String::new(),
            address => format!(" --server {address}"),
        };
        tracing::info!("try: fanfare listen{server}{beside} --user alice --join lobby");
        if let Some(admin) = server_admin {
            let admin =
                if admin.to_string() == DEFAULT_ADMIN { String::new() } else { format!(" --admin {admin}") };
            tracing::info!("look around: fanfare admin status{admin}{beside}");
        }
        if let Some(http) = page {
            tracing::info!("in a browser: http://{http}/");
        }
    } else if !has_tokens {
        tracing::warn!(
            "no token key (--token-key FILE, --token-secret FILE or --token-keys-url URL) and no authority for clients (--client-ca FILE) is given, so without --dev every client is refused (codes {} and {})",
            Code::TokensNotConfigured.number(),
            Code::DevUserRefused.number()
        );
    }

    let mut renewal = tokio::time::interval(RENEWAL_CHECK);
    renewal.tick().await;
    loop {
        tokio::select! {
            () = stopping.signal() => break,
            _ = hangup.recv() => {
                if let Some(certified) = &certified {
                    let certified = Arc::clone(certified);
                    let reloaded = tokio::task::spawn_blocking(move || certified.reload()).await;
                    match reloaded.unwrap_or_else(|error| Err(Failure::failed(error.to_string()))) {
                        Ok(()) => tracing::info!("client grants loaded; they count for connections from now on"),
                        Err(error) => tracing::error!("the client grants stay as they were: {error}"),
                    }
                }
                reload(&server, &certificate, &state_dir).await;
                reload_admin(&server, names.clone(), &state_dir).await;
                reload_tokens(&server, tokens.clone()).await;
            }
            _ = renewal.tick() => {
                if matches!(certificate, Certificate::Development(_)) {
                    reload(&server, &certificate, &state_dir).await;
                }
                reload_admin(&server, names.clone(), &state_dir).await;
            }
        }
    }
    stop(server, stopping).await
}

/// Drains; a second signal exits at once.
async fn stop(server: Server, mut stopping: Stopping) -> Result<(), Failure> {
    let metrics = server.metrics();
    tracing::info!(
        connections = server.population().connections,
        sends = metrics.sends, deliveries = metrics.deliveries, dropped = metrics.displaced,
        refused = ?metrics.refused, closed = ?metrics.closed,
        "stopping; once more to exit at once"
    );
    tokio::select! {
        biased;
        () = stopping.signal() => {
            tracing::warn!("exiting at once; what was queued is lost");
            // Destructors would wait for tasks that we were told not to wait for.
            std::process::exit(INTERRUPTED);
        }
        drained = server.drain() => {
            if drained.in_time {
                tracing::info!(connections = drained.connections, "stopped");
            } else {
                tracing::warn!(
                    connections = drained.connections,
                    "stopped; some clients had not read everything before the deadline (--drain-deadline)"
                );
            }
            Ok(())
        }
    }
}

async fn reload(server: &Server, certificate: &Certificate, state_dir: &Path) {
    let loaded = load(certificate.clone(), state_dir.to_owned()).await;
    let replaced = loaded.and_then(|identity| {
        server.replace_identity(identity).map_err(|error| Failure::failed(error.to_string()))
    });
    match replaced {
        Ok(()) => tracing::info!("certificate loaded; it is used for connections from now on"),
        Err(error) => tracing::error!("the certificate was not replaced, the old one stays in use: {error}"),
    }
}

/// The endpoint for operators: its certificate is always one of the state directory's authority, which issues theirs, too.
async fn administration(
    listen: SocketAddr,
    names: Vec<String>,
    state_dir: &Path,
    dev: bool,
) -> Result<Administration, Failure> {
    let operators = Arc::new(StateOperators::new(state_dir));
    let identity = admin_identity(names, state_dir.to_owned()).await?;
    if dev {
        let state_dir = state_dir.to_owned();
        let made = tokio::task::spawn_blocking(move || fanfare_certs::development_operator(&state_dir)).await;
        made.map_err(|error| Failure::failed(format!("making the developer's certificate: {error}")))??;
    }
    Ok(Administration { listen, identity, operators })
}

async fn admin_identity(names: Vec<String>, state_dir: PathBuf) -> Result<Identity, Failure> {
    let leaf = tokio::task::spawn_blocking(move || fanfare_certs::admin_leaf(&state_dir, &names)).await;
    let leaf =
        leaf.map_err(|error| Failure::failed(format!("loading the operators' certificate: {error}")))??;
    Ok(Identity { chain: leaf.identity.chain, key: leaf.identity.key })
}

/// `names` is `None` where there is no endpoint for operators.
async fn reload_admin(server: &Server, names: Option<Vec<String>>, state_dir: &Path) {
    let Some(names) = names else { return };
    let replaced = admin_identity(names, state_dir.to_owned()).await.and_then(|identity| {
        server.replace_admin_identity(identity).map_err(|error| Failure::failed(error.to_string()))
    });
    if let Err(error) = replaced {
        tracing::error!("the certificate for operators was not replaced, the old one stays in use: {error}");
    }
}

/// Reads the token keys again. Nobody is dropped: who is in goes on as long as the old token lasts.
async fn reload_tokens(server: &Server, tokens: TokenSettings) {
    let loaded = tokio::task::spawn_blocking(move || tokens.load()).await;
    match loaded.unwrap_or_else(|error| Err(Failure::failed(error.to_string()))) {
        Ok(LoadedTokens { rules: None, .. }) => {}
        Ok(LoadedTokens { rules: Some(rules), skipped }) => {
            tell_of_skipped(&skipped);
            tracing::info!(keys = rules.keys.len(), "token keys loaded; they count for tokens from now on");
            server.replace_token_rules(rules);
        }
        Err(error) => tracing::error!("the token keys were not replaced, the old ones stay in use: {error}"),
    }
}

/// Keys of a set that cannot be used are no reason to do without the others.
fn tell_of_skipped(keys: &[String]) {
    for key in keys {
        tracing::warn!("a token key was passed over: {key}");
    }
}

/// Loads the server's certificate, or has it made, off the runtime's threads.
async fn load(certificate: Certificate, state_dir: PathBuf) -> Result<Identity, Failure> {
    let load = move || -> Result<fanfare_certs::Identity, Failure> {
        match certificate {
            Certificate::Files { cert, key } => {
                Ok(fanfare_certs::load_identity(&cert, &key, OffsetDateTime::now_utc())?)
            }
            Certificate::Development(names) => {
                let leaf = fanfare_certs::server_leaf(&state_dir, &names)?;
                if let Some(reason) = &leaf.made {
                    let until = leaf.identity.description.not_after.date();
                    tracing::info!("made a development certificate, valid until {until} ({reason})");
                }
                Ok(leaf.identity)
            }
        }
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    let identity = loaded.map_err(|error| Failure::failed(format!("loading the certificate: {error}")))??;
    Ok(Identity { chain: identity.chain, key: identity.key })
}
