//! P4 with real servers under a running mount: killed in the middle of copies, stopped, and set back.
//!
//! `WARIFU_WHOLE_CORPUS=1` copies the whole corpus in and out while every pair of servers dies; without it a part of it and
//! three pairs have to do.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use warifu_tests::office::{Office, files_in, identical, scratch};
use warifu_tests::servers::{Folder, NetworkMount, Server, copy};
use warifu_tests::{can_mount, must, noise, run, said, shared, tree, wait_until};

/// `cp -a`, in the middle of which servers are killed one after the other. No error may reach the user.
fn copy_while(from: &Path, to: &Path, servers: &mut [Box<dyn Server>], killed: &[usize]) {
    let total = files_in(from);
    fs::create_dir_all(to).unwrap();
    let mut cp = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for (place, server) in killed.iter().enumerate() {
        let enough = total * (place + 1) / (killed.len() + 2);
        let limit = Duration::from_secs(300);
        let copied = wait_until(limit, || {
            files_in(to) >= enough || cp.try_wait().unwrap().is_some()
        });
        assert!(copied, "the copy stands still");
        servers[*server].kill();
    }
    let output = cp.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "cp with {killed:?} killed: {}",
        said(&output)
    );
    assert_eq!(said(&output), "", "cp with {killed:?} killed");
}

/// What is copied: the whole corpus, or a part of it that is copied in seconds.
fn documents() -> Option<PathBuf> {
    let corpus = shared("corpus")?;
    Some(if whole_corpus() {
        corpus
    } else {
        corpus.join("教育委員会")
    })
}

fn whole_corpus() -> bool {
    std::env::var_os("WARIFU_WHOLE_CORPUS").is_some()
}

#[test]
fn p4_any_two_of_five_real_servers_die_during_a_copy_in_and_a_copy_out() {
    let Some(corpus) = documents() else { return };
    let Some(mut office) = Office::open() else {
        return;
    };
    let pairs: Vec<[usize; 2]> = if whole_corpus() {
        let firsts = 0..5;
        firsts
            .flat_map(|one| (one + 1..5).map(move |other| [one, other]))
            .collect()
    } else {
        vec![[1, 2], [3, 1], [0, 4]]
    };
    for pair in &pairs {
        let begin = Instant::now();
        let within = office.rig.drive.join(format!("{}-{}", pair[0], pair[1]));
        copy_while(&corpus, &within, &mut office.servers, pair);
        identical(&corpus, &within, "with two dead");
        for server in pair {
            office.servers[*server].start();
        }
        office.catch_up();
        // What is read is not what was kept in RAM: the drive keeps nothing of a file that is not open.
        let out = scratch("warifu-out-");
        copy_while(&within, out.path(), &mut office.servers, pair);
        identical(&corpus, out.path(), "copied out");
        for server in pair {
            office.servers[*server].start();
        }
        office.catch_up();
        eprintln!("{pair:?}: {:?}", begin.elapsed());
    }
    for pair in &pairs {
        let within = office.rig.drive.join(format!("{}-{}", pair[0], pair[1]));
        identical(&corpus, &within, "at the end");
    }
    office.rig.unmount_cleanly();
}

/// What was written just before was not known to be on disk yet, and never will be through what was open then.
#[test]
fn p4_a_network_mount_that_is_cut_off_in_the_middle_of_saves_is_caught_up_once_it_is_back() {
    if !can_mount() {
        return;
    }
    let dir = scratch("warifu-network-");
    let Some(mount) = NetworkMount::new(&dir.path().join("network-3")) else {
        return;
    };
    let servers: Vec<Box<dyn Server>> = vec![
        Box::new(Folder::new(dir.path().join("folder-1"))),
        Box::new(Folder::new(dir.path().join("folder-2"))),
        Box::new(mount),
    ];
    let mut office = Office::on(2, servers, dir);
    office.rig.mount();
    for round in 0..2 {
        for number in 0..10 {
            let path = office.drive().join(format!("{round}-{number}"));
            fs::write(path, noise(5_000, number)).unwrap();
            if number == 6 {
                office.servers[2].kill();
            }
        }
        office.servers[2].start();
        office.catch_up();
    }
    let (code, report) = office.verify(&[]);
    assert_eq!(code, Some(0), "{report}");
    office.rig.unmount_cleanly();
}

#[test]
fn p4_a_third_dead_server_is_a_clear_error_and_nothing_is_lost_when_it_returns() {
    let Some(mut office) = Office::open() else {
        return;
    };
    let (old, new) = (noise(300_000, 1), noise(200_000, 2));
    let path = office.drive().join("台帳.xlsx");
    fs::write(&path, &old).unwrap();
    for server in [0, 1] {
        office.servers[server].kill();
    }
    assert!(fs::read(&path).unwrap() == old, "two are dead");
    office.servers[2].kill();

    let refused = fs::read(&path).expect_err("three of five are dead");
    assert_eq!(refused.raw_os_error(), Some(libc::EIO), "{refused}");
    let beside = office.drive().join("新規.docx");
    let copied = scratch("warifu-new-");
    let source = copied.path().join("new");
    fs::write(&source, &new).unwrap();
    let output = run("cp", [source.as_os_str(), beside.as_os_str()]);
    assert!(
        !output.status.success(),
        "cp must say that nothing was saved"
    );
    let status = office.rig.warifu("status", &[]);
    assert!(!status.status.success(), "{}", said(&status));
    assert!(said(&status).lines().count() > 3, "{}", said(&status));

    for server in 0..3 {
        office.servers[server].start();
    }
    let back = wait_until(Duration::from_secs(60), || {
        fs::read(&path).is_ok_and(|bytes| bytes == old)
    });
    assert!(back, "what was there is there again");
    let saved = wait_until(Duration::from_secs(60), || fs::write(&beside, &new).is_ok());
    assert!(saved && fs::read(&beside).unwrap() == new);
    // The save that failed was told to the program; the unmount may name it once more.
    let _ = office.rig.unmount();
    office.rig.mount();
    assert!(fs::read(&path).unwrap() == old && fs::read(&beside).unwrap() == new);
    office.rig.unmount_cleanly();
}

#[test]
fn p4_stopped_servers_make_no_open_wait_and_go_on_afterwards() {
    let Some(mut office) = Office::open() else {
        return;
    };
    let drive = office.rig.drive.clone();
    let write = |name: &str, seed: u64| {
        let bytes = noise(100_000, seed);
        let path = drive.join(name);
        let begin = Instant::now();
        fs::write(&path, &bytes).unwrap();
        (path, bytes, begin.elapsed())
    };
    let before: Vec<_> = (0..20).map(|n| write(&format!("{n}.docx"), n)).collect();
    let mut stopped = 0;
    for server in &mut office.servers {
        // As many as can be spared.
        stopped += usize::from(stopped < 2 && server.pause());
    }
    assert_eq!(stopped, 2);
    let mut took: Vec<Duration> = before
        .iter()
        .map(|(path, bytes, _)| {
            let begin = Instant::now();
            assert!(fs::read(path).unwrap() == *bytes, "{}", path.display());
            begin.elapsed()
        })
        .collect();
    took.sort();
    eprintln!("opened with two stopped: {:?} … {:?}", took[0], took[19]);
    assert!(
        took[19] < Duration::from_secs(6),
        "the slowest: {:?}",
        took[19]
    );
    assert!(took[15] < Duration::from_secs(1), "most: {took:?}");
    let since: Vec<_> = (20..25).map(|n| write(&format!("{n}.docx"), n)).collect();
    eprintln!(
        "saved with two stopped: {:?}",
        since.iter().map(|s| s.2).collect::<Vec<_>>()
    );
    for (path, bytes, took) in &since {
        assert!(fs::read(path).unwrap() == *bytes, "{}", path.display());
        assert!(*took < Duration::from_secs(20), "a save took {took:?}");
    }
    office.servers.iter_mut().for_each(|server| server.resume());
    for (path, bytes, _) in before.iter().chain(&since) {
        assert!(fs::read(path).unwrap() == *bytes, "{}", path.display());
    }
    let (path, bytes, _) = write("danach.docx", 99);
    assert!(fs::read(path).unwrap() == bytes);
    office.catch_up();
    office.rig.unmount_cleanly();
}

#[test]
fn p4_a_server_set_back_under_the_mount_costs_nothing_and_is_named() {
    let Some(mut office) = Office::open() else {
        return;
    };
    let early = noise(50_000, 1);
    fs::write(office.drive().join("früh.docx"), &early).unwrap();
    must("sync", [OsString::from("-f"), office.drive().into()]);
    let copies = scratch("warifu-backup-");
    copy(office.servers[1].data(), copies.path());
    let mut late = Vec::new();
    for n in 0..5 {
        let bytes = noise(80_000, 10 + n);
        let path = office.drive().join(format!("spät-{n}.docx"));
        fs::write(&path, &bytes).unwrap();
        late.push((path, bytes));
    }
    office.servers[1].kill();
    let data = office.servers[1].data().to_owned();
    for entry in fs::read_dir(&data).unwrap().flatten() {
        fs::remove_dir_all(entry.path()).unwrap();
    }
    copy(copies.path(), &data);
    office.servers[1].start();

    // Two others go, so that the one set back is needed for what it has.
    for server in [3, 4] {
        office.servers[server].kill();
    }
    assert!(fs::read(office.drive().join("früh.docx")).unwrap() == early);
    office.servers[3].start();
    for (path, bytes) in &late {
        assert!(fs::read(path).unwrap() == *bytes, "{}", path.display());
    }
    office.servers[4].start();
    office.rig.unmount_cleanly();
    let output = office
        .rig
        .warifu("verify", &[OsStr::new("--deep"), OsStr::new("--json")]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let named: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["damage"] == "missing")
        .filter_map(|finding| finding["file"].as_str())
        .collect();
    for (path, _) in &late {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            named
                .iter()
                .any(|file| file.trim_start_matches('/') == name),
            "{name} is not named: {report}"
        );
    }
    assert!(!named.iter().any(|file| file.contains("früh")), "{report}");
    assert!(!tree(&data).is_empty());
}
