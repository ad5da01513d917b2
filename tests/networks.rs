//! P8: three drives of one vault, each in a network of its own, with the database behind a virtual line that is cut.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use warifu_testkit::proxy::Proxy;
use warifu_testkit::servers::{Postgres, PostgresOptions};
use warifu_tests::drives::{Drive, can_lock, holder, rig_on};
use warifu_tests::{can_mount, is_root, must, noise, run, skipped, wait_until, which};

const EVER: Duration = Duration::from_secs(120);

/// The address of this machine on the virtual network. Few have anything there.
const HERE: Ipv4Addr = Ipv4Addr::new(10, 187, 213, 1);

/// A switch, and three networks of one machine each on it. Gone with it.
struct Office {
    bridge: String,
    desks: [String; 3],
}

fn ip(words: &str) -> bool {
    run("ip", words.split_whitespace()).status.success()
}

impl Office {
    /// `None` where this kernel or this user may not make networks.
    fn build() -> Option<Self> {
        if !is_root() || which("ip").is_none() || which("nsenter").is_none() {
            skipped("networks are for root, with iproute2 and util-linux");
            return None;
        }
        let number = std::process::id() % 100_000;
        let office = Self {
            bridge: format!("wfb{number}"),
            desks: [1, 2, 3].map(|desk| format!("wfn{number}-{desk}")),
        };
        let bridge = &office.bridge;
        let mut made = ip(&format!("link add {bridge} type bridge"))
            && ip(&format!("addr add {HERE}/24 dev {bridge}"))
            && ip(&format!("link set {bridge} up"));
        for (desk, name) in office.desks.iter().enumerate() {
            let (line, last) = (office.line(desk), 11 + desk);
            made = made
                && ip(&format!("netns add {name}"))
                && ip(&format!(
                    "link add {line} type veth peer name eth0 netns {name}"
                ))
                && ip(&format!("link set {line} master {bridge} up"))
                && ip(&format!("-n {name} addr add 10.187.213.{last}/24 dev eth0"))
                && ip(&format!("-n {name} link set eth0 up"));
        }
        if !made {
            skipped("this kernel makes no networks");
            return None;
        }
        Some(office)
    }

    fn line(&self, desk: usize) -> String {
        self.bridge.replace("wfb", &format!("wfl{desk}"))
    }

    /// Pulls the plug of a desk, or puts it in again.
    fn connect(&self, desk: usize, connected: bool) {
        let state = if connected { "up" } else { "down" };
        must("ip", ["link", "set", &self.line(desk), state]);
    }

    fn mount(&self, rig: &warifu_tests::Rig, desk: usize) -> Drive {
        let net = format!("--net=/run/netns/{}", self.desks[desk]);
        Drive::mount_by(rig, &format!("desk-{desk}"), &["nsenter", &net])
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        for name in &self.desks {
            ip(&format!("netns del {name}"));
        }
        ip(&format!("link del {}", self.bridge));
    }
}

#[test]
fn p8_three_drives_in_networks_of_their_own_share_a_vault_and_one_is_cut_off() {
    if !can_mount() {
        return;
    }
    let Some(server) = Postgres::start(PostgresOptions::default()) else {
        return;
    };
    let Some(office) = Office::build() else {
        return;
    };
    let proxy = Proxy::between(HERE, server.port());
    let url = format!(
        "postgres://warifu@{HERE}:{}/postgres?schema=warifu&sslmode=disable",
        proxy.port()
    );
    let rig = rig_on(url);
    let drives = [0, 1, 2].map(|desk| office.mount(&rig, desk));
    for turn in 0..12_usize {
        let bytes = noise(10 + turn * 977, turn as u64);
        fs::write(drives[turn % 3].at("shared.ods"), &bytes).unwrap();
        for drive in &drives {
            assert!(
                fs::read(drive.at("shared.ods")).unwrap() == bytes,
                "turn {turn}: {} has another version",
                drive.dir.display()
            );
        }
    }
    let mut holds = holder(&drives[0].at("shared.ods"));
    assert!(!can_lock(&drives[1].at("shared.ods")));

    // Its plug is pulled: its lock ends with its lease, and the others go on.
    office.connect(0, false);
    assert!(wait_until(EVER, || can_lock(&drives[1].at("shared.ods"))));
    fs::write(drives[1].at("shared.ods"), "after").unwrap();
    assert_eq!(
        fs::read_to_string(drives[2].at("shared.ods")).unwrap(),
        "after"
    );
    // It is there again, and reads what the others did.
    office.connect(0, true);
    let is_new =
        || fs::read_to_string(drives[0].at("shared.ods")).is_ok_and(|text| text == "after");
    assert!(wait_until(EVER, is_new), "it does not come back");
    let _ = holds.kill();
    let _ = holds.wait();
    fs::write(drives[0].at("again"), "and writes").unwrap();
    assert_eq!(
        fs::read_to_string(drives[2].at("again")).unwrap(),
        "and writes"
    );
}
