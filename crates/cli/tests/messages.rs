//! What the program says: what is wrong, then what to do next, in two languages; exit codes; help.

mod common;

use common::{WARIFU, World, text};

/// Pins whole messages; `{warifu}` stands for how the program was called.
#[track_caller]
fn says(world: &World, lang: &str, args: &[&str], code: i32, expected: &str) {
    let out = world.run(["--lang", lang].into_iter().chain(args.iter().copied()));
    assert_eq!(text(&out.stderr).replace(WARIFU, "{warifu}"), expected);
    assert_eq!(out.status.code(), Some(code));
    assert_eq!(
        text(&out.stdout),
        "",
        "nothing but results goes to standard output"
    );
}

#[test]
fn a_file_that_is_not_there() {
    let world = World::new();
    says(
        &world,
        "en",
        &["cat", "office.toml", "/none"],
        4,
        "warifu: /none does not exist in the vault.\nNext: see what is there with: {warifu} ls office.toml\n",
    );
    says(
        &world,
        "ja",
        &["cat", "office.toml", "/none"],
        4,
        "warifu: /none は保管庫に存在しません。\n次の手順: 中身を確認してください: {warifu} ls office.toml\n",
    );
}

#[test]
fn a_vault_that_is_not_there() {
    let world = World::empty();
    says(
        &world,
        "en",
        &["ls", "no.toml"],
        4,
        &format!(
            "warifu: there is no vault file {0}/no.toml.\nNext: check the path, or make a vault with: {{warifu}} init no.toml --threshold 2 SERVER SERVER SERVER\n",
            world.dir().display()
        ),
    );
    says(
        &world,
        "ja",
        &["ls", "no.toml"],
        4,
        &format!(
            "warifu: 保管庫ファイル {0}/no.toml がありません。\n次の手順: パスを確認するか、新しく作ってください: {{warifu}} init no.toml --threshold 2 サーバ サーバ サーバ\n",
            world.dir().display()
        ),
    );
}

#[test]
fn too_few_servers() {
    let world = World::new();
    world.away("a");
    world.away("b");
    let dir = world.dir().display();
    says(
        &world,
        "en",
        &["ls", "office.toml"],
        5,
        &format!(
            "warifu: the vault cannot be opened: 2 servers are needed and 1 answered as they should.\n  honcho: no answer (there is no folder {dir}/a)\n  shisho: no answer (there is no folder {dir}/b)\nNext: bring one of the servers named above back (is it mounted?), and try again.\n"
        ),
    );
    says(
        &world,
        "ja",
        &["ls", "office.toml"],
        5,
        &format!(
            "warifu: 保管庫を開けません。2 台のサーバが必要ですが、正しく応答したのは 1 台です。\n  honcho: 応答なし (there is no folder {dir}/a)\n  shisho: 応答なし (there is no folder {dir}/b)\n次の手順: 上のサーバを復旧して（マウントされていますか）、もう一度実行してください。\n"
        ),
    );
}

#[test]
fn folders_and_names() {
    let world = World::new();
    world.ok(["mkdir", "office.toml", "/d"]);
    says(
        &world,
        "en",
        &["rm", "office.toml", "/d"],
        1,
        "warifu: /d is a folder.\nNext: remove a folder and all that is in it with -r.\n",
    );
    says(
        &world,
        "ja",
        &["rm", "office.toml", "/d"],
        1,
        "warifu: /d はフォルダです。\n次の手順: フォルダを中身ごと削除するには -r を付けてください。\n",
    );
    let long = "n".repeat(300);
    says(
        &world,
        "en",
        &["mkdir", "office.toml", &long],
        2,
        &format!(
            "warifu: {long}: a name of 300 bytes is too long; the limit is 255 bytes.\nNext: choose a shorter name.\n"
        ),
    );
    says(
        &world,
        "en",
        &["ls", "office.toml", "/../etc"],
        2,
        "warifu: /../etc: no file can be called that.\nNext: leave out empty names, \"..\", and the NUL character.\n",
    );
}

#[test]
fn command_lines_that_make_no_sense_end_with_2() {
    let world = World::new();
    for args in [
        vec![],
        vec!["putt"],
        vec!["ls"],
        vec!["init", "x.toml", "-k", "0", "a"],
        vec!["get", "--version", "0", "office.toml", "/a", "b"],
    ] {
        let out = world.run(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert_eq!(
            world.run(["--lang=ja"].iter().chain(&args)).status.code(),
            Some(2),
            "{args:?}"
        );
    }
    says(
        &world,
        "ja",
        &["putt"],
        2,
        "warifu: コマンドの指定が正しくありません: unrecognized subcommand 'putt'\n次の手順: {warifu} --help で使い方を確認してください。\n",
    );
}

#[test]
fn the_locale_chooses_the_language() {
    let world = World::empty();
    for (name, value, expected) in [
        ("LC_ALL", "ja_JP.UTF-8", "がありません"),
        ("LC_ALL", "en_US.UTF-8", "there is no"),
    ] {
        let out = world
            .command(["ls", "no.toml"])
            .env(name, value)
            .output()
            .unwrap();
        assert!(text(&out.stderr).contains(expected));
    }
    let out = world
        .command(["ls", "no.toml"])
        .env_remove("LC_ALL")
        .env_remove("LC_MESSAGES")
        .env("LANG", "ja_JP.UTF-8")
        .output()
        .unwrap();
    assert!(text(&out.stderr).contains("がありません"));
}

#[test]
fn help_is_whole_in_both_languages() {
    let world = World::empty();
    let commands = [
        "quickstart",
        "init",
        "mount",
        "umount",
        "put",
        "get",
        "ls",
        "cat",
        "rm",
        "mv",
        "mkdir",
        "history",
        "status",
        "verify",
        "split",
        "combine",
        "completions",
    ];
    let (english, japanese) = (world.ok(["--help"]), world.ok(["--lang", "ja", "--help"]));
    for command in commands {
        assert!(
            english.contains(command) && japanese.contains(command),
            "{command}"
        );
        let help = world.ok([command, "--help"]);
        assert!(
            help.contains("Usage: ") && help.contains("Examples:\n  "),
            "{help}"
        );
        let help = world.ok(["--lang", "ja", command, "--help"]);
        assert!(
            help.contains("使い方: warifu ") && help.contains("例:\n  "),
            "{help}"
        );
        for english in [
            "Usage",
            "OPTIONS",
            "Print help",
            "possible values",
            "Arguments:",
        ] {
            assert!(!help.contains(english), "{english} in\n{help}");
        }
    }
    assert!(english.contains("Exit codes:") && japanese.contains("終了コード:"));
    assert!(world.ok(["--version"]).starts_with("warifu "));
}

#[test]
fn completions_for_the_shells() {
    let world = World::empty();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            world.ok(["completions", shell]).contains("quickstart"),
            "{shell}"
        );
    }
}

#[test]
fn no_progress_and_no_colours_in_a_pipe() {
    let world = World::new();
    world.write("big.bin", common::noise(12_000_000));
    for args in [
        vec!["put", "office.toml", "big.bin", "/"],
        vec!["get", "office.toml", "/big.bin", "back.bin"],
        vec!["verify", "--deep", "office.toml"],
        vec!["split", "big.bin", "-k", "1", "-n", "1"],
        vec!["ls", "-l", "office.toml"],
    ] {
        let out = world.run(&args);
        assert!(out.status.success(), "{}", text(&out.stderr));
        for stream in [&out.stdout, &out.stderr] {
            assert!(
                !stream.contains(&0x1b) && !stream.contains(&b'\r') && !stream.contains(&b'%'),
                "{args:?}: {}",
                text(stream)
            );
        }
    }
}

#[test]
fn quiet_says_nothing_when_all_is_well() {
    let world = World::new();
    world.write("f", "x");
    let out = world.run(["-q", "put", "office.toml", "f", "/"]);
    assert!(
        out.status.success() && out.stdout.is_empty() && out.stderr.is_empty(),
        "{}",
        text(&out.stderr)
    );
}
