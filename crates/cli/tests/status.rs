//! `status`: what it says of servers and of files that are not at full strength, to people and to programs.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::{World, noise, text};
use serde_json::Value;

fn said(world: &World, code: i32, lang: &str) -> String {
    let out = world.run(["--lang", lang, "status", "office.toml"]);
    assert_eq!(out.status.code(), Some(code), "{}", text(&out.stderr));
    text(&out.stdout)
}

/// The fields of an object, and of those in it, each with the path to it.
fn fields(value: &Value, before: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                found.insert(format!("{before}{name}"));
                fields(value, &format!("{before}{name}."), found);
            }
        }
        Value::Array(entries) => entries
            .iter()
            .for_each(|value| fields(value, before, found)),
        _ => {}
    }
}

#[test]
fn a_vault_that_is_well_has_no_problems() {
    let world = World::new();
    world.write("a.bin", noise(50_000));
    world.ok(["put", "office.toml", "a.bin", "/"]);
    let status = world.json(0, ["status", "--json", "office.toml"]);
    assert_eq!(status["problems"], Value::Array(Vec::new()), "{status}");
    assert_eq!(
        (
            &status["spare"],
            &status["lost_with_one_more"],
            &status["weak"]["files"]
        ),
        (&1.into(), &0.into(), &0.into())
    );
    for server in status["servers"].as_array().unwrap() {
        assert_eq!(server["state"], "normal");
        assert_eq!(server["reason"], Value::Null);
        assert_eq!(server["breaker"], "closed");
        assert!(server["latency_ms"].as_f64().unwrap() > 0.0);
        assert!(server["last_success"].as_str().unwrap().ends_with('Z'));
        assert!(server["free"].as_u64().unwrap() > 0);
    }
    let words = said(&world, 0, "en");
    assert_eq!(words.matches("normal").count(), 3, "{words}");
    assert!(words.contains(" ms ") && !words.contains("Next"), "{words}");
    assert_eq!(said(&world, 0, "ja").matches("通常").count(), 3);
}

#[test]
fn p4_what_one_more_server_would_cost_is_told() {
    let world = World::new();
    world.write("full.bin", noise(50_000));
    world.ok(["put", "office.toml", "full.bin", "/"]);
    world.away("b");
    world.write("weak.bin", noise(50_000));
    world.run(["put", "office.toml", "weak.bin", "/"]);
    let words = said(&world, 3, "en");
    assert!(words.contains("shisho  stopped (no answer)"), "{words}");
    assert!(
        words.contains("Next: shisho: bring the servers that do not answer back"),
        "{words}"
    );
    let status = world.json(3, ["status", "--json", "office.toml"]);
    assert_eq!(
        (&status["spare"], &status["lost_with_one_more"]),
        (&0.into(), &2.into())
    );
    let problems: Vec<_> = status["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["problem"].as_str().unwrap())
        .collect();
    assert_eq!(problems, ["server-stopped", "shares-owed"]);
    assert_eq!(status["problems"][0]["server"], "shisho");
    // Back, it does not have everything yet.
    world.back("b");
    let status = world.json(3, ["status", "--json", "office.toml"]);
    assert_eq!(
        (&status["spare"], &status["lost_with_one_more"]),
        (&1.into(), &1.into())
    );
    let server = &status["servers"][1];
    assert_eq!(
        (&server["state"], &server["reason"], &server["owed"]),
        (&"degraded".into(), &"owed".into(), &status["owed_shares"])
    );
    let owed = status["owed_shares"].as_u64().unwrap();
    assert!(owed > 1, "the file's and some of the journal: {status}");
    assert_eq!(
        status["weak"],
        serde_json::json!({
            "files": 1, "at_risk": 1, "unreadable": 0, "journal": 0,
            "named": [{ "path": "/weak.bin", "spare": 0, "owed": [2] }],
        })
    );
    let words = said(&world, 3, "en");
    assert!(
        words.contains(&format!("degraded ({owed} shares are still to come)")),
        "{words}"
    );
    assert!(
        words.contains("/weak.bin  may lose no further server"),
        "{words}"
    );
    assert!(words.contains("--repair"), "{words}");
    assert!(
        words.contains(
            "The journal of the catalogue does not have all its shares yet: may lose no further server"
        ) && words.contains("1 file does not have all its shares yet"),
        "{words}"
    );
    let words = said(&world, 3, "ja");
    assert!(
        words.contains("縮退") && words.contains("/weak.bin"),
        "{words}"
    );
    assert!(
        words.contains("目録の変更記録の割符がそろっていません: これ以上 1 台も失えません"),
        "{words}"
    );
    // With one of the two gone that have it, it is out of reach, and the other file is not.
    world.away("a");
    let status = world.json(5, ["status", "--json", "office.toml"]);
    assert_eq!(
        (&status["spare"], &status["weak"]["unreadable"]),
        (&0.into(), &1.into())
    );
    let words = said(&world, 5, "en");
    assert!(words.contains("/weak.bin  out of reach now"), "{words}");
    assert!(said(&world, 5, "ja").contains("停止（応答なし）"));
}

#[test]
fn a_server_that_lost_its_piece_of_the_key_is_no_server() {
    let world = World::new();
    let piece = fs::read_dir(world.path("c"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("vault-")
        })
        .unwrap();
    fs::remove_file(piece).unwrap();
    let status = world.json(3, ["status", "--json", "office.toml"]);
    assert_eq!(
        (
            &status["servers"][2]["state"],
            &status["servers"][2]["reason"]
        ),
        (&"stopped".into(), &"missing".into()),
        "{status}"
    );
    assert_eq!(status["problems"][0]["problem"], "server-emptied");
    assert!(
        said(&world, 3, "en").contains("do not use a server that something else has written to")
    );
}

#[test]
fn nobody_has_a_file_open_where_nothing_is_mounted() {
    let world = World::new();
    let told = world.json(0, ["status", "--open-files", "--json", "office.toml"]);
    for list in ["drives", "open", "locks"] {
        assert_eq!(told[list], serde_json::json!([]), "{told}");
    }
    let text = world.ok(["status", "--open-files", "office.toml"]);
    assert!(text.contains("No drive is mounted."), "{text}");
    assert!(text.contains("Nobody has a file open"), "{text}");
}

/// Each field that is printed is explained, and each field that is explained is printed.
#[test]
fn the_json_is_what_its_documentation_says() {
    let world = World::new();
    world.away("b");
    world.write("weak.bin", noise(5000));
    world.run(["put", "office.toml", "weak.bin", "/"]);
    let status = world.json(3, ["status", "--json", "office.toml"]);
    let mut printed = BTreeSet::new();
    fields(&status, "", &mut printed);
    let printed: BTreeSet<&str> = printed
        .iter()
        .map(|path| path.rsplit('.').next().unwrap())
        .collect();
    let page = include_str!("../JSON.md");
    let page = page
        .split("\n## ")
        .find(|part| part.starts_with("`warifu status"))
        .unwrap();
    for field in &printed {
        assert!(
            page.contains(&format!("`{field}`")),
            "{field} is not explained"
        );
    }
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let names = row.split('|').nth(1).unwrap();
        for name in names.split('`').skip(1).step_by(2) {
            assert!(
                printed.contains(name),
                "{name} is explained and not printed: {status}"
            );
        }
    }
}
