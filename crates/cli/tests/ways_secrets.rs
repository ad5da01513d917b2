//! Ways in: new secrets for them, and what is said of old ones (P3).

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use common::ways::{V, codes, ends, secret, with_passphrase};
use common::{World, text};

/// Nobody gets sheets for a way that cannot be added, and what is left of a try that failed is in nobody's way.
#[test]
fn p10_no_sheets_are_handed_out_for_what_cannot_be() {
    let world = World::new();
    with_passphrase(&world);
    let by = ["--passphrase-file", "pass", "--yes"];
    let add = ["way", "add", V, "custodians", "--pdf", ".", "--name"];
    let sheets = || {
        let names = fs::read_dir(world.dir()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".pdf")).count()
    };
    let long = "長".repeat(80);
    for name in ["", &long, "a\nb"] {
        let said = ends(&world.run(add.iter().chain(&[name]).chain(&by)), 2);
        assert!(said.contains("cannot be like that"), "{said}");
        assert_eq!(sheets(), 0);
    }
    ends(&world.run(add.iter().chain(&["soumu"]).chain(&by)), 6);
    assert_eq!(sheets(), 0);
    // One of the files is there already: those that were written before it go again.
    world.write("sanyaku-3-of-5.pdf", "somebody's");
    let named = add.iter().chain(&["sanyaku"]).chain(&by);
    assert!(!world.run(named.clone()).status.success());
    assert_eq!(sheets(), 1);
    fs::remove_file(world.path("sanyaku-3-of-5.pdf")).unwrap();
    // Two servers take nothing under the name of the change, which no look at them tells before: what was handed out is taken back.
    for server in ["a", "b"] {
        let mut newer = world.read(format!("{server}/ways-00000001"));
        newer[7] = 9;
        world.write(format!("{server}/ways-00000002"), newer);
    }
    let said = ends(&world.run(named.clone()), 5);
    assert!(said.contains("just made are worthless"), "{said}");
    assert_eq!(sheets(), 0);
    for server in ["a", "b"] {
        fs::remove_file(world.path(server).join("ways-00000002")).unwrap();
    }
    world.ok(named);
    assert_eq!(sheets(), 5);
}

/// New secrets are as strong as the old ones, unless somebody says otherwise; the plan says how strong.
#[test]
fn p3_new_secrets_are_no_weaker_than_the_old_ones() {
    let world = World::new();
    secret(&world, "pass", "合言葉は四つ辻の角\n");
    let by = ["--passphrase-file", "pass"];
    let add = [
        "way",
        "add",
        V,
        "passphrase",
        "--new-passphrase-file",
        "pass",
    ];
    world.ok(add.iter().chain(&["--memory", "300", "--yes"]));
    let add = [
        "way",
        "add",
        V,
        "custodians",
        "--needed",
        "4",
        "--sheets",
        "7",
        "--yes",
    ];
    world.ok(add.iter().chain(&by));
    let plan = ["way", "rotate", V, "custodians"];
    let said = ends(&world.run(plan.iter().chain(&by)), 3);
    assert!(said.contains("4 of 7 paper shares"), "{said}");
    let printed = world.ok(plan.iter().chain(&["--yes"]).chain(&by));
    assert_eq!(codes(&printed).len(), 7);
    assert!(printed.contains("Any 4 of the 7"), "{printed}");
    let fewer = ["--sheets", "3", "--yes"];
    ends(&world.run(plan.iter().chain(&fewer).chain(&by)), 2);
    secret(&world, "new", "あたらしい合言葉\n");
    let renew = [
        "way",
        "rotate",
        V,
        "passphrase",
        "--new-passphrase-file",
        "new",
    ];
    let said = ends(&world.run(renew.iter().chain(&by)), 3);
    assert!(said.contains("300 MiB"), "{said}");
    let renew = renew.iter().chain(&["--memory", "64", "--yes"]);
    let said = world.ok(renew.chain(&by));
    assert!(said.contains("(300 MiB"), "{said}");
    let recover = ["way", "recover", V, "--new-passphrase-file", "pass"];
    let said = world.ok(recover.iter().chain(&["--passphrase-file", "new"]));
    assert!(said.contains("(300 MiB"), "{said}");
}

/// What the vault file refers to may be out of date: what somebody says counts all the same.
#[test]
fn p3_a_stale_passphrase_in_the_vault_file_is_in_nobodys_way() {
    let world = World::new();
    with_passphrase(&world);
    secret(&world, "stale", "去年の合言葉です\n");
    let file = text(&world.read(V)).replace(
        "# passphrase = \"file:office.passphrase\"",
        "passphrase = \"file:stale\"",
    );
    world.write(V, file);
    let said = ends(&world.run(["ls", V]), 9);
    assert!(
        said.contains("passphrase is wrong") && said.contains("passphrase = … in office.toml"),
        "{said}"
    );
    let by = ["--passphrase-file", "pass"];
    world.ok(["ls", V].iter().chain(&by));
    let add = ["way", "add", V, "custodians", "--yes"];
    let printed = world.ok(add.iter().chain(&by));
    for (number, code) in codes(&printed).iter().enumerate() {
        world.write(format!("code-{number}"), code);
    }
    let sheets = [
        "--share", "code-0", "--share", "code-1", "--share", "code-2",
    ];
    world.ok(["ls", V].iter().chain(&sheets));
    secret(&world, "new", "あたらしい合言葉\n");
    let recover = [
        "way",
        "recover",
        V,
        "--new-passphrase-file",
        "new",
        "--memory",
        "64",
    ];
    world.ok(recover.iter().chain(&sheets));
    world.ok(["ls", V, "--passphrase-file", "new"]);
    // What is wrong of what was said is what is told.
    let said = ends(&world.run(["ls", V].iter().chain(&by)), 9);
    assert!(said.contains("way recover"), "{said}");
    if common::can_mount() {
        fs::create_dir(world.path("mnt")).unwrap();
        world.ok(["mount", V, "mnt", "--passphrase-file", "new"]);
        world.ok(["umount", "mnt"]);
    }
    // One that nobody may use says why.
    fs::set_permissions(world.path("stale"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = ends(&world.run(["ls", V]), 9);
    assert!(said.contains("chmod 600"), "{said}");
    world.ok(["ls", V, "--passphrase-file", "new"]);
}
