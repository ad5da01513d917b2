//! Files that this process took the last name of.
//!
//! A file that another machine removes while it is saved here becomes a copy, so that nobody's work is lost. One that is removed *here* is gone, as on
//! a local disk. An open that has asked the catalogue, and is not yet among the open files when the name goes, does not hear of it by its state.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::node::NodeId;

/// So many are remembered: far more than can be opened or saved at one moment. Numbers of nodes are never used again.
const KEPT: usize = 8192;

/// The files that were removed here last.
#[derive(Debug, Default)]
pub(crate) struct GoneHere(Mutex<(VecDeque<NodeId>, HashSet<NodeId>)>);

impl GoneHere {
    /// Notes one, after the catalogue has done it and before `unnaming` is let go of.
    pub(crate) fn note(&self, node: NodeId) {
        let mut gone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (order, all) = &mut *gone;
        if !all.insert(node) {
            return;
        }
        order.push_back(node);
        if order.len() > KEPT
            && let Some(oldest) = order.pop_front()
        {
            all.remove(&oldest);
        }
    }

    /// Whether a file was removed here. To be asked once nobody holds `unnaming`.
    pub(crate) fn has(&self, node: NodeId) -> bool {
        let gone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gone.1.contains(&node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered_and_no_more() {
        let gone = GoneHere::default();
        for number in 0..KEPT as u64 + 10 {
            gone.note(NodeId(number));
            gone.note(NodeId(number));
        }
        assert!(!gone.has(NodeId(9)) && gone.has(NodeId(10)));
        assert!(gone.has(NodeId(KEPT as u64 + 9)));
        let kept = gone.0.lock().unwrap();
        assert_eq!((kept.0.len(), kept.1.len()), (KEPT, KEPT));
    }
}
