//! S3, through OpenDAL: it writes, signs and reads the requests, and [`Transport`] carries them.
//!
//! The layout is that of a folder store, so that a bucket can be filled from one, or turned into one, with any tool that copies.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request, Response};
use opendal::options::{ListOptions, ReadOptions, WriteOptions};
use opendal::services::S3;
use opendal::{
    Buffer, Entry, ErrorKind, HttpBody, HttpTransport, HttpTransporter, Metadata, OperationContext,
    Operator,
};
use warifu_core::head::Timestamp;
use warifu_vault::seam::store::{ObjectKey, ObjectStat, Page, Space, StoreError, StoreErrorKind};

use super::http::{Http, HttpError, object_limit, whole};
use super::names::{MARKER, OBJECTS, TMP, parse_shard, path_of, shard_of};
use super::service::{MakeTrouble, Manner, Service, Top, askable, cut, out_of_range, within};
use super::webdav::taken;

/// A server lists so many names at once.
const NAMES_AT_ONCE: usize = 1_000;
/// Room for a listing of so many names of a kilobyte each, escaped: no answer but an object is longer.
const MAX_PAGE: usize = 8 << 20;

/// Who the server knows us as.
pub(super) struct Keys<'a> {
    pub access: &'a str,
    pub secret: &'a str,
}

/// A bucket, as it is to be reached.
pub(super) struct Address {
    /// `https://HOST[:PORT]`.
    pub endpoint: String,
    pub region: String,
    pub bucket: String,
    /// Without slashes at either end.
    pub prefix: String,
}

/// Room in a bucket.
pub(super) struct Bucket {
    operator: Operator,
    name: String,
    /// What all names begin with: empty, or with a slash at its end.
    base: String,
    place: String,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    pub(super) fn new(
        http: Http,
        address: &Address,
        keys: Option<&Keys<'_>>,
        place: String,
    ) -> Result<Self, StoreError> {
        let mut builder = S3::default()
            .bucket(&address.bucket)
            .region(&address.region)
            .endpoint(&address.endpoint)
            // Nothing is looked for in the environment, in other programs' files, or on the network.
            .disable_config_load()
            .disable_ec2_metadata();
        builder = match keys {
            Some(keys) => builder
                .access_key_id(keys.access)
                .secret_access_key(keys.secret),
            None => builder.skip_signature(),
        };
        if !address.endpoint.starts_with("https:") {
            // TLS notices a bit that was changed on the way; without it the server is to compare.
            builder = builder.checksum_algorithm("md5");
        }
        let operator = Operator::new(builder).map_err(|error| {
            StoreError::new(StoreErrorKind::Failed, format!("{place}: {error}"))
        })?;
        let context = OperationContext::new()
            .with_http_transport(HttpTransporter::new(Transport(Arc::new(http))));
        Ok(Self {
            operator: operator.with_context(context),
            name: address.bucket.clone(),
            base: match address.prefix.as_str() {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            place,
        })
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The error as a store tells it. What the transport saw is below it, whatever OpenDAL made of it.
    fn told(&self, error: &opendal::Error) -> StoreError {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(below) = next {
            if let Some(http) = below.downcast_ref::<HttpError>() {
                return http.clone().at(&self.place);
            }
            next = below.source();
        }
        let kind = match error.kind() {
            ErrorKind::NotFound => StoreErrorKind::NotFound,
            ErrorKind::PermissionDenied => StoreErrorKind::Denied,
            ErrorKind::RangeNotSatisfied => StoreErrorKind::OutOfRange,
            _ => StoreErrorKind::Failed,
        };
        StoreError::new(kind, format!("{}: {}", self.place, error.kind()))
    }

    fn odd(&self, what: impl fmt::Display) -> StoreError {
        StoreError::new(StoreErrorKind::Failed, format!("{}: {what}", self.place))
    }

    /// Names that begin with `path`, after the name `after`: all below it, or its own only.
    async fn names(
        &self,
        path: &str,
        after: Option<&str>,
        all_below: bool,
        limit: usize,
    ) -> Result<impl futures_util::Stream<Item = Result<Entry, StoreError>> + use<'_>, StoreError>
    {
        let options = ListOptions {
            recursive: all_below,
            start_after: after.map(|after| self.path(after)),
            limit: Some(limit.clamp(1, NAMES_AT_ONCE)),
            ..ListOptions::default()
        };
        let path = match self.path(path) {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        };
        let lister = self
            .operator
            .lister_options(&path, options)
            .await
            .map_err(|error| self.told(&error))?;
        Ok(lister.map_err(|error| self.told(&error)))
    }

    fn stat_of(&self, metadata: &Metadata) -> ObjectStat {
        ObjectStat {
            len: metadata.content_length(),
            modified: metadata.last_modified().map(|time| {
                let time = time.into_inner();
                Timestamp {
                    secs: time.as_second(),
                    nanos: u32::try_from(time.subsec_nanosecond()).unwrap_or(0),
                }
            }),
        }
    }

    /// Adds objects to a page until it is full, or there are no more.
    async fn collect(
        &self,
        folder: &'static str,
        after: Option<&ObjectKey>,
        count_foreign: bool,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let at_top = folder.is_empty();
        let from = after.map(path_of);
        let wanted = limit.saturating_sub(page.objects.len()).saturating_add(1);
        let mut names = std::pin::pin!(self.names(folder, from.as_deref(), !at_top, wanted).await?);
        let mut last: Option<String> = None;
        while let Some(entry) = names.try_next().await? {
            let Some(path) = entry.path().strip_prefix(&self.base) else {
                return Err(self.odd("it lists names that were not asked for"));
            };
            // Some servers list the folder itself.
            if path.trim_end_matches('/') == folder.trim_end_matches('/') {
                continue;
            }
            // What others show as a folder.
            if let Some(shown) = path.strip_suffix('/') {
                let ours = match shown.strip_prefix(OBJECTS) {
                    Some(rest) => {
                        rest.is_empty() || rest.strip_prefix('/').and_then(parse_shard).is_some()
                    }
                    None => at_top && shown == TMP,
                };
                page.foreign += u64::from(!ours && count_foreign);
                continue;
            }
            // An order of its own, or a repetition, would make gaps.
            if last.as_deref().is_some_and(|last| last >= path) {
                return Err(self.odd("it lists names out of order"));
            }
            last = Some(path.to_owned());
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let shard = above
                .strip_prefix(OBJECTS)
                .and_then(|rest| rest.strip_prefix('/'))
                .and_then(parse_shard);
            let ours_otherwise = at_top && name == MARKER;
            let key =
                ObjectKey::parse(name).filter(|key| shard_of(key) == shard && path_of(key) == path);
            match key {
                Some(key) => {
                    // The server was asked to begin there, but may not know how to.
                    if after.is_some_and(|after| key <= *after) {
                        continue;
                    }
                    if page.objects.len() >= limit {
                        page.more = true;
                        return Ok(());
                    }
                    page.objects.push((key, self.stat_of(entry.metadata())));
                }
                None if !ours_otherwise && count_foreign => page.foreign += 1,
                None => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Service for Bucket {
    async fn write(&self, path: &str, object: Bytes, manner: Manner) -> Result<(), StoreError> {
        let options = WriteOptions {
            if_not_exists: manner.only_new,
            content_type: Some("application/octet-stream".into()),
            ..WriteOptions::default()
        };
        match self
            .operator
            .write_options(&self.path(path), object, options)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => {
                let told = self.told(&error);
                let refused = error.kind() == ErrorKind::ConditionNotMatch
                    || HttpError::refusal_below(&told).is_some_and(|refusal| refusal.status == 412);
                if manner.only_new && refused {
                    Err(taken(&self.place, path))
                } else {
                    Err(told)
                }
            }
        }
    }

    async fn read(&self, path: &str, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        if let Some(range) = &range
            && !askable(range)
        {
            let len = self.stat(path).await?.len;
            return within(range, len, &self.place).map(|()| Bytes::new());
        }
        let options = ReadOptions {
            range: range.clone().map(Into::into).unwrap_or_default(),
            ..ReadOptions::default()
        };
        let read = self.operator.read_options(&self.path(path), options).await;
        let (read, range) = match (read, range) {
            (Ok(read), None) => return Ok(read.to_bytes()),
            (Ok(read), Some(range)) => (read.to_bytes(), range),
            (Err(error), range) => {
                let told = self.told(&error);
                // OpenDAL takes an answer that stops at the object's end for a broken one.
                if let (Some(range), None) = (range, HttpError::below(&told)) {
                    within(&range, self.stat(path).await?.len, &self.place)?;
                }
                return Err(told);
            }
        };
        match (read.len() as u64).cmp(&(range.end - range.start)) {
            std::cmp::Ordering::Equal => Ok(read),
            // It cuts off what lies beyond the end.
            std::cmp::Ordering::Less => Err(out_of_range(&range, &self.place)),
            // It sent the whole.
            std::cmp::Ordering::Greater => cut(read, Some(range), &self.place),
        }
    }

    async fn stat(&self, path: &str) -> Result<ObjectStat, StoreError> {
        self.operator
            .stat(&self.path(path))
            .await
            .map(|metadata| self.stat_of(&metadata))
            .map_err(|error| self.told(&error))
    }

    async fn remove(&self, path: &str) -> Result<(), StoreError> {
        // S3 answers a removal in the same way whether there was something or not.
        self.stat(path).await?;
        self.operator
            .delete(&self.path(path))
            .await
            .map_err(|error| self.told(&error))
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        let mut page = Page::default();
        // Share names are hexadecimal, so all of them come before `vault-`.
        if after.is_none_or(ObjectKey::is_share) {
            self.collect("objects/", after, after.is_none(), limit, &mut page)
                .await?;
        }
        if page.objects.len() >= limit {
            page.more = true;
        } else {
            let after = after.filter(|after| !after.is_share());
            self.collect("", after, after.is_none(), limit, &mut page)
                .await?;
        }
        Ok(page)
    }

    async fn space(&self) -> Result<Space, StoreError> {
        // S3 has no question for it.
        Ok(Space::default())
    }

    fn can_stage(&self) -> bool {
        false
    }

    async fn shows_parts(&self) -> Result<bool, StoreError> {
        // An object of S3 is there when it is whole.
        Ok(false)
    }

    async fn sweep(&self) -> Result<u64, StoreError> {
        // There is nothing on the way to its name.
        Ok(0)
    }

    async fn top(&self) -> Result<Top, StoreError> {
        let listed: Result<Vec<_>, _> = match self.names("", None, false, NAMES_AT_ONCE).await {
            Ok(names) => names.take(NAMES_AT_ONCE).try_collect().await,
            Err(error) => Err(error),
        };
        match listed {
            Ok(entries) => Ok(Top::Names(
                entries
                    .iter()
                    .filter_map(|entry| entry.path().strip_prefix(&self.base))
                    .map(|path| path.trim_end_matches('/').to_owned())
                    .filter(|path| !path.is_empty())
                    .collect(),
            )),
            Err(error) => {
                let no_bucket =
                    HttpError::refusal_below(&error).is_some_and(|refusal| refusal.status == 404);
                if no_bucket {
                    Ok(Top::Missing)
                } else {
                    Err(error)
                }
            }
        }
    }

    async fn make_place(&self) -> Result<(), MakeTrouble> {
        // A bucket has an owner, a region and a price: people make it.
        match self.top().await? {
            Top::Names(_) => Ok(()),
            Top::Missing => Err(self
                .odd(format_args!(
                    "there is no bucket {}: make it with the server's own tool, and let this key read and write it",
                    self.name
                ))
                .into()),
        }
    }

    async fn make_folders(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn read_above(&self, name: &str) -> Option<String> {
        let mut base = self.base.trim_end_matches('/');
        while !base.is_empty() {
            base = base.rsplit_once('/').map_or("", |(above, _)| above);
            let path = if base.is_empty() {
                name.to_owned()
            } else {
                format!("{base}/{name}")
            };
            if self.operator.stat(&path).await.is_ok() {
                return Some(format!("s3://{}/{base}", self.name));
            }
        }
        None
    }
}

/// Carries OpenDAL's requests over our own client, which has the time limits, the authorities to trust, and a limit to what it reads.
#[derive(Debug)]
struct Transport(Arc<Http>);

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        let body = body.to_bytes();
        let make = || {
            let mut request = Request::new(whole(body.clone()));
            *request.method_mut() = parts.method.clone();
            *request.uri_mut() = parts.uri.clone();
            *request.headers_mut() = parts.headers.clone();
            Ok(request)
        };
        let answer = match parts.method {
            Method::GET if is_listing(&parts.uri) => self.0.ask(make, MAX_PAGE).await,
            Method::GET | Method::HEAD => self.0.ask(make, object_limit()).await,
            // The same bytes under the same name, or what is gone anyway: twice is once.
            _ => self.0.send_again(make, MAX_PAGE).await,
        };
        let reply = answer.map_err(below)?;
        if !reply.status.is_success() {
            return Err(below(reply.refusal()));
        }
        let mut response = Response::new(HttpBody::new(
            stream::iter([Ok(Buffer::from(reply.body))]),
            None,
        ));
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        Ok(response)
    }
}

/// Whether a request asks for names, and not for an object.
fn is_listing(uri: &http::Uri) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|part| part == "list-type=2"))
}

fn below(error: HttpError) -> opendal::Error {
    opendal::Error::new(ErrorKind::Unexpected, "the request failed").set_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_told_from_an_object() {
        for (uri, listing) in [
            ("http://h/b?list-type=2&prefix=x", true),
            ("http://h/b?prefix=x&list-type=2", true),
            ("http://h/b/objects/aa", false),
            ("http://h/b/list-type=2?x=list-type", false),
        ] {
            assert_eq!(is_listing(&uri.parse().unwrap()), listing, "{uri}");
        }
    }
}
