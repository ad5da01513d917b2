//! Reaching an SSH server: the connection, the proof that it is the right one, and the proof that we are let in.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{ChannelMsg, MethodKind, Preferred, cipher};
use tokio::net::TcpStream;
use warifu_core::secret::SecretBytes;

use super::Options;
use super::known_hosts::{Known, usual_files};
use super::session::Session;
use crate::credentials::{CredentialError, KeySource};
use crate::error::{OpenError, ShownKey};
use crate::shown::shown;
use crate::spec::StoreSpec;
use crate::url::SftpUrl;

/// What is received unread: several objects.
const WINDOW: u32 = 16 << 20;

/// Our side of an SSH connection: it knows which host keys are right.
pub(super) struct Client {
    trust: Trust,
    /// Why the server's key was refused.
    verdict: Arc<Mutex<Option<OpenError>>>,
}

/// Which host keys are right.
#[derive(Clone)]
struct Trust {
    server: String,
    host: String,
    pinned: Option<String>,
    known_hosts: Option<PathBuf>,
    known: Arc<Known>,
}

impl Trust {
    fn read(url: &SftpUrl, spec: &StoreSpec) -> Result<Self, OpenError> {
        let options = spec.credentials();
        let host = url.ssh_host();
        let named = options
            .known_hosts
            .as_ref()
            .map(|path| spec.base().join(path));
        let files = named.clone().map_or_else(usual_files, |path| vec![path]);
        let known = Known::read(&files, &host).map_err(|(path, source)| {
            OpenError::Credential(CredentialError::Unreadable { path, source })
        })?;
        Ok(Self {
            server: url.to_string(),
            host,
            pinned: options.host_key.clone(),
            known_hosts: named,
            known: Arc::new(known),
        })
    }

    /// Host key algorithms, those of the known keys first: a server shows one key of several, and it should be one that is known.
    fn algorithms(&self) -> Vec<Algorithm> {
        let usual = Preferred::DEFAULT.key.into_owned();
        let known = |algorithm: &Algorithm| {
            self.known
                .keys
                .iter()
                .any(|(key, _)| key.algorithm() == *algorithm)
        };
        let (mut first, others): (Vec<_>, Vec<_>) = usual.into_iter().partition(known);
        first.extend(others);
        first
    }

    fn judge(&self, key: &PublicKey) -> Result<(), OpenError> {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let server = self.server.clone();
        if let Some((_, place)) = self.known.revoked.iter().find(|(bad, _)| same(bad, key)) {
            return Err(OpenError::HostKeyRevoked {
                server,
                fingerprint,
                place: place.clone(),
            });
        }
        if let Some(pinned) = &self.pinned {
            if fingerprint.trim_end_matches('=') == pinned {
                return Ok(());
            }
            return Err(OpenError::HostKeyChanged {
                server,
                fingerprint: format!("{} {fingerprint}", key.algorithm()),
                expected: format!("{pinned} (option host_key)"),
            });
        }
        if self.known.keys.iter().any(|(known, _)| same(known, key)) {
            return Ok(());
        }
        match self.known.keys.first() {
            Some((known, place)) => Err(OpenError::HostKeyChanged {
                server,
                fingerprint: format!("{} {fingerprint}", key.algorithm()),
                expected: format!("{} ({place})", known.fingerprint(HashAlg::Sha256)),
            }),
            None => Err(OpenError::UnknownHostKey {
                server,
                shown: Box::new(ShownKey {
                    algorithm: key.algorithm().to_string(),
                    fingerprint,
                    line: format!(
                        "{} {}",
                        self.host,
                        PublicKey::new(key.key_data().clone(), "")
                            .to_openssh()
                            .unwrap_or_default()
                            .trim_end()
                    ),
                    known_hosts: self.known_hosts.clone(),
                }),
            }),
        }
    }
}

/// Whether two keys are one, whatever is written beside them.
fn same(one: &PublicKey, other: &PublicKey) -> bool {
    one.key_data() == other.key_data()
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let judged = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.trust.judge(key),
            // None is asked for.
            PublicKeyOrCertificate::Certificate(_) => return Ok(false),
        };
        match judged {
            Ok(()) => Ok(true),
            Err(error) => {
                let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
                *verdict = Some(error);
                Ok(false)
            }
        }
    }
}

/// Connects, checks the server's key, logs in and begins to speak SFTP.
///
/// # Errors
/// Everything that [`OpenError`] knows of servers on the network.
pub(super) async fn connect(
    url: &SftpUrl,
    spec: &StoreSpec,
    options: Options,
) -> Result<Session, OpenError> {
    match tokio::time::timeout(options.connect, attempt(url, spec, options)).await {
        Ok(done) => done,
        Err(_) => Err(OpenError::Unreachable {
            server: url.to_string(),
            detail: format!("not within {} s", options.connect.as_secs()),
        }),
    }
}

async fn attempt(url: &SftpUrl, spec: &StoreSpec, options: Options) -> Result<Session, OpenError> {
    let unreachable = |detail: String| OpenError::Unreachable {
        server: url.to_string(),
        detail,
    };
    let trust = {
        let (url, spec) = (url.clone(), spec.clone());
        blocking(move || Trust::read(&url, &spec)).await?
    };
    let socket = TcpStream::connect((url.host.as_str(), url.port))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let (socket, cut) = socket
        .set_nodelay(true)
        .and_then(|()| socket.into_std())
        .and_then(|socket| Ok((socket.try_clone()?, socket)))
        .and_then(|(one, other)| Ok((TcpStream::from_std(one)?, other)))
        .map_err(|error| unreachable(error.to_string()))?;

    let verdict = Arc::new(Mutex::new(None));
    let config = client::Config {
        window_size: WINDOW,
        channel_buffer_size: 1024,
        keepalive_interval: Some(options.patience / 3),
        keepalive_max: 3,
        nodelay: true,
        preferred: Preferred {
            key: Cow::Owned(trust.algorithms()),
            // AES has instructions of its own in nearly every processor.
            cipher: Cow::Borrowed(&[
                cipher::AES_256_GCM,
                cipher::AES_128_GCM,
                cipher::CHACHA20_POLY1305,
                cipher::AES_256_CTR,
                cipher::AES_128_CTR,
            ]),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    };
    let handler = Client {
        trust,
        verdict: Arc::clone(&verdict),
    };
    let connected = client::connect_stream(Arc::new(config), socket, handler).await;
    let mut handle = connected.map_err(|error| {
        let refused = verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        refused.unwrap_or_else(|| ssh_error(url, &error))
    })?;
    log_in(&mut handle, url, spec).await?;

    let mut channel = handle
        .channel_open_session()
        .await
        .map_err(|error| ssh_error(url, &error))?;
    channel
        .request_subsystem(true, "sftp")
        .await
        .map_err(|error| ssh_error(url, &error))?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => break,
            Some(ChannelMsg::Failure) => {
                return Err(OpenError::Protocol {
                    server: url.to_string(),
                    detail: "the SSH server has no SFTP for this user".into(),
                });
            }
            Some(ChannelMsg::Close | ChannelMsg::Eof) | None => {
                return Err(unreachable("the server closed the connection".into()));
            }
            Some(_) => {}
        }
    }
    Session::begin(handle, channel, cut, options.patience)
        .await
        .map_err(|trouble| unreachable(trouble.to_string()))
}

fn ssh_error(url: &SftpUrl, error: &russh::Error) -> OpenError {
    let server = url.to_string();
    match error {
        russh::Error::NoCommonAlgo { kind, theirs, .. } => OpenError::Protocol {
            server,
            detail: format!(
                "the server and warifu have no {kind:?} algorithm in common; the server has {} (RSA and other old ones are not spoken)",
                shown(theirs.join(", "))
            ),
        },
        russh::Error::Version => OpenError::Protocol {
            server,
            detail: "what answers there is no SSH server".into(),
        },
        other => OpenError::Unreachable {
            server,
            // A server that hangs up says why in its own words.
            detail: shown(other.to_string()),
        },
    }
}

/// Reading files is not for the runtime's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(OpenError::Credential(CredentialError::Missing {
            field: "readable credentials",
        })),
    }
}

fn user_of(url: &SftpUrl, spec: &StoreSpec) -> Result<String, OpenError> {
    let said = url.user.clone().or_else(|| spec.credentials().user.clone());
    let own = || {
        ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
    };
    said.or_else(own)
        .ok_or_else(|| CredentialError::Missing { field: "user" }.into())
}

/// The secrets of one login. They are read anew for each, so that a changed password is taken up.
#[derive(Default)]
struct Secrets {
    key: Option<russh::keys::PrivateKey>,
    password: Option<SecretBytes>,
}

impl Secrets {
    fn read(spec: &StoreSpec) -> Result<Self, OpenError> {
        let options = spec.credentials();
        let mut secrets = Self::default();
        if let Some(KeySource::Ref(reference)) = &options.key {
            let passphrase = match &options.passphrase {
                Some(reference) => Some(reference.resolve_line(spec.base())?),
                None => None,
            };
            let text = reference.resolve(spec.base())?;
            let unusable = |why: String| CredentialError::Unusable {
                path: reference.to_string().into(),
                why,
            };
            let not_text = || unusable("is not a private key in OpenSSH's format".into());
            let passphrase = passphrase
                .as_ref()
                .map(|phrase| std::str::from_utf8(phrase.expose()))
                .transpose()
                .map_err(|_| unusable("its passphrase is not UTF-8".into()))?;
            let key = std::str::from_utf8(text.expose()).map_err(|_| not_text())?;
            let key = russh::keys::decode_secret_key(key, passphrase).map_err(|error| {
                unusable(match (error, passphrase) {
                    (russh::keys::Error::KeyIsEncrypted, None) => {
                        "the private key has a passphrase; name it by the option passphrase".into()
                    }
                    (_, Some(_)) => {
                        "the private key cannot be read with this passphrase".into()
                    }
                    (_, None) => {
                        "is not a private key that warifu can use; make one with ssh-keygen -t ed25519"
                            .into()
                    }
                })
            })?;
            if key.algorithm().is_rsa() {
                return Err(unusable(
                    "is an RSA key, which warifu does not use; make one with ssh-keygen -t ed25519"
                        .into(),
                )
                .into());
            }
            secrets.key = Some(key);
        }
        if let Some(reference) = &options.password {
            secrets.password = Some(reference.resolve_line(spec.base())?);
        }
        Ok(secrets)
    }
}

async fn log_in(
    handle: &mut Handle<Client>,
    url: &SftpUrl,
    spec: &StoreSpec,
) -> Result<(), OpenError> {
    let user = user_of(url, spec)?;
    let secrets = {
        let spec = spec.clone();
        blocking(move || Secrets::read(&spec)).await?
    };
    let failed = |error: russh::Error| ssh_error(url, &error);
    let mut tried = Vec::new();
    if let Some(key) = secrets.key {
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let done = handle.authenticate_publickey(&user, key).await;
        if done.map_err(failed)?.success() {
            return Ok(());
        }
        tried.push(format!("the key {fingerprint}"));
    }
    if spec.credentials().key == Some(KeySource::Agent) {
        if ask_agent(handle, &user)
            .await
            .map_err(|detail| OpenError::Login {
                server: url.to_string(),
                user: user.clone(),
                detail,
            })?
        {
            return Ok(());
        }
        tried.push("the keys of the ssh-agent".into());
    }
    if let Some(password) = secrets.password {
        let password = std::str::from_utf8(password.expose()).map_err(|_| OpenError::Login {
            server: url.to_string(),
            user: user.clone(),
            detail: "the password is not UTF-8".into(),
        })?;
        let done = handle.authenticate_password(&user, password).await;
        match done.map_err(failed)? {
            AuthResult::Success => return Ok(()),
            AuthResult::Failure {
                remaining_methods, ..
            } => {
                // Servers that ask by PAM take the same password as an answer.
                if remaining_methods.contains(&MethodKind::KeyboardInteractive)
                    && answer_prompts(handle, &user, password)
                        .await
                        .map_err(failed)?
                {
                    return Ok(());
                }
            }
        }
        tried.push("the password".into());
    }
    if tried.is_empty() {
        return Err(CredentialError::Missing {
            field: "key and no password",
        }
        .into());
    }
    Err(OpenError::Login {
        server: url.to_string(),
        user,
        detail: format!("tried: {}", tried.join(", ")),
    })
}

async fn answer_prompts(
    handle: &mut Handle<Client>,
    user: &str,
    password: &str,
) -> Result<bool, russh::Error> {
    let mut turn = handle
        .authenticate_keyboard_interactive_start(user, None::<String>)
        .await?;
    // One question, perhaps with a greeting before or after it.
    for _ in 0..4 {
        let answers = match turn {
            KeyboardInteractiveAuthResponse::Success => return Ok(true),
            KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                prompts.iter().map(|_| password.to_owned()).collect()
            }
        };
        turn = handle
            .authenticate_keyboard_interactive_respond(answers)
            .await?;
    }
    Ok(false)
}

async fn ask_agent(handle: &mut Handle<Client>, user: &str) -> Result<bool, String> {
    let no_agent = |error: russh::keys::Error| format!("no ssh-agent answers: {error}");
    let mut agent = AgentClient::connect_env().await.map_err(no_agent)?;
    for identity in agent.request_identities().await.map_err(no_agent)? {
        let AgentIdentity::PublicKey { key, .. } = identity else {
            continue;
        };
        if key.algorithm().is_rsa() {
            continue;
        }
        // An agent that does not sign with one key may with the next.
        if let Ok(done) = handle
            .authenticate_publickey_with(user, key, None, &mut agent)
            .await
            && done.success()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How long a connection may take, and a server may be silent.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
