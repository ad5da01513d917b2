//! Retention where clocks are wrong, other machines read, or a rebuild comes after it.

use std::time::Duration;

use warifu_core::ids::VersionNo;
use warifu_testkit::stores::State;
use warifu_vault::node::NodeId;
use warifu_vault::past::{Doubt, RestoreWish};
use warifu_vault::retain::Which;
use warifu_vault::seam::clock::{Clock, Timestamp};
use warifu_vault::seam::past::{KNOWN_SINCE, Past};
use warifu_vault::seam::sessions::{Hold, SessionInfo, Sessions};
use warifu_vault::{Access, VaultError};

use crate::common::{Lab, ctx, get, name, noise, put, same, stat};
use crate::past::as_of;
use crate::rebuild::from_servers;
use crate::retain::{DAY, days, keep, last, numbers, plan, prune};

const ROOT: NodeId = NodeId::ROOT;

/// A clock that jumps ahead finds nothing old, until a person says that it is right.
#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ahead_destroys_nothing() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let document = days(&lab, &vault, "f", 6).await;
    lab.clock.advance(DAY * 400);
    // As every command does: a line of the log at the wrong time.
    vault.attach(&ctx(), "").await.unwrap();
    put(&vault, "g", b"saved in the future").await.unwrap();
    let rules = keep(2);
    let which = Which::Rules(&rules);
    for _ in 0..2 {
        let refused = vault.plan_prune(&ctx(), &which, false).await;
        assert!(
            matches!(refused, Err(VaultError::ClockAhead { .. })),
            "{refused:?}"
        );
    }
    let trusted = vault.plan_prune(&ctx(), &which, true).await.unwrap();
    assert_eq!(trusted.versions.len(), 5);
    // Said once, it is known; and what goes on from there by days is followed.
    for _ in 0..3 {
        lab.clock.advance(DAY * 10);
        vault.attach(&ctx(), "").await.unwrap();
        vault.plan_prune(&ctx(), &which, false).await.unwrap();
    }
    assert_eq!(numbers(&vault, document).await.len(), 6);
}

/// A version saved by a clock that was ahead is not old before its time, and one that took its place by a clock that was behind makes it no older.
#[tokio::test(start_paused = true)]
async fn clocks_that_disagree_make_nothing_older() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let document = days(&lab, &vault, "f", 2).await;
    let start = lab.clock.now();
    lab.clock.advance(DAY * 10);
    put(&vault, "f", b"ahead").await.unwrap();
    lab.clock.set(start);
    put(&vault, "f", b"behind").await.unwrap();
    vault.sync().await.unwrap();
    lab.clock.advance(DAY * 5);
    prune(&vault, &keep(2)).await;
    // The first was superseded five days ago; the second at a time that only the clock ahead tells; the third nobody knows when.
    assert_eq!(numbers(&vault, document).await, [2, 3, 4]);
}

/// A name that shows a version that is gone says so, and shows no other one.
#[tokio::test(start_paused = true)]
async fn what_was_destroyed_is_not_shown_as_something_else() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "other", b"other").await.unwrap();
    days(&lab, &vault, "f", 5).await;
    let node = stat(&vault, "f").await.node;
    let (third, last) = (
        back(&lab, DAY * 2 - DAY / 24),
        back(&lab, Duration::from_secs(0)),
    );
    let other = lab.start().await;
    let reading = other
        .open_version(&ctx(), node, VersionNo(3))
        .await
        .unwrap();
    lab.clock.advance(DAY * 3);
    prune(&vault, &crate::retain::last(1)).await;
    let gone = reading.read(0, 100).await;
    assert!(
        matches!(gone, Err(VaultError::Destroyed)),
        "{:?}",
        gone.err()
    );
    reading.release(&ctx()).await.unwrap();

    let view = as_of(&lab, third).await;
    assert_eq!(get(&view, "other").await.unwrap(), b"other");
    let attr = stat(&view, "f").await;
    let opened = view.open(&ctx(), attr.node, Access::READ).await;
    let opened = match opened {
        Ok(handle) => handle.read(0, 100).await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(opened, Err(VaultError::Destroyed)), "{opened:?}");
    let view = as_of(&lab, last).await;
    same(
        &get(&view, "f").await.unwrap(),
        &noise(4, 9000),
        "what is kept",
    );
    for doubtful in [false, true] {
        let wish = RestoreWish {
            exact: false,
            doubtful,
        };
        let plan = vault
            .plan_restore(&ctx(), &[name("f")], None, third, wish)
            .await
            .unwrap();
        assert!(plan.steps.is_empty());
        assert_eq!(plan.left_out[0].doubt, Doubt::Destroyed);
    }
}

fn back(lab: &Lab, by: Duration) -> Timestamp {
    let now = lab.clock.now();
    Timestamp {
        secs: now.secs - i64::try_from(by.as_secs()).unwrap(),
        nanos: now.nanos,
    }
}

/// Names that are forgotten make the past unknown, also after a rebuild.
#[tokio::test(start_paused = true)]
async fn from_when_on_names_are_known_is_told() {
    let mut lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    days(&lab, &vault, "f", 2).await;
    vault.remove(&ctx(), ROOT, &name("f")).await.unwrap();
    let removed = lab.clock.now();
    lab.clock.advance(DAY * 5);
    put(&vault, "g", b"g").await.unwrap();
    assert_eq!(vault.past_since(&ctx()).await.unwrap(), None);
    let destroyed = prune(&vault, &keep(2)).await;
    assert_eq!((destroyed.versions.len(), destroyed.names), (2, 1));
    let since = vault.past_since(&ctx()).await.unwrap().unwrap();
    assert!(since.secs > removed.secs && since.secs <= removed.secs + 1);
    assert!(vault.shutdown(&ctx()).await.is_empty());
    drop(vault);
    let (catalog, _) = from_servers(&lab, &[0, 2]).await;
    let known = catalog.position(KNOWN_SINCE).await.unwrap();
    assert_eq!(i64::try_from(known).unwrap(), since.secs);
    lab.take_over(catalog);
    drop(lab.start().await);
}

/// Servers that were away when a file was destroyed have it still, whole. A rebuild from them does not bring it back, and asks them again.
#[tokio::test(start_paused = true)]
async fn a_rebuild_does_not_bring_back_what_was_destroyed() {
    let mut lab = Lab::with_journal(2, 4).await;
    let vault = lab.start().await;
    days(&lab, &vault, "f", 2).await;
    put(&vault, "kept", b"kept").await.unwrap();
    vault.sync().await.unwrap();
    vault.remove(&ctx(), ROOT, &name("f")).await.unwrap();
    lab.clock.advance(DAY * 40);
    for away in [0, 1] {
        lab.faults[away].set(State::ReadOnly);
    }
    let destroyed = prune(&vault, &keep(30)).await;
    assert_eq!(destroyed.versions.len(), 2);
    assert!(!destroyed.is_complete());
    assert!(vault.shutdown(&ctx()).await.is_empty());
    drop(vault);
    lab.heal();
    let (catalog, report) = from_servers(&lab, &[0, 1, 2, 3]).await;
    assert_eq!(report.adopted_count, 0, "{report:?}");
    lab.take_over(catalog);
    lab.let_leases_end();
    let vault = lab.start().await;
    assert_eq!(get(&vault, "kept").await.unwrap(), b"kept");
    assert!(vault.trash(&ctx()).await.unwrap().is_empty());
    assert!(vault.resolve(&ctx(), b"/f").await.is_err());
    for server in 0..4 {
        assert_eq!(lab.orphans(server).await, [], "server {server}");
    }
    // And is then forgotten for good.
    prune(&vault, &keep(30)).await;
    let attributes = vault.xattrs(&ctx(), ROOT).await.unwrap();
    assert!(
        !attributes
            .iter()
            .any(|(name, _)| name.starts_with(b"warifu.gone.")),
    );
}

/// What another drive has open for writing stays.
#[tokio::test(start_paused = true)]
async fn what_another_drive_has_open_stays() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    days(&lab, &vault, "f", 3).await;
    lab.clock.advance(DAY * 2);
    let info = SessionInfo {
        actor: "honda".to_owned(),
        host: "pc-9".to_owned(),
        place: "/mnt".to_owned(),
        pid: 1,
        since: lab.clock.now(),
    };
    let lease = Duration::from_secs(60);
    lab.memory.begin_session(&info, lease).await.unwrap();
    let hold = Hold {
        number: 1,
        node: stat(&vault, "f").await.node,
        actor: "honda".to_owned(),
        program: "soffice.bin".to_owned(),
        since: info.since,
    };
    lab.memory.hold(&[hold], &[]).await.unwrap();
    let found = plan(&vault, &last(1)).await;
    assert_eq!((found.versions.len(), found.in_use), (0, 1));
    lab.memory.hold(&[], &[1]).await.unwrap();
    assert_eq!(plan(&vault, &last(1)).await.versions.len(), 2);
}
