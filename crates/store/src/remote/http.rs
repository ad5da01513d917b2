//! One request to an HTTP server, with everything that can go wrong told apart.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderMap, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Body as _;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use warifu_vault::seam::store::{StoreError, StoreErrorKind};

use super::{RemoteOptions, tls};
use crate::directory::MAX_OBJECT;
use crate::shown::shown;

/// The largest listing of one folder. Objects are spread over 256 folders, so these hold more than ten million in this room, and eight
/// folders that are read at once take no more than a quarter of a gigabyte, whatever the server says.
pub(super) const MAX_LISTING: usize = 32 << 20;
/// So much of an error's page is looked at.
const MAX_REFUSAL: usize = 64 << 10;
/// Requests that may be repeated are made so often before they count as unanswered.
const ATTEMPTS: u32 = 3;
/// So long is waited before a request is made for the third time.
const PAUSE: Duration = Duration::from_millis(100);
/// A connection that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(55);
/// So many connections are kept for the next requests.
const KEPT: usize = 32;

/// Why there is no answer that could be used.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// No connection came about. Nothing was sent.
    #[error("cannot be reached: {0}")]
    Unreached(String),
    /// The server's certificate is not one to trust. Nothing was sent.
    #[error("{0}")]
    Certificate(String),
    /// The connection broke off, before or in the answer.
    #[error("the connection broke off: {0}")]
    BrokenOff(String),
    /// The time was over.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The answer is longer than anything we asked for could be.
    #[error("its answer is longer than {0} bytes, which is more than warifu takes in at a time")]
    TooLong(usize),
    /// The request cannot be written down.
    #[error("the request cannot be made: {0}")]
    Unsendable(String),
    /// The server answered: no.
    #[error("{0}")]
    Refused(Refusal),
}

/// An answer that means no.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    /// S3's word for it.
    pub code: Option<String>,
    /// The server's sentence.
    pub message: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it answered {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, ", {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        let advice = match self.code.as_deref() {
            Some("RequestTimeTooSkewed") => {
                Some("set the clock of this machine and that of the server")
            }
            Some("AuthorizationHeaderMalformed") => {
                Some("name the server's region in its URL: region=…")
            }
            _ => match self.status {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    Some("raise the size that it takes for one file (nginx: client_max_body_size)")
                }
                StatusCode::UNAUTHORIZED => Some("check the user and the password"),
                status if status.is_redirection() => {
                    Some("redirections are not followed: write the server's own address")
                }
                _ => None,
            },
        };
        match advice {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

impl Refusal {
    pub(super) fn kind(&self) -> StoreErrorKind {
        if let Some(kind) = self.code.as_deref().and_then(kind_of_code) {
            return kind;
        }
        match self.status.as_u16() {
            401 | 402 | 403 | 407 | 451 => StoreErrorKind::Denied,
            404 | 410 => StoreErrorKind::NotFound,
            416 => StoreErrorKind::OutOfRange,
            413 | 507 => StoreErrorKind::Full,
            // Whoever answered these is not the one that would know.
            408 | 425 | 429 | 502 | 503 | 504 => StoreErrorKind::NoAnswer,
            _ => StoreErrorKind::Failed,
        }
    }
}

/// What S3's words mean where the status alone says something else.
fn kind_of_code(code: &str) -> Option<StoreErrorKind> {
    match code {
        "QuotaExceeded"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "StorageFull"
        | "InsufficientStorage"
        | "EntityTooLarge"
        | "ServiceQuotaExceeded" => Some(StoreErrorKind::Full),
        "AccessDenied"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "AuthorizationHeaderMalformed"
        | "ExpiredToken" => Some(StoreErrorKind::Denied),
        // The bucket itself is gone, or is another server's: that says nothing about an object.
        "NoSuchBucket" | "PermanentRedirect" => Some(StoreErrorKind::NoAnswer),
        "RequestTimeout"
        | "SlowDown"
        | "ServiceUnavailable"
        | "TooManyRequests"
        | "OperationAborted"
        | "ConditionalRequestConflict" => Some(StoreErrorKind::NoAnswer),
        _ => None,
    }
}

impl HttpError {
    pub(super) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Unreached(_) | Self::Certificate(_) | Self::BrokenOff(_) | Self::TimedOut(_) => {
                StoreErrorKind::NoAnswer
            }
            Self::TooLong(_) | Self::Unsendable(_) => StoreErrorKind::Failed,
            Self::Refused(refusal) => refusal.kind(),
        }
    }

    /// The answer that an error of a store goes back to, where it is one.
    pub(super) fn refusal_below(error: &StoreError) -> Option<&Refusal> {
        match Self::below(error)? {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// What an error of a store goes back to.
    pub(super) fn below(error: &StoreError) -> Option<&Self> {
        error.source.as_deref()?.downcast_ref()
    }

    /// The error as a store tells it.
    pub(super) fn at(self, server: &str) -> StoreError {
        StoreError::new(self.kind(), format!("{server}: {self}")).caused_by(self)
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub(super) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The answer as an error.
    pub(super) fn refusal(&self) -> HttpError {
        let text = String::from_utf8_lossy(self.body.get(..MAX_REFUSAL).unwrap_or(&self.body));
        HttpError::Refused(Refusal {
            status: self.status,
            code: between(&text, "<Code>", "</Code>"),
            message: between(&text, "<Message>", "</Message>")
                .or_else(|| between(&text, "<d:message>", "</d:message>"))
                .or_else(|| between(&text, "<s:message>", "</s:message>")),
        })
    }
}

/// What stands between two marks, as far as it may be shown to people.
fn between(text: &str, open: &str, close: &str) -> Option<String> {
    let (_, rest) = text.split_once(open)?;
    let (inner, _) = rest.split_once(close)?;
    (!inner.is_empty()).then(|| shown(inner))
}

pub(super) type Body = BoxBody<Bytes, std::io::Error>;

/// A body that is at hand.
pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never: std::convert::Infallible| match never {})
        .boxed()
}

/// A client for one server.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    limits: RemoteOptions,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    /// A client that trusts the system's authorities and those in `ca`. Nothing is read for a server without TLS.
    pub(super) fn new(
        encrypted: bool,
        ca: Option<&std::path::Path>,
        limits: RemoteOptions,
    ) -> Result<Self, tls::TrustError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limits.connect));
        connector.set_keepalive(Some(Duration::from_secs(15)));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(encrypted, ca)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(KEPT)
            .build(connector);
        Ok(Self { client, limits })
    }

    /// Makes one request. Every status is an answer; redirections are not followed, as they would carry what is ours elsewhere.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        largest: usize,
    ) -> Result<Reply, HttpError> {
        request
            .headers_mut()
            .insert(USER_AGENT, HeaderValue::from_static("warifu"));
        let limit = self.limits.request;
        tokio::time::timeout(limit, async {
            let method = request.method().clone();
            let response = self.client.request(request).await.map_err(not_sent)?;
            let (parts, body) = response.into_parts();
            let body = if method == Method::HEAD {
                Bytes::new()
            } else {
                collect(body, &parts.headers, largest).await?
            };
            Ok(Reply {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        })
        .await
        .unwrap_or(Err(HttpError::TimedOut(limit)))
    }

    /// Makes a request that may safely be made twice, and makes it again when the connection broke off: most often, the server had just closed it.
    pub(super) async fn send_again(
        &self,
        request: impl Fn() -> Result<Request<Body>, HttpError>,
        largest: usize,
    ) -> Result<Reply, HttpError> {
        let mut attempt = 1;
        loop {
            let answer = self.send(request()?, largest).await;
            match answer {
                // The name is taken: by an earlier of these requests, or by somebody else. That is for the caller to find out.
                Ok(reply) if attempt > 1 && reply.status == StatusCode::PRECONDITION_FAILED => {
                    return Err(HttpError::BrokenOff(
                        "it is not known whether the request was carried out".into(),
                    ));
                }
                Err(HttpError::BrokenOff(_)) if attempt < ATTEMPTS => {
                    // A busy server may have closed all the connections that we kept.
                    if attempt > 1 {
                        tokio::time::sleep(PAUSE).await;
                    }
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    /// Makes a request that has no effect, and makes it again when the connection broke off or the server was too busy.
    pub(super) async fn ask(
        &self,
        request: impl Fn() -> Result<Request<Body>, HttpError>,
        largest: usize,
    ) -> Result<Reply, HttpError> {
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            let answer = self.send(request()?, largest).await;
            let again = match &answer {
                Err(HttpError::BrokenOff(_)) => true,
                Ok(reply) => matches!(reply.status.as_u16(), 429 | 503),
                Err(_) => false,
            };
            if !again || attempt >= ATTEMPTS {
                return answer;
            }
            // The first repetition is for a connection that the server closed while it was idle.
            if attempt > 1 || answer.is_ok() {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            attempt += 1;
        }
    }
}

/// Reads an answer's body, into one piece of memory where the server says how long it is.
async fn collect(
    mut body: hyper::body::Incoming,
    headers: &HeaderMap,
    largest: usize,
) -> Result<Bytes, HttpError> {
    let said = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    let expected = body.size_hint().exact().or(said).unwrap_or(0);
    let expected = usize::try_from(expected).unwrap_or(usize::MAX);
    if expected > largest {
        return Err(HttpError::TooLong(largest));
    }
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| HttpError::BrokenOff(innermost(&error)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if all.len().saturating_add(data.len()) > largest {
            return Err(HttpError::TooLong(largest));
        }
        // An answer that came in one piece needs no copy.
        match first.take() {
            None if all.is_empty() => {
                first = Some(data);
                continue;
            }
            Some(before) => {
                all.reserve(expected.max(before.len() + data.len()));
                all.extend_from_slice(&before);
            }
            None => {}
        }
        all.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

fn not_sent(error: hyper_util::client::legacy::Error) -> HttpError {
    if let Some(certificate) = tls::certificate_trouble(&error) {
        return HttpError::Certificate(certificate);
    }
    let detail = innermost(&error);
    if error.is_connect() {
        HttpError::Unreached(detail)
    } else {
        HttpError::BrokenOff(detail)
    }
}

/// The sentence of the error that caused all others.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    shown(error.to_string())
}

/// The largest object, with room for what a server may say instead of it.
pub(super) const fn object_limit() -> usize {
    MAX_OBJECT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: Option<&str>) -> StoreErrorKind {
        Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            code: code.map(Into::into),
            message: None,
        }
        .kind()
    }

    #[test]
    fn every_status_means_one_thing() {
        use StoreErrorKind::*;
        for (status, kind) in [
            (301, Failed),
            (400, Failed),
            (401, Denied),
            (403, Denied),
            (404, NotFound),
            (405, Failed),
            (409, Failed),
            (413, Full),
            (416, OutOfRange),
            (423, Failed),
            (429, NoAnswer),
            (500, Failed),
            (502, NoAnswer),
            (503, NoAnswer),
            (504, NoAnswer),
            (507, Full),
        ] {
            assert_eq!(refusal(status, None), kind, "{status}");
        }
        assert_eq!(refusal(404, Some("NoSuchBucket")), NoAnswer);
        assert_eq!(refusal(404, Some("NoSuchKey")), NotFound);
        assert_eq!(refusal(400, Some("EntityTooLarge")), Full);
        assert_eq!(refusal(409, Some("ConditionalRequestConflict")), NoAnswer);
    }

    #[test]
    fn what_a_server_says_is_shown_in_part_and_without_its_tricks() {
        let reply = Reply {
            status: StatusCode::FORBIDDEN,
            headers: HeaderMap::new(),
            body: Bytes::from(format!(
                "<Error><Code>AccessDenied</Code><Message>no\u{1b}[2J{}</Message></Error>",
                "x".repeat(1_000)
            )),
        };
        let text = reply.refusal().to_string();
        assert!(
            text.contains("403 Forbidden, AccessDenied: no\u{fffd}[2Jxxx"),
            "{text}"
        );
        assert!(
            text.chars().count() < 300 && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
