//! The program `warifu`: raw arguments → resolved arguments → one command → one exit code.

mod args;
mod commands;
mod exit;
mod failure;
mod fstab;
mod log;
mod output;
mod samples;
mod sheets;
mod stop;
mod unlocking;
mod when;
mod words;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;

use crate::args::{Cli, Command};
use crate::commands::{
    audit, catalog, certificate, copy, doctor, files, history, hold, init, loose, manpages, mount,
    quickstart, rebuild, refresh, restore, retain, run, server, space, status, threshold, trash,
    verify, way,
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::words::{Lang, say};

static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether the user asked for silence.
pub fn quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

fn main() -> ExitCode {
    let called: Vec<_> = std::env::args_os().collect();
    if fstab::is_called(&called) {
        return by_mount(&called);
    }
    speak(&called);
    program(called, ExitCode::from)
}

/// Chooses the language, before anything is said.
fn speak(called: &[OsString]) {
    let words = called.iter().map(|arg| arg.to_string_lossy().into_owned());
    words::set_language(Lang::choose(words));
}

/// A call by `mount(8)`, which has exit codes of its own.
fn by_mount(called: &[OsString]) -> ExitCode {
    let code = |exit| ExitCode::from(fstab::exit_code(exit));
    speak(&fstab::language(called));
    match fstab::as_mount(called) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(call)) => program(call, code),
        Err(failure) => finish(Err(failure), code),
    }
}

/// The program, as it was called; `code` gives an exit its number.
fn program(called: Vec<OsString>, code: fn(Exit) -> ExitCode) -> ExitCode {
    let parsed = args::command()
        .try_get_matches_from(called)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error, code),
    };
    QUIET.store(cli.quiet, Ordering::Relaxed);
    // A tree of its own is for a process with one thread, and with its own /proc open to it.
    if let Command::Run(args) = &cli.command
        && let Err(failure) = run::begin(args)
    {
        return finish(Err(failure), code);
    }
    // Plaintext passes through this process: neither a core dump nor swap may hold it.
    let _ = warifu_mount::protect_process();
    // Behind a server that hangs, threads stay in the kernel: what is left of them is not waited for.
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(error.into()), code),
    };
    if let Err(failure) = unlocking::prepare(&cli) {
        return finish(Err(failure), code);
    }
    let done = runtime.block_on(do_it(cli.command));
    runtime.shutdown_timeout(Duration::from_millis(200));
    finish(done, code)
}

async fn do_it(command: Command) -> Result<ExitCode, Failure> {
    let done = match command {
        // Its exit code is the program's.
        Command::Run(args) => return run::run(args).await,
        Command::Quickstart(args) => quickstart::run(args).await,
        Command::Init(args) => init::run(args).await,
        Command::Mount(args) => mount::run(args).await,
        Command::Umount(args) => mount::umount(args).await,
        Command::Put(args) => copy::put(args).await,
        Command::Get(args) => copy::get(args).await,
        Command::Cat(args) => copy::cat(args).await,
        Command::Ls(args) => files::ls(args).await,
        Command::Rm(args) => files::rm(args).await,
        Command::Mv(args) => files::mv(args).await,
        Command::Mkdir(args) => files::mkdir(args).await,
        Command::History(args) => history::run(args).await,
        Command::Restore(args) => restore::run(args).await,
        Command::Trash(args) => trash::run(args).await,
        Command::Retention(args) => retain::retention(args).await,
        Command::Prune(args) => retain::prune(args).await,
        Command::Hold(args) => hold::run(args).await,
        Command::Certificate(args) => certificate::run(args).await,
        Command::Df(args) => space::df(args).await,
        Command::Audit(args) => audit::run(args).await,
        Command::Status(args) => status::status(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Threshold(args) => threshold::run(args).await,
        Command::Server(args) => server::run(args).await,
        Command::Way(args) => way::run(args).await,
        Command::Catalog(args) => catalog::run(args).await,
        Command::Rebuild(args) => rebuild::run(args).await,
        Command::Refresh(args) => refresh::run(args).await,
        Command::Split(args) => loose::split(args).await,
        Command::Combine(args) => loose::combine(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::ManPages(args) => manpages::run(&args),
        Command::Completions(args) => {
            let mut command = args::command();
            clap_complete::generate(args.shell, &mut command, "warifu", &mut std::io::stdout());
            Ok(Exit::Ok)
        }
    };
    done.map(Into::into)
}

fn finish(done: Result<ExitCode, Failure>, code: fn(Exit) -> ExitCode) -> ExitCode {
    match done {
        Ok(exit) => exit,
        Err(failure) => {
            let _ = std::io::stderr().write_all(failure.render().as_bytes());
            code(failure.exit)
        }
    }
}

/// Help and version are no errors; the rest is told in the user's language, with the next step.
fn usage(error: &clap::Error, code: fn(Exit) -> ExitCode) -> ExitCode {
    let help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let no_command = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if help || no_command || words::words().lang() == Lang::En {
        let _ = error.print();
    } else {
        // clap speaks English only; what it found is in its first line.
        let text = error.render().to_string();
        let first = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let failure = Failure::new(
            Exit::Usage,
            say!("usage", detail = first),
            say!("usage-next"),
        );
        let _ = std::io::stderr().write_all(failure.render().as_bytes());
    }
    if help {
        ExitCode::SUCCESS
    } else {
        code(Exit::Usage)
    }
}
