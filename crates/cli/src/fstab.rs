//! How `mount(8)` and `/etc/fstab` call the program: as `mount.fuse.warifu VAULT DIR [-sfnv] [-o OPTIONS]`.
//!
//! The call is translated into one of `warifu mount`, so that there is one way to mount and not two. Options that concern
//! only whoever reads `/etc/fstab` (`noauto`, `_netdev`, `x-systemd.…`) are passed over; one that nobody knows is refused,
//! because a mount that ignores what it was told is worse than none.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{shown, shown_text};
use crate::words::say;

/// The names under which `mount(8)` looks for the program: for the type `fuse.warifu`, and for `warifu`.
const NAMES: [&str; 2] = ["mount.fuse.warifu", "mount.warifu"];

/// Options for others, or that say what is so anyway (`nosuid`, `nodev`).
const OF_OTHERS: [&str; 15] = [
    "auto", "defaults", "dev", "exec", "group", "noauto", "nodev", "nofail", "nosuid", "nouser",
    "owner", "rw", "suid", "user", "users",
];

/// How a call by `mount(8)` ends: with 0, with 1 when it makes no sense, and with 32 when nothing was mounted.
pub fn exit_code(exit: Exit) -> u8 {
    match exit {
        Exit::Ok => 0,
        Exit::Usage => 1,
        _ => 32,
    }
}

/// Whether `mount(8)` calls: the name of the program says so.
pub fn is_called(args: &[OsString]) -> bool {
    args.first()
        .and_then(|name| Path::new(name).file_name())
        .is_some_and(|name| NAMES.iter().any(|known| name == *known))
}

/// What the language is chosen by: `lang=` among the options, and otherwise the locale.
pub fn language(args: &[OsString]) -> Vec<OsString> {
    let options = args
        .iter()
        .skip_while(|arg| *arg != "-o")
        .nth(1)
        .map(|options| options.to_string_lossy().into_owned());
    let lang = options.as_deref().and_then(|options| {
        let mut options = options.split(',');
        options.find_map(|option| option.strip_prefix("lang="))
    });
    lang.map(|lang| format!("--lang={lang}").into())
        .into_iter()
        .collect()
}

/// The call as one of `warifu mount`; `None` when nothing is to be done (`-f`: only pretend).
pub fn as_mount(args: &[OsString]) -> Result<Option<Vec<OsString>>, Failure> {
    let mut places = Vec::new();
    let mut call: Vec<OsString> = vec!["warifu".into(), "mount".into()];
    let mut pretend = false;
    let mut words = args.iter().skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-o") => {
                let options = words.next().ok_or_else(|| bad(OsStr::new("-o")))?;
                let options = options.to_str().ok_or_else(|| bad(options))?;
                for option in options.split(',').filter(|option| !option.is_empty()) {
                    take(option, &mut call)?;
                }
            }
            // The name space that mount(8) is in already.
            Some("-N" | "-t") => {
                words.next();
            }
            Some(flags) if flags.len() > 1 && flags.starts_with('-') => {
                if !flags[1..].chars().all(|flag| "sfnvrw".contains(flag)) {
                    return Err(bad(word));
                }
                pretend |= flags.contains('f');
                if flags.contains('r') {
                    call.push("--read-only".into());
                }
            }
            _ => places.push(word.clone()),
        }
    }
    if places.len() != 2 {
        return Err(Failure::new(
            Exit::Usage,
            say!("fstab-places"),
            say!("fstab-next"),
        ));
    }
    if pretend {
        return Ok(None);
    }
    // What begins with a dash is a place all the same.
    call.push("--quiet".into());
    call.push("--".into());
    call.extend(places);
    Ok(Some(call))
}

fn take(option: &str, call: &mut Vec<OsString>) -> Result<(), Failure> {
    match option.split_once('=') {
        None if OF_OTHERS.contains(&option) => {}
        None if option == "ro" => call.push("--read-only".into()),
        None if option == "allow_other" => call.push("--allow-other".into()),
        None if option == "allow_swap" => call.push("--allow-swap".into()),
        Some(("memory_limit", value)) => call.push(format!("--memory-limit={value}").into()),
        Some(("lang", value)) => call.push(format!("--lang={value}").into()),
        Some(("comment", _)) => {}
        _ if option.starts_with("x-") || option.starts_with("X-") || option == "_netdev" => {}
        _ => return Err(bad(OsStr::new(option))),
    }
    Ok(())
}

fn bad(word: &OsStr) -> Failure {
    let option = shown_text(&shown(word.as_encoded_bytes()));
    Failure::new(
        Exit::Usage,
        say!("fstab-option", option = option),
        say!("fstab-next"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Result<Option<Vec<String>>, Failure> {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        assert!(is_called(&args), "{line}");
        let translated = as_mount(&args)?;
        Ok(translated.map(|call| {
            call.into_iter()
                .map(|word| word.into_string().unwrap())
                .collect()
        }))
    }

    #[test]
    fn a_line_of_fstab_becomes_a_call_of_mount() {
        let line = "/sbin/mount.fuse.warifu /etc/warifu/office.toml /srv/office -n -o rw,allow_other,_netdev,nofail,x-systemd.automount,memory_limit=512";
        let expected = "warifu mount --allow-other --memory-limit=512 --quiet -- /etc/warifu/office.toml /srv/office";
        assert_eq!(call(line).unwrap().unwrap().join(" "), expected);
        let line = "mount.warifu a.toml b -o ro,lang=ja";
        assert_eq!(
            call(line).unwrap().unwrap().join(" "),
            "warifu mount --read-only --lang=ja --quiet -- a.toml b"
        );
        assert_eq!(call("mount.warifu -f a.toml b").unwrap(), None);
        // It parses as the program's own.
        let parsed: Vec<OsString> = call(line)
            .unwrap()
            .unwrap()
            .into_iter()
            .map(Into::into)
            .collect();
        crate::args::command().try_get_matches_from(parsed).unwrap();
    }

    #[test]
    fn an_option_that_nobody_knows_is_refused() {
        for line in [
            "mount.warifu a.toml b -o noexec",
            "mount.warifu a.toml b -o alow_other",
            "mount.warifu a.toml b -o",
            "mount.warifu -x a.toml b",
            "mount.warifu a.toml",
            "mount.warifu a.toml b c",
        ] {
            let failure = call(line).unwrap_err();
            assert_eq!(
                (failure.exit, exit_code(failure.exit)),
                (Exit::Usage, 1),
                "{line}"
            );
        }
        assert!(!is_called(&["/usr/bin/warifu".into()]));
        assert_eq!(exit_code(Exit::NoMount), 32);
    }
}
