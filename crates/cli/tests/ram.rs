//! P6: where swap would bring RAM onto a disk, no drive is mounted, unless somebody says so, and then it is in the audit log.

mod common;

use std::process::Command;

use common::{World, can_mount, text};
use warifu::{OpenOptions, Warifu};

/// Runs a script in a mount namespace of its own, where `/proc/swaps` says what it is told to.
fn with_swaps(world: &World, script: &str) -> Option<(Option<i32>, String)> {
    if !can_mount() || !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can lay another table over /proc/swaps");
        return None;
    }
    world.write(
        "swaps",
        "Filename\t\tType\t\tSize\tUsed\tPriority\n/dev/no-such-disk partition 1048572 0 -2\n",
    );
    let script = format!("set -e; mount --bind swaps /proc/swaps; PATH=\"$W:$PATH\"; {script}");
    let out = Command::new("unshare")
        .args(["--mount", "bash", "-c", &script])
        .current_dir(world.dir())
        .env("W", std::path::Path::new(common::WARIFU).parent().unwrap())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    Some((out.status.code(), text(&out.stdout) + &text(&out.stderr)))
}

fn audit(world: &World) -> Vec<String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let vault = Warifu::open(&world.path("office.toml"), OpenOptions::new("test"))
            .await
            .unwrap();
        let rows = vault.vault().audit(0, 10_000).await.unwrap();
        vault.close().await;
        rows.into_iter().map(|row| row.entry.detail).collect()
    })
}

#[test]
fn p6_no_drive_where_swap_is_plain_unless_it_is_allowed_and_audited() {
    let world = World::new();
    std::fs::create_dir(world.path("drive")).unwrap();
    let Some((code, said)) = with_swaps(&world, "warifu mount office.toml drive") else {
        return;
    };
    assert_eq!(code, Some(8), "{said}");
    for word in [
        "/dev/no-such-disk",
        "swapoff -a",
        "cryptsetup",
        "--allow-swap",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let (code, said) = with_swaps(&world, "warifu --lang ja mount office.toml drive").unwrap();
    assert_eq!(code, Some(8), "{said}");
    assert!(
        said.contains("スワップ") && said.contains("次の手順"),
        "{said}"
    );
    assert!(!audit(&world).iter().any(|detail| detail.contains("swap")));

    let allowed =
        "warifu mount --allow-swap office.toml drive; echo x > drive/x; warifu umount drive";
    let (code, said) = with_swaps(&world, allowed).unwrap();
    assert_eq!(code, Some(0), "{said}");
    let about = |word: &str| {
        let rows = audit(&world);
        rows.iter()
            .filter(|detail| detail.contains("/dev/no-such-disk") && detail.contains(word))
            .count()
    };
    assert_eq!(about("--allow-swap"), 1);

    // The vault file may say it for all machines.
    let file = text(&world.read("office.toml"));
    world.write(
        "office.toml",
        file.replace("memory = \"guarded\"", "memory = \"any\""),
    );
    let (code, said) = with_swaps(
        &world,
        "warifu mount office.toml drive; warifu umount drive",
    )
    .unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(about("the vault file"), 1);
}

#[test]
fn p6_the_tour_says_what_it_found_and_goes_on() {
    let world = World::empty();
    let script =
        "warifu quickstart; ls warifu-quickstart/drive; warifu umount warifu-quickstart/drive";
    let Some((code, said)) = with_swaps(&world, script) else {
        return;
    };
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("/dev/no-such-disk") && said.contains("swapoff -a"),
        "{said}"
    );
    assert!(said.contains("見本"), "the drive has the samples: {said}");
}

#[test]
fn p6_a_vault_that_asks_for_locked_memory_gets_it_or_no_drive() {
    if !can_mount() || !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root has memory without a limit to begin with");
        return;
    }
    let world = World::new();
    std::fs::create_dir(world.path("drive")).unwrap();
    let file = text(&world.read("office.toml"));
    world.write(
        "office.toml",
        file.replace("memory = \"guarded\"", "memory = \"locked\""),
    );
    // Root of a user namespace has every capability to show, and none that counts for this.
    let out = Command::new("unshare")
        .args(["--user", "--map-root-user", "prlimit"])
        .args(["--memlock=8388608:8388608", common::WARIFU])
        .args(["mount", "office.toml", "drive"])
        .current_dir(world.dir())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let said = text(&out.stderr);
    if said.starts_with("unshare:") {
        eprintln!("skipped: no user namespaces here: {said}");
        return;
    }
    assert_eq!(out.status.code(), Some(8), "{said}");
    assert!(
        said.contains("8.0 MiB only") && said.contains("LimitMEMLOCK=infinity"),
        "{said}"
    );
    // Root itself may lock whatever the limit says, and then all of it is.
    let script = "prlimit --memlock=8388608:8388608 \"$W\" mount office.toml drive; \
        grep -l office.toml /proc/[0-9]*/cmdline | sed 's/cmdline/status/' | xargs grep -h VmLck; \"$W\" umount drive";
    let out = Command::new("bash")
        .args(["-c", script])
        .current_dir(world.dir())
        .env("W", common::WARIFU)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let said = text(&out.stdout) + &text(&out.stderr);
    let locked: Vec<u64> = said
        .lines()
        .filter_map(|line| line.strip_prefix("VmLck:"))
        .filter_map(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .collect();
    assert!(locked.iter().any(|kib| *kib > 10_000), "{said}");
}
