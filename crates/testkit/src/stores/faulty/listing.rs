//! Listings that are not true.

use warifu_vault::seam::store::{ObjectKey, ObjectStat, Page};

use super::Lie;

/// Lets a page of what comes after `after` tell a lie.
pub(super) fn tell(page: &mut Page, after: Option<&ObjectKey>, lie: &Lie) {
    match lie {
        Lie::ListsNothing => {
            page.objects.clear();
            page.more = false;
        }
        Lie::ListsWithout(hidden) => page.objects.retain(|(name, _)| !hidden.contains(name)),
        Lie::ListsAlso(invented) => {
            // Into the stretch of names that this page covers, so that the order holds.
            let last = page
                .objects
                .last()
                .filter(|_| page.more)
                .map(|(name, _)| name.clone());
            let fits = |name: &&ObjectKey| {
                after.is_none_or(|after| *name > after)
                    && last.as_ref().is_none_or(|last| *name < last)
            };
            let stat = ObjectStat {
                len: 1,
                modified: None,
            };
            let invented = invented.iter().filter(fits);
            page.objects
                .extend(invented.map(|name| (name.clone(), stat)));
            page.objects.sort_by(|(one, _), (other, _)| one.cmp(other));
            page.objects.dedup_by(|(one, _), (other, _)| one == other);
        }
        Lie::ListsTwice => {
            page.objects = std::mem::take(&mut page.objects)
                .into_iter()
                .flat_map(|object| [object.clone(), object])
                .collect();
        }
        Lie::ListsInCircles => page.more = true,
        Lie::ListsBackwards => page.objects.reverse(),
        Lie::FlipsBits | Lie::CutsOff | Lie::ForgetsWrites | Lie::KeepsParts | Lie::SkipsSync => {}
    }
}
