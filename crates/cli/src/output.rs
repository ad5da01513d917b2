//! What people and programs see: names that cannot play tricks on a terminal, sizes, times, progress, JSON.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use warifu::{Fault, Timestamp};

use crate::words::say;

/// A name or path as it can be shown: control characters, marks that turn the direction of writing, and bytes that are
/// no UTF-8 are written out as escapes, and so is the backslash, so that nothing shown stands for two different names.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for c in part.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                c if plays_tricks(c) => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
                }
                c => text.push(c),
            }
        }
        for byte in part.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Whether a character is not to be sent to a terminal: it controls the terminal, or it changes how others look.
fn plays_tricks(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{061c}')
}

/// A local path as it can be shown.
pub fn shown_path(path: &Path) -> String {
    shown(path.as_os_str().as_bytes())
}

/// Text from elsewhere (a server's answer, another library's error) as it can be shown.
pub fn shown_text(text: &str) -> String {
    text.chars()
        .map(|c| if plays_tricks(c) { ' ' } else { c })
        .collect()
}

/// A word as a POSIX shell reads it back.
pub fn shell_word(word: &OsStr) -> String {
    let plain = |c: char| {
        c.is_alphanumeric()
            || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | '=' | ',' | '@' | '%')
    };
    match word.to_str() {
        Some(text) if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) => {
            text.to_owned()
        }
        Some(text) if !text.chars().any(char::is_control) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => {
            // $'…' is understood by bash, zsh, ksh and, since POSIX 2024, by every sh.
            let mut quoted = String::from("$'");
            for part in word.as_bytes().utf8_chunks() {
                for c in part.valid().chars() {
                    match c {
                        '\'' | '\\' => {
                            quoted.push('\\');
                            quoted.push(c);
                        }
                        c if c.is_control() => {
                            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                                let _ = write!(quoted, "\\{byte:03o}");
                            }
                        }
                        c => quoted.push(c),
                    }
                }
                for byte in part.invalid() {
                    let _ = write!(quoted, "\\{byte:03o}");
                }
            }
            quoted.push('\'');
            quoted
        }
    }
}

/// A size for people: `812 B`, `1.4 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A time for people, in the machine's time zone, to the minute.
pub fn local_time(time: Timestamp) -> String {
    match jiff::Timestamp::new(time.secs, 0) {
        Ok(at) => at
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M")
            .to_string(),
        Err(_) => time.secs.to_string(),
    }
}

/// A time for programs: RFC 3339 in UTC with all its digits.
pub fn utc_time(time: Timestamp) -> String {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    jiff::Timestamp::new(time.secs, nanos)
        .map_or_else(|_| time.secs.to_string(), |at| at.to_string())
}

/// A name for programs: its text, and its bytes in hexadecimal where the text is not all of it.
#[derive(Serialize)]
pub struct JsonName {
    /// The name, with replacement characters for what is no UTF-8.
    pub path: String,
    /// The name's bytes, where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
}

impl JsonName {
    /// Of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let hex = std::str::from_utf8(bytes)
            .is_err()
            .then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        Self {
            path: String::from_utf8_lossy(bytes).into_owned(),
            path_hex: hex,
        }
    }
}

/// A fault's name for programs.
pub fn fault_key(fault: Fault) -> &'static str {
    match fault {
        Fault::Missing => "missing",
        Fault::Corrupt => "corrupt",
        Fault::Stale => "stale",
        Fault::Foreign => "foreign",
        Fault::Newer => "newer",
        Fault::NoAnswer => "no-answer",
        Fault::Full => "full",
        Fault::Denied => "denied",
        Fault::Failed => "failed",
    }
}

/// Prints a value as JSON.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

/// Prints lines. A reader that went away (`| head`) is no error of ours.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other,
    }
}

/// Prints a line for people to stderr, beside whatever progress is shown.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Into so many parts a bar is divided whose length is not known.
const PARTS: u64 = 10_000;

/// Shows how far long work is: on a terminal, and nowhere else.
#[derive(Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Of so many bytes.
    pub fn bytes(total: u64, quiet: bool) -> Self {
        let bar = Self::bar(total, quiet);
        let template = "{bar:30} {percent:>3}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {wide_msg}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self(bar)
    }

    /// Of things whose number is not known beforehand.
    pub fn counter(quiet: bool) -> Self {
        let bar = Self::bar(0, quiet);
        bar.set_style(
            ProgressStyle::with_template("{spinner} {pos} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        Self(bar)
    }

    /// Of work whose amount in bytes is told by [`set_of`](Self::set_of), with the time that it will take.
    pub fn work(quiet: bool) -> Self {
        let bar = Self::bar(0, quiet);
        let template = "{bar:30} {percent:>3}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} {wide_msg}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self(bar)
    }

    /// Of work of which only the part that is done is known, with the time that it will take.
    pub fn part(quiet: bool) -> Self {
        let bar = Self::bar(PARTS, quiet);
        bar.set_style(
            ProgressStyle::with_template("{bar:30} {percent:>3}% {eta} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self(bar)
    }

    /// So many bytes of so many are done, and so many things of so many.
    pub fn set_of(&self, bytes: (u64, u64), things: (u64, u64)) {
        self.0.set_length(bytes.1);
        self.0.set_position(bytes.0);
        if !self.0.is_hidden() {
            self.0.set_message(format!("{}/{}", things.0, things.1));
        }
    }

    /// A part between 0 and 1 is done, and so many things.
    pub fn set_part(&self, part: f64, things: u64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a bar"
        )]
        self.0
            .set_position((part.clamp(0.0, 1.0) * 10_000.0) as u64);
        if !self.0.is_hidden() {
            self.0.set_message(things.to_string());
        }
    }

    fn bar(total: u64, quiet: bool) -> ProgressBar {
        if quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// So much more is done.
    pub fn add(&self, done: u64) {
        self.0.inc(done);
    }

    /// So much is done.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// What is being worked on.
    pub fn at(&self, name: &[u8]) {
        if !self.0.is_hidden() {
            self.0.set_message(shown(name));
        }
    }

    /// A line above the bar.
    pub fn note(&self, text: &str) {
        self.0.suspend(|| note(text));
    }

    /// Takes the bar away.
    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}

/// `3 files, 1.4 MiB`.
pub fn amount(files: u64, bytes: u64) -> String {
    say!("amount", files = files, size = size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_play_no_tricks() {
        assert_eq!(shown("住民票.docx".as_bytes()), "住民票.docx");
        assert_eq!(shown(b"a\x1b[31mred\x07"), "a\\u{1b}[31mred\\u{7}");
        assert_eq!(shown("gpj.\u{202e}exe".as_bytes()), "gpj.\\u{202e}exe");
        assert_eq!(shown(b"\xff\xfe\n\\"), "\\xff\\xfe\\n\\\\");
        assert_eq!(
            shown("\u{9b}2J".as_bytes()),
            "\\u{9b}2J",
            "C1 controls are controls too"
        );
    }

    #[test]
    fn a_shell_reads_words_back() {
        for word in [
            "plain",
            "/a/b.c",
            "two words",
            "it's",
            "$HOME `x` \"q\" \\",
            "割符",
            "-n",
            "",
            "line\nbreak",
            "!",
        ] {
            let command = format!("printf %s {}", shell_word(OsStr::new(word)));
            let out = std::process::Command::new("bash")
                .args(["-c", &command])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), word, "{command}");
        }
        let odd = OsStr::from_bytes(b"\xff'\x01");
        let out = std::process::Command::new("bash")
            .args(["-c", &format!("printf %s {}", shell_word(odd))])
            .output()
            .unwrap();
        assert_eq!(out.stdout, odd.as_bytes());
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_572_864, "1.5 MiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn times_for_programs_keep_their_digits() {
        assert_eq!(
            utc_time(Timestamp {
                secs: 0,
                nanos: 123_456_789
            }),
            "1970-01-01T00:00:00.123456789Z"
        );
    }
}
