//! How long what was is kept: rules, holds that beat every rule, and destruction that really destroys.
//!
//! Nothing goes by itself unless a rule says so. What a rule lets go goes in one transaction of the catalogue, which checks again that no file
//! shows it and that no hold has come since; the objects on the servers are removed under an intent, and what a server did not confirm is
//! asked again by sweeps until it does.

mod destroy;
mod hold;
mod plan;
mod rules;
mod trash;

pub use destroy::{Destroyed, DestroyedVersion, ServerOutcome};
pub use hold::{Hold, HoldId};
pub use plan::{Going, PrunePlan, Which};
pub use rules::{FolderRule, Rule, Rules};
pub use trash::Trashed;
