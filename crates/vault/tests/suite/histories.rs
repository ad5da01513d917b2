//! P8: what eight machines ask and are told, while servers fail, the catalogue gives no answer and machines die, is what one after
//! another could have been told: no acknowledged save is lost, no older version follows a newer one, no name is doubled or lost.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use warifu_testkit::clock::ManualClock;
use warifu_testkit::histories::{Ask, Event, Machine, Office, Told, Verdict, explain, life, lives};
use warifu_testkit::stores::Rates;

use crate::common::{Lab, live};

struct Desks(Lab);

#[async_trait]
impl Office for Desks {
    async fn machine(&self, host: &str, clock: ManualClock) -> Machine {
        let machine = self.0.machine(host, clock).await;
        Machine {
            vault: machine.vault,
            line: machine.line,
            ctx: machine.ctx,
        }
    }

    fn trouble(&self, trouble: bool) {
        let rates = Rates {
            no_answer: 10,
            lost_reply: 10,
            failed: 5,
            late: 20,
            ..Rates::default()
        };
        match self.0.faults.first() {
            Some(faults) if trouble => faults.set_rates(rates),
            Some(faults) => faults.heal(),
            None => {}
        }
    }
}

async fn office() -> Arc<dyn Office> {
    let mut lab = Lab::new(2, 3).await;
    lab.options.catalog_patience = Duration::from_millis(200);
    Arc::new(Desks(lab))
}

/// As many lives as the variable says; a few without it.
#[test]
fn p8_histories_of_eight_machines_can_be_explained() {
    let number = std::env::var("WARIFU_TEST_HISTORIES")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(60);
    live(lives(number, office));
}

/// A history in which the last reader is told an older version than the newest acknowledged one is not explained.
#[test]
fn a_history_with_a_lost_save_is_found_out() {
    let mut found = 0;
    for seed in [0, 3, 6] {
        let mut events = live(async { life(office().await, seed).await }).events;
        let newest = events
            .iter()
            .rev()
            .find_map(|event| match (event.ask, event.told) {
                (Ask::Read(node), Told::Contents(Some(mark))) => Some((node, mark)),
                _ => None,
            });
        let Some((node, mark)) = newest else { continue };
        let before = events.iter().find_map(|event| match event.ask {
            Ask::Save {
                node: at,
                base,
                mark: saved,
            } if at == node && saved == mark => Some(base),
            _ => None,
        });
        let last: &mut Event = events.last_mut().unwrap();
        if let (Ask::Read(at), Some(base)) = (last.ask, before)
            && at == node
        {
            last.told = Told::Contents(base);
            assert_eq!(explain(&events), Verdict::Impossible, "seed {seed}");
            found += 1;
        }
    }
    assert!(found > 0, "no life ended with a file to read");
}
