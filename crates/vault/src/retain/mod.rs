//! How long what was is kept: rules, holds that beat every rule, and destruction that really destroys.
//!
//! Nothing goes by itself unless a rule says so. What a rule lets go goes in one transaction of the catalogue, which checks again that no file
//! shows it and that no hold has come since; the objects on the servers are removed under an intent, and what a server did not confirm is
//! asked again by sweeps until it does.

mod clock;
mod destroy;
mod gone;
mod hold;
mod plan;
mod rules;

pub use clock::AHEAD;
pub use destroy::{Destroyed, ServerOutcome};
pub use hold::{HoldId, LegalHold};
pub use plan::{FLOOR, Going, PrunePlan, Which};
pub use rules::{FolderRule, Rule, Rules};

pub(crate) use gone::{destroyed_extents, known_since};
