//! What a drive in the foreground logs: lines to standard error, which a service's manager keeps.
//!
//! A program on the drive hears of an error by a number, which cannot tell which server it was. Names of files are in no line of ours; what other
//! libraries have to say is left out, since they don't promise that.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

/// From now on warnings and errors go to standard error.
pub fn to_stderr() {
    let ours = Targets::new().with_target("warifu", LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // Whoever keeps the lines of a service writes down the time.
    let lines = match std::io::stderr().is_terminal() {
        true => lines.boxed(),
        false => lines.without_time().boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(ours));
    // Not with the bridge from the `log` crate, by which the kernel's requests would be told with names.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
