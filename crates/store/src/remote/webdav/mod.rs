//! WebDAV, spoken directly.
//!
//! OpenDAL has a WebDAV service too. It takes a folder that answers 404 for an empty one, cannot ask a server to refuse a name that is
//! taken, looks for every parent folder before each write, knows no quota, and tells 401, 413 and 507 as one and the same error. The promises
//! of a store hang on just these, and what is needed of the protocol is six methods.
//!
//! The layout is that of a folder store. Its 256 shard folders are made when the store is, so that no later write has to; where one is
//! missing all the same (a copied folder store has only those it needs), the server's refusal shows it.

mod listing;
mod trial;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, IF_NONE_MATCH, RANGE, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use warifu_vault::seam::store::{ObjectKey, ObjectStat, Page, Space, StoreError, StoreErrorKind};

use self::listing::{WHAT_FILES_ARE, WHAT_ROOM_THERE_IS};
use super::http::{Body, Http, HttpError, Reply, object_limit, whole};
use super::multistatus;
use super::names::{MARKER, OBJECTS, TMP, shard_folder};
use super::service::{MakeTrouble, Manner, Service, Top, askable, cut, out_of_range, within};
use crate::layout::{LOST_FOUND, random_hex};
use crate::shown::shown;

const DESTINATION: HeaderName = HeaderName::from_static("destination");
const OVERWRITE: HeaderName = HeaderName::from_static("overwrite");
/// What Apache calls a file that is still under way; its own business.
const APACHE_TMP: &str = ".davfs.tmp";
/// So many folders are made at once.
const AT_ONCE: usize = 16;

/// A folder on a WebDAV server.
pub(super) struct Webdav {
    http: Http,
    /// `https://HOST[:PORT]`.
    endpoint: String,
    /// The folder, escaped, without a slash at its end: empty for the server's root.
    base: String,
    place: String,
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for Webdav {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webdav")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// How something gets to its place.
enum Placing<'a> {
    Put {
        object: &'a Bytes,
        only_new: bool,
    },
    /// Under a name that is not taken.
    Move {
        from: &'a str,
    },
}

/// What making a folder found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    New,
    Was,
}

impl Webdav {
    pub(super) fn new(
        http: Http,
        endpoint: String,
        base: String,
        place: String,
        authorization: Option<HeaderValue>,
    ) -> Self {
        Self {
            http,
            endpoint,
            base,
            place,
            authorization,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{}/{path}", self.endpoint, self.base)
    }

    fn request(&self, method: &str, url: &str) -> http::request::Builder {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request
    }

    fn ready(request: http::request::Builder, body: Bytes) -> Result<Request<Body>, HttpError> {
        request
            .body(whole(body))
            .map_err(|error| HttpError::Unsendable(error.to_string()))
    }

    fn told(&self, error: HttpError) -> StoreError {
        error.at(&self.place)
    }

    /// An answer that is none of those hoped for.
    fn refused(&self, reply: &Reply) -> StoreError {
        let mut error = reply.refusal();
        if let HttpError::Refused(refusal) = &mut error {
            let offered = reply.header(WWW_AUTHENTICATE).unwrap_or_default();
            let scheme = shown(offered.split([' ', ',']).next().unwrap_or_default());
            if refusal.status == StatusCode::UNAUTHORIZED
                && !scheme.is_empty()
                && !scheme.eq_ignore_ascii_case("basic")
            {
                refusal.message = Some(format!(
                    "the server wants the login {scheme}, and warifu knows Basic"
                ));
            }
        }
        self.told(error)
    }

    async fn head(&self, path: &str) -> Result<ObjectStat, StoreError> {
        let url = self.url(path);
        let reply = self
            .http
            .ask(|| Self::ready(self.request("HEAD", &url), Bytes::new()), 0)
            .await
            .map_err(|error| self.told(error))?;
        if reply.status != StatusCode::OK {
            return Err(self.refused(&reply));
        }
        let said = reply
            .header(CONTENT_LENGTH)
            .and_then(|text| text.parse().ok());
        let len = match said {
            Some(len) => len,
            // Apache leaves out a length of zero.
            None => {
                let entries = self.propfind(path, "0", WHAT_FILES_ARE).await?;
                entries
                    .first()
                    .and_then(|entry| entry.len)
                    .ok_or_else(|| self.odd("it does not say how long the object is"))?
            }
        };
        let modified = reply
            .header(http::header::LAST_MODIFIED)
            .and_then(multistatus::http_date);
        Ok(ObjectStat { len, modified })
    }

    fn odd(&self, what: impl fmt::Display) -> StoreError {
        StoreError::new(StoreErrorKind::Failed, format!("{}: {what}", self.place))
    }

    async fn make_folder(&self, folder: &str) -> Result<Made, StoreError> {
        let url = self.url(&format!("{folder}/"));
        let request = || Self::ready(self.request("MKCOL", &url), Bytes::new());
        let reply = self
            .http
            .send_again(request, object_limit())
            .await
            .map_err(|error| self.told(error))?;
        match reply.status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(Made::New),
            // Not allowed on what is there.
            StatusCode::METHOD_NOT_ALLOWED => Ok(Made::Was),
            _ => Err(self.refused(&reply)),
        }
    }

    /// Makes the folder that an object is to lie in, and what is above it.
    async fn make_folder_of(&self, path: &str) -> Result<Made, StoreError> {
        let Some((folder, _)) = path.rsplit_once('/') else {
            return Ok(Made::Was);
        };
        match self.make_folder(folder).await {
            Err(error) if error.kind == StoreErrorKind::NoAnswer => Err(error),
            Err(first) => match folder.rsplit_once('/') {
                Some((above, _)) => {
                    // A folder over which nothing is mounted any more must not become half a store.
                    self.head(MARKER).await?;
                    match self.make_folder(above).await? {
                        Made::New => self.make_folder(folder).await,
                        Made::Was => Err(first),
                    }
                }
                None => Err(first),
            },
            made => made,
        }
    }

    async fn put(&self, path: &str, object: Bytes, only_new: bool) -> Result<Reply, StoreError> {
        let url = self.url(path);
        let request = || {
            let mut request = self
                .request("PUT", &url)
                .header(http::header::CONTENT_TYPE, "application/octet-stream")
                // Said even when there is nothing to send, or nginx takes it for a fault.
                .header(CONTENT_LENGTH, object.len());
            if only_new {
                request = request.header(IF_NONE_MATCH, "*");
            }
            Self::ready(request, object.clone())
        };
        // The same bytes under the same name: twice is once.
        let answer = self.http.send_again(request, object_limit()).await;
        answer.map_err(|error| self.told(error))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<Reply, StoreError> {
        let (url, to) = (self.url(from), self.url(to));
        let request = || {
            let request = self
                .request("MOVE", &url)
                .header(DESTINATION, &to)
                .header(OVERWRITE, "F");
            Self::ready(request, Bytes::new())
        };
        let answer = self.http.send_again(request, object_limit()).await;
        answer.map_err(|error| self.told(error))
    }

    async fn attempt(&self, path: &str, how: &Placing<'_>) -> Result<Reply, StoreError> {
        match how {
            Placing::Put { object, only_new } => {
                self.put(path, Bytes::clone(object), *only_new).await
            }
            Placing::Move { from } => self.rename(from, path).await,
        }
    }

    /// Puts something at `path`; where the folder is missing, makes that and tries again.
    async fn place_at(&self, path: &str, how: Placing<'_>) -> Result<(), StoreError> {
        let mut reply = self.attempt(path, &how).await?;
        // A missing folder is 409 in the standard, and 500 with nginx.
        if matches!(reply.status.as_u16(), 404 | 409 | 500)
            && self.make_folder_of(path).await? == Made::New
        {
            reply = self.attempt(path, &how).await?;
        }
        match reply.status {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            StatusCode::PRECONDITION_FAILED => Err(taken(&self.place, path)),
            _ => Err(self.refused(&reply)),
        }
    }

    async fn write_staged(&self, path: &str, object: Bytes) -> Result<(), StoreError> {
        let staged = format!("{TMP}/{}", random_hex()?);
        let put = Placing::Put {
            object: &object,
            only_new: false,
        };
        self.place_at(&staged, put).await?;
        let done = self.place_at(path, Placing::Move { from: &staged }).await;
        match done {
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                // Nobody else knows the staged name: if it is gone, it was moved by a request whose answer was lost.
                match self.head(path).await {
                    Ok(stat) if stat.len == object.len() as u64 => Ok(()),
                    _ => Err(error),
                }
            }
            Err(error) => {
                if error.kind != StoreErrorKind::NoAnswer {
                    // In nobody's way if it stays.
                    let _ = self.remove(&staged).await;
                }
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }
}

pub(super) fn taken(place: &str, path: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::AlreadyExists,
        format!("{place}: {path} is there already"),
    )
}

#[async_trait]
impl Service for Webdav {
    async fn write(&self, path: &str, object: Bytes, manner: Manner) -> Result<(), StoreError> {
        if manner.staged {
            return self.write_staged(path, object).await;
        }
        let put = Placing::Put {
            object: &object,
            only_new: manner.only_new,
        };
        self.place_at(path, put).await
    }

    async fn read(&self, path: &str, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        if let Some(range) = &range
            && !askable(range)
        {
            let len = self.head(path).await?.len;
            return within(range, len, &self.place).map(|()| Bytes::new());
        }
        let url = self.url(path);
        let request = || {
            let mut request = self.request("GET", &url);
            if let Some(range) = &range {
                let last = range.end.saturating_sub(1);
                request = request.header(RANGE, format!("bytes={}-{last}", range.start));
            }
            Self::ready(request, Bytes::new())
        };
        let reply = self
            .http
            .ask(request, object_limit())
            .await
            .map_err(|error| self.told(error))?;
        match (reply.status, range) {
            // A server may send the whole whatever was asked for.
            (StatusCode::OK, range) => cut(reply.body, range, &self.place),
            (StatusCode::PARTIAL_CONTENT, Some(range)) => {
                let sent = reply
                    .header(CONTENT_RANGE)
                    .and_then(content_range)
                    .ok_or_else(|| self.odd("it does not say which part of the object it sends"))?;
                // It cuts off what lies beyond the end.
                if sent.end < range.end {
                    return Err(out_of_range(&range, &self.place));
                }
                if sent != range || reply.body.len() as u64 != range.end - range.start {
                    return Err(self.odd("it sends another part of the object than was asked for"));
                }
                Ok(reply.body)
            }
            _ => Err(self.refused(&reply)),
        }
    }

    async fn stat(&self, path: &str) -> Result<ObjectStat, StoreError> {
        self.head(path).await
    }

    async fn remove(&self, path: &str) -> Result<(), StoreError> {
        let url = self.url(path);
        let request = || Self::ready(self.request("DELETE", &url), Bytes::new());
        let reply = self
            .http
            .send_again(request, object_limit())
            .await
            .map_err(|error| self.told(error))?;
        match reply.status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(self.refused(&reply)),
        }
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        self.page(after, limit).await
    }

    async fn space(&self) -> Result<Space, StoreError> {
        let entries = self.propfind("", "0", WHAT_ROOM_THERE_IS).await?;
        let Some(entry) = entries.first() else {
            return Ok(Space::default());
        };
        Ok(Space {
            total: entry
                .quota_available
                .zip(entry.quota_used)
                .map(|(free, used)| free.saturating_add(used)),
            free: entry.quota_available,
        })
    }

    fn can_stage(&self) -> bool {
        true
    }

    async fn shows_parts(&self) -> Result<bool, StoreError> {
        self.try_a_half().await
    }

    async fn sweep(&self) -> Result<u64, StoreError> {
        self.sweep_staged().await
    }

    async fn top(&self) -> Result<Top, StoreError> {
        match self.entries("").await {
            Ok(entries) => Ok(Top::Names(
                entries
                    .iter()
                    .map(|entry| entry.name().to_owned())
                    .filter(|name| !name.starts_with(APACHE_TMP) && name != LOST_FOUND)
                    .collect(),
            )),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Top::Missing),
            Err(error) => Err(error),
        }
    }

    async fn make_place(&self) -> Result<(), MakeTrouble> {
        if matches!(self.top().await?, Top::Names(_)) {
            return Ok(());
        }
        let url = format!("{}{}/", self.endpoint, self.base);
        let request = Self::ready(self.request("MKCOL", &url), Bytes::new())
            .map_err(|error| self.told(error))?;
        let reply = self
            .http
            .send(request, object_limit())
            .await
            .map_err(|error| self.told(error))?;
        match reply.status.as_u16() {
            200 | 201 | 204 | 405 => Ok(()),
            404 | 409 => Err(MakeTrouble::NoParent),
            _ => Err(self.refused(&reply).into()),
        }
    }

    async fn make_folders(&self) -> Result<(), StoreError> {
        for folder in [OBJECTS, TMP] {
            self.make_folder(folder).await?;
        }
        stream::iter(0..=u8::MAX)
            .map(|shard| async move { self.make_folder(&shard_folder(shard)).await })
            .buffer_unordered(AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    async fn read_above(&self, name: &str) -> Option<String> {
        let mut base = self.base.as_str();
        while let Some((above, _)) = base.rsplit_once('/') {
            base = above;
            let url = format!("{}{base}/{name}", self.endpoint);
            let request = || Self::ready(self.request("GET", &url), Bytes::new());
            if let Ok(reply) = self.http.ask(request, object_limit()).await
                && reply.status == StatusCode::OK
            {
                return Some(format!("{}{base}/", self.endpoint));
            }
        }
        None
    }
}

/// The part in `bytes 10-19/200`.
fn content_range(text: &str) -> Option<Range<u64>> {
    let (part, _) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then(|| first..last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_to_the_byte() {
        assert_eq!(content_range("bytes 10-19/200"), Some(10..20));
        assert_eq!(content_range("bytes 0-0/*"), Some(0..1));
        for text in ["", "bytes */200", "bytes 5-4/9", "lines 1-2/3", "bytes 1-2"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
