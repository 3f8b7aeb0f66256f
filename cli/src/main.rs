//! `fanfare`, the one binary: parse arguments, call a library, print.
//!
//! In: a command line, the environment, perhaps a file of settings. Out: text on stdout, or JSON for programs;
//! problems, one line each, on stderr. Exit codes: 0 done, 1 it failed, 2 it was asked for wrongly (clap's, and ours
//! for settings).

mod admin;
mod advice;
mod apikey;
mod arguments;
mod certified;
mod certs;
mod chat;
mod connection;
mod defaults;
mod demo;
mod environment;
mod failure;
mod listen;
mod log;
mod memory;
mod operators;
mod output;
mod preview;
mod printing;
mod proxy;
mod reference;
mod send;
mod serve;
mod settings;
mod stopping;
mod token;
mod token_argument;
mod top;
mod watching;
mod webhook;

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use arguments::{Arguments, Command};
use failure::Failure;

/// Many connections, each with a few dozen pieces of memory, all of them touched again and again: with huge pages the
/// processor finds them without looking up where each small page is (`.cargo/config.toml` asks for them;
/// docs/benchmarks has what it gave).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let outcome = match arguments() {
        Ok(arguments) => run(arguments).map(|()| ExitCode::SUCCESS),
        Err(error) => explain(&error),
    };
    // A line without an end is still in the buffer.
    match outcome.and_then(|code| Ok(printing::flush().map(|()| code)?)) {
        Ok(code) => code,
        Err(failure) => {
            // A reader that has gone (`fanfare listen | head -1`) is told nothing; it knows.
            if !failure.is_broken_pipe() {
                // Where even this cannot be written, the exit code says it.
                let _ = writeln!(std::io::stderr(), "fanfare: {failure}");
            }
            failure.exit_code()
        }
    }
}

/// The command line.
fn arguments() -> Result<Arguments, clap::Error> {
    let mut command = environment::without_empty(Arguments::command(), |name| std::env::var_os(name));
    let parsed = command
        .try_get_matches_from_mut(std::env::args_os())
        .and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| error.format(&mut command))
}

/// Help, the version, or what is wrong with the command line.
fn explain(error: &clap::Error) -> Result<ExitCode, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Ok(error.print().map(|()| ExitCode::SUCCESS)?)
        }
        // Where nothing at all was asked for: help on stderr.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Ok(ExitCode::from(2))
        }
        _ => Err(Failure::from(error)),
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Serve(serve) => serve::run(&serve),
        Command::Config(config) => settings::print(&config),
        Command::Listen(listen) => on_runtime(listen::run(listen)),
        Command::Send(send) => on_runtime(send::run(send)),
        Command::Chat(chat) => on_runtime(chat::run(chat)),
        Command::Token(token) => token::run(&token),
        Command::Demo { users } => on_many_threads(demo::run(users)),
        Command::Top(top) => on_runtime(top::run(top)),
        Command::Admin(admin) => on_runtime(admin::run(admin)),
        Command::Apikey(apikey) => on_runtime(apikey::run(apikey)),
        Command::Webhook(webhook) => webhook::run(webhook),
        Command::Certs(certs) => certs::run(certs),
        Command::Completions { shell } => reference::completions(shell),
        Command::Man { directory } => reference::man(&directory),
    }
}

/// Runs a server and a crowd of clients in one process.
fn on_many_threads(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the system gives no threads: {error}")))?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

/// Runs a client command. One thread: a client waits most of the time.
fn on_runtime(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the system gives no event loop: {error}")))?;
    let outcome = runtime.block_on(command);
    // A thread that is still reading stdin must not hold up the exit.
    runtime.shutdown_background();
    outcome
}
