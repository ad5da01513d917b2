//! The program's exit codes: the one place that gives them numbers. Scripts rely on them; a number never changes its meaning.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Not done, for a reason that has no number of its own.
    Failed = 1,
    /// The command line makes no sense. (clap uses the same number.)
    Usage = 2,
    /// Done, and something needs care: damage was found, a server is away, a file could not be taken along.
    Care = 3,
    /// The file, folder, version or vault that was asked for does not exist.
    NotFound = 4,
    /// Too few servers answer, or too few good shares are left, to do it now.
    TooFew = 5,
    /// Something is there already, and nothing was overwritten.
    Exists = 6,
    /// There is no room left.
    NoRoom = 7,
    /// A drive cannot be mounted here.
    NoMount = 8,
    /// What was given is not what it must be: a damaged vault file, a foreign share, a wrong server.
    BadInput = 9,
    /// Some changes could not be saved and are lost; their names were reported.
    Lost = 10,
    /// Damage was found, and all of it repaired.
    Repaired = 11,
    /// Stopped by the user.
    Interrupted = 130,
}

impl Exit {
    /// Every exit code with the message that explains it, for `--help`.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Ok, "exit-ok"),
        (Self::Failed, "exit-failed"),
        (Self::Usage, "exit-usage"),
        (Self::Care, "exit-care"),
        (Self::NotFound, "exit-not-found"),
        (Self::TooFew, "exit-too-few"),
        (Self::Exists, "exit-exists"),
        (Self::NoRoom, "exit-no-room"),
        (Self::NoMount, "exit-no-mount"),
        (Self::BadInput, "exit-bad-input"),
        (Self::Lost, "exit-lost"),
        (Self::Repaired, "exit-repaired"),
        (Self::Interrupted, "exit-interrupted"),
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The exit code with this number; `Failed` for a number that none has.
    pub fn of_code(code: u8) -> Self {
        Self::ALL
            .into_iter()
            .map(|(exit, _)| exit)
            .find(|exit| exit.code() == code)
            .unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
