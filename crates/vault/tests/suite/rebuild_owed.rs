//! P7: what the journal says of owed shares may be out of date, and the servers' word counts.

use warifu_testkit::stores::State;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::Catalog;
use warifu_vault::seam::store::ShareStore;

use crate::common::{Lab, ctx, name, noise, put};
use crate::rebuild::from_servers;
use crate::repair::{index, repair};

/// A share that was owed when the journal told of it, and made since, is neither lost nor forgotten.
#[tokio::test(start_paused = true)]
async fn p7_shares_paid_since_they_were_told_count() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    lab.faults[2].set(State::Gone);
    put(&vault, "f", &noise(1, 100)).await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    let f = lab.memory.lookup(NodeId::ROOT, &name("f")).await;
    let f = f.unwrap().unwrap();
    let head = f.head.unwrap();
    let record = lab.memory.extent(head).await.unwrap().unwrap();
    assert!(record.owed.contains(index(3)), "{record:?}");
    lab.heal();
    let vault = lab.start().await;
    assert!(repair(&vault).await.shares() > 0);
    assert!(vault.shutdown(&ctx()).await.is_empty());

    // All there: nothing is owed, whatever the journal says.
    let owed = async |places: &[usize]| {
        let (catalog, report) = from_servers(&lab, places).await;
        assert!(report.is_whole(), "{report:?}");
        catalog.extent(head).await.unwrap().unwrap().owed
    };
    assert!(owed(&[0, 1, 2]).await.is_empty());
    assert!(owed(&[0, 2]).await.is_empty());

    // What is gone since is owed, although the journal does not say so.
    let key = lab.key().await;
    let object = |place: usize| key.object_name(lab.ids[place], head, record.generation);
    lab.servers[0].delete(&object(0).into()).await.unwrap();
    let found = owed(&[0, 1, 2]).await;
    assert!(
        found.len() == 1 && found.contains(index(1)),
        "the first: {found:?}"
    );

    // The third has it: without asking it, nobody may say that too few are left.
    let (_, report) = from_servers(&lab, &[0, 1]).await;
    let [lost] = &report.lost[..] else {
        panic!("{report:?}");
    };
    assert_eq!((lost.path.as_str(), lost.there), ("/f", 1));
    assert!(!lost.for_good, "{lost:?}");
}
