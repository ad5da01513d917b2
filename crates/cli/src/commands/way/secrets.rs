//! New secrets for a way: how strong they are, how they are made, and how paper shares get to people.

use std::borrow::Cow;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use warifu::SecretBytes;
use warifu::paper::WordList;
use warifu::people::{Recipient, recipients_in};
use warifu::ways::{
    Added, CustodianSet, NewWay, NewWayError, PaperShare, PassphraseCost, Way as VaultWay, WayKind,
};

use crate::args::way::Secrets;
use crate::args::{WayKindArg, WordsArg};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{note, print, shown_path, shown_text};
use crate::sheets::Sheet;
use crate::unlocking::{ask_passphrase, ask_sheet, passphrase_in, somebody_is_there};
use crate::words::{Lang, say, words};

/// What new secrets take. Nothing gets weaker than it was without somebody saying so.
pub enum Measure {
    Keys(Vec<Recipient>),
    Passphrase { memory_kib: u32, passes: u32 },
    Custodians { needed: u8, sheets: u8 },
}

impl Measure {
    /// `old` is the way that gets new secrets, if it is there already.
    pub fn of(
        kind: WayKindArg,
        secrets: &Secrets,
        old: Option<&VaultWay>,
    ) -> Result<Self, Failure> {
        match kind {
            WayKindArg::Keys => Ok(Self::Keys(people(secrets, old)?)),
            WayKindArg::Passphrase => {
                let (usual, passes) = PassphraseCost::USUAL;
                let memory = secrets.memory.map_or(usual, |mib| mib << 10);
                let before = old.and_then(|old| match old.kind() {
                    WayKind::Passphrase(cost) => Some((cost.memory_kib(), cost.passes())),
                    _ => None,
                });
                let (memory_before, passes_before) = before.unwrap_or((0, 0));
                Ok(Self::Passphrase {
                    memory_kib: memory.max(memory_before),
                    passes: passes.max(passes_before),
                })
            }
            WayKindArg::Custodians => {
                let before = old.and_then(|old| match old.kind() {
                    WayKind::Custodians(set) => Some((set.needed, set.sheets)),
                    _ => None,
                });
                let (needed, sheets) = before.unwrap_or((3, 5));
                let needed = secrets.needed.unwrap_or(needed);
                let sheets = secrets.sheets.unwrap_or(sheets);
                if needed > sheets {
                    return Err(Failure::new(
                        Exit::Usage,
                        say!("sheets-impossible", needed = needed, sheets = sheets),
                        say!("sheets-impossible-next"),
                    ));
                }
                Ok(Self::Custodians { needed, sheets })
            }
        }
    }

    /// The same for the plan.
    pub fn line(&self) -> String {
        match self {
            Self::Keys(people) => {
                let people: Vec<String> = people.iter().map(Recipient::to_string).collect();
                say!("way-plan-keys", people = shown_text(&people.join(", ")))
            }
            Self::Passphrase { memory_kib, .. } => {
                say!("way-plan-passphrase", mib = memory_kib >> 10)
            }
            Self::Custodians { needed, sheets } => {
                say!("way-plan-custodians", needed = *needed, sheets = *sheets)
            }
        }
    }
}

pub async fn new_secrets(measure: &Measure, secrets: &Secrets) -> Result<(Added, Sheets), Failure> {
    match measure {
        Measure::Keys(people) => {
            let way = NewWay::keys(people).map_err(|error| not_made(&error))?;
            Ok((way.0, None))
        }
        Measure::Passphrase { memory_kib, passes } => {
            let passphrase = match &secrets.new_passphrase_file {
                Some(path) => passphrase_in(path)?,
                None => ask_new_passphrase()?,
            };
            let length = std::str::from_utf8(passphrase.expose())
                .map_or(passphrase.expose().len(), |text| text.chars().count());
            if length < SHORTEST {
                return Err(Failure::new(
                    Exit::BadInput,
                    say!("passphrase-short", least = SHORTEST),
                    say!("passphrase-short-next"),
                ));
            }
            let way = NewWay::passphrase(&passphrase, (*memory_kib, *passes)).await;
            Ok((way.map_err(|error| not_made(&error))?.0, None))
        }
        Measure::Custodians { needed, sheets } => {
            let made = NewWay::custodians(*needed, *sheets);
            let (way, shares) = made.map_err(|error| not_made(&error))?;
            let WayKind::Custodians(set) = way.0.kind else {
                return Err(not_made(&NewWayError::Unreadable));
            };
            Ok((way.0, Some((set, shares))))
        }
    }
}

/// Whose keys are named; where none are, those that the way is for already.
fn people(secrets: &Secrets, old: Option<&VaultWay>) -> Result<Vec<Recipient>, Failure> {
    let mut people = Vec::new();
    for word in &secrets.recipient {
        let key = Recipient::parse(word);
        people.push(key.map_err(Failure::key)?);
    }
    for path in &secrets.recipients_file {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| Failure::local(path, &error))?;
        let keys = recipients_in(&text).map_err(|error| Failure::key_file(&error, path))?;
        people.extend(keys);
    }
    if people.is_empty()
        && let Some(old) = old
    {
        let keys: Result<Vec<Recipient>, _> =
            super::recipients_of(old).map(Recipient::parse).collect();
        people = keys.unwrap_or_default();
    }
    if people.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            say!("way-no-people"),
            say!("way-no-people-next"),
        ));
    }
    Ok(people)
}

pub type Sheets = Option<(CustodianSet, Vec<PaperShare>)>;

fn not_made(error: &NewWayError) -> Failure {
    Failure::new(
        Exit::Failed,
        say!("way-not-made", detail = shown_text(&error.to_string())),
        say!("failed-next"),
    )
}

/// A passphrase shorter than this is not taken.
const SHORTEST: usize = 8;

fn ask_new_passphrase() -> Result<SecretBytes, Failure> {
    let none = || {
        Failure::new(
            Exit::Usage,
            say!("passphrase-none"),
            say!("passphrase-none-next"),
        )
    };
    if !somebody_is_there() {
        return Err(none());
    }
    let first = ask_passphrase(&say!("ask-new-passphrase")).ok_or_else(none)?;
    let again = ask_passphrase(&say!("ask-new-passphrase-again")).ok_or_else(none)?;
    if first.expose() != again.expose() {
        return Err(Failure::new(
            Exit::BadInput,
            say!("passphrase-differs"),
            say!("try-again-next"),
        ));
    }
    Ok(first)
}

fn word_list(secrets: &Secrets) -> WordList {
    match (secrets.words, words().lang()) {
        (Some(WordsArg::Ja), _) | (None, Lang::Ja) => WordList::Japanese,
        _ => WordList::English,
    }
}

/// Sheets that were handed out.
#[derive(Default)]
pub struct Handed {
    /// Whether there are any.
    sheets: bool,
    /// The files in which they are.
    files: Vec<PathBuf>,
}

impl Handed {
    /// The files, for a program.
    pub fn names(&self) -> Vec<String> {
        let names = self.files.iter().map(|file| file.to_string_lossy());
        names.map(Cow::into_owned).collect()
    }

    /// Nothing came of the change: the files are in the way of the next try, and whoever has a sheet has to know.
    pub fn made_worthless(&self, failure: Failure) -> Failure {
        self.remove_files();
        match self.sheets {
            true => failure.with([say!("sheets-worthless")]),
            false => failure,
        }
    }

    fn remove_files(&self) {
        for file in &self.files {
            let _gone = std::fs::remove_file(file);
        }
    }
}

/// Hands the sheets out before anything is changed, so that there is no way whose sheets nobody has.
pub fn hand_out(
    made: &Sheets,
    secrets: &Secrets,
    what: (&Path, &str),
    (yes, as_json): (bool, bool),
) -> Result<Handed, Failure> {
    let mut handed = Handed::default();
    let done = hand_all_out(made, secrets, what, (yes, as_json), &mut handed);
    done.inspect_err(|_| handed.remove_files())?;
    Ok(handed)
}

fn hand_all_out(
    made: &Sheets,
    secrets: &Secrets,
    (vault, way): (&Path, &str),
    (yes, as_json): (bool, bool),
    handed: &mut Handed,
) -> Result<(), Failure> {
    let Some((set, shares)) = made else {
        return Ok(());
    };
    handed.sheets = true;
    if as_json && secrets.pdf.is_none() {
        return Err(Failure::new(
            Exit::Usage,
            say!("sheets-json"),
            say!("sheets-json-next"),
        ));
    }
    let vault = vault.file_name().unwrap_or_default().to_string_lossy();
    let list = word_list(secrets);
    let on_terminal = std::io::stdout().is_terminal() && somebody_is_there();
    for share in shares {
        let sheet = Sheet {
            share,
            set: *set,
            way,
            vault: &vault,
            list,
        };
        match &secrets.pdf {
            Some(folder) => {
                handed.files.push(sheet.write_pdf(folder)?);
            }
            None => {
                print(&sheet.as_text()?)?;
                if on_terminal {
                    // One custodian need not see another's.
                    note(&say!("sheet-press"));
                    let mut line = String::new();
                    std::io::stdin().lock().read_line(&mut line)?;
                    print("\u{1b}[2J\u{1b}[3J\u{1b}[H")?;
                }
            }
        }
    }
    if !handed.files.is_empty() && !as_json {
        print(&format!(
            "{}\n",
            say!(
                "sheets-written",
                files = handed.files.len(),
                folder = secrets.pdf.as_deref().map(shown_path).unwrap_or_default()
            )
        ))?;
    }
    // Somebody types one of them back, so that what is on paper is known to be legible.
    if !yes && somebody_is_there() {
        note(&say!("sheet-type-back"));
        let same = ask_sheet(1).is_some_and(|typed| {
            typed.set() == set.set
                && shares.iter().any(|share| {
                    share.index() == typed.index()
                        && share.words().expose() == typed.words().expose()
                })
        });
        if !same {
            return Err(Failure::new(
                Exit::BadInput,
                say!("sheet-not-back"),
                say!("sheet-not-back-next"),
            ));
        }
        note(&say!("ask-sheet-good", number = 1));
    }
    Ok(())
}
