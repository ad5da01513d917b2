//! What is wrong with the servers, and what may be: the model's story of who has failed so far.

use std::collections::BTreeSet;
use std::time::Duration;

use warifu_testkit::stores::{Faults, Latency, Lie, Mark, Rates, State};
use warifu_vault::seam::store::ShareStore;

use crate::common::Lab;

/// How many kinds of weather there are for one server. 0 is good.
pub(crate) const KINDS: u64 = 15;

/// Whether a server in this state may lose, or be taken to have lost, what it acknowledged.
fn loses(how: u64) -> bool {
    (6..=8).contains(&how) || (12..=13).contains(&how)
}

fn inflict(faults: &Faults, how: u64) {
    faults.heal();
    match how {
        0 => {}
        1 => faults.set(State::Gone),
        2 => faults.set(State::Hung),
        3 => faults.set(State::Full),
        4 => faults.set(State::ReadOnly),
        5 => faults.set(State::Failing),
        6 => faults.tell(Lie::FlipsBits),
        7 => faults.tell(Lie::ForgetsWrites),
        8 => faults.tell(Lie::SkipsSync),
        9 => faults.set(State::Flapping {
            up: Duration::from_millis(300),
            down: Duration::from_millis(700),
        }),
        10 => faults.set_latency(Latency {
            least: Duration::ZERO,
            most: Duration::from_millis(50),
            tail_percent: 5,
            tail: Duration::from_secs(10),
        }),
        11 => faults.set_rates(Rates {
            no_answer: 10,
            lost_reply: 15,
            failed: 5,
            late: 20,
            late_reply: 10,
            ..Rates::default()
        }),
        12 => faults.tell(Lie::KeepsParts),
        13 => faults.tell(Lie::CutsOff),
        _ => faults.set_rates(Rates {
            partial_write: 30,
            full: 10,
            hangs: 5,
            ..Rates::default()
        }),
    }
}

/// The state of each server, and who has ever been hit.
pub(crate) struct Weather {
    spare: usize,
    hows: Vec<u64>,
    /// Who may lack something that was acknowledged.
    hit: BTreeSet<usize>,
    /// Whether something was lost that had been acknowledged. Then no more than n - k servers may ever be hit.
    lost: bool,
    marks: Vec<Mark>,
    /// Whether any server was ever hit.
    pub(crate) was_bad: bool,
    /// Whether the power has failed. It may take what older versions were made of.
    pub(crate) power_failed: bool,
    /// Servers on which objects may lie that nobody knows of any more.
    pub(crate) set_back: BTreeSet<usize>,
    /// Servers that had not removed everything when the catalogue was lost, and with it who knew of that.
    forgotten: BTreeSet<usize>,
}

impl Weather {
    pub(crate) fn new(lab: &Lab) -> Self {
        Self {
            spare: usize::from(lab.threshold.n() - lab.threshold.k()),
            hows: vec![0; lab.servers.len()],
            hit: BTreeSet::new(),
            lost: false,
            marks: lab.faults.iter().map(Faults::mark).collect(),
            was_bad: false,
            power_failed: false,
            set_back: BTreeSet::new(),
            forgotten: BTreeSet::new(),
        }
    }

    pub(crate) fn is_hit(&self, server: usize) -> bool {
        self.hit.contains(&server)
    }

    /// Whether an operation may fail at the moment: more servers have failed than can be spared, and one has not recovered.
    pub(crate) fn excuses(&self) -> bool {
        self.hit.len() > self.spare && self.hows.iter().any(|how| *how != 0)
    }

    pub(crate) fn catalogue_lost(&mut self) {
        self.forgotten.extend(&self.hit);
    }

    /// Whether nothing may be left on a server that nobody needs.
    pub(crate) fn is_tidy(&self, server: usize) -> bool {
        !self.set_back.contains(&server) && !self.forgotten.contains(&server)
    }

    /// Whether every server is well at the moment.
    pub(crate) fn is_good(&self) -> bool {
        self.hows.iter().all(|how| *how == 0)
    }

    /// Every share of every version is on its server and good: whatever happened before, n - k servers may be hit from now on.
    pub(crate) async fn all_is_mended(&mut self, lab: &Lab) {
        self.hit.clear();
        self.lost = false;
        for server in &lab.servers {
            // A server that had lied about it has had its time to write everything down.
            server.sync().await.unwrap();
        }
    }

    /// The servers that together have everything, and of which any k do (`true`) or all are needed (`false`).
    pub(crate) fn that_have_everything(&self) -> (Vec<usize>, bool) {
        let all = 0..self.hows.len();
        let never: Vec<usize> = all.clone().filter(|server| !self.is_hit(*server)).collect();
        if never.len() + self.spare < self.hows.len() && self.is_good() && !self.lost {
            return (all.collect(), false);
        }
        (never, true)
    }

    /// Counts a server among those hit, unless the promises end there.
    fn hits(&mut self, server: usize, loses: bool) -> bool {
        let mut hit = self.hit.clone();
        hit.insert(server);
        if hit.len() > self.spare && (loses || self.lost) {
            return false;
        }
        self.hit = hit;
        self.was_bad = true;
        self.lost |= loses;
        true
    }

    pub(crate) fn set(&mut self, lab: &Lab, server: usize, how: u64) {
        let server = server % self.hows.len();
        if how == 0 || self.hits(server, loses(how)) {
            self.hows[server] = how;
            inflict(&lab.faults[server], how);
        }
    }

    pub(crate) fn set_first(&mut self, lab: &Lab, how: u64) {
        (0..self.spare).for_each(|server| self.set(lab, server, how));
    }

    /// All servers are well until the weather [returns](Self::resume).
    pub(crate) fn pause(&self, lab: &Lab) {
        lab.faults.iter().for_each(|faults| inflict(faults, 0));
    }

    /// Faults are as they were. Times begin anew: those of an earlier life mean nothing in this one.
    pub(crate) fn resume(&self, lab: &Lab) {
        let servers = lab.faults.iter().zip(&self.hows);
        servers.for_each(|(faults, how)| inflict(faults, *how));
    }

    pub(crate) fn clear(&mut self, lab: &Lab) {
        self.hows.fill(0);
        self.resume(lab);
    }

    pub(crate) fn mark(&mut self, lab: &Lab, server: usize) {
        let server = server % self.hows.len();
        self.marks[server] = lab.faults[server].mark();
    }

    pub(crate) async fn roll_back(&mut self, lab: &Lab, server: usize) {
        let server = server % self.hows.len();
        if self.hits(server, true) {
            self.set_back.insert(server);
            lab.stores[server].roll_back(self.marks[server]).await;
        }
    }

    pub(crate) fn wipe(&mut self, lab: &Lab, server: usize) {
        let server = server % self.hows.len();
        if self.hits(server, true) {
            lab.servers[server].wipe();
        }
    }

    /// What a power cut took from servers nobody has repaired yet: they count as hit. If that is more than can be spared
    /// beside what was lost before, the weather is good from now on.
    pub(crate) async fn after_power_cut(&mut self, lab: &Lab) {
        let degraded = lab.kept().owed(None, usize::MAX).await.unwrap();
        let owed = degraded.iter().flat_map(|extent| extent.owed.iter());
        self.hit
            .extend(owed.map(|index| usize::from(index.get()) - 1));
        if self.lost && self.hit.len() > self.spare {
            self.clear(lab);
        }
    }
}
