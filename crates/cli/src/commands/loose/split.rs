//! `warifu split`.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use warifu::core::format::EXTENT_MAX;
use warifu::core::head::Head;
use warifu::core::loose::{LooseDealError, LooseDealer};
use warifu::{SecretBytes, Threshold, Timestamp, process_context};

use super::{Stop, stoppable};
use crate::args::Split;
use crate::commands::Done;
use crate::exit::Exit;
use crate::failure::{At as _, Failure};
use crate::output::{Progress, print, shown_path, shown_text};
use crate::words::say;

pub async fn split(args: Split) -> Done {
    stoppable(move |stop| split_file(&args, &stop)).await
}

fn split_file(args: &Split, stop: &Stop) -> Done {
    let threshold = Threshold::new(args.k, args.n)
        .map_err(|bad| Failure::opening(warifu::Error::Threshold(bad)))?;
    let mut file = File::open(&args.file).at(&args.file)?;
    let meta = file.metadata().at(&args.file)?;
    if !meta.is_file() {
        let path = shown_path(&args.file);
        return Err(Failure::new(
            Exit::Usage,
            say!("split-not-a-file", path = path),
            say!("split-not-a-file-next"),
        ));
    }
    let folder = args.output.clone().unwrap_or_else(|| PathBuf::from("."));
    fs::create_dir_all(&folder).at(&folder)?;
    let paths: Vec<PathBuf> = (1..=args.n)
        .map(|index| folder.join(share_name(&args.file, index)))
        .collect();
    for path in &paths {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::local(path, &io::ErrorKind::AlreadyExists.into()));
        }
    }
    let mut shares = Vec::with_capacity(paths.len());
    for _ in &paths {
        shares.push(
            tempfile::Builder::new()
                .prefix(".warifu-")
                .tempfile_in(&folder)
                .at(&folder)?,
        );
    }
    let progress = Progress::bytes(meta.len(), crate::quiet());
    let dealt = deal(
        threshold,
        &mut file,
        &meta,
        args,
        &mut shares,
        &folder,
        &progress,
        stop,
    );
    progress.done();
    dealt?;
    for (share, path) in shares.iter().zip(&paths) {
        share.as_file().sync_all().at(path)?;
    }
    for (position, (share, path)) in shares.into_iter().zip(&paths).enumerate() {
        if let Err(error) = share.persist_noclobber(path) {
            // Some shares without the others are of no use, and would be in the way of the next try.
            for made in paths.iter().take(position) {
                let _ = fs::remove_file(made);
            }
            return Err(Failure::local(path, &error.error));
        }
    }
    File::open(&folder)
        .and_then(|folder| folder.sync_all())
        .at(&folder)?;
    if !crate::quiet() {
        print(&format!(
            "{}\n",
            say!("split-done", k = threshold.k(), n = threshold.n())
        ))?;
        for path in &paths {
            print(&format!("  {}\n", shown_path(path)))?;
        }
    }
    Ok(Exit::Ok)
}

#[allow(clippy::too_many_arguments, reason = "the halves of one function")]
fn deal(
    threshold: Threshold,
    file: &mut File,
    meta: &Metadata,
    args: &Split,
    shares: &mut [NamedTempFile],
    folder: &Path,
    progress: &Progress,
    stop: &Stop,
) -> Result<(), Failure> {
    let mut dealer = LooseDealer::new(threshold, head(&args.file, meta))
        .map_err(|error| dealing(&args.file, &error))?;
    append(shares, dealer.blocks(), folder)?;
    let mut extent = SecretBytes::with_len(EXTENT_MAX);
    let mut left = meta.len();
    while left > 0 {
        stop.check()?;
        let want = usize::try_from(left).unwrap_or(EXTENT_MAX).min(EXTENT_MAX);
        let Some(bytes) = extent.expose_mut().get_mut(..want) else {
            break;
        };
        file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => changed(&args.file),
            _ => Failure::local(&args.file, &error),
        })?;
        let blocks = dealer
            .push(bytes)
            .map_err(|error| dealing(&args.file, &error))?;
        append(shares, blocks, folder)?;
        left -= want as u64;
        progress.add(want as u64);
    }
    if file.read(&mut [0; 1]).at(&args.file)? != 0 {
        return Err(changed(&args.file));
    }
    dealer.finish().map_err(|error| dealing(&args.file, &error))
}

fn append(shares: &mut [NamedTempFile], blocks: &[Vec<u8>], folder: &Path) -> Result<(), Failure> {
    for (share, block) in shares.iter_mut().zip(blocks) {
        share.write_all(block).at(folder)?;
    }
    Ok(())
}

fn head(path: &Path, meta: &Metadata) -> Head {
    let context = process_context("warifu");
    let time = |secs, nanos: i64| Timestamp {
        secs,
        nanos: u32::try_from(nanos).unwrap_or(0),
    };
    Head {
        path: path
            .file_name()
            .map(|name| name.as_bytes().to_vec())
            .into_iter()
            .collect(),
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        atime: time(meta.atime(), meta.atime_nsec()),
        mtime: time(meta.mtime(), meta.mtime_nsec()),
        ctime: time(meta.ctime(), meta.ctime_nsec()),
        size: meta.len(),
        author: context.actor,
        host: context.host,
        ..Head::default()
    }
}

fn share_name(path: &Path, index: u8) -> OsString {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{index}.warifu"));
    name
}

fn changed(path: &Path) -> Failure {
    Failure::new(
        Exit::Failed,
        say!("split-changed", path = shown_path(path)),
        say!("try-again-next"),
    )
}

fn dealing(path: &Path, error: &LooseDealError) -> Failure {
    Failure::new(
        Exit::Failed,
        say!(
            "failed",
            subject = shown_path(path),
            detail = shown_text(&error.to_string())
        ),
        say!("failed-next"),
    )
}
