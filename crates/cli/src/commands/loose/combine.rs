//! `warifu combine`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, FileTimes, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tempfile::NamedTempFile;
use warifu::core::format::PREFIX_LEN;
use warifu::core::head::{Head, is_safe_name};
use warifu::core::loose::{LOOSE_PRELUDE_LEN, LooseJoinError, LooseJoiner, LoosePart};
use warifu::core::vault_object::RecoverError;

use super::{Stop, stoppable};
use crate::args::Combine;
use crate::commands::Done;
use crate::exit::Exit;
use crate::failure::{At as _, Failure};
use crate::output::{Progress, note, print, shown_path, shown_text};
use crate::words::say;

pub async fn combine(args: Combine) -> Done {
    stoppable(move |stop| combine_files(&args, &stop)).await
}

/// The share files at hand.
struct Shares {
    files: Vec<(PathBuf, File)>,
    joiner: LooseJoiner,
    /// Files that were put aside or had a damaged part, and why.
    bad: Vec<(PathBuf, String)>,
    /// Those of `files` with a damaged part, by position.
    damaged: BTreeSet<usize>,
    /// Where the next extent begins.
    at: u64,
}

fn combine_files(args: &Combine, stop: &Stop) -> Done {
    let mut shares = gather(&args.shares)?;
    let LoosePart::Head(head) = shares.next(stop)? else {
        return Err(Failure::new(
            Exit::BadInput,
            say!("combine-no-fit"),
            say!("combine-bad-next"),
        ));
    };
    let output = output_path(args, &head)?;
    if !args.force && output.symlink_metadata().is_ok() {
        return Err(Failure::local(
            &output,
            &io::ErrorKind::AlreadyExists.into(),
        ));
    }
    let folder = output
        .parent()
        .filter(|folder| *folder != Path::new(""))
        .unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".warifu-")
        .tempfile_in(folder)
        .at(&output)?;
    let progress = Progress::bytes(head.size, crate::quiet());
    let joined = join(&mut shares, temporary, &output, &head, &progress, stop);
    progress.done();
    let temporary = joined?;
    let kept = if args.force {
        temporary.persist(&output)
    } else {
        temporary.persist_noclobber(&output)
    };
    kept.map_err(|error| Failure::local(&output, &error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .at(folder)?;
    if !crate::quiet() {
        print(&format!(
            "{}\n",
            say!("combine-done", path = shown_path(&output))
        ))?;
    }
    let bad = shares.report();
    for line in &bad {
        note(line);
    }
    if bad.is_empty() {
        return Ok(Exit::Ok);
    }
    note(&say!("combine-damaged-next"));
    Ok(Exit::Care)
}

fn join(
    shares: &mut Shares,
    mut temporary: NamedTempFile,
    output: &Path,
    head: &Head,
    progress: &Progress,
    stop: &Stop,
) -> Result<NamedTempFile, Failure> {
    while !shares.joiner.is_finished() {
        if let LoosePart::Data(data) = shares.next(stop)? {
            temporary.write_all(data.expose()).at(output)?;
            progress.add(data.len() as u64);
        }
    }
    let file = temporary.as_file();
    // The right to act as another user is not handed on with a copy.
    file.set_permissions(Permissions::from_mode(head.mode & 0o777))
        .at(output)?;
    let since = u64::try_from(head.mtime.secs)
        .ok()
        .map(|secs| Duration::new(secs, head.mtime.nanos.min(999_999_999)));
    if let Some(mtime) = since.and_then(|since| UNIX_EPOCH.checked_add(since)) {
        file.set_times(FileTimes::new().set_modified(mtime))
            .at(output)?;
    }
    file.sync_all().at(output)?;
    Ok(temporary)
}

/// Where the file goes: where the user says, or under its own name, here.
fn output_path(args: &Combine, head: &Head) -> Result<PathBuf, Failure> {
    let name = head
        .path
        .last()
        .filter(|name| is_safe_name(name))
        .map(|name| OsStr::from_bytes(name));
    match (&args.output, name) {
        (Some(path), Some(name)) if path.is_dir() => Ok(path.join(name)),
        (Some(path), _) => Ok(path.clone()),
        (None, Some(name)) => Ok(PathBuf::from(name)),
        (None, None) => Err(Failure::new(
            Exit::Usage,
            say!("combine-no-name"),
            say!("combine-no-name-next"),
        )),
    }
}

/// Opens the files, puts aside what are no shares, and puts the key together.
fn gather(paths: &[PathBuf]) -> Result<Shares, Failure> {
    let mut files = Vec::new();
    let mut bad = Vec::new();
    for path in paths {
        let file = File::open(path).at(path)?;
        let mut prelude = vec![0; LOOSE_PRELUDE_LEN];
        let len = read_up_to(&file, &mut prelude, 0).at(path)?;
        prelude.truncate(len);
        files.push((path.clone(), file, prelude));
    }
    let joiner = loop {
        let preludes: Vec<&[u8]> = files
            .iter()
            .map(|(_, _, prelude)| prelude.as_slice())
            .collect();
        match LooseJoiner::new(&preludes) {
            Ok(joiner) => break joiner,
            Err(LooseJoinError::Format { position, error }) if position < files.len() => {
                let (path, _, _) = files.remove(position);
                bad.push((
                    path,
                    say!("combine-no-share", detail = shown_text(&error.to_string())),
                ));
            }
            Err(error) => return Err(refused(&error, &bad)),
        }
    };
    for position in joiner.liars() {
        if let Some((path, _, _)) = files.get(*position) {
            bad.push((path.clone(), say!("combine-foreign")));
        }
    }
    let at = joiner.start() as u64;
    let files = files
        .into_iter()
        .map(|(path, file, _)| (path, file))
        .collect();
    Ok(Shares {
        files,
        joiner,
        bad,
        damaged: BTreeSet::new(),
        at,
    })
}

impl Shares {
    /// Joins the next extent. Only k files are read in full, and more as soon as one of them turns out damaged.
    fn next(&mut self, stop: &Stop) -> Result<LoosePart, Failure> {
        stop.check()?;
        let mut prefixes = Vec::with_capacity(self.files.len());
        for (path, file) in &self.files {
            let mut prefix = vec![0; PREFIX_LEN];
            let whole = read_up_to(file, &mut prefix, self.at).at(path)? == PREFIX_LEN;
            prefixes.push(whole.then_some(prefix));
        }
        let views: Vec<Option<&[u8]>> = prefixes.iter().map(Option::as_deref).collect();
        let len = self
            .joiner
            .next_len(&views)
            .map_err(|error| self.refuse(&error))?;
        let usable = self.files.len() - self.joiner.liars().len();
        let mut wanted = usize::from(self.joiner.threshold().k()).min(usable);
        loop {
            let mut objects: Vec<Option<Vec<u8>>> = vec![None; self.files.len()];
            // Files that were good so far come first.
            let mut order: Vec<usize> = (0..self.files.len())
                .filter(|at| !self.joiner.liars().contains(at))
                .collect();
            order.sort_by_key(|at| self.damaged.contains(at));
            for position in order.into_iter().take(wanted) {
                let Some((path, file)) = self.files.get(position) else {
                    continue;
                };
                let mut object = vec![0; len];
                let read = read_up_to(file, &mut object, self.at).at(path)?;
                object.truncate(read);
                if let Some(place) = objects.get_mut(position) {
                    *place = Some(object);
                }
            }
            let views: Vec<Option<&[u8]>> = objects.iter().map(Option::as_deref).collect();
            let given = |position: &usize| views.get(*position).is_some_and(Option::is_some);
            match self.joiner.join(&views) {
                Ok(joined) => {
                    self.damaged
                        .extend(joined.damaged.into_iter().filter(given));
                    self.at += len as u64;
                    return Ok(joined.part);
                }
                Err(LooseJoinError::TooFew { damaged, .. }) if wanted < usable => {
                    self.damaged.extend(damaged.into_iter().filter(given));
                    wanted += 1;
                }
                Err(LooseJoinError::Scheme { position, .. }) if wanted < usable => {
                    self.damaged.insert(position);
                    wanted += 1;
                }
                Err(error) => {
                    if let LooseJoinError::TooFew { damaged, .. } = &error {
                        self.damaged
                            .extend(damaged.iter().copied().filter(|position| given(position)));
                    }
                    return Err(self.refuse(&error));
                }
            }
        }
    }

    /// A line for each file that is not as it should be.
    fn report(&self) -> Vec<String> {
        let liars = self.joiner.liars();
        let damaged = self
            .damaged
            .iter()
            .filter(|position| !liars.contains(position))
            .filter_map(|position| {
                self.files
                    .get(*position)
                    .map(|(path, _)| (path.clone(), say!("combine-share-damaged")))
            });
        self.bad
            .iter()
            .cloned()
            .chain(damaged)
            .map(|(path, why)| format!("  {}: {why}", shown_path(&path)))
            .collect()
    }

    fn refuse(&self, error: &LooseJoinError) -> Failure {
        if let LooseJoinError::Scheme { position, scheme } = error
            && let Some((path, _)) = self.files.get(*position)
        {
            return Failure::new(
                Exit::BadInput,
                say!("combine-scheme", path = shown_path(path), scheme = *scheme),
                say!("combine-scheme-next"),
            );
        }
        let mut failure = refused(error, &[]);
        failure.details = self
            .report()
            .into_iter()
            .map(|line| line.trim_start().to_owned())
            .collect();
        failure
    }
}

fn refused(error: &LooseJoinError, bad: &[(PathBuf, String)]) -> Failure {
    let failure = match error {
        LooseJoinError::Key(RecoverError::TooFew { needed, got }) => Failure::new(
            Exit::TooFew,
            say!("combine-too-few", needed = *needed, got = *got),
            say!("combine-too-few-next"),
        ),
        LooseJoinError::TooFew { needed, got, .. } => Failure::new(
            Exit::TooFew,
            say!("combine-too-few", needed = *needed, got = *got),
            say!("combine-too-few-next"),
        ),
        LooseJoinError::Key(_) => Failure::new(
            Exit::BadInput,
            say!("combine-no-fit"),
            say!("combine-bad-next"),
        ),
        other => Failure::new(
            Exit::BadInput,
            say!("combine-bad", detail = shown_text(&other.to_string())),
            say!("combine-bad-next"),
        ),
    };
    failure.with(
        bad.iter()
            .map(|(path, why)| format!("{}: {why}", shown_path(path))),
    )
}

/// Fills the buffer from a place in the file, as far as the file goes.
fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + len as u64) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
