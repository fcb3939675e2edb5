//! `keyward`: the one binary. Typed arguments, one file a command, data on standard output, everything
//! else on standard error, documented exit codes.

mod args;
mod client;
mod commands;
mod embedding;
mod exchange;
mod failure;
mod input;
mod joined;
mod operator;
mod output;
mod packager_dir;
mod playback;
mod protected;
mod report;
mod transport;
mod unfinished;
mod webm;

use std::process::ExitCode;

use clap::Parser;
use keyward_client_native::process;
use mimalloc::MiMalloc;

use args::{AdminCommand, Cli, Command};
use failure::Failure;
use report::Report;

/// A license makes some hundred small allocations, on two threads: a tenth of the server's time with the system's
/// allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let report = Report {
        json: cli.json,
        quiet: cli.quiet,
    };
    if !matches!(
        cli.command,
        Command::Serve(_) | Command::Proxy(_) | Command::Replay(_)
    ) {
        warnings_to_stderr();
    }
    if holds_keys(&cli.command) {
        // Where the system refuses, `keyward doctor` says so.
        process::shield().ok();
    }
    match run(cli.command, report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report.failure(&failure);
            failure.exit_code()
        }
    }
}

fn run(command: Command, report: Report) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => commands::demo::run(args, report),
        Command::Init(args) => commands::init::run(args, report),
        Command::Serve(args) => commands::serve::run(&args, report),
        Command::Replay(args) => commands::replay::run(&args, report),
        Command::Proxy(args) => commands::proxy::run(&args, report),
        Command::Admin(command) => commands::admin::run(command, report),
        Command::Package(args) => commands::package::run(&args, report),
        Command::Segment(args) => commands::segment::run(&args, report),
        Command::Packager(command) => commands::packager::run(command, report),
        Command::Enrol(args) => commands::enrol::run(args, report),
        Command::Check(args) => commands::check::run(args, report),
        Command::Explain(args) => commands::explain::run(args, report),
        Command::Acquire(args) => commands::acquire::run(args, report),
        Command::Play(args) => commands::play::run(&args, report),
        Command::KeyExchange(command) => commands::key_exchange::run(command, report),
        Command::Licenses(command) => commands::licenses::run(command, report),
        Command::Request(args) => commands::carry::request(args, report),
        Command::Renew(args) => commands::carry::renew(args, report),
        Command::Answer(args) => commands::carry::answer(&args, report),
        Command::Install(args) => commands::carry::install(args, report),
        Command::Acknowledge(args) => commands::acknowledge::run(args, report),
        Command::Doctor(args) => commands::doctor::run(args, report),
        Command::Completions(args) => commands::shell::completions(&args, report),
        Command::Man(args) => commands::shell::man(&args, report),
        Command::Danger(command) => commands::danger::run(command, report),
        Command::Inspect(args) => commands::inspect::run(&args, report),
    }
}

/// Whether content keys, root keys or exchange keys come into this process; `doctor` tells how they would fare.
const fn holds_keys(command: &Command) -> bool {
    matches!(
        command,
        Command::Play(_)
            | Command::KeyExchange(_)
            | Command::Admin(AdminCommand::KeyExchange(_) | AdminCommand::Root(_))
            | Command::Doctor(_)
    )
}

/// What the libraries warn of, for people; `serve` and `proxy` have structured logs of their own.
fn warnings_to_stderr() {
    tracing_subscriber::fmt()
        .compact()
        .without_time()
        .with_target(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
}
