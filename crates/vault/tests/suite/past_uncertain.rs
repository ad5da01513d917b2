//! What is not certain of the past: clocks that were ahead, times that were not kept. A restore leaves it as it is.

use std::time::Duration;

use warifu_vault::node::NodeId;
use warifu_vault::past::{Doubt, RestoreWish};
use warifu_vault::seam::catalog::RenameMode;
use warifu_vault::seam::clock::Clock as _;
use warifu_vault::seam::past::{KNOWN_SINCE, Past as _};
use warifu_vault::{Access, VaultError};

use crate::common::{Lab, ctx, get, name, put, stat, tree, write_all};
use crate::past::{AS_WRITTEN, EXACT, later, put_in, put_over};

const ROOT: NodeId = NodeId::ROOT;

/// Another machine's clock is ahead: what it saved is not put behind by a restore to a time at which, by its clock, it was not there yet.
#[tokio::test(start_paused = true)]
async fn p8_a_restore_leaves_out_what_a_clock_that_was_ahead_wrote() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "in place", b"first").await.unwrap();
    put(&vault, "renamed over", b"first").await.unwrap();
    put(&vault, "elsewhere", b"first").await.unwrap();
    put(&vault, "certain", b"first").await.unwrap();
    let before = later(&lab);
    put(&vault, "certain", b"second").await.unwrap();
    let right = later(&lab);
    let now = lab.clock.now();
    lab.clock.advance(Duration::from_secs(86_400));
    put(&vault, "in place", b"second").await.unwrap();
    put_over(&vault, "renamed over", b"second").await;
    let (from, to) = (name("elsewhere"), name("moved"));
    let mode = RenameMode::NoReplace;
    vault
        .rename(&ctx(), (ROOT, &from), (ROOT, &to), mode)
        .await
        .unwrap();
    put(&vault, "new", b"first").await.unwrap();
    lab.clock.set(now);
    let expected = tree(&vault).await;
    for wish in [EXACT, RestoreWish::default()] {
        let plan = vault
            .plan_restore(&ctx(), &[], None, now, wish)
            .await
            .unwrap();
        assert_eq!(plan.steps.len(), 0, "{:?}", plan.left_out);
        let mut left: Vec<_> = plan.left_out.iter().map(|left| left.path.clone()).collect();
        left.sort();
        for file in ["in place", "renamed over", "elsewhere"] {
            assert!(left.contains(&vec![name(file)]), "{file}");
        }
        assert!(plan.left_out.iter().all(|left| left.doubt == Doubt::Ahead));
    }
    assert!(right < now);
    let plan = vault
        .plan_restore(&ctx(), &[], None, before, EXACT)
        .await
        .unwrap();
    let touched: Vec<_> = plan.steps.iter().map(|step| step.path.clone()).collect();
    assert_eq!(touched, [[name("certain")]]);
    let done = vault
        .apply_restore(&ctx(), &plan, &|_, _| ())
        .await
        .unwrap();
    assert!(done.failed.is_empty());
    let after = tree(&vault).await;
    assert_eq!(after.len(), expected.len());
    assert_eq!(get(&vault, "in place").await.unwrap(), b"second");
    assert_eq!(get(&vault, "renamed over").await.unwrap(), b"second");
    // Whoever asks for it gets what the times say.
    let plan = vault
        .plan_restore(&ctx(), &[], None, before, AS_WRITTEN)
        .await
        .unwrap();
    assert_eq!(plan.left_out, []);
    vault
        .apply_restore(&ctx(), &plan, &|_, _| ())
        .await
        .unwrap();
    assert_eq!(get(&vault, "in place").await.unwrap(), b"first");
    assert_eq!(get(&vault, "elsewhere").await.unwrap(), b"first");
}

/// A file that has versions is not emptied because its first one was saved later.
#[tokio::test(start_paused = true)]
async fn p8_a_restore_empties_no_file_unasked() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let me = ctx();
    let (_, handle) = vault
        .create_file(&me, ROOT, &name("f"), 0o640, Access::READ_WRITE)
        .await
        .unwrap();
    let between = later(&lab);
    write_all(&handle, b"work").await.unwrap();
    handle.release(&me).await.unwrap();
    later(&lab);
    let plan = vault
        .plan_restore(&me, &[], None, between, EXACT)
        .await
        .unwrap();
    assert_eq!((plan.steps.len(), plan.left_out.len()), (0, 1));
    assert_eq!(plan.left_out[0].doubt, Doubt::Empty);
    let plan = vault
        .plan_restore(&me, &[], None, between, AS_WRITTEN)
        .await
        .unwrap();
    assert_eq!((plan.steps.len(), plan.left_out.len()), (1, 0));
}

/// Where a catalogue kept no times at first, nothing is removed on the ground that it was not there before.
#[tokio::test(start_paused = true)]
async fn p8_nothing_is_made_exactly_as_it_was_before_that_was_kept() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"first").await.unwrap();
    assert_eq!(vault.past_since(&ctx()).await.unwrap(), None);
    let before = later(&lab);
    let since = lab.clock.now();
    let secs = u64::try_from(since.secs).unwrap();
    assert!(lab.memory.advance(KNOWN_SINCE, 0, secs).await.unwrap());
    let known = vault.past_since(&ctx()).await.unwrap().unwrap();
    assert_eq!(known.secs, since.secs);
    let refused = vault.plan_restore(&ctx(), &[], None, before, EXACT).await;
    assert!(
        matches!(refused, Err(VaultError::PastUnknown { since }) if since == known),
        "{refused:?}"
    );
    let wish = RestoreWish::default();
    vault
        .plan_restore(&ctx(), &[], None, before, wish)
        .await
        .unwrap();
    let after = later(&lab);
    vault
        .plan_restore(&ctx(), &[], None, after, EXACT)
        .await
        .unwrap();
}

/// The folders on the way to what comes back are as they were, not open to all.
#[tokio::test(start_paused = true)]
async fn p9_missing_folders_come_back_with_their_rights() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let me = ctx();
    let dir = vault
        .make_dir(&me, ROOT, &name("private"), 0o700)
        .await
        .unwrap();
    put_in(&vault, dir.node, "secret", b"first").await;
    let before = later(&lab);
    vault.remove(&me, dir.node, &name("secret")).await.unwrap();
    vault.remove_dir(&me, ROOT, &name("private")).await.unwrap();
    let path = [name("private"), name("secret")];
    let plan = vault
        .plan_restore(&me, &path, None, before, RestoreWish::default())
        .await
        .unwrap();
    vault.apply_restore(&me, &plan, &|_, _| ()).await.unwrap();
    let back = stat(&vault, "private").await;
    assert_eq!(
        (back.mode & 0o777, back.uid, back.gid),
        (0o700, dir.uid, dir.gid)
    );
    // Elsewhere, where nothing was: the caller's alone.
    let to = [name("new"), name("secret")];
    let plan = vault
        .plan_restore(&me, &path, Some(&to), before, RestoreWish::default())
        .await
        .unwrap();
    vault.apply_restore(&me, &plan, &|_, _| ()).await.unwrap();
    let made = stat(&vault, "new").await;
    assert_eq!(
        (made.mode & 0o777, made.uid, made.gid),
        (0o700, me.uid, me.gid)
    );
}
