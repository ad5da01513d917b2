//! Who is asked for a way into a vault: the files named on the command line first, then whoever sits at the terminal.
//!
//! What opened a vault once is kept until the program ends, so that nobody is asked twice.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use warifu::paper;
use warifu::people::{Identity, identities_in};
use warifu::store::{CredentialError, CredentialRef};
use warifu::ways::{
    AskForWay, JoinPaperError, Keyring, PaperShare, Way, WayAnswer, WayKind, WayRefusal,
};
use warifu::{OpenOptions, SecretBytes};
use zeroize::Zeroizing;

use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{note, shown_path, shown_text};
use crate::words::say;

#[derive(Debug, Default)]
struct Asker {
    answer: Mutex<Option<WayAnswer>>,
    /// Whether the command line has named one.
    named: AtomicBool,
}

static ASKER: OnceLock<Arc<Asker>> = OnceLock::new();

fn asker() -> &'static Arc<Asker> {
    ASKER.get_or_init(Arc::default)
}

/// Takes what the command line names.
pub fn prepare(cli: &Cli) -> Result<(), Failure> {
    let entry = &cli.entry;
    let named =
        entry.passphrase_file.is_some() || !entry.share.is_empty() || !entry.identity.is_empty();
    asker().named.store(named, Ordering::Relaxed);
    if let Some(path) = &entry.passphrase_file {
        give(WayAnswer::Passphrase(passphrase_in(path)?));
    }
    if !entry.share.is_empty() {
        let shares: Result<Vec<PaperShare>, Failure> = entry.share.iter().map(share_in).collect();
        give(joined(&shares?)?);
    }
    if !entry.identity.is_empty() {
        let mut identities = Vec::new();
        for path in &entry.identity {
            identities.extend(identities_at(path)?);
        }
        give(WayAnswer::Identities(Arc::new(identities)));
    }
    Ok(())
}

/// Remembers an answer.
pub fn give(answer: WayAnswer) {
    let mut known = asker()
        .answer
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *known = Some(answer);
}

/// Forgets what was said, when the vault is open and stays so for long.
pub fn forget() {
    let mut known = asker()
        .answer
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *known = None;
}

/// Who is asked.
pub fn keyring() -> Keyring {
    Keyring::asking(Arc::clone(asker()) as Arc<dyn AskForWay>)
}

/// How this program opens a vault.
pub fn opening() -> OpenOptions {
    OpenOptions::new("warifu").keyring(keyring())
}

/// The passphrase in a file.
pub fn passphrase_in(path: &Path) -> Result<SecretBytes, Failure> {
    let here = std::env::current_dir().unwrap_or_default();
    let secret = file_at(path).resolve_line(&here);
    secret.map_err(|error| unusable(&error))
}

fn file_at(path: &Path) -> CredentialRef {
    CredentialRef::File(path.to_owned())
}

fn unusable(error: &CredentialError) -> Failure {
    Failure::new(
        Exit::BadInput,
        say!("way-file-unusable", detail = shown_text(&error.to_string())),
        say!("way-file-unusable-next"),
    )
}

/// The private keys in a file.
fn identities_at(path: &Path) -> Result<Vec<Identity>, Failure> {
    let here = std::env::current_dir().unwrap_or_default();
    let secret = file_at(path).resolve(&here);
    let secret = secret.map_err(|error| unusable(&error))?;
    identities_in(secret.expose()).map_err(|error| Failure::key_file(&error, path))
}

/// A file with a sheet is no longer than this.
const SHEET_MOST: usize = 64 << 10;

fn share_in(path: &PathBuf) -> Result<PaperShare, Failure> {
    // Whatever holds a secret is not to grow: what it leaves behind then is not erased.
    let mut text = Zeroizing::new(String::with_capacity(SHEET_MOST + 64));
    let read = File::open(path).and_then(|file| {
        let most = u64::try_from(SHEET_MOST).unwrap_or(u64::MAX);
        file.take(most).read_to_string(&mut text)
    });
    read.map_err(|error| Failure::local(path, &error))?;
    paper::read(&text).map_err(|error| Failure::sheet(&error).with([shown_path(path)]))
}

/// A line of standard input that is secret, without its end: read past the buffer of the standard library, which is never erased. Nothing at the end, and of
/// a line longer than any.
pub fn secret_line() -> Option<Zeroizing<String>> {
    const MOST: usize = 4096;
    let mut line = Zeroizing::new(Vec::with_capacity(MOST));
    let mut byte = Zeroizing::new([0]);
    loop {
        // Byte by byte: what comes after the line is for whoever reads next.
        match rustix::io::read(rustix::stdio::stdin(), &mut byte[..]) {
            Ok(0) if line.is_empty() => return None,
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() < MOST => line.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return None,
        }
    }
    let text = std::str::from_utf8(&line).ok()?;
    let mut copy = Zeroizing::new(String::with_capacity(MOST));
    copy.push_str(text);
    Some(copy)
}

/// What sheets give together.
pub fn joined(shares: &[PaperShare]) -> Result<WayAnswer, Failure> {
    WayAnswer::paper(shares).map_err(|error| match error {
        JoinPaperError::TooFew { needed, got } => Failure::new(
            Exit::TooFew,
            say!("sheets-too-few", needed = needed, got = got),
            say!("sheets-too-few-next"),
        ),
        JoinPaperError::Mixed => Failure::new(
            Exit::BadInput,
            say!("sheets-mixed"),
            say!("sheets-mixed-next"),
        ),
        other => Failure::new(
            Exit::BadInput,
            say!("sheets-contradict", detail = other.to_string()),
            say!("sheets-mixed-next"),
        ),
    })
}

/// Whether somebody sits there who can be asked.
pub fn somebody_is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Reads a passphrase from the terminal, without showing it.
pub fn ask_passphrase(prompt: &str) -> Option<SecretBytes> {
    let text = rpassword::prompt_password(prompt)
        .ok()
        .map(Zeroizing::new)?;
    (!text.is_empty()).then(|| SecretBytes::from_slice(text.as_bytes()))
}

impl AskForWay for Asker {
    fn at_hand(&self) -> Option<WayAnswer> {
        let known = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(WayAnswer::again)
    }

    fn ask(&self, ways: &[Way], refused: Option<&WayRefusal>) -> Option<WayAnswer> {
        let mut known = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        // What was named on the command line and is wrong is not asked for once more.
        if !somebody_is_there()
            || (refused.is_some() && known.is_some() && self.named.load(Ordering::Relaxed))
        {
            return None;
        }
        if let Some(refused) = refused {
            note(&crate::failure::refusal(refused));
        }
        let passphrase = ways
            .iter()
            .any(|way| matches!(way.kind(), WayKind::Passphrase(_)));
        let sheets = ways
            .iter()
            .any(|way| matches!(way.kind(), WayKind::Custodians(_)));
        let mut answer = None;
        if passphrase {
            if sheets {
                note(&say!("ask-or-sheets"));
            }
            answer = ask_passphrase(&say!("ask-passphrase")).map(WayAnswer::Passphrase);
        }
        if answer.is_none() && sheets {
            answer = ask_sheets();
        }
        let answer = answer?;
        *known = Some(answer.again());
        Some(answer)
    }
}

/// Reads sheets from the terminal, until there are enough.
fn ask_sheets() -> Option<WayAnswer> {
    let mut shares: Vec<PaperShare> = Vec::new();
    loop {
        let share = ask_sheet(shares.len() + 1)?;
        note(&say!("ask-sheet-good", number = share.index().get()));
        let needed = usize::from(share.needed());
        shares.push(share);
        if shares.len() >= needed {
            match joined(&shares) {
                Ok(answer) => return Some(answer),
                Err(failure) => {
                    note(failure.render().trim_end());
                    // Probably one of them twice.
                    if failure.exit != Exit::TooFew {
                        return None;
                    }
                }
            }
        }
    }
}

/// Reads one sheet from the terminal: words until there are as many as a sheet has, or an empty line. What is wrong is said, and it is typed again.
pub fn ask_sheet(number: usize) -> Option<PaperShare> {
    loop {
        note(&say!("ask-sheet", number = number));
        let mut text = Zeroizing::new(String::with_capacity(SHEET_MOST));
        while let Some(line) = secret_line() {
            if line.trim().is_empty() || text.len() + line.len() >= SHEET_MOST {
                break;
            }
            text.push_str(&line);
            text.push('\n');
            let words = text.split_whitespace().count();
            if line.trim().starts_with("WARIFU1:") || words >= warifu::ways::PAPER_WORDS {
                break;
            }
        }
        if text.trim().is_empty() {
            return None;
        }
        match paper::read(&text) {
            Ok(share) => return Some(share),
            Err(error) => note(Failure::sheet(&error).render().trim_end()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_forgotten() {
        give(WayAnswer::Passphrase(SecretBytes::from_slice(b"gibberish")));
        assert!(asker().at_hand().is_some());
        forget();
        assert!(asker().at_hand().is_none());
    }
}
