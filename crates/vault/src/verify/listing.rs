//! What the servers list, in little room, beside what the catalogue expects.
//!
//! # The order that makes orphans certain
//! An intent names an extent before any object of it appears on a server, and goes only in the transaction that writes the
//! extent's row, or after the objects are gone. So whoever
//!
//! 1. lists a server **first**,
//! 2. then reads the intents,
//! 3. then reads the extents,
//!
//! knows of each object in the listing that its extent was named by an intent or a row when it was listed: an intent that is not
//! read any more in step 2 has become a row by then, which step 3 finds. What neither names is needed by nobody, whatever
//! is saved meanwhile. The other order of 2 and 3 would take what is committed between them for an orphan.

use std::sync::Arc;

use futures_util::future::join_all;
use warifu_core::ids::{ExtentId, Generation, ShareIndex};

use crate::error::Result;
use crate::seam::catalog::Catalog;
use crate::seam::store::{ObjectKey, Page, StoreError, StoreErrorKind};
use crate::servers::{Server, Servers};

const PAGE: usize = 10_000;

/// The share objects that a server lists: 36 bytes and a bit for each, whatever their size.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Names and lengths, ascending by name. No object is longer than `u32::MAX`.
    objects: Vec<([u8; 32], u32)>,
    /// Which of them somebody needs.
    needed: Vec<u64>,
    /// How many files no warifu wrote.
    pub(crate) foreign: u64,
}

/// The 32 bytes that a share's name says; `None` for another object.
fn digits(name: &ObjectKey) -> Option<[u8; 32]> {
    let text = name.as_str().as_bytes();
    if !name.is_share() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    Some(bytes)
}

fn name_of(bytes: &[u8; 32]) -> Option<ObjectKey> {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    ObjectKey::parse(&text)
}

impl Listing {
    fn push(&mut self, name: &ObjectKey, len: u64) {
        if let Some(bytes) = digits(name) {
            self.objects
                .push((bytes, u32::try_from(len).unwrap_or(u32::MAX)));
        }
    }

    fn seal(&mut self) {
        self.needed = vec![0; self.objects.len().div_ceil(64)];
    }

    fn find(&self, name: &ObjectKey) -> Option<(usize, u64)> {
        let bytes = digits(name)?;
        let at = self
            .objects
            .binary_search_by(|(known, _)| known.cmp(&bytes))
            .ok()?;
        self.objects.get(at).map(|(_, len)| (at, u64::from(*len)))
    }

    /// How long the object is; `None` where it is not listed.
    pub(crate) fn len_of(&self, name: &ObjectKey) -> Option<u64> {
        self.find(name).map(|(_, len)| len)
    }

    fn need(&mut self, name: &ObjectKey) {
        if let Some((at, _)) = self.find(name)
            && let Some(word) = self.needed.get_mut(at / 64)
        {
            *word |= 1 << (at % 64);
        }
    }

    /// The objects that nobody needs.
    pub(crate) fn left(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        let bit = |at: usize| {
            self.needed
                .get(at / 64)
                .is_some_and(|word| word >> (at % 64) & 1 == 1)
        };
        self.objects
            .iter()
            .enumerate()
            .filter(move |(at, _)| !bit(*at))
            .filter_map(|(_, (bytes, _))| name_of(bytes))
    }
}

/// One page of a server's listing. The server is not believed: names that do not ascend, or that were asked past,
/// could let a listing go in circles or skip what is there.
pub(crate) async fn next_page(
    server: &Server,
    after: Option<&ObjectKey>,
    limit: usize,
) -> std::result::Result<Page, StoreError> {
    let page = server.ask(server.seat.store.list(after, limit)).await?;
    let mut before = after;
    for (name, _) in &page.objects {
        if before.is_some_and(|before| name <= before) {
            return Err(StoreError::new(
                StoreErrorKind::Failed,
                "the server's listing is not in order",
            ));
        }
        before = Some(name);
    }
    if page.more && page.objects.is_empty() {
        return Err(StoreError::new(
            StoreErrorKind::Failed,
            "the server promised more objects and listed none",
        ));
    }
    Ok(page)
}

async fn list_all(server: &Server) -> std::result::Result<Listing, StoreError> {
    let mut listing = Listing::default();
    let mut after: Option<ObjectKey> = None;
    loop {
        let page = next_page(server, after.as_ref(), PAGE).await?;
        listing.foreign += page.foreign;
        for (name, stat) in &page.objects {
            listing.push(name, stat.len);
        }
        if !page.more {
            listing.seal();
            return Ok(listing);
        }
        after = page.objects.into_iter().last().map(|(name, _)| name);
    }
}

/// What every server lists, or why it did not, in the order of the servers.
#[derive(Debug)]
pub(crate) struct Listings(Vec<(Arc<Server>, std::result::Result<Listing, StoreError>)>);

impl Listings {
    /// Steps 1 and 2: lists all servers at once, and then reads the intents, whose extents somebody needs.
    pub(crate) async fn gather(servers: &Servers, catalog: &dyn Catalog) -> Result<Self> {
        let listed = join_all(
            servers
                .all()
                .iter()
                .map(|server| async move { (Arc::clone(server), list_all(server).await) }),
        )
        .await;
        for (server, listing) in &listed {
            if let Err(error) = listing {
                tracing::warn!(server = server.name(), %error, "a server's objects could not be listed");
            }
        }
        let mut listings = Self(listed);
        for intent in catalog.intents().await? {
            for (extent, generation) in &intent.extents {
                listings.need(servers, *extent, *generation);
            }
        }
        Ok(listings)
    }

    /// Step 3, for each extent that the catalogue has: its objects are needed.
    pub(crate) fn need(&mut self, servers: &Servers, extent: ExtentId, generation: Generation) {
        for (server, listing) in &mut self.0 {
            if let Ok(listing) = listing {
                listing.need(&servers.object_key(server, extent, generation));
            }
        }
    }

    pub(crate) fn of(
        &self,
        index: ShareIndex,
    ) -> Option<&std::result::Result<Listing, StoreError>> {
        self.0
            .iter()
            .find(|(server, _)| server.index() == index)
            .map(|(_, listing)| listing)
    }

    pub(crate) fn all(
        &self,
    ) -> impl Iterator<Item = (&Arc<Server>, &std::result::Result<Listing, StoreError>)> {
        self.0.iter().map(|(server, listing)| (server, listing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> ObjectKey {
        ObjectKey::parse(&format!("{number:02x}").repeat(32)).unwrap()
    }

    #[test]
    fn names_are_kept_in_half_the_room_and_given_back() {
        let mut listing = Listing::default();
        for number in 0..=200 {
            listing.push(&key(number), u64::from(number) << 26);
        }
        listing.push(&ObjectKey::vault_object(Generation(1)), 144);
        listing.seal();
        assert_eq!(listing.len_of(&key(7)), Some(7 << 26));
        assert_eq!(listing.len_of(&key(200)), Some(u64::from(u32::MAX)));
        assert_eq!(listing.len_of(&key(201)), None);
        assert_eq!(
            listing.len_of(&ObjectKey::vault_object(Generation(1))),
            None,
            "no share"
        );
        for number in (0..=200).filter(|number| *number != 64 && *number != 199) {
            listing.need(&key(number));
        }
        listing.need(&key(255));
        assert_eq!(listing.left().collect::<Vec<_>>(), [key(64), key(199)]);
    }
}
