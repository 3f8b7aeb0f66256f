//! `fanfare serve`: a server from its settings to its end, with what the operating system says in between.
//!
//! In: settings, and the signals SIGHUP (load the certificate again), SIGTERM and SIGINT (drain; the second time, exit
//! at once). Out: one line on stdout when it accepts connections, the log on stderr, and an exit code. Invariants: a
//! start that is refused changes nothing on the disk; a server that runs does not end, or stop serving, for want of
//! somebody who reads what it says.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanfare_certs::{Leaf, Prepared, Wanted};
use fanfare_protocol::Code;
use fanfare_server::{Config, Files, Identity, Operators, Server, Start};
use time::OffsetDateTime;
use tokio::signal::unix::SignalKind;
use tracing_subscriber::EnvFilter;

use crate::defaults::{DEFAULT_ADMIN, DEFAULT_SERVER, DEFAULT_STATE};
use crate::failure::Failure;
use crate::log::Log;
use crate::operators::StateOperators;
use crate::output::may_colour;
use crate::settings::{Certificate, LoadedTokens, Plan, ServeArguments, TokenSettings, load_webhooks};
use crate::stopping::{Stopping, on};

/// How often the development certificate is looked at, which is made again three days before its end.
const RENEWAL_CHECK: Duration = Duration::from_secs(3_600);

/// What a process exits with when it is interrupted: 128 and the number of SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Failure> {
    let plan = Plan::new(arguments)?;
    let log = start_log(arguments)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = plan.workers {
        runtime.worker_threads(workers.get());
    }
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the system gives no threads: {error}")))?;
    runtime.block_on(serve(plan, &log))
}

fn start_log(arguments: &ServeArguments) -> Result<Log, Failure> {
    let filter = EnvFilter::try_new(&arguments.log).map_err(|error| {
        Failure::usage(format!("--log {:?}: {error}; try info or fanfare_server=debug", arguments.log))
    })?;
    let stderr = io::stderr();
    let colours = stderr.is_terminal() && may_colour();
    // Past the lock of the standard library's, which a reader that does not read would keep from whoever else has to
    // say something.
    let log = own(&stderr)
        .and_then(|stderr| Log::start(stderr, arguments.json))
        .map_err(|error| Failure::failed(format!("cannot write a log: {error}")))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.lines());
    // It would tell of them on stderr, and panic where that cannot be written.
    let subscriber = subscriber.log_internal_errors(false);
    if arguments.json {
        subscriber.json().init();
    } else {
        subscriber.with_ansi(colours).with_target(false).init();
    }
    Ok(log)
}

/// The same file once more, without a buffer and without a lock.
fn own(stream: &impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// Says on stdout where it listens; on a thread of its own, because perhaps nobody reads.
fn announce(line: String) {
    let say = move || {
        if let Err(error) = own(&io::stdout()).and_then(|mut out| out.write_all(line.as_bytes())) {
            tracing::warn!(%error, "the ready line could not be written to standard output: {}", line.trim_end());
        }
    };
    if let Err(error) = std::thread::Builder::new().name("ready".to_owned()).spawn(say) {
        tracing::warn!(%error, "the ready line could not be written to standard output");
    }
}

/// The certificates that are written when nothing but the disk can fail any more.
struct Certificates(Prepared);

impl Files for Certificates {
    fn write(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.write()?)
    }

    fn keep(self: Box<Self>) {
        self.0.keep();
    }
}

async fn serve(plan: Plan, log: &Log) -> Result<(), Failure> {
    let Plan { config, state_dir, certificate, web_certificate, tokens, skipped_keys, .. } = plan;
    let Plan { webhooks, certified, admin, .. } = plan;
    tell_of_skipped(&skipped_keys);
    let has_tokens = config.tokens.is_some() || certified.is_some();
    let dev = config.dev;
    // Before the ready line: a signal that comes right after it must not end the process the rough way.
    let mut stopping = Stopping::new()?;
    let mut hangup = on(SignalKind::hangup())?;
    // A file that may not grow any more (`ulimit -f`) is an error like a full disk, where nobody ends us for it.
    drop(on(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
    let names = admin.as_ref().map(|(_, names)| names.clone());
    let server = start(config, &state_dir, &certificate, web_certificate.clone(), admin).await?;

    let admin = server.admin_address().map_or(String::new(), |admin| format!(" admin={admin}"));
    let http = server.http_address().map_or(String::new(), |http| format!(" http={http}"));
    let websocket = server.websocket_url().map_or(String::new(), |url| format!(" websocket={url}"));
    let signalr = server.signalr_url().map_or(String::new(), |url| format!(" signalr={url}"));
    let api = server.api_url().map_or(String::new(), |url| format!(" api={url}"));
    announce(format!("ready quic={}{admin}{http}{websocket}{signalr}{api}\n", server.address()));
    if dev {
        let beside = if state_dir.as_os_str() == DEFAULT_STATE {
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
                reload_web(&server, web_certificate.clone(), &state_dir).await;
                reload_admin(&server, names.clone(), &state_dir).await;
                reload_tokens(&server, tokens.clone()).await;
                reload_webhooks(&server, webhooks.clone()).await;
            }
            _ = renewal.tick() => {
                if matches!(certificate, Certificate::Development(_)) {
                    reload(&server, &certificate, &state_dir).await;
                }
                reload_admin(&server, names.clone(), &state_dir).await;
            }
        }
    }
    stop(server, stopping, log).await
}

/// Starts the server: looks at everything first, and writes then. The endpoint for operators always has a certificate
/// of the state directory's authority, which issues theirs, too.
async fn start(
    config: Config,
    state_dir: &Path,
    certificate: &Certificate,
    web_certificate: Option<Certificate>,
    admin: Option<(SocketAddr, Vec<String>)>,
) -> Result<Server, Failure> {
    let dev = config.dev;
    let mut start = Start::look(config, admin.as_ref().map(|(listen, _)| *listen)).await?;
    if let Some(certificate) = web_certificate {
        start = start.web_identity(load(certificate, state_dir.to_owned()).await?);
    }
    let (own, names) = match certificate {
        Certificate::Files { .. } => (Some(load(certificate.clone(), state_dir.to_owned()).await?), None),
        Certificate::Development(names) => (None, Some(names.clone())),
    };
    let wanted =
        Wanted { server: names, developer: dev && admin.is_some(), admin: admin.map(|(_, names)| names) };
    let directory = state_dir.to_owned();
    let prepared = tokio::task::spawn_blocking(move || fanfare_certs::prepare(&directory, &wanted)).await;
    let mut prepared =
        prepared.map_err(|error| Failure::failed(format!("preparing the certificates: {error}")))??;
    let made = prepared.server.as_ref().and_then(made);
    let identity = own.or_else(|| prepared.server.take().map(identity_of));
    let identity = identity.ok_or_else(|| Failure::failed("there is no certificate for clients"))?;
    let admin = prepared.admin.take().map(|leaf| {
        let operators: Arc<dyn Operators> = Arc::new(StateOperators::new(state_dir));
        (identity_of(leaf), operators)
    });
    let server = start.serve(identity, admin, Box::new(Certificates(prepared))).await?;
    if let Some(made) = made {
        tracing::info!("{made}");
    }
    Ok(server)
}

/// What the log says of a certificate that was made just now.
fn made(leaf: &Leaf) -> Option<String> {
    let until = leaf.identity.description.not_after.date();
    leaf.made.as_ref().map(|reason| format!("made a development certificate, valid until {until} ({reason})"))
}

fn identity_of(leaf: Leaf) -> Identity {
    Identity { chain: leaf.identity.chain, key: leaf.identity.key }
}

/// Drains; a second signal exits at once.
async fn stop(server: Server, mut stopping: Stopping, log: &Log) -> Result<(), Failure> {
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
            log.flush();
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

/// `certificate` is `None` where WebSockets show the one that QUIC does, or there are none.
async fn reload_web(server: &Server, certificate: Option<Certificate>, state_dir: &Path) {
    let Some(certificate) = certificate else { return };
    let replaced = load(certificate, state_dir.to_owned()).await.and_then(|identity| {
        server.replace_web_identity(identity).map_err(|error| Failure::failed(error.to_string()))
    });
    match replaced {
        Ok(()) => tracing::info!("certificate for WebSockets loaded; it is used for connections from now on"),
        Err(error) => {
            tracing::error!(
                "the certificate for WebSockets was not replaced, the old one stays in use: {error}"
            );
        }
    }
}

async fn admin_identity(names: Vec<String>, state_dir: PathBuf) -> Result<Identity, Failure> {
    let leaf = tokio::task::spawn_blocking(move || fanfare_certs::admin_leaf(&state_dir, &names)).await;
    let leaf =
        leaf.map_err(|error| Failure::failed(format!("loading the operators' certificate: {error}")))??;
    Ok(identity_of(leaf))
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
        Ok(LoadedTokens { rules: Some(rules), minting, key_sets, skipped }) => {
            tell_of_skipped(&skipped);
            tracing::info!(keys = rules.keys.len(), "token keys loaded; they count for tokens from now on");
            server.replace_token_rules(rules, &key_sets);
            server.replace_minting(minting);
        }
        Err(error) => tracing::error!("the token keys were not replaced, the old ones stay in use: {error}"),
    }
}

/// Reads the webhooks again, and with them their secrets.
async fn reload_webhooks(server: &Server, file: Option<PathBuf>) {
    let Some(file) = file else { return };
    let loaded = tokio::task::spawn_blocking(move || load_webhooks(&file)).await;
    let loaded = loaded.unwrap_or_else(|error| Err(Failure::failed(error.to_string())));
    let replaced = loaded.and_then(|webhooks| Ok(server.replace_webhooks(&webhooks)?));
    match replaced {
        Ok(()) => tracing::info!("webhooks loaded; their secrets and bounds count from now on"),
        Err(error) => tracing::error!("the webhooks stay as they were: {error}"),
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
                if let Some(made) = made(&leaf) {
                    tracing::info!("{made}");
                }
                Ok(leaf.identity)
            }
        }
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    let identity = loaded.map_err(|error| Failure::failed(format!("loading the certificate: {error}")))??;
    Ok(Identity { chain: identity.chain, key: identity.key })
}
