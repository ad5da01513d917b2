//! Listings: what lies in the folders of a store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use http::header::DATE;
use http::{HeaderName, StatusCode};
use warifu_vault::seam::store::{ObjectKey, ObjectStat, Page, StoreError, StoreErrorKind};

use super::super::http::{HttpError, MAX_LISTING, Refusal, Reply};
use super::super::multistatus::{self, Entry};
use super::super::names::{MARKER, OBJECTS, TMP, parse_shard, shard_folder, shard_of};
use super::super::service::Service as _;
use super::{APACHE_TMP, Webdav};
use crate::layout::{LOST_FOUND, STALE_AFTER_SECS, is_temp_name};
use crate::shown::shown;

const DEPTH: HeaderName = HeaderName::from_static("depth");
/// So many folders are read at once: each may be [`MAX_LISTING`] long.
const AT_ONCE: usize = 8;

/// What the names of tried files begin with.
pub(super) const TRIED: &str = "warifu-probe-";

pub(super) const WHAT_FILES_ARE: &[u8] = br#"<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/></D:prop></D:propfind>"#;
pub(super) const WHAT_ROOM_THERE_IS: &[u8] = br#"<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:quota-available-bytes/><D:quota-used-bytes/></D:prop></D:propfind>"#;

impl Webdav {
    /// Asks for what a folder holds (depth 1) or for itself alone (depth 0).
    pub(super) async fn propfind(
        &self,
        folder: &str,
        depth: &'static str,
        what: &'static [u8],
    ) -> Result<Vec<Entry>, StoreError> {
        let reply = self.ask_for(folder, depth, what).await?;
        self.read_listing(folder, reply).await
    }

    async fn ask_for(
        &self,
        folder: &str,
        depth: &'static str,
        what: &'static [u8],
    ) -> Result<Reply, StoreError> {
        let url = self.url(folder);
        let request = || {
            let request = self
                .request("PROPFIND", &url)
                .header(DEPTH, depth)
                .header(http::header::CONTENT_TYPE, "application/xml; charset=utf-8");
            Self::ready(request, Bytes::from_static(what))
        };
        let reply = self.http.ask(request, MAX_LISTING).await;
        reply.map_err(|error| self.told(error))
    }

    async fn read_listing(&self, folder: &str, reply: Reply) -> Result<Vec<Entry>, StoreError> {
        if reply.status != StatusCode::MULTI_STATUS {
            return Err(self.refused(&reply));
        }
        let body = reply.body;
        // Thousands of names take milliseconds, which others should not wait for.
        let entries = if body.len() > 256 << 10 {
            tokio::task::spawn_blocking(move || multistatus::read(&body))
                .await
                .map_err(|_| {
                    StoreError::new(StoreErrorKind::NoAnswer, "a request was broken off")
                })?
        } else {
            multistatus::read(&body)
        };
        let entries = entries.map_err(|error| self.odd(error))?;
        if let Some(entry) = entries
            .iter()
            .find(|entry| entry.refused.is_some_and(|status| status != 404))
        {
            let status = entry
                .refused
                .and_then(|code| StatusCode::from_u16(code).ok());
            let refusal = Refusal {
                status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                code: None,
                message: Some(format!("for {} in {folder}", shown(entry.name()))),
            };
            return Err(self.told(HttpError::Refused(refusal)));
        }
        Ok(entries)
    }

    /// Removes what was left under `tmp/` by uploads that never ended, and returns how much that was. How old it is says the server's own clock; where
    /// it doesn't tell the time, nothing is old.
    pub(super) async fn sweep_staged(&self) -> Result<u64, StoreError> {
        let folder = format!("{TMP}/");
        let reply = self.ask_for(&folder, "1", WHAT_FILES_ARE).await?;
        let now = reply.header(DATE).and_then(multistatus::http_date);
        let entries = match self.read_listing(&folder, reply).await {
            Ok(entries) => entries,
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let entries = multistatus::children(entries).map_err(|error| self.odd(error))?;
        let Some(now) = now else {
            return Ok(0);
        };
        let mut swept = 0;
        for entry in entries {
            let name = entry.name();
            let ours = is_temp_name(name.strip_prefix(TRIED).unwrap_or(name));
            let old = entry
                .modified
                .is_some_and(|at| now.secs.saturating_sub(at.secs) > STALE_AFTER_SECS);
            if entry.folder || entry.refused.is_some() || !ours || !old {
                continue;
            }
            match self.remove(&format!("{TMP}/{name}")).await {
                Ok(()) => swept += 1,
                // Somebody else sweeps as well.
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(swept)
    }

    /// What lies in a folder; `NotFound` where there is none.
    pub(super) async fn entries(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        let entries = self.propfind(folder, "1", WHAT_FILES_ARE).await?;
        let mut entries = multistatus::children(entries).map_err(|error| self.odd(error))?;
        // Removed since its name was read.
        entries.retain(|entry| entry.refused.is_none());
        Ok(entries)
    }

    /// Adds a folder's objects to a page, until it is full.
    fn collect(
        entries: Vec<Entry>,
        shard: Option<u8>,
        after: Option<&ObjectKey>,
        count_foreign: bool,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let mut found = BTreeMap::new();
        let mut foreign = 0_u64;
        for entry in entries {
            let name = entry.name();
            let ours_otherwise = match shard {
                None => [MARKER, OBJECTS, TMP, LOST_FOUND].contains(&name),
                Some(_) => false,
            };
            if ours_otherwise || name.starts_with(APACHE_TMP) {
                continue;
            }
            let key = ObjectKey::parse(name).filter(|key| shard_of(key) == shard);
            match (key, entry.folder, entry.len) {
                (Some(key), false, Some(len)) => {
                    if after.is_none_or(|after| key > *after) {
                        let modified = entry.modified;
                        found.insert(key, ObjectStat { len, modified });
                    }
                }
                // Left out, it would seem to be absent.
                (Some(key), false, None) => {
                    let detail = format!("{key} is listed without its length");
                    return Err(StoreError::new(StoreErrorKind::Failed, detail));
                }
                _ => foreign += 1,
            }
        }
        if count_foreign {
            page.foreign += foreign;
        }
        for object in found {
            if page.objects.len() >= limit {
                page.more = true;
                return Ok(());
            }
            page.objects.push(object);
        }
        Ok(())
    }

    /// What lies in one folder of objects. One that is not there has none; whether the store itself is there is asked afterwards.
    async fn entries_or_none(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        match self.entries(folder).await {
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }
    /// One page of objects, ascending.
    pub(super) async fn page(
        &self,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let mut page = Page::default();
        let first_shard = match after {
            Some(name) => shard_of(name),
            None => Some(0),
        };
        // Share names are hexadecimal, so all of them come before `vault-`; after one of those no shard is left.
        if let Some(first_shard) = first_shard {
            let mut shards = BTreeSet::new();
            for entry in self.entries_or_none(&format!("{OBJECTS}/")).await? {
                match parse_shard(entry.name()) {
                    // A server that does not say what it is gives a folder no length; whatever it is, a gap it must not be.
                    Some(shard) if entry.folder || entry.len.is_none() => {
                        shards.insert(shard);
                    }
                    _ if after.is_none() && !entry.name().starts_with(APACHE_TMP) => {
                        page.foreign += 1;
                    }
                    _ => {}
                }
            }
            let shards: Vec<u8> = shards.range(first_shard..).copied().collect();
            // A short page should not cost the listing of sixteen folders, nor a long one wait for each in turn.
            let (mut rest, mut at_once) = (shards.as_slice(), 1);
            while !rest.is_empty() && !page.more {
                let (now, later) = rest.split_at(at_once.min(rest.len()));
                (rest, at_once) = (later, (at_once * 2).min(AT_ONCE));
                let listed: Vec<_> = stream::iter(now.to_vec())
                    .map(|shard| async move {
                        let folder = format!("{}/", shard_folder(shard));
                        Ok::<_, StoreError>((shard, self.entries_or_none(&folder).await?))
                    })
                    .buffered(AT_ONCE)
                    .try_collect()
                    .await?;
                for (shard, entries) in listed {
                    if page.objects.len() >= limit {
                        page.more = true;
                        break;
                    }
                    let entered_before = after.is_some() && shard == first_shard;
                    Self::collect(
                        entries,
                        Some(shard),
                        after,
                        !entered_before,
                        limit,
                        &mut page,
                    )?;
                }
            }
        }
        if page.objects.len() >= limit {
            page.more = true;
        } else if !page.more {
            let entered_before = after.is_some_and(|name| !name.is_share());
            let entries = self.entries_or_none("").await?;
            Self::collect(entries, None, after, !entered_before, limit, &mut page)?;
        }
        Ok(page)
    }
}
