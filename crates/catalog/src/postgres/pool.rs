//! [`Pool`]: connections, each used by one at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{FutureExt as _, OptionFuture, join3, try_join_all};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Socket, Statement};
use warifu_core::ids::ExtentId;
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::seam::sessions::SessionId;

use super::error::{chain_of, no_answer};
use super::lately::Lately;
use super::options::{Encryption, PostgresLogin};
use super::schema::SCHEMA;
use super::tls::{Encrypted, Tls};
use super::wire::Wire;
use crate::error::{Fail, Fate, Outcome};

/// So long may it take to connect to one host.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// So long may one request take, what it waits for other writers included.
pub(super) const ANSWER: Duration = Duration::from_secs(15);

/// So long does the database itself let a statement run, and a lock be waited for: less, so that its answer still comes.
const STATEMENT_MS: u32 = 12_000;
const LOCK_MS: u32 = 10_000;

/// So long may a machine that was put to sleep hold what it locked in a transaction: less than others wait for it.
const IDLE_MS: u32 = 5_000;

/// The most connections of one process. A database takes some hundreds from all.
const MOST: usize = 8;

/// So long is one kept that nothing is asked on, but for the last: hundreds of drives are mounted, and few are busy at a time.
const SPARE: Duration = Duration::from_secs(20);

/// So often is a transaction tried that the database took back.
const ATTEMPTS: u32 = 12;

/// So long is a database waited for that cannot be connected to: it may only be starting anew. Nothing was asked of it yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// After that was in vain, it is tried once and no more for so long.
const IMPATIENCE: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(100);

/// Tells all drives that something changed and by whom, in a transaction of its own behind that of the change: the database lets only one at a time
/// commit that tells something, and one that writes would hold all others up while it waits for the disk. Where it is lost, they
/// look all the same, a little later. So it need not wait for the disk either, which whoever asks next on this connection would wait for too.
const TELL: &str = "SELECT pg_notify(current_schema(), current_setting('warifu.session')) WHERE set_config('synchronous_commit', 'off', TRUE) = 'off'";
/// The same within the transaction of the change, which does wait for the disk.
pub(super) const TELL_WITHIN: &str =
    "SELECT pg_notify(current_schema(), current_setting('warifu.session'))";

/// Removes what was told long ago: so much at a time that those who change something keep up with it, whether drives are mounted or not.
const TRIM: &str = "SELECT trim_notices(INTERVAL '2 minutes', 1000) WHERE set_config('synchronous_commit', 'off', TRUE) = 'off'";
/// After so many changes, each of which tells of a handful of rows.
const TRIM_EVERY: u64 = 64;

/// A value for a statement.
pub(super) type Value<'a> = &'a (dyn ToSql + Sync);

/// One of several statements that are sent at once.
pub(super) type Call<'a> = (&'static str, &'a [Value<'a>]);

/// Connections to one database, at most [`MOST`] at a time. What is idle is used again.
pub(super) struct Pool {
    login: PostgresLogin,
    /// What changes are told as.
    me: SessionId,
    places: Semaphore,
    idle: Mutex<Vec<Connection>>,
    /// When waiting for the database was last in vain.
    in_vain: Mutex<Option<Instant>>,
    /// What folders were like after the last change of their names.
    pub(super) lately: Lately,
    /// Counts changes. It begins anywhere, so that programs which change little take their turn too.
    changes: AtomicU64,
}

type Line = tokio_postgres::Connection<Socket, Encrypted<Socket>>;

/// A connection with what was prepared on it.
struct Connection {
    client: Client,
    prepared: HashMap<&'static str, Statement>,
    wire: Wire<Line>,
    /// When it was last given back.
    used: Instant,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What these keep is whole between any two of its operations.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(super) fn new(login: PostgresLogin, me: SessionId) -> Self {
        Self {
            login,
            me,
            places: Semaphore::new(MOST),
            idle: Mutex::default(),
            in_vain: Mutex::default(),
            lately: Lately::default(),
            changes: AtomicU64::new(u64::from(me.0[0])),
        }
    }

    pub(super) fn place(&self) -> String {
        self.login.url.place()
    }

    /// What changes are told as.
    pub(super) fn me(&self) -> SessionId {
        self.me
    }

    pub(super) fn schema(&self) -> &str {
        &self.login.url.schema
    }

    async fn connect(&self) -> Result<Connection, CatalogError> {
        let patient = locked(&self.in_vain).is_none_or(|since| since.elapsed() > IMPATIENCE);
        let end = Instant::now() + if patient { PATIENCE } else { Duration::ZERO };
        loop {
            let error = match self.connect_once().await {
                Ok(connection) => {
                    *locked(&self.in_vain) = None;
                    return Ok(connection);
                }
                Err(error) => error,
            };
            if !matches!(error, CatalogError::NoAnswer { .. }) || Instant::now() >= end {
                if patient {
                    *locked(&self.in_vain) = Some(Instant::now());
                }
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A connection that nobody drives yet.
    pub(super) async fn dial(&self) -> Result<(Client, Line), CatalogError> {
        let url = &self.login.url;
        let mut config = url.config.clone();
        if let Some(password) = &self.login.password {
            config.password(password.expose());
        }
        let encrypted = url.encryption() == Encryption::Verified;
        let tls = Tls::new(encrypted, self.login.ca.as_deref())?;
        config.connect(tls).await.map_err(|error| {
            let detail = format!("{}: {}", url.place(), chain_of(&error));
            match Fail::from(error).error {
                // A wrong password or a database that is not there does not mend itself.
                CatalogError::Failed { .. } => CatalogError::Failed { detail },
                _ => no_answer(detail),
            }
        })
    }

    async fn connect_once(&self) -> Result<Connection, CatalogError> {
        let (client, connection) = self.dial().await?;
        let connection = Connection {
            client,
            prepared: HashMap::new(),
            wire: Wire::new(connection),
            used: Instant::now(),
        };
        let setup = self.setup();
        let told = connection.client.batch_execute(&setup);
        connection.wire.drive(told).await.map_err(Fail::from)?;
        Ok(connection)
    }

    /// What each connection is told first.
    pub(super) fn setup(&self) -> String {
        // Every hot query has its index. A plan made while a table was empty would read all of it for as long as it is kept.
        format!(
            "SET search_path = \"{}\"; SET statement_timeout = {STATEMENT_MS}; SET lock_timeout = {LOCK_MS};
             SET idle_in_transaction_session_timeout = {IDLE_MS}; SET client_min_messages = warning; SET jit = off;
             SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan;
             SELECT set_config('synchronous_commit', 'on', FALSE) WHERE current_setting('synchronous_commit') = 'off';
             SELECT set_config('warifu.session', '{}', FALSE), set_config('warifu.schema', '{SCHEMA}', FALSE)",
            self.login.url.schema, self.me
        )
    }

    /// A connection of one's own.
    pub(super) async fn session(&self) -> Outcome<Session<'_>> {
        let place = self
            .places
            .acquire()
            .await
            .map_err(|_| no_answer("the catalogue was closed"))?;
        let idle = {
            let mut idle = locked(&self.idle);
            // The one that was used last, so that the others are seen to be too many. The database may have hung up meanwhile.
            let last = std::iter::from_fn(|| idle.pop()).find(|last| last.wire.is_there());
            idle.retain(|connection| connection.used.elapsed() < SPARE);
            last
        };
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Session {
            pool: self,
            connection: Some(connection),
            unfinished: false,
            _place: place,
        })
    }

    async fn once(&self, sql: &'static str, values: &[Value<'_>]) -> Outcome<Vec<Row>> {
        self.within(ANSWER, async {
            self.session().await?.query(sql, values).await
        })
        .await
    }

    /// Ends in bounded time.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        match tokio::time::timeout(limit, work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                // The others are connections to the same machine, which may be gone without a word: each of them would cost as much.
                locked(&self.idle).clear();
                let (place, seconds) = (self.place(), limit.as_secs());
                Err(no_answer(format!("{place}: no answer within {seconds} s")).into())
            }
        }
    }

    /// One statement that changes nothing: when the connection breaks, it is made once more on a new one.
    pub(super) async fn read(&self, sql: &'static str, values: &[Value<'_>]) -> Outcome<Vec<Row>> {
        match self.once(sql, values).await {
            Err(fail) if fail.fate == Fate::Broken => self.once(sql, values).await,
            other => other,
        }
    }

    /// Several statements that change nothing, one after the other in one round trip: made once more as [`read`](Self::read) is.
    pub(super) async fn read_all(&self, calls: &[Call<'_>]) -> Outcome<Vec<Vec<Row>>> {
        let once = || {
            self.within(ANSWER, async {
                self.session().await?.query_all(calls).await
            })
        };
        match once().await {
            Err(fail) if fail.fate == Fate::Broken => once().await,
            other => other,
        }
    }

    /// Several statements in one round trip, one after the other, each a transaction of its own. Never made again: one of them may have been
    /// done.
    pub(super) async fn write_all(&self, calls: &[Call<'_>]) -> Outcome<Vec<Vec<Row>>> {
        self.within(ANSWER, async {
            self.session().await?.query_all(calls).await
        })
        .await
    }

    /// One statement that is a transaction of its own. It is made again where the database took it back, and not where the connection
    /// broke: it may have been done.
    pub(super) async fn write(&self, sql: &'static str, values: &[Value<'_>]) -> Outcome<Vec<Row>> {
        again(|| self.once(sql, values)).await
    }

    /// The same for a change that others are to hear of.
    pub(super) async fn change(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Outcome<Vec<Row>> {
        let _changing = self.lately.begin();
        Ok(self.change_seeing(sql, values, None).await?.0)
    }

    /// The same, and `see` behind it in the same round trip, whose answer is what the change has left. Without one where that failed: the change is
    /// made all the same. The caller has begun it in `lately`.
    pub(super) async fn change_seeing(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
        see: Option<Call<'_>>,
    ) -> Outcome<(Vec<Row>, Vec<Row>)> {
        again(|| {
            self.within(ANSWER, async {
                let mut session = self.session().await?;
                session.query_and_tell(sql, values, see).await
            })
        })
        .await
    }

    /// A transaction of several statements, made again where the database took it back. `work` has a session of its own, begun by
    /// [`begin`](Self::begin) and ended by [`Session::end`].
    pub(super) async fn transaction<T, F>(
        &self,
        limit: Duration,
        work: impl Fn() -> F,
    ) -> Outcome<T>
    where
        F: Future<Output = Outcome<T>>,
    {
        again(|| self.within(limit, work())).await
    }

    /// A connection of one's own, in a transaction.
    pub(super) async fn begin(&self) -> Outcome<Session<'_>> {
        let mut session = self.session().await?;
        session.begin().await?;
        Ok(session)
    }

    /// Closes what is idle, and lets nobody begin anything.
    pub(super) fn close(&self) {
        self.places.close();
        locked(&self.idle).clear();
    }
}

/// Whether the database has become a standby: then nothing can be written on this connection any more, and another one leads elsewhere.
fn is_of_standby<T>(answer: &Result<T, tokio_postgres::Error>) -> bool {
    let code = answer.as_ref().err().and_then(tokio_postgres::Error::code);
    code == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// Makes again what the database took back.
async fn again<T, F>(work: impl Fn() -> F) -> Outcome<T>
where
    F: Future<Output = Outcome<T>>,
{
    let mut attempt = 0;
    loop {
        match work().await {
            Err(fail) if fail.fate == Fate::TakenBack && attempt < ATTEMPTS => {
                attempt += 1;
                rest(attempt).await;
            }
            other => return other,
        }
    }
}

/// So that those who were in each other's way are not so again.
async fn rest(attempt: u32) {
    // Without randomness they wait equally long, which is no harm.
    let byte = ExtentId::fresh().map_or(128, |id| id.as_bytes()[0]);
    let micros = u64::from(byte) * 40 * u64::from(attempt);
    tokio::time::sleep(Duration::from_micros(micros)).await;
}

/// A connection in use. It goes back to the pool when this is dropped, unless something on it has not come to its end: then it
/// is closed, and what was not committed is as if it had never been.
pub(super) struct Session<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
    unfinished: bool,
    _place: SemaphorePermit<'a>,
}

impl Session<'_> {
    fn connection(&mut self) -> Outcome<&mut Connection> {
        self.connection
            .as_mut()
            .ok_or_else(|| no_answer("the connection was given back").into())
    }

    async fn prepared(&mut self, sql: &'static str) -> Outcome<Statement> {
        let connection = self.connection()?;
        if let Some(statement) = connection.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = connection.client.prepare(sql);
        let statement = connection.wire.drive(statement).await?;
        connection.prepared.insert(sql, statement.clone());
        Ok(statement)
    }

    /// One statement: one round trip once it is prepared.
    pub(super) async fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Outcome<Vec<Row>> {
        let before = std::mem::replace(&mut self.unfinished, true);
        let statement = self.prepared(sql).await?;
        let Connection { client, wire, .. } = self.connection()?;
        let answer = wire.drive(client.query(&statement, values)).await;
        // An error that the database answers is an end too, but for a transaction.
        self.unfinished = before || is_of_standby(&answer);
        Ok(answer?)
    }

    /// One statement, and behind it, in the same round trip, what is to be seen then and that something changed.
    async fn query_and_tell(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        see: Option<Call<'_>>,
    ) -> Outcome<(Vec<Row>, Vec<Row>)> {
        let before = std::mem::replace(&mut self.unfinished, true);
        let (statement, tell) = (self.prepared(sql).await?, self.prepared(TELL).await?);
        let look = match see {
            Some((sql, values)) => Some((self.prepared(sql).await?, values)),
            None => None,
        };
        let changes = self.pool.changes.fetch_add(1, Ordering::Relaxed);
        let trims = changes.is_multiple_of(TRIM_EVERY);
        let Connection { client, wire, .. } = self.connection()?;
        let seen: OptionFuture<_> = look
            .as_ref()
            .map(|(statement, values)| client.query(statement, values))
            .into();
        let tell = async {
            // They are sent by being asked for; nobody waits for their answers.
            let _ = client.query(&tell, &[]).now_or_never();
            if trims {
                // Not prepared, which would be a round trip that somebody waits for.
                let _ = client.batch_execute(TRIM).now_or_never();
            }
        };
        let answer = join3(client.query(&statement, values), seen, tell);
        let (answer, seen, ()) = wire.drive(answer).await;
        self.unfinished = before || is_of_standby(&answer);
        Ok((answer?, seen.and_then(Result::ok).unwrap_or_default()))
    }

    /// Several statements at once: one round trip once they are prepared. They are done in this order.
    pub(super) async fn query_all(&mut self, calls: &[Call<'_>]) -> Outcome<Vec<Vec<Row>>> {
        let before = std::mem::replace(&mut self.unfinished, true);
        let mut statements = Vec::with_capacity(calls.len());
        for (sql, _) in calls {
            statements.push(self.prepared(sql).await?);
        }
        let Connection { client, wire, .. } = self.connection()?;
        let answers = try_join_all(
            statements
                .iter()
                .zip(calls)
                .map(|(statement, (_, values))| client.query(statement, values)),
        );
        let answers = wire.drive(answers).await;
        self.unfinished = before || is_of_standby(&answers);
        Ok(answers?)
    }

    /// Statements without values or answers.
    pub(super) async fn run(&mut self, sql: &str) -> Outcome<()> {
        let before = std::mem::replace(&mut self.unfinished, true);
        let Connection { client, wire, .. } = self.connection()?;
        let answer = wire.drive(client.batch_execute(sql)).await;
        self.unfinished = before;
        Ok(answer?)
    }

    async fn begin(&mut self) -> Outcome<()> {
        self.query("BEGIN", &[]).await?;
        self.unfinished = true;
        Ok(())
    }

    /// Commits what succeeded, and takes back what did not.
    pub(super) async fn end<T>(mut self, outcome: Outcome<T>) -> Outcome<T> {
        match outcome {
            Ok(done) => {
                self.query("COMMIT", &[]).await?;
                self.unfinished = false;
                Ok(done)
            }
            Err(fail) => {
                if self.query("ROLLBACK", &[]).await.is_ok() {
                    self.unfinished = false;
                }
                Err(fail)
            }
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take()
            && !self.unfinished
            && !connection.client.is_closed()
            && !self.pool.places.is_closed()
        {
            connection.used = Instant::now();
            locked(&self.pool.idle).push(connection);
        }
    }
}
