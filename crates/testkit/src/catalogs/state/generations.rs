//! Generations of shares.

use warifu_core::head::Timestamp;
use warifu_vault::refresh::THRESHOLD;
use warifu_vault::seam::catalog::{CatalogError, Intent, SaveId, Write};
use warifu_vault::seam::generations::{Generations, Regenerated};

use super::{Outcome, State};

impl State {
    pub(in crate::catalogs) fn set_generations(
        &mut self,
        before: &Generations,
        after: Generations,
        write: &Write,
    ) -> Outcome<()> {
        if self.generations != *before {
            return Err(CatalogError::Lapsed);
        }
        self.generations = after;
        self.record(&write.audit);
        Ok(())
    }

    pub(in crate::catalogs) fn regenerate(
        &mut self,
        save: SaveId,
        made: &[Regenerated],
        (waste, until): (SaveId, Timestamp),
        write: &Write,
    ) -> Outcome<Intent> {
        if self.intents.contains_key(&waste) {
            return Err(CatalogError::Exists);
        }
        let claimed = self.claim(save, waste, until);
        let mut extents = claimed.ok_or(CatalogError::Lapsed)?.extents;
        let named = extents.clone();
        let position = self.position(THRESHOLD);
        for made in made
            .iter()
            .filter(|made| named.contains(&(made.extent, made.to)) && made.is_wanted_at(position))
        {
            let Some(record) = self.extents.get_mut(&made.extent) else {
                continue;
            };
            if record.generation != made.from {
                continue;
            }
            record.generation = made.to;
            record.threshold = made.threshold;
            record.owed = made.owed;
            extents.retain(|named| *named != (made.extent, made.to));
            extents.push((made.extent, made.from));
        }
        let intent = Intent {
            save: waste,
            extents,
        };
        self.intents.insert(waste, (intent.clone(), until));
        self.record(&write.audit);
        Ok(intent)
    }
}
