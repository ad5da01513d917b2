//! How a vault is, in the text format that Prometheus reads (exposition format 0.0.4).
//!
//! There is no port to open and no process to keep: a timer writes this into the folder of node_exporter's textfile collector.

use std::fmt::Write as _;

use warifu::{Condition, Status};

/// A metric: its name after `warifu_`, and what it counts.
type Metric = (&'static str, &'static str);

/// Of files at full strength, whatever their folders ask.
fn least_spare(status: &Status) -> i32 {
    let folders = status.folders.iter().filter(|folder| folder.files > 0);
    let folders = folders.map(|folder| folder.spare);
    folders.chain([status.spare]).min().unwrap_or(status.spare)
}

/// The metrics of a vault.
pub fn text(vault: &str, status: &Status) -> String {
    let mut page = Page {
        vault: escaped(vault),
        text: String::new(),
    };
    let usage = &status.usage;
    page.one(
        ("threshold", "So many servers are needed to read."),
        status.threshold.k(),
    );
    page.one(
        ("spare_servers", "How many more servers may go before files at full strength cannot be read; negative when too few answer."),
        least_spare(status),
    );
    page.one(("files", "Files that have a name."), usage.files);
    page.one(
        ("file_bytes", "Bytes of their current contents."),
        usage.bytes,
    );
    page.one(
        ("versions", "Versions kept, the current ones among them."),
        usage.versions,
    );
    page.one(
        ("owed_shares", "Shares that servers do not have yet."),
        usage.owed_shares,
    );
    page.one(
        (
            "degraded_extents",
            "Stretches of files of which a share is owed.",
        ),
        usage.degraded_extents,
    );
    page.one(
        (
            "unsettled_versions",
            "Versions not yet known to be on disk.",
        ),
        usage.unsettled,
    );
    page.one(
        (
            "weak_files",
            "Files of which some server does not have all shares.",
        ),
        status.weak.files,
    );
    page.one(
        (
            "unreadable_files",
            "Files of which a version cannot be read now.",
        ),
        status.weak.unreadable,
    );
    page.one(
        ("journal_behind_seconds", "Since when (Unix time) the journal of the catalogue lacks changes; 0 when it is up to date."),
        status.journal_behind_since.map_or(0, |since| since.secs),
    );
    page.one(
        (
            "rebuild_undecided",
            "1 when somebody has to decide about a rebuild.",
        ),
        u8::from(status.undecided),
    );
    page.servers(
        status,
        ("server_up", "1 when the server answers, reads and writes."),
        |server| {
            let up = matches!(
                server.state.condition(),
                Condition::Normal | Condition::Degraded
            );
            Some(f64::from(u8::from(up)))
        },
    );
    page.servers(
        status,
        (
            "server_owed_shares",
            "Shares that the server does not have yet.",
        ),
        |server| Some(float(server.owed)),
    );
    page.servers(
        status,
        (
            "server_free_bytes",
            "Room left on the server, where it says.",
        ),
        |server| server.space.free.map(float),
    );
    page.servers(
        status,
        (
            "server_size_bytes",
            "All room of the server, where it says.",
        ),
        |server| server.space.total.map(float),
    );
    page.servers(
        status,
        (
            "server_answer_seconds",
            "The server's usual time to answer.",
        ),
        |server| server.latency.map(|latency| latency.as_secs_f64()),
    );
    page.text
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
fn float(count: u64) -> f64 {
    count as f64
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

struct Page {
    vault: String,
    text: String,
}

impl Page {
    fn head(&mut self, (name, help): Metric) {
        // Writing to a string does not fail.
        let _ = writeln!(
            self.text,
            "# HELP warifu_{name} {help}\n# TYPE warifu_{name} gauge"
        );
    }

    fn one(&mut self, metric: Metric, value: impl std::fmt::Display) {
        self.head(metric);
        let _ = writeln!(
            self.text,
            "warifu_{}{{vault=\"{}\"}} {value}",
            metric.0, self.vault
        );
    }

    fn servers(
        &mut self,
        status: &Status,
        metric: Metric,
        value: impl Fn(&warifu::ServerStatus) -> Option<f64>,
    ) {
        self.head(metric);
        for server in &status.servers {
            let Some(value) = value(server) else { continue };
            let _ = writeln!(
                self.text,
                "warifu_{}{{vault=\"{}\",server=\"{}\"}} {value}",
                metric.0,
                self.vault,
                escaped(&server.name)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_any_name() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
