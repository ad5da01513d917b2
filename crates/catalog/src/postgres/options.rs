//! Where a database is, and how it is reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use warifu_core::secret::SecretBytes;

/// The schema in which a catalogue lies where the URL names none.
pub const DEFAULT_SCHEMA: &str = "warifu";

/// The longest name that PostgreSQL keeps whole, without room for what is put behind it.
const LONGEST_SCHEMA: usize = 48;

/// Why a URL of a database cannot be used. Never repeats it: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresUrlError {
    /// Not of the form `postgres://USER@HOST[:PORT]/DATABASE`, in the parser's words.
    #[error("not a URL of a PostgreSQL database: {why}")]
    Syntax {
        /// What is wrong with it.
        why: String,
    },
    /// A password stands in it.
    #[error("the URL of the database holds a password")]
    Secret,
    /// A parameter that means nothing here, or cannot have this value.
    #[error("{parameter} must be {allowed}")]
    Parameter {
        /// The parameter.
        parameter: &'static str,
        /// What it may say.
        allowed: &'static str,
    },
}

/// Whether the way to the database is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// It is, and the server shows a certificate for its name from an authority that is trusted.
    Verified,
    /// It is not.
    None,
}

/// Where a catalogue in PostgreSQL is.
///
/// `postgres://USER@HOST[:PORT]/DATABASE`, as for `psql`; several hosts (`HOST1,HOST2`) are tried in turn, and the one that can be
/// written to is taken. A Unix socket's folder is named by `?host=/run/postgresql`. Of our own is `?schema=NAME`. Without `?sslmode=`
/// the way to another machine is encrypted and verified (`verify-full`), and that to a socket or to this machine itself is not
/// (`disable`); there is nothing in between.
#[derive(Clone)]
pub struct PostgresUrl {
    pub(super) config: Config,
    pub(super) schema: String,
    encryption: Encryption,
}

impl PostgresUrl {
    /// Whether text is meant to be one.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// [`PostgresUrlError`].
    pub fn parse(text: &str) -> Result<Self, PostgresUrlError> {
        let syntax = |why: String| PostgresUrlError::Syntax { why };
        if !Self::is_one(text) {
            return Err(syntax("it begins with postgres://".into()));
        }
        let (mut schema, mut mode) = (DEFAULT_SCHEMA.to_owned(), None);
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("schema", value)) => value.clone_into(&mut schema),
                Some(("sslmode", "verify-full")) => mode = Some(Encryption::Verified),
                Some(("sslmode", "disable")) => mode = Some(Encryption::None),
                Some(("sslmode", _)) => {
                    return Err(PostgresUrlError::Parameter {
                        parameter: "sslmode",
                        allowed: "\"verify-full\" or \"disable\"",
                    });
                }
                Some(("password", _)) => return Err(PostgresUrlError::Secret),
                _ => rest.push(pair),
            }
        }
        let plain = schema
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let first = schema.bytes().next();
        if !plain
            || schema.len() > LONGEST_SCHEMA
            || first.is_none_or(|first| first.is_ascii_digit())
            || schema.starts_with("pg_")
        {
            return Err(PostgresUrlError::Parameter {
                parameter: "schema",
                allowed: "up to 48 small letters, digits and underscores, a letter first",
            });
        }
        let url = match rest.is_empty() {
            true => base.to_owned(),
            false => format!("{base}?{}", rest.join("&")),
        };
        let mut config: Config = url
            .parse()
            .map_err(|error: tokio_postgres::Error| syntax(super::error::chain_of(&error)))?;
        if config.get_password().is_some() {
            return Err(PostgresUrlError::Secret);
        }
        // An address beside the name would leave open which of the two is meant, and whose certificate.
        if !config.get_hostaddrs().is_empty() {
            return Err(syntax("it has a hostaddr; write the host itself".into()));
        }
        if config.get_hosts().is_empty() {
            return Err(syntax("it names no host".into()));
        }
        if config.get_user().is_none() {
            return Err(syntax("it names no user".into()));
        }
        let here = config.get_hosts().iter().all(|host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => {
                name == "localhost"
                    || name
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
        });
        let encryption = mode.unwrap_or(if here {
            Encryption::None
        } else {
            Encryption::Verified
        });
        config
            .ssl_mode(match encryption {
                Encryption::Verified => SslMode::Require,
                Encryption::None => SslMode::Disable,
            })
            .target_session_attrs(tokio_postgres::config::TargetSessionAttrs::ReadWrite)
            .connect_timeout(super::pool::CONNECT)
            .keepalives_idle(Duration::from_secs(15))
            .tcp_user_timeout(Duration::from_secs(20))
            .application_name("warifu");
        Ok(Self {
            config,
            schema,
            encryption,
        })
    }

    /// The same database, another schema in it. Not for names from outside.
    pub(super) fn with_schema(&self, schema: String) -> Self {
        Self {
            schema,
            ..self.clone()
        }
    }

    /// Whether the way is encrypted.
    #[must_use]
    pub const fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// Where it is, for messages: hosts, database and schema.
    #[must_use]
    pub fn place(&self) -> String {
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let database = self
            .config
            .get_dbname()
            .or_else(|| self.config.get_user())
            .unwrap_or_default();
        format!(
            "database {database} on {} (schema {})",
            hosts.join(","),
            self.schema
        )
    }
}

/// Silent but for the place.
impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresUrl").field(&self.place()).finish()
    }
}

/// How a database is logged in to.
#[derive(Debug)]
pub struct PostgresLogin {
    /// Where it is.
    pub url: PostgresUrl,
    /// The password, where one is asked for.
    pub password: Option<SecretBytes>,
    /// A PEM file of authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_another_machine_is_encrypted_unless_it_is_said_otherwise() {
        let of = |text| PostgresUrl::parse(text).unwrap().encryption();
        assert_eq!(of("postgres://w@db.city.jp/office"), Encryption::Verified);
        assert_eq!(
            of("postgres://w@localhost,db.city.jp/office"),
            Encryption::Verified
        );
        assert_eq!(
            of("postgres://w@db.city.jp/office?sslmode=disable"),
            Encryption::None
        );
        assert_eq!(of("postgres://w@127.0.0.1:5433/office"), Encryption::None);
        assert_eq!(
            of("postgres://w@/office?host=/run/postgresql"),
            Encryption::None
        );
    }

    #[test]
    fn p10_what_cannot_be_meant_is_refused() {
        let error = |text: &str| PostgresUrl::parse(text).unwrap_err();
        assert_eq!(error("postgres://w:secret@db/x"), PostgresUrlError::Secret);
        assert_eq!(
            error("postgres://w@db/x?password=secret"),
            PostgresUrlError::Secret
        );
        for schema in ["", "1a", "a-b", "a\"b", "pg_x", "Ab", &"a".repeat(49)] {
            let url = format!("postgres://w@db/x?schema={schema}");
            assert!(
                matches!(error(&url), PostgresUrlError::Parameter { .. }),
                "{schema}"
            );
        }
        assert!(matches!(
            error("postgres://w@db/x?sslmode=prefer"),
            PostgresUrlError::Parameter { .. }
        ));
        for url in [
            "postgres://db/x",
            "mysql://w@db/x",
            "postgres://w@/x",
            "postgres://w@/x?hostaddr=10.0.0.5",
            "postgres://w@localhost/x?hostaddr=10.0.0.5",
        ] {
            assert!(
                matches!(error(url), PostgresUrlError::Syntax { .. }),
                "{url}"
            );
        }
    }

    #[test]
    fn where_it_is_can_be_said() {
        let url = PostgresUrl::parse("postgres://w@a,b/office?schema=tax").unwrap();
        assert_eq!(url.place(), "database office on a,b (schema tax)");
    }
}
