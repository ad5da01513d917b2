//! Stores on WebDAV and S3 servers.
//!
//! # What a server is asked for
//! | call | WebDAV | S3 |
//! |---|---|---|
//! | `put_new` | PUT | PutObject |
//! | `get` | GET | GetObject |
//! | `stat` | HEAD | HeadObject |
//! | `list` | PROPFIND of `objects`, and of each shard folder that the page takes in, several at once | ListObjectsV2 |
//! | `delete` | DELETE | HeadObject, DeleteObject |
//! | `sync` | GET of the marker | GetObject of the marker |
//! | `space` | PROPFIND for the quota (RFC 4331) | nothing: S3 does not say |
//!
//! So saving and opening cost one round trip each, beside those for connecting, which a connection in use does not need. In the ordinary case:
//! the first request of a process, and the first after a silence, reads the marker as well; the writes of the first half second
//! are more careful (below); and a missing shard folder, which only a copied folder store has, costs two more.
//!
//! # Names that are taken
//! `put_new` must not touch what is there, and no server can be relied on for that: of those that were tried, Apache and s3s-fs refuse
//! a write with `If-None-Match: *` under a name that is taken, while nginx and Garage overwrite without a word. So beside the first
//! write of a process it is tried out, on a file made for it. Where the server refuses, every write is made so. For all else the names
//! do what they do everywhere in warifu: nobody can guess one, so only a repetition can find its own object. A repetition is noticed, because the names that this process
//! has tried are remembered (a quarter of a million and more), and the server is asked first; so it is for the fixed names. What is left is a name
//! that another process tried before: the same share of the same dealing, sealed again, would replace its twin. A question before every
//! write would cost each save a round trip, and not close the gap between question and write either.
//!
//! Writers of one name take turns within a process.
//!
//! # Parts of objects
//! S3 has none. Apache and nginx receive a body elsewhere and rename it. Others write in place, and show a part for a while or, when the connection breaks,
//! for ever. This too is tried out: a body is sent by half, and looked for, for three times as long as a whole one of that length took. Where it shows, and as
//! long as it is not known, an object is written under `tmp/` and moved with `Overwrite: F`, two round trips. What a crash leaves there is removed when it is
//! a day old by the server's clock, beside the first write of a process and once a day. Whatever gets through is found by the seal of each chunk.
//!
//! # Power cuts
//! HTTP has no `fsync`. S3 promises that what it acknowledged is kept; Apache and nginx leave it to their kernel, which writes it to disk within half a
//! minute or so. [`Durability`](warifu_vault::seam::store::Durability) changes nothing here, and `sync` asks whether the store is still there. A vault whose every
//! server is of that kind promises against a power cut in *all* their machine rooms at once what these servers do.
//!
//! # Time
//! Connecting, each request, and each call with all its requests have their own limits, one inside the other. Requests without an effect are
//! made again when a connection breaks (most often one that the server had just closed) or the server is too busy. Writes are made again too, when the
//! connection broke off and not when the time was over: the same bytes under a name that is nobody else's. If the name is taken then, the answer is
//! `NoAnswer`, and the vault's own repetition finds the object. A staged object that is gone was moved: nobody else knows its name.
//!
//! # Secrets
//! Passwords and keys are read from where the vault file says and handed to the HTTP library, which keeps them in ordinary memory for as long as the
//! store is in use; the process as a whole is kept from swap and core dumps. WebDAV's login is Basic: over `webdav://`, everybody on the way can read it.
//!
//! # Other services
//! OpenDAL speaks with dozens more. None is offered: what a store needs beyond its interface (what is refused, what is shown, what is listed, and how each
//! error looks) has to be seen on a real one, and none of them can be run beside the tests. Azure's and Google's are reached through gateways that speak S3.

mod bucket;
mod http;
mod login;
mod multistatus;
mod names;
mod service;
mod store;
mod tls;
mod webdav;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use warifu_vault::seam::store::{ShareStore, StoreError, StoreErrorKind};

use self::http::{Http, HttpError};
use self::names::{MARKER, OBJECTS, TMP};
use self::service::{MakeTrouble, Manner, Service, Top};
pub use self::store::{Powers, RemoteStore};
use crate::credentials::{CredentialError, CredentialRef};
use crate::error::{CreateError, OpenError};
use crate::layout::{BadMark, Mark};
use crate::probe::Promises;
use crate::shown::shown;
use crate::spec::{StoreIdentity, StoreSpec};
use crate::url::{S3Url, StoreUrl, WebdavUrl, escape};

/// How a store on a WebDAV or S3 server behaves. Each time limit lies within the next.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RemoteOptions {
    /// Until the server has taken a connection.
    pub connect: Duration,
    /// One request, from its first byte to the last of the answer.
    pub request: Duration,
    /// One call of the store, with all its requests and repetitions: after so long, it answers [`NoAnswer`](StoreErrorKind::NoAnswer).
    pub total: Duration,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(20),
            total: Duration::from_secs(30),
        }
    }
}

/// So many names of foreign files are told.
const NAMES_TOLD: usize = 5;
/// What servers without regions are told.
const NO_REGION: &str = "us-east-1";

fn client(spec: &StoreSpec, encrypted: bool, options: RemoteOptions) -> Result<Http, OpenError> {
    let ca = spec.credentials().ca.as_ref();
    let ca = ca.map(|path| spec.base().join(path));
    Http::new(encrypted, ca.as_deref(), options).map_err(|error| match error {
        tls::TrustError::File { path, why } => {
            OpenError::Credential(CredentialError::Unusable { path, why })
        }
        tls::TrustError::Setup(_) => OpenError::Protocol {
            server: spec.url().to_string(),
            detail: error.to_string(),
        },
    })
}

fn webdav(
    url: &WebdavUrl,
    spec: &StoreSpec,
    options: RemoteOptions,
) -> Result<Arc<dyn Service>, OpenError> {
    let user = url.user.as_ref().or(spec.credentials().user.as_ref());
    let password = spec.credentials().password.as_ref();
    let authorization = match (user, password) {
        (None, None) => None,
        (None, Some(_)) => return Err(CredentialError::Missing { field: "user" }.into()),
        (Some(_), None) => return Err(CredentialError::Missing { field: "password" }.into()),
        (Some(user), Some(password)) => {
            if user.contains(':') {
                return Err(OpenError::Protocol {
                    server: spec.url().to_string(),
                    detail: "a user with a colon in the name cannot log in by Basic".into(),
                });
            }
            let secret = password.resolve_line(spec.base())?;
            let login = login::basic(user, secret.expose());
            Some(login.ok_or(CredentialError::Missing { field: "password" })?)
        }
    };
    if authorization.is_some() && !url.tls {
        tracing::warn!(server = %spec.url(), "the password goes over the network in the clear: webdavs:// would not");
    }
    Ok(Arc::new(webdav::Webdav::new(
        client(spec, url.tls, options)?,
        url.endpoint(),
        escape(url.path.trim_end_matches('/'), true),
        spec.url().to_string(),
        authorization,
    )))
}

fn bucket(
    url: &S3Url,
    spec: &StoreSpec,
    options: RemoteOptions,
) -> Result<Arc<dyn Service>, OpenError> {
    let protocol = |detail: String| OpenError::Protocol {
        server: spec.url().to_string(),
        detail,
    };
    let endpoint = match (&url.endpoint, &url.region) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Some(region)) => format!("https://s3.{region}.amazonaws.com"),
        (None, None) => {
            return Err(protocol(
                "its URL names neither an endpoint nor a region of Amazon's".into(),
            ));
        }
    };
    let address = bucket::Address {
        bucket: url.bucket.clone(),
        prefix: url.prefix.clone(),
        region: url.region.clone().unwrap_or_else(|| NO_REGION.into()),
        endpoint,
    };
    let http = client(spec, address.endpoint.starts_with("https:"), options)?;
    let credentials = spec.credentials();
    let line = |reference: &CredentialRef| reference.resolve_line(spec.base());
    let keys = match (&credentials.access_key, &credentials.secret_key) {
        (None, None) => None,
        (Some(_), None) => {
            return Err(CredentialError::Missing {
                field: "secret_key",
            }
            .into());
        }
        (None, Some(_)) => {
            return Err(CredentialError::Missing {
                field: "access_key",
            }
            .into());
        }
        (Some(access), Some(secret)) => Some((line(access)?, line(secret)?)),
    };
    let not_text = |_| protocol("its keys are not text".into());
    let keys = match &keys {
        None => None,
        Some((access, secret)) => Some(bucket::Keys {
            access: std::str::from_utf8(access.expose()).map_err(not_text)?,
            secret: std::str::from_utf8(secret.expose()).map_err(not_text)?,
        }),
    };
    let place = spec.url().to_string();
    bucket::Bucket::new(http, &address, keys.as_ref(), place)
        .map(|bucket| Arc::new(bucket) as Arc<dyn Service>)
        .map_err(|error| protocol(error.detail))
}

fn service(spec: &StoreSpec, options: RemoteOptions) -> Result<Arc<dyn Service>, OpenError> {
    match spec.url() {
        StoreUrl::Webdav(url) => webdav(url, spec, options),
        StoreUrl::S3(url) => bucket(url, spec, options),
        other => Err(OpenError::Protocol {
            server: other.to_string(),
            detail: "is not reached over HTTP".into(),
        }),
    }
}

fn place(spec: &StoreSpec) -> PathBuf {
    spec.url().to_string().into()
}

/// An error of a store, as one of opening it.
fn open_error(spec: &StoreSpec, error: StoreError) -> OpenError {
    let server = spec.url().to_string();
    match HttpError::below(&error) {
        Some(HttpError::Certificate(detail)) => {
            return OpenError::Certificate {
                server,
                detail: detail.clone(),
            };
        }
        Some(HttpError::Refused(refusal)) if refusal.code.as_deref() == Some("NoSuchBucket") => {
            return missing(spec);
        }
        Some(HttpError::Refused(refusal)) if refusal.kind() == StoreErrorKind::Denied => {
            let user = match spec.url() {
                StoreUrl::Webdav(url) => url
                    .user
                    .clone()
                    .or_else(|| spec.credentials().user.clone())
                    .unwrap_or_else(|| "anybody".into()),
                _ => "this key".into(),
            };
            return OpenError::Login {
                server,
                user,
                detail: refusal.to_string(),
            };
        }
        _ => {}
    }
    // The place is said already.
    let detail = match HttpError::below(&error) {
        Some(http) => http.to_string(),
        None => error.detail,
    };
    match error.kind {
        StoreErrorKind::NoAnswer => OpenError::Unreachable { server, detail },
        _ => OpenError::Protocol { server, detail },
    }
}

/// Reads the marker; `None` where there is none.
async fn marker(spec: &StoreSpec, service: &dyn Service) -> Result<Option<Mark>, OpenError> {
    let bytes = match service.read(MARKER, None).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open_error(spec, error)),
    };
    match Mark::parse(&bytes) {
        Ok(mark) => Ok(Some(mark)),
        Err(BadMark::Newer(version)) => Err(OpenError::Newer {
            path: place(spec),
            version,
        }),
        Err(BadMark::Damaged) => Err(OpenError::DamagedMarker { path: place(spec) }),
    }
}

fn made(
    spec: &StoreSpec,
    options: RemoteOptions,
    service: Arc<dyn Service>,
    mark: Mark,
) -> RemoteStore {
    RemoteStore::assemble(
        spec.url().to_string(),
        options,
        connect(spec, options),
        Some((service, mark)),
    )
}

fn connect(spec: &StoreSpec, options: RemoteOptions) -> Box<store::Connect> {
    let spec = spec.clone();
    Box::new(move || service(&spec, options))
}

async fn within<T, E: From<OpenError>>(
    spec: &StoreSpec,
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(OpenError::Unreachable {
            server: spec.url().to_string(),
            detail: format!("no answer within {} s", limit.as_secs_f32()),
        }
        .into())
    })
}

impl RemoteStore {
    /// Opens the store that a server's description leads to.
    ///
    /// # Errors
    /// When the server cannot be reached, lets nobody in, or keeps no store there; see [`OpenError`].
    pub async fn open(spec: &StoreSpec, options: RemoteOptions) -> Result<Self, OpenError> {
        within(spec, options.total, async {
            let service = service(spec, options)?;
            match marker(spec, &*service).await? {
                Some(mark) => Ok(made(spec, options, service, mark)),
                None => Err(not_a_store(spec, &*service).await),
            }
        })
        .await
    }

    /// Takes a server's description for a store without asking it. Every call answers
    /// [`NoAnswer`](StoreErrorKind::NoAnswer) and says why until the store is there.
    #[must_use]
    pub fn attach(spec: &StoreSpec, options: RemoteOptions) -> Self {
        Self::assemble(
            spec.url().to_string(),
            options,
            connect(spec, options),
            None,
        )
    }

    /// Makes a store. On a WebDAV server the last folder of the path is made too; a bucket must be there.
    ///
    /// # Errors
    /// When there is anything else already, or it cannot be written; see [`CreateError`].
    pub async fn create(spec: &StoreSpec, options: RemoteOptions) -> Result<Self, CreateError> {
        // Some hundred folders are made.
        within(spec, options.total * 4, create_now(spec, options)).await
    }
}

pub(crate) async fn open(spec: &StoreSpec) -> Result<Arc<dyn ShareStore>, OpenError> {
    Ok(Arc::new(
        RemoteStore::open(spec, RemoteOptions::default()).await?,
    ))
}

pub(crate) fn attach(spec: &StoreSpec) -> Arc<dyn ShareStore> {
    Arc::new(RemoteStore::attach(spec, RemoteOptions::default()))
}

pub(crate) async fn create(spec: &StoreSpec) -> Result<Arc<dyn ShareStore>, CreateError> {
    Ok(Arc::new(
        RemoteStore::create(spec, RemoteOptions::default()).await?,
    ))
}

/// Why there is no marker.
async fn not_a_store(spec: &StoreSpec, service: &dyn Service) -> OpenError {
    match service.top().await {
        Ok(Top::Missing) => missing(spec),
        Ok(Top::Names(names)) => OpenError::NotAStore {
            path: place(spec),
            empty: names.is_empty(),
        },
        Err(error) => open_error(spec, error),
    }
}

fn missing(spec: &StoreSpec) -> OpenError {
    match spec.url() {
        StoreUrl::S3(url) => OpenError::Protocol {
            server: spec.url().to_string(),
            detail: format!("there is no bucket {}", url.bucket),
        },
        _ => OpenError::Missing { path: place(spec) },
    }
}

async fn create_now(spec: &StoreSpec, options: RemoteOptions) -> Result<RemoteStore, CreateError> {
    let service = service(spec, options)?;
    match service.make_place().await {
        Ok(()) => {}
        Err(MakeTrouble::NoParent) => {
            let path = place(spec);
            let parent = path.parent().map(Into::into).unwrap_or_default();
            return Err(CreateError::NoParent { path, parent });
        }
        Err(MakeTrouble::Store(error)) => return Err(open_error(spec, error).into()),
    }
    if let Some(store) = service.read_above(MARKER).await {
        return Err(CreateError::Inside {
            path: place(spec),
            store: store.into(),
        });
    }
    if let Some(mark) = marker(spec, &*service).await? {
        return unused(spec, options, service, mark).await;
    }
    refuse_foreign(spec, &*service).await?;
    let mark = Mark::fresh().map_err(|error| open_error(spec, error))?;
    let written = async {
        service.make_folders().await?;
        // The marker comes last: until it is there, a repetition of all this starts anew.
        let line = Bytes::from(mark.line());
        let manner = Manner {
            only_new: false,
            staged: false,
        };
        service.write(MARKER, line, manner).await
    };
    written.await.map_err(|error| write_error(spec, error))?;
    // Somebody else may have made the store at the same moment; one of the two marks is there now.
    match marker(spec, &*service).await? {
        Some(found) if found == mark => Ok(made(spec, options, service, mark)),
        Some(found) => unused(spec, options, service, found).await,
        None => Err(not_a_store(spec, &*service).await.into()),
    }
}

fn write_error(spec: &StoreSpec, error: StoreError) -> CreateError {
    match error.kind {
        StoreErrorKind::NoAnswer => open_error(spec, error).into(),
        _ => CreateError::Write {
            path: place(spec),
            source: error,
        },
    }
}

/// A store that was made already is as good as new while nothing was put in it, so that a broken-off `init` can be repeated.
async fn unused(
    spec: &StoreSpec,
    options: RemoteOptions,
    service: Arc<dyn Service>,
    mark: Mark,
) -> Result<RemoteStore, CreateError> {
    match service.list(None, 1).await {
        Ok(page) if page.objects.is_empty() && !page.more => Ok(made(spec, options, service, mark)),
        Ok(_) => Err(CreateError::InUse { path: place(spec) }),
        Err(error) => Err(write_error(spec, error)),
    }
}

async fn refuse_foreign(spec: &StoreSpec, service: &dyn Service) -> Result<(), CreateError> {
    let mut foreign = match service.top().await {
        Ok(Top::Names(names)) => names,
        Ok(Top::Missing) => return Err(missing(spec).into()),
        Err(error) => return Err(open_error(spec, error).into()),
    };
    foreign.retain(|name| ![OBJECTS, TMP].contains(&name.as_str()));
    if foreign.is_empty() {
        // The beginning of a store that was never finished has folders, and nothing in them.
        return match service.list(None, 1).await {
            Ok(page) if page.objects.is_empty() && page.foreign == 0 => Ok(()),
            Ok(_) => Err(CreateError::NotEmpty {
                path: place(spec),
                found: vec![OBJECTS.into()],
                more: 0,
            }),
            Err(error) => Err(write_error(spec, error)),
        };
    }
    foreign.sort_unstable();
    let more = foreign.len().saturating_sub(NAMES_TOLD);
    Err(CreateError::NotEmpty {
        path: place(spec),
        found: foreign.iter().take(NAMES_TOLD).map(shown).collect(),
        more,
    })
}

/// What the way of writing to such a server promises: whole objects always, by the server or by moving them (see [`Powers`]); on disk after a
/// `sync` only S3's.
pub(crate) fn promises(spec: &StoreSpec) -> Promises {
    Promises {
        atomic_put: true,
        durable_sync: matches!(spec.url(), StoreUrl::S3(_)),
    }
}

pub(crate) async fn identity(spec: &StoreSpec) -> Result<StoreIdentity, OpenError> {
    let options = RemoteOptions::default();
    within(spec, options.total, async {
        let service = service(spec, options)?;
        let (machine, path) = match spec.url() {
            StoreUrl::Webdav(url) => (format!("{}:{}", url.host, url.port), url.path.clone()),
            StoreUrl::S3(url) => (
                url.endpoint
                    .clone()
                    .unwrap_or_else(|| "amazonaws.com".into()),
                format!("{}/{}", url.bucket, url.prefix),
            ),
            other => (other.to_string(), String::new()),
        };
        let place = match marker(spec, &*service).await? {
            Some(mark) => mark.digits().to_owned(),
            None => match service.top().await {
                Ok(Top::Names(_)) => path,
                Ok(Top::Missing) => return Err(missing(spec)),
                Err(error) => return Err(open_error(spec, error)),
            },
        };
        Ok(StoreIdentity::Remote { machine, place })
    })
    .await
}
