//! Which segments of the journal belong together.
//!
//! Numbers alone do not tell. A catalogue that was brought back from a backup and worked on writes numbers that were written before,
//! and a writer that was cut off leaves a segment whose number is used again. But each segment names the one before it, so the
//! segments are a tree whose branches are *timelines*. The rule:
//!
//! 1. Of segments with one number that nothing follows and that follow the same one, the one with the greatest mark counts: they are
//!    attempts of one writer, and the last one tells all that the others do.
//! 2. Of timelines, the one whose last segment was written last counts. It is what people saw before the catalogue was lost.
//!    The clock decides here and nowhere else, since nothing else knows; what the others hold is not lost by it (`replay`).
//! 3. Where a link leads to no segment that can be read, the timeline goes on with the next lower number that there is, and
//!    what lies between is a gap.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use crate::seam::clock::Timestamp;

/// What of a segment decides about its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) number: u64,
    /// Its own name in links.
    pub(super) tag: u64,
    /// The name of the one before it; 0 where it is not told.
    pub(super) link: u64,
    pub(super) mark: u64,
    pub(super) at: Timestamp,
}

/// The timeline that counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Places in the list that was given, by ascending number.
    pub(super) members: Vec<usize>,
    /// Numbers that are missing in it, from 1 on, ascending.
    pub(super) gaps: Vec<RangeInclusive<u64>>,
}

/// Segments that are linked to each other.
struct Stretch {
    /// From the last to the first, along the best branch.
    path: Vec<usize>,
    lowest: u64,
    highest: u64,
    /// When the last one of the best branch was written.
    at: Timestamp,
}

/// For each segment the place of the one that it names, where that is there.
pub(super) fn parents(links: &[Link]) -> Vec<Option<usize>> {
    let by_tag: HashMap<u64, usize> = (0..).zip(links).map(|(at, it)| (it.tag, at)).collect();
    let parent = |it: &Link| {
        let parent = by_tag.get(&it.link).copied().filter(|_| it.link != 0)?;
        // Numbers grow; anything else was never written, and could lead in circles.
        let lower = links.get(parent)?.number < it.number;
        lower.then_some(parent)
    };
    links.iter().map(parent).collect()
}

/// Chooses the timeline that counts.
pub(super) fn choose(links: &[Link]) -> Line {
    let parents = parents(links);
    let mut stretches = stretches(links, &parents);
    let mut line = Line::default();
    let mut limit = u64::MAX;
    loop {
        stretches.retain(|stretch| stretch.highest < limit);
        let Some(top) = stretches.iter().map(|stretch| stretch.highest).max() else {
            break;
        };
        // Those that have numbers in common with the highest one are its rivals.
        let bottom = stretches
            .iter()
            .filter(|stretch| stretch.highest == top)
            .map(|stretch| stretch.lowest)
            .min()
            .unwrap_or(top);
        let best = stretches
            .iter()
            .enumerate()
            .filter(|(_, stretch)| stretch.highest >= bottom)
            .max_by_key(|(_, stretch)| (stretch.at, stretch.highest))
            .map(|(place, _)| place);
        let Some(chosen) = best.map(|place| stretches.swap_remove(place)) else {
            break;
        };
        let number = |place: &usize| links.get(*place).map(|it| it.number);
        if let Some(above) = line.members.last().and_then(|place| links.get(*place)) {
            let below = chosen.path.first().and_then(number).unwrap_or(0);
            gap(&mut line.gaps, below, above);
        }
        limit = chosen.lowest;
        line.members.extend(chosen.path);
    }
    if let Some(first) = line.members.last().and_then(|place| links.get(*place)) {
        gap(&mut line.gaps, 0, first);
    }
    line.members.reverse();
    line.gaps.reverse();
    line
}

/// Notes what is missing between the segment with the number `below` and the next one that can be read.
fn gap(gaps: &mut Vec<RangeInclusive<u64>>, below: u64, above: &Link) {
    let last = above.number.saturating_sub(1);
    // A segment that names another one than the one below it misses at least that one.
    let first = match above.link {
        0 => below.saturating_add(1),
        _ => below.saturating_add(1).min(last),
    };
    if first <= last && last > 0 {
        gaps.push(first..=last);
    }
}

/// The trees of linked segments, each with its best branch, and without attempts that another one replaced.
fn stretches(links: &[Link], parents: &[Option<usize>]) -> Vec<Stretch> {
    let followed: HashSet<usize> = parents.iter().flatten().copied().collect();
    let mut attempts: HashMap<(u64, u64), usize> = HashMap::new();
    for (place, it) in links.iter().enumerate() {
        if followed.contains(&place) {
            continue;
        }
        let rank = |place: usize| links.get(place).map(|it| (it.mark, it.at, it.tag));
        let last = attempts.entry((it.number, it.link)).or_insert(place);
        if rank(place) > rank(*last) {
            *last = place;
        }
    }
    // By tree: the leaf that was written last.
    let root_of = |leaf: usize| {
        let mut at = leaf;
        while let Some(parent) = parents.get(at).copied().flatten() {
            at = parent;
        }
        at
    };
    let mut best: HashMap<usize, usize> = HashMap::new();
    for leaf in attempts.into_values() {
        let rank = |place: usize| links.get(place).map(|it| (it.at, it.number, it.tag));
        let kept = best.entry(root_of(leaf)).or_insert(leaf);
        if rank(leaf) > rank(*kept) {
            *kept = leaf;
        }
    }
    let mut stretches = Vec::new();
    for (root, leaf) in best {
        let (Some(first), Some(last)) = (links.get(root), links.get(leaf)) else {
            continue;
        };
        let mut path = vec![leaf];
        let mut at = leaf;
        while let Some(parent) = parents.get(at).copied().flatten() {
            path.push(parent);
            at = parent;
        }
        stretches.push(Stretch {
            path,
            lowest: first.number,
            highest: last.number,
            at: last.at,
        });
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(number: u64, tag: u64, link: u64, at: i64) -> Link {
        Link {
            number,
            tag,
            link,
            mark: number,
            at: Timestamp { secs: at, nanos: 0 },
        }
    }

    /// The tags of the line, and its gaps.
    fn chosen(links: &[Link]) -> (Vec<u64>, Vec<(u64, u64)>) {
        // In whatever order they are found.
        let mut told = None;
        for turn in 0..links.len() {
            let mut turned = links.to_vec();
            turned.rotate_left(turn);
            let line = choose(&turned);
            let tags = line.members.iter().map(|at| turned[*at].tag).collect();
            let gaps = line.gaps.iter().map(|gap| (*gap.start(), *gap.end()));
            let now = (tags, gaps.collect());
            assert_eq!(*told.get_or_insert_with(|| now.clone()), now);
        }
        told.unwrap_or_default()
    }

    #[test]
    fn p7_one_timeline_is_taken_whole() {
        let mut links = vec![link(1, 11, 0, 1), link(2, 12, 11, 2), link(3, 13, 12, 3)];
        assert_eq!(chosen(&links), (vec![11, 12, 13], vec![]));
        // A clock that was set back in between does not matter to it.
        links[2].at.secs = -5;
        assert_eq!(chosen(&links), (vec![11, 12, 13], vec![]));
        assert_eq!(chosen(&[]), (vec![], vec![]));
    }

    /// An old catalogue was brought back after 2 and worked on.
    #[test]
    fn p7_of_two_timelines_the_one_written_last_counts() {
        let lost = [
            link(1, 11, 0, 1),
            link(2, 12, 11, 2),
            link(3, 13, 12, 3),
            link(4, 14, 13, 4),
            link(5, 15, 14, 5),
        ];
        let brought_back = [link(3, 23, 12, 50), link(4, 24, 23, 51)];
        let both = [&lost[..], &brought_back].concat();
        assert_eq!(chosen(&both), (vec![11, 12, 23, 24], vec![]));
        // Even where its first segments were let go since, with a checkpoint.
        let rest = [lost[2], lost[3], lost[4], link(4, 24, 23, 51)];
        assert_eq!(chosen(&rest), (vec![24], vec![(1, 3)]));
        // The other way round, the longer one was written last.
        let mut both = both;
        both[4].at.secs = 60;
        assert_eq!(chosen(&both), (vec![11, 12, 13, 14, 15], vec![]));
    }

    #[test]
    fn p7_of_attempts_at_one_segment_the_last_counts() {
        let mut early = link(2, 12, 11, 9);
        early.mark = 1;
        let links = [link(1, 11, 0, 1), early, link(2, 22, 11, 2)];
        assert_eq!(chosen(&links), (vec![11, 22], vec![]));
        // And where something follows one of them, that one.
        let links = [&links[..], &[link(3, 13, 12, 3)]].concat();
        assert_eq!(chosen(&links), (vec![11, 12, 13], vec![]));
    }

    #[test]
    fn p7_gaps_are_told() {
        let links = [link(1, 11, 0, 1), link(2, 12, 11, 2), link(5, 15, 14, 5)];
        assert_eq!(chosen(&links), (vec![11, 12, 15], vec![(3, 4)]));
        // A clock that was set back in a gap must not make the older part the newer one.
        let mut back = links;
        back[2].at.secs = 0;
        assert_eq!(chosen(&back), (vec![11, 12, 15], vec![(3, 4)]));
        // The one that 5 names is missing, and an attempt at it is there.
        let links = [link(3, 13, 0, 3), link(4, 24, 13, 4), link(5, 15, 14, 5)];
        assert_eq!(chosen(&links), (vec![13, 24, 15], vec![(1, 2), (4, 4)]));
        // After a rebuild, numbers that nobody could read are left out, and that is no gap.
        let links = [link(1, 11, 0, 1), link(4, 14, 11, 5)];
        assert_eq!(chosen(&links), (vec![11, 14], vec![]));
    }

    /// Journals from before there were links are read by number and mark.
    #[test]
    fn p7_without_links_the_numbers_tell() {
        let mut again = link(2, 22, 0, 2);
        again.mark = 7;
        let links = [
            link(1, 11, 0, 1),
            link(2, 12, 0, 2),
            again,
            link(4, 14, 0, 4),
            link(5, 15, 14, 5),
        ];
        assert_eq!(chosen(&links), (vec![11, 22, 14, 15], vec![(3, 3)]));
    }

    #[test]
    fn p10_links_that_were_never_written_do_no_harm() {
        let links = [link(2, 12, 13, 1), link(3, 13, 12, 2), link(3, 14, 14, 3)];
        let line = choose(&links);
        assert!(line.members.len() <= 3);
    }
}
