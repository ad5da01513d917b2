//! `manpages`: the manual, made of the same definitions as `--help`, in the language chosen.

use std::fs;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use super::Done;
use crate::args;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::print;
use crate::words::say;

pub fn run(args: &args::ManPages) -> Done {
    fs::create_dir_all(&args.dir).map_err(|error| Failure::local(&args.dir, &error))?;
    let mut top = args::command();
    top.build();
    let pages = write_all(&top, "warifu", &args.dir)?;
    if !crate::quiet() {
        print(&format!(
            "{}\n",
            say!(
                "manpages-written",
                pages = pages,
                dir = crate::output::shown_path(&args.dir)
            )
        ))?;
    }
    Ok(Exit::Ok)
}

/// The headings of manual pages: clap's, and ours in the language chosen. What clap calls extra are a command's examples, and below the
/// program itself its exit codes.
fn headed(page: &str, name: &str) -> String {
    let extra = match name {
        "warifu" => say!("man-exit-status"),
        _ => say!("man-examples"),
    };
    let headings = [
        ("NAME", say!("man-name")),
        ("SYNOPSIS", say!("man-synopsis")),
        ("DESCRIPTION", say!("man-description")),
        ("OPTIONS", say!("man-options")),
        ("SUBCOMMANDS", say!("man-commands")),
        ("VERSION", say!("man-version")),
        ("EXTRA", extra),
    ];
    let lines = page.lines().map(|line| {
        let heading = line
            .strip_prefix(".SH ")
            .and_then(|title| headings.iter().find(|(theirs, _)| *theirs == title));
        match heading {
            Some((_, ours)) => format!(".SH {ours}\n"),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}

/// The page of a command and those of the commands below it; returns how many.
fn write_all(command: &Command, name: &str, dir: &Path) -> Result<usize, Failure> {
    let file = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    // clap's own name for it has a space in it, which no page has.
    Man::new(command.clone().display_name(name.to_owned()))
        .title(name.to_uppercase())
        .source(concat!("warifu ", env!("CARGO_PKG_VERSION")))
        .manual("warifu")
        .render(&mut page)
        .and_then(|()| fs::write(&file, headed(&String::from_utf8_lossy(&page), name)))
        .map_err(|error| Failure::local(&file, &error))?;
    let mut pages = 1;
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        pages += write_all(below, &format!("{name}-{}", below.get_name()), dir)?;
    }
    Ok(pages)
}
