//! A plan is carried out: each step one transaction with its line of the log.

use std::collections::HashMap;

use warifu_core::ids::{FileId, VersionNo};

use super::plan::{RestorePlan, RestoreStep, Restoring};
use crate::context::{Act, Context};
use crate::error::{Result, VaultError};
use crate::node::{Attr, Name, NodeId, NodeKind};
use crate::seam::catalog::{CatalogError, Durability, NewNode, RenameMode, Write};
use crate::seam::past::Reinstate;
use crate::vault::Vault;

/// A step that could not be done.
#[derive(Debug)]
pub struct RestoreFailure {
    /// Which.
    pub step: RestoreStep,
    /// Why.
    pub error: VaultError,
}

/// What a restore did.
#[derive(Debug, Default)]
pub struct RestoreReport {
    /// Steps done.
    pub done: u64,
    /// Steps that could not be done; what they would have changed is as it was.
    pub failed: Vec<RestoreFailure>,
}

impl Vault {
    /// Does what a plan says. A step that fails is left out and named; `progress` hears of the steps done and of all.
    ///
    /// Cut off anywhere, what is done is whole, and a new plan does the rest.
    ///
    /// # Errors
    /// When nothing may be changed, and when the catalogue fails.
    pub async fn apply_restore(
        &self,
        ctx: &Context,
        plan: &RestorePlan,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<RestoreReport> {
        self.inner.writable()?;
        let total = plan.steps.len() as u64;
        let mut report = RestoreReport::default();
        let mut folders = HashMap::from([(Vec::new(), NodeId::ROOT)]);
        for (done, step) in (1..).zip(&plan.steps) {
            match self.restore_step(ctx, step, &mut folders).await {
                Ok(()) => report.done += 1,
                Err(
                    error @ VaultError::Catalog(
                        CatalogError::NoAnswer { .. }
                        | CatalogError::Full
                        | CatalogError::Failed { .. }
                        | CatalogError::Damaged { .. },
                    ),
                ) => return Err(error),
                Err(error) => report.failed.push(RestoreFailure {
                    step: step.clone(),
                    error,
                }),
            }
            progress(done, total);
        }
        self.inner.catalog.sync().await?;
        Ok(report)
    }

    async fn restore_step(
        &self,
        ctx: &Context,
        step: &RestoreStep,
        folders: &mut HashMap<Vec<Name>, NodeId>,
    ) -> Result<()> {
        let (name, parent) = step.path.split_last().ok_or(VaultError::Invalid {
            what: "the root is always there",
        })?;
        let dir = self.folder_of(parent, folders).await?;
        let catalog = &self.inner.catalog;
        match &step.what {
            Restoring::Aside(to) => {
                self.rename(ctx, (dir, name), (dir, to), RenameMode::NoReplace)
                    .await?;
            }
            Restoring::Folder { mode, owner } => {
                let new = new_node(NodeKind::Dir, *mode, *owner);
                let write = self.restoring(ctx, dir, name, "");
                match catalog.create(dir, name, new, write).await {
                    // Somebody else may have made it meanwhile.
                    Ok(_) | Err(CatalogError::Exists) => {}
                    Err(error) => return Err(error.into()),
                }
                self.bring_back_threshold(ctx, &step.path).await?;
            }
            Restoring::Back { from, node } => {
                let (old, parent) = from.split_last().ok_or(VaultError::Loop)?;
                let from = self.folder_of(parent, folders).await?;
                self.must_still_be(from, old, *node).await?;
                self.rename(ctx, (from, old), (dir, name), RenameMode::NoReplace)
                    .await?;
            }
            Restoring::File {
                version,
                mode,
                owner,
                ..
            } => {
                self.restore_file(ctx, (dir, name), *version, *mode, *owner)
                    .await?;
            }
            Restoring::Version {
                version,
                node,
                base,
                ..
            } => {
                let write = self.restoring(ctx, *node, name, &of_version(version.1));
                let to = Reinstate::Next(*node, *base);
                catalog.reinstate(to, *version, write).await?;
            }
            Restoring::Special {
                kind,
                mode,
                owner,
                rdev,
                target,
            } => {
                let new = NewNode {
                    rdev: *rdev,
                    target: target.clone(),
                    ..new_node(*kind, *mode, *owner)
                };
                let write = self.restoring(ctx, dir, name, "");
                catalog.create(dir, name, new, write).await?;
            }
            // A folder that has got something since is not empty, and stays.
            Restoring::Remove {
                folder: true, node, ..
            } => {
                self.must_still_be(dir, name, *node).await?;
                self.remove_dir(ctx, dir, name).await?;
            }
            Restoring::Remove { node, head, .. } => {
                self.remove_if(ctx, dir, name, (*node, *head)).await?;
            }
        }
        Ok(())
    }

    /// Fails where a name stands for something else than when the plan was made.
    async fn must_still_be(&self, dir: NodeId, name: &Name, node: NodeId) -> Result<()> {
        match self.inner.catalog.lookup(dir, name).await? {
            Some(attr) if attr.node == node => Ok(()),
            Some(attr) => Err(CatalogError::Conflict {
                current: attr.version,
            }
            .into()),
            None => Err(VaultError::NotFound {
                what: "file or folder",
            }),
        }
    }

    /// Makes a file of an earlier version. Its history goes on where no other file has the document.
    async fn restore_file(
        &self,
        ctx: &Context,
        (dir, name): (NodeId, &Name),
        version: (FileId, VersionNo),
        mode: u32,
        owner: (u32, u32),
    ) -> Result<Attr> {
        let mut new = NewNode {
            document: version.0,
            ..new_node(NodeKind::File, mode, owner)
        };
        let detail = of_version(version.1);
        let make = |new: &NewNode| {
            let to = Reinstate::New(dir, name.clone(), new.clone());
            let write = self.restoring(ctx, dir, name, &detail);
            self.inner.catalog.reinstate(to, version, write)
        };
        match make(&new).await {
            // It has another name now, or somebody has it open: then this is a file of its own.
            Err(CatalogError::Exists) if self.inner.catalog.lookup(dir, name).await?.is_none() => {
                new.document = FileId::fresh()?;
                Ok(make(&new).await?)
            }
            other => Ok(other?),
        }
    }

    /// Makes an earlier version of a file its next one.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when the version is not kept, [`CatalogError::Conflict`] when the file is changed at that very moment; errors of
    /// the catalogue.
    pub async fn restore_version(
        &self,
        ctx: &Context,
        node: NodeId,
        version: VersionNo,
    ) -> Result<Attr> {
        self.inner.writable()?;
        let (attr, _) = self.inner.current(node).await?;
        let audit = ctx.entry(
            Act::Restore,
            Some(node),
            of_version(version),
            self.inner.clock.now(),
        );
        let write = Write {
            audit,
            durability: Durability::Now,
        };
        let to = Reinstate::Next(node, attr.head);
        let from = (attr.document, version);
        Ok(self.inner.catalog.reinstate(to, from, write).await?)
    }

    /// Makes a new file of a version of a document, under a free name, with these permission bits, owner and group.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when the version is not kept or there is no such folder, [`VaultError::Exists`] when the name is taken; errors of
    /// the catalogue.
    pub async fn restore_as(
        &self,
        ctx: &Context,
        (parent, name): (&[Name], &Name),
        version: (FileId, VersionNo),
        (mode, owner): (u32, (u32, u32)),
    ) -> Result<Attr> {
        self.inner.writable()?;
        let dir = self.resolve_names(parent).await?.node;
        let made = self
            .restore_file(ctx, (dir, name), version, mode, owner)
            .await?;
        self.inner.catalog.sync().await?;
        Ok(made)
    }

    async fn folder_of(
        &self,
        path: &[Name],
        folders: &mut HashMap<Vec<Name>, NodeId>,
    ) -> Result<NodeId> {
        if let Some(node) = folders.get(path) {
            return Ok(*node);
        }
        let attr = self.resolve_names(path).await?;
        if attr.kind != NodeKind::Dir {
            return Err(VaultError::NotDir);
        }
        folders.insert(path.to_vec(), attr.node);
        Ok(attr.node)
    }

    fn restoring(&self, ctx: &Context, node: NodeId, name: &Name, of: &str) -> Write {
        let detail = match of {
            "" => name.display().into_owned(),
            of => format!("{}, {of}", name.display()),
        };
        Write {
            audit: ctx.entry(Act::Restore, Some(node), detail, self.inner.clock.now()),
            durability: Durability::Soon,
        }
    }
}

fn of_version(version: VersionNo) -> String {
    format!("version {version}")
}

fn new_node(kind: NodeKind, mode: u32, (uid, gid): (u32, u32)) -> NewNode {
    NewNode {
        kind,
        mode,
        uid,
        gid,
        rdev: 0,
        target: Vec::new(),
        document: FileId::NIL,
        inherits: false,
        unless: None,
    }
}
