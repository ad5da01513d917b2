//! Sessions of one machine, their locks and what they hold open.
//!
//! Their clock is the machine's time since it was started, which nobody can set; a session of an earlier start has ended.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use warifu_core::head::Timestamp;
use warifu_core::keys::{CatalogKey, Field};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{CatalogError, Durability};
use warifu_vault::seam::clock::{Clock, SystemClock};
use warifu_vault::seam::locks::{Lock, LockKind, LockMode, LockRequest, decide};
use warifu_vault::seam::sessions::{
    Hold, Locked, Notices, Renewed, Session, SessionId, SessionInfo, Sessions,
};

use crate::catalog::SqliteCatalog;
use crate::codec::{decode_pair, encode_pair, sql};
use crate::error::{Outcome, damaged};
use crate::notices;
use crate::readers::View;
use crate::rows::{number, time};
use crate::writer::Tx;

/// What schema 4 has more than schema 3: who else is there, and what they are told. None of it is journalled.
///
/// `until` is in milliseconds since the machine was started; `boot` says which start.
pub(crate) const TABLES: &str = "
CREATE TABLE session (
  id BLOB PRIMARY KEY, boot BLOB NOT NULL, until BIGINT NOT NULL, pid BIGINT NOT NULL, since BIGINT NOT NULL, since_ns BIGINT NOT NULL,
  sealed BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE notice (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, origin BLOB NOT NULL, node BIGINT NOT NULL, tag BLOB, sealed BLOB, removed BIGINT);
CREATE TABLE file_lock (
  id INTEGER PRIMARY KEY, node BIGINT NOT NULL, session BLOB NOT NULL, owner BIGINT NOT NULL, kind BIGINT NOT NULL, mode BIGINT NOT NULL,
  first BIGINT NOT NULL, last BIGINT NOT NULL, pid BIGINT NOT NULL);
CREATE INDEX file_lock_node ON file_lock (node);
CREATE INDEX file_lock_session ON file_lock (session);
CREATE TABLE hold (
  session BLOB NOT NULL, number BIGINT NOT NULL, node BIGINT NOT NULL, since BIGINT NOT NULL, since_ns BIGINT NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (session, number)) WITHOUT ROWID;
CREATE INDEX hold_node ON hold (node);
";

/// How often new notices are looked for: one look is a few microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The moment by the catalogue's clock: which start of the machine, and the milliseconds since.
#[derive(Clone)]
struct Moment {
    boot: Vec<u8>,
    now: i64,
}

impl Moment {
    fn now() -> Outcome<Self> {
        let boot = std::fs::read("/proc/sys/kernel/random/boot_id").map_err(|error| {
            CatalogError::Failed {
                detail: format!("the machine does not say when it was started: {error}"),
            }
        })?;
        Ok(Self {
            boot,
            now: millis(SystemClock.uptime()),
        })
    }
}

pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn info_row(session: &[u8; 16]) -> Vec<u8> {
    [&b"session"[..], session].concat()
}

fn hold_row(session: &[u8; 16], number: i64) -> Vec<u8> {
    [&b"hold"[..], session, &number.to_le_bytes()].concat()
}

fn text(bytes: &[u8]) -> Outcome<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| damaged("what a session says is no UTF-8"))
}

/// What a session says of itself, sealed.
pub(crate) fn seal_info(
    key: &CatalogKey,
    session: &[u8; 16],
    info: &SessionInfo,
) -> Outcome<Vec<u8>> {
    let place = encode_pair(info.host.as_bytes(), info.place.as_bytes())?;
    let plain = encode_pair(info.actor.as_bytes(), &place)?;
    Ok(key.seal(Field::Note, &info_row(session), &plain)?)
}

/// The same in the clear.
pub(crate) fn open_info(
    key: &CatalogKey,
    session: &[u8; 16],
    pid: u32,
    since: Timestamp,
    sealed: &[u8],
) -> Outcome<SessionInfo> {
    let opened = key
        .open(Field::Note, &info_row(session), sealed)
        .map_err(|_| damaged("a session does not open under the vault's key"))?;
    let (actor, place) = decode_pair(opened.expose())?;
    let (host, place) = decode_pair(place)?;
    Ok(SessionInfo {
        actor: text(actor)?,
        host: text(host)?,
        place: text(place)?,
        pid,
        since,
    })
}

/// Who has a file open and with which program, sealed.
pub(crate) fn seal_hold(
    key: &CatalogKey,
    session: &[u8; 16],
    number: i64,
    hold: &Hold,
) -> Outcome<Vec<u8>> {
    let plain = encode_pair(hold.actor.as_bytes(), hold.program.as_bytes())?;
    Ok(key.seal(Field::Note, &hold_row(session, number), &plain)?)
}

/// The same in the clear: who, and with which program.
pub(crate) fn open_hold(
    key: &CatalogKey,
    session: &[u8; 16],
    number: i64,
    sealed: &[u8],
) -> Outcome<(String, String)> {
    let opened = key
        .open(Field::Note, &hold_row(session, number), sealed)
        .map_err(|_| damaged("what a session holds open does not open under the vault's key"))?;
    let (actor, program) = decode_pair(opened.expose())?;
    Ok((text(actor)?, text(program)?))
}

pub(crate) const fn kind_code(kind: LockKind) -> i64 {
    match kind {
        LockKind::Posix => 1,
        LockKind::Flock => 2,
        LockKind::Either => 3,
    }
}

pub(crate) fn kind_of(code: i64) -> Outcome<LockKind> {
    match code {
        1 => Ok(LockKind::Posix),
        2 => Ok(LockKind::Flock),
        3 => Ok(LockKind::Either),
        other => Err(damaged(format!("a lock is of kind {other}"))),
    }
}

pub(crate) const fn mode_code(mode: LockMode) -> i64 {
    match mode {
        LockMode::Shared => 1,
        LockMode::Exclusive => 2,
    }
}

pub(crate) fn mode_of(code: i64) -> Outcome<LockMode> {
    match code {
        1 => Ok(LockMode::Shared),
        2 => Ok(LockMode::Exclusive),
        other => Err(damaged(format!("a lock is of mode {other}"))),
    }
}

/// Forgets the sessions whose lease has ended.
fn reap(tx: &Tx<'_>, at: &Moment) -> Outcome<()> {
    let ended = tx.run(
        "DELETE FROM session WHERE boot <> ?1 OR until <= ?2",
        params![at.boot, at.now],
    )?;
    if ended > 0 {
        tx.others.set(None);
        tx.run(
            "DELETE FROM file_lock WHERE session NOT IN (SELECT id FROM session)",
            [],
        )?;
        tx.run(
            "DELETE FROM hold WHERE session NOT IN (SELECT id FROM session)",
            [],
        )?;
    }
    Ok(())
}

fn has_others(view: View<'_>, me: SessionId, at: &Moment) -> Outcome<bool> {
    Ok(view
        .conn
        .prepare_cached(
            "SELECT 1 FROM session WHERE id <> ?1 AND boot = ?2 AND until > ?3 LIMIT 1",
        )?
        .exists(params![me.0, at.boot, at.now])?)
}

fn is_alive(view: View<'_>, me: SessionId, at: &Moment) -> Outcome<bool> {
    Ok(view
        .conn
        .prepare_cached("SELECT 1 FROM session WHERE id = ?1 AND boot = ?2 AND until > ?3")?
        .exists(params![me.0, at.boot, at.now])?)
}

fn begin(tx: &Tx<'_>, info: &SessionInfo, lease: Duration) -> Outcome<u64> {
    let at = Moment::now()?;
    end(tx)?;
    reap(tx, &at)?;
    if !has_others(tx.view, tx.me, &at)? {
        // Nobody is left who could ask for them.
        tx.run("DELETE FROM notice", [])?;
    }
    let sealed = seal_info(tx.key(), &tx.me.0, info)?;
    tx.run(
        "INSERT INTO session (id, boot, until, pid, since, since_ns, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            tx.me.0,
            at.boot,
            at.now.saturating_add(millis(lease)),
            info.pid,
            info.since.secs,
            info.since.nanos,
            sealed
        ],
    )?;
    Ok(u64::try_from(notices::last(tx.view)?).unwrap_or(0))
}

fn renew(tx: &Tx<'_>, lease: Duration) -> Outcome<Renewed> {
    let at = Moment::now()?;
    reap(tx, &at)?;
    let kept = tx.run(
        "UPDATE session SET until = ?2 WHERE id = ?1",
        params![tx.me.0, at.now.saturating_add(millis(lease))],
    )?;
    Ok(Renewed {
        kept: kept == 1,
        others: has_others(tx.view, tx.me, &at)?,
        first: !tx
            .view
            .conn
            .prepare_cached("SELECT 1 FROM session WHERE id < ?1 LIMIT 1")?
            .exists(params![tx.me.0])?,
    })
}

fn end(tx: &Tx<'_>) -> Outcome<()> {
    tx.run("DELETE FROM session WHERE id = ?1", params![tx.me.0])?;
    tx.run("DELETE FROM file_lock WHERE session = ?1", params![tx.me.0])?;
    tx.run("DELETE FROM hold WHERE session = ?1", params![tx.me.0])?;
    Ok(())
}

/// The columns of a lock, as [`lock_of`] reads them, of sessions that are there.
macro_rules! live_locks {
    ($where:literal) => {
        concat!(
            "SELECT l.session, l.owner, l.kind, l.mode, l.first, l.last, l.pid, l.node FROM file_lock l
               JOIN session s ON s.id = l.session AND s.boot = ?1 AND s.until > ?2",
            $where,
            " ORDER BY l.id"
        )
    };
}

fn lock_of(row: &Row<'_>) -> Outcome<Lock> {
    Ok(Lock {
        session: SessionId(row.get(0)?),
        owner: row.get::<_, i64>(1)?.cast_unsigned(),
        kind: kind_of(row.get(2)?)?,
        first: number(row, 4)?,
        last: number(row, 5)?,
        mode: mode_of(row.get(3)?)?,
        pid: row.get(6)?,
    })
}

fn locks_of(view: View<'_>, node: NodeId, at: &Moment) -> Outcome<Vec<Lock>> {
    let mut statement = view
        .conn
        .prepare_cached(live_locks!(" WHERE l.node = ?3"))?;
    let mut rows = statement.query(params![at.boot, at.now, sql(node.0)?])?;
    let mut locks = Vec::new();
    while let Some(row) = rows.next()? {
        locks.push(lock_of(row)?);
    }
    Ok(locks)
}

fn lock(tx: &Tx<'_>, node: NodeId, request: &LockRequest) -> Outcome<Locked> {
    let at = Moment::now()?;
    if !is_alive(tx.view, tx.me, &at)? {
        return Err(CatalogError::SessionEnded.into());
    }
    let others = has_others(tx.view, tx.me, &at)?;
    let now = match decide(&locks_of(tx.view, node, &at)?, tx.me, request) {
        Ok(now) => now,
        Err(blocker) => {
            return Ok(Locked {
                blocker: Some(blocker),
                others,
            });
        }
    };
    tx.run(
        "DELETE FROM file_lock WHERE node = ?1 AND session = ?2 AND owner = ?3",
        params![sql(node.0)?, tx.me.0, request.owner.cast_signed()],
    )?;
    for lock in now {
        tx.run(
            "INSERT INTO file_lock (node, session, owner, kind, mode, first, last, pid) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                sql(node.0)?,
                tx.me.0,
                lock.owner.cast_signed(),
                kind_code(lock.kind),
                mode_code(lock.mode),
                sql(lock.first)?,
                sql(lock.last)?,
                lock.pid
            ],
        )?;
    }
    Ok(Locked {
        blocker: None,
        others,
    })
}

fn hold(tx: &Tx<'_>, opened: &[Hold], closed: &[u64]) -> Outcome<()> {
    if !is_alive(tx.view, tx.me, &Moment::now()?)? {
        return Ok(());
    }
    for hold in opened {
        let number = sql(hold.number)?;
        let sealed = seal_hold(tx.key(), &tx.me.0, number, hold)?;
        tx.run(
            "INSERT INTO hold (session, number, node, since, since_ns, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (session, number) DO NOTHING",
            params![tx.me.0, number, sql(hold.node.0)?, hold.since.secs, hold.since.nanos, sealed],
        )?;
    }
    for number in closed {
        tx.run(
            "DELETE FROM hold WHERE session = ?1 AND number = ?2",
            params![tx.me.0, sql(*number)?],
        )?;
    }
    Ok(())
}

/// Where drives are mounted at the moment: machine and folder, the oldest first.
pub(crate) fn mounted(conn: &Connection, key: &CatalogKey) -> Outcome<Vec<String>> {
    let Moment { boot, now } = Moment::now()?;
    let text = "SELECT id, pid, since, since_ns, sealed FROM session WHERE boot = ?1 AND until > ?2 ORDER BY since, since_ns";
    let mut statement = conn.prepare(text)?;
    let mut rows = statement.query(params![boot, now])?;
    let mut drives = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, sealed): ([u8; 16], Vec<u8>) = (row.get(0)?, row.get(4)?);
        let info = open_info(key, &id, row.get(1)?, time(row, 2)?, &sealed)?;
        drives.push(format!("{}:{}", info.host, info.place));
    }
    Ok(drives)
}

fn info_of(
    view: View<'_>,
    id: &[u8; 16],
    pid: u32,
    since: Timestamp,
    sealed: &[u8],
) -> Outcome<SessionInfo> {
    open_info(view.key, id, pid, since, sealed)
}

fn hold_of(view: View<'_>, session: &[u8; 16], row: &Row<'_>, at: usize) -> Outcome<Hold> {
    let sealed: Vec<u8> = row.get(at + 4)?;
    let (actor, program) = open_hold(view.key, session, row.get(at)?, &sealed)?;
    Ok(Hold {
        number: number(row, at)?,
        node: NodeId(number(row, at + 1)?),
        actor,
        program,
        since: time(row, at + 2)?,
    })
}

fn present(view: View<'_>) -> Outcome<Vec<Session>> {
    view.snapshot(|view| {
        let at = Moment::now()?;
        let mut statement = view.conn.prepare_cached(
            "SELECT id, pid, since, since_ns, sealed FROM session WHERE boot = ?1 AND until > ?2 ORDER BY id",
        )?;
        let mut rows = statement.query(params![at.boot, at.now])?;
        let mut all: Vec<Session> = Vec::new();
        while let Some(row) = rows.next()? {
            let id: [u8; 16] = row.get(0)?;
            let info = info_of(view, &id, row.get(1)?, time(row, 2)?, &row.get::<_, Vec<u8>>(4)?)?;
            let mut holds = Vec::new();
            let mut held = view.conn.prepare_cached(
                "SELECT number, node, since, since_ns, sealed FROM hold WHERE session = ?1 ORDER BY number",
            )?;
            let mut held = held.query(params![id])?;
            while let Some(row) = held.next()? {
                holds.push(hold_of(view, &id, row, 0)?);
            }
            all.push(Session { id: SessionId(id), info, holds, locks: Vec::new() });
        }
        let mut statement = view.conn.prepare_cached(live_locks!(""))?;
        let mut rows = statement.query(params![at.boot, at.now])?;
        while let Some(row) = rows.next()? {
            let lock = lock_of(row)?;
            let node = NodeId(number(row, 7)?);
            if let Some(session) = all.iter_mut().find(|session| session.id == lock.session) {
                session.locks.push((node, lock));
            }
        }
        Ok(all)
    })
}

fn holders(view: View<'_>, node: NodeId) -> Outcome<Vec<(SessionInfo, Hold)>> {
    view.snapshot(|view| {
        let at = Moment::now()?;
        let mut statement = view.conn.prepare_cached(
            "SELECT s.id, s.pid, s.since, s.since_ns, s.sealed, h.number, h.node, h.since, h.since_ns, h.sealed FROM hold h
               JOIN session s ON s.id = h.session AND s.boot = ?1 AND s.until > ?2
             WHERE h.node = ?3 ORDER BY h.since, h.since_ns, h.number",
        )?;
        let mut rows = statement.query(params![at.boot, at.now, sql(node.0)?])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let id: [u8; 16] = row.get(0)?;
            let info = info_of(view, &id, row.get(1)?, time(row, 2)?, &row.get::<_, Vec<u8>>(4)?)?;
            all.push((info, hold_of(view, &id, row, 5)?));
        }
        Ok(all)
    })
}

#[async_trait]
impl Sessions for SqliteCatalog {
    fn me(&self) -> SessionId {
        self.me
    }

    async fn begin_session(
        &self,
        info: &SessionInfo,
        lease: Duration,
    ) -> Result<u64, CatalogError> {
        let info = info.clone();
        self.write(Durability::Soon, move |tx| begin(tx, &info, lease))
            .await
    }

    async fn renew_session(&self, lease: Duration) -> Result<Renewed, CatalogError> {
        self.write(Durability::Soon, move |tx| renew(tx, lease))
            .await
    }

    async fn end_session(&self) -> Result<(), CatalogError> {
        self.write(Durability::Soon, end).await
    }

    async fn present(&self) -> Result<Vec<Session>, CatalogError> {
        self.read(present)
    }

    async fn notices(&self, after: u64, limit: usize) -> Result<Notices, CatalogError> {
        self.read(|view| notices::after(view, self.me.0, after, limit))
    }

    /// SQLite tells nobody, so the place is looked at again and again.
    async fn noticed(&self, _after: u64) {
        tokio::time::sleep(LOOK_EVERY).await;
    }

    async fn lock(&self, node: NodeId, request: &LockRequest) -> Result<Locked, CatalogError> {
        let request = *request;
        self.write(Durability::Soon, move |tx| lock(tx, node, &request))
            .await
    }

    async fn locks(&self, node: NodeId) -> Result<Vec<Lock>, CatalogError> {
        self.read(|view| view.snapshot(|view| locks_of(view, node, &Moment::now()?)))
    }

    async fn hold(&self, opened: &[Hold], closed: &[u64]) -> Result<(), CatalogError> {
        let (opened, closed) = (opened.to_vec(), closed.to_vec());
        self.write(Durability::Soon, move |tx| hold(tx, &opened, &closed))
            .await
    }

    async fn holders(&self, node: NodeId) -> Result<Vec<(SessionInfo, Hold)>, CatalogError> {
        self.read(|view| holders(view, node))
    }
}
