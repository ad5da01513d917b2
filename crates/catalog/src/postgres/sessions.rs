//! Sessions of many machines, by the database's clock; its NOTIFY wakes those who wait for notices.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Row;
use warifu_core::keys::{CatalogKey, Field};
use warifu_vault::node::{Name, NodeId};
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::seam::locks::{Lock, LockRequest, decide};
use warifu_vault::seam::sessions::{
    Change, Hold, Locked, Notices, Renewed, Session, SessionId, SessionInfo, Sessions,
};

use super::PostgresCatalog;
use super::pool::{ANSWER, Pool};
use super::rows::{bytes, number, time};
use crate::codec::sql;
use crate::error::{Outcome, damaged};
use crate::names::entry_row;
use crate::sessions::{
    kind_code, kind_of, mode_code, mode_of, open_hold, open_info, seal_hold, seal_info,
};

/// How many notices are kept.
const KEPT: i64 = 50_000;

/// When nothing was heard for so long, it is looked all the same: what the database tells may be lost with a connection.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// How soon notices are looked for again that wait for the end of other transactions.
const RIPENS: Duration = Duration::from_millis(10);

/// How soon a broken line is made anew.
const AGAIN: Duration = Duration::from_millis(500);

/// The ear on the database. Dropping it hangs up.
pub(super) struct Listener {
    /// How often the database has told something.
    news: watch::Receiver<u64>,
    /// What of it was waited for.
    heard: Arc<AtomicU64>,
    /// Whether there are notices that cannot be read before other transactions end.
    unripe: AtomicBool,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    fn start(pool: Arc<Pool>) -> Self {
        let (told, news) = watch::channel(0);
        let task = tokio::spawn(async move {
            loop {
                if let Err(fail) = pool.listen(&told).await {
                    tracing::debug!(error = %fail.error, "the database's notices are not heard at the moment; trying again");
                }
                // What was told meanwhile is looked for.
                told.send_modify(|count| *count += 1);
                tokio::time::sleep(AGAIN).await;
            }
        });
        Self {
            news,
            heard: Arc::default(),
            unripe: AtomicBool::new(false),
            task,
        }
    }
}

fn millis(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}

fn session_id(row: &Row, at: usize) -> Outcome<SessionId> {
    let bytes: &[u8] = row.try_get(at)?;
    let id = bytes
        .try_into()
        .map_err(|_| damaged("a session's id has not 16 bytes"))?;
    Ok(SessionId(id))
}

fn pid(row: &Row, at: usize) -> Outcome<u32> {
    u32::try_from(row.try_get::<_, i64>(at)?)
        .map_err(|_| damaged("a process has an impossible number"))
}

const LOCKS: &str = "SELECT l.session, l.owner, l.kind, l.mode, l.first, l.last, l.pid, l.node FROM file_lock l
   JOIN session s ON s.id = l.session AND s.until > clock_timestamp()
   WHERE l.node = $1 ORDER BY l.id";

const ALL_LOCKS: &str = "SELECT l.session, l.owner, l.kind, l.mode, l.first, l.last, l.pid, l.node FROM file_lock l
   JOIN session s ON s.id = l.session AND s.until > clock_timestamp()
   ORDER BY l.id";

fn lock_of(row: &Row) -> Outcome<Lock> {
    Ok(Lock {
        session: session_id(row, 0)?,
        owner: row.try_get::<_, i64>(1)?.cast_unsigned(),
        kind: kind_of(row.try_get(2)?)?,
        mode: mode_of(row.try_get(3)?)?,
        first: number(row, 4)?,
        last: number(row, 5)?,
        pid: pid(row, 6)?,
    })
}

fn info_of(key: &CatalogKey, row: &Row, at: usize) -> Outcome<(SessionId, SessionInfo)> {
    let id = session_id(row, at)?;
    let info = open_info(
        key,
        &id.0,
        pid(row, at + 1)?,
        time(row, at + 2)?,
        row.try_get(at + 4)?,
    )?;
    Ok((id, info))
}

fn hold_of(key: &CatalogKey, session: SessionId, row: &Row, at: usize) -> Outcome<Hold> {
    let number_: i64 = row.try_get(at)?;
    let (actor, program) = open_hold(key, &session.0, number_, row.try_get(at + 4)?)?;
    Ok(Hold {
        number: number(row, at)?,
        node: NodeId(number(row, at + 1)?),
        actor,
        program,
        since: time(row, at + 2)?,
    })
}

impl PostgresCatalog {
    async fn begin(&self, info: &SessionInfo, lease: Duration) -> Outcome<u64> {
        let me = self.me.0.as_slice();
        let sealed = seal_info(&self.key, &self.me.0, info)?;
        let (pid, nanos) = (i64::from(info.pid), i64::from(info.since.nanos));
        let lease = millis(lease);
        self.reap().await?;
        let begun = self
            .pool
            .transaction(ANSWER, || async {
                let mut session = self.pool.begin().await?;
                let outcome = async {
                    session
                        .query_all(&[
                            ("DELETE FROM file_lock WHERE session = $1", &[&me]),
                            ("DELETE FROM hold WHERE session = $1", &[&me]),
                            (
                                "INSERT INTO session (id, until, pid, since, since_ns, sealed)
                                 VALUES ($1, clock_timestamp() + $2::bigint * INTERVAL '1 millisecond', $3, $4, $5, $6)
                                 ON CONFLICT (id) DO UPDATE SET until = excluded.until, sealed = excluded.sealed",
                                &[&me, &lease, &pid, &info.since.secs, &nanos, &sealed],
                            ),
                        ])
                        .await?;
                    Ok(())
                }
                .await;
                session.end(outcome).await
            })
            .await;
        begun?;
        // From here on the others tell; what was told before is no concern of this session.
        let rows = self
            .pool
            .read(
                "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1",
                &[],
            )
            .await?;
        let row = rows
            .first()
            .ok_or_else(|| damaged("the database answered nothing"))?;
        self.listen();
        number(row, 0)
    }

    fn listener(&self) -> MutexGuard<'_, Option<Listener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self) {
        self.listener()
            .get_or_insert_with(|| Listener::start(Arc::clone(&self.pool)));
    }

    /// Forgets the sessions whose lease has ended, and notices that are too old.
    async fn reap(&self) -> Outcome<()> {
        let gone = self
            .pool
            .write(
                "DELETE FROM session WHERE until <= clock_timestamp() RETURNING id",
                &[],
            )
            .await?;
        for row in gone {
            let id = bytes(&row, 0)?;
            self.pool
                .write("DELETE FROM file_lock WHERE session = $1", &[&id])
                .await?;
            self.pool
                .write("DELETE FROM hold WHERE session = $1", &[&id])
                .await?;
        }
        self.pool
            .write(
                "WITH old AS (SELECT xid FROM notice ORDER BY xid DESC, seq DESC OFFSET $1 LIMIT 1),
                   floor AS (UPDATE notice_floor SET xid = GREATEST(notice_floor.xid, old.xid) FROM old WHERE id = 1)
                 DELETE FROM notice USING old WHERE notice.xid <= old.xid",
                &[&KEPT],
            )
            .await?;
        Ok(())
    }

    async fn renew(&self, lease: Duration) -> Outcome<Renewed> {
        self.reap().await?;
        let me = self.me.0.as_slice();
        let rows = self
            .pool
            .write(
                "UPDATE session SET until = clock_timestamp() + $2::bigint * INTERVAL '1 millisecond'
                   WHERE id = $1 AND until > clock_timestamp()
                   RETURNING EXISTS (SELECT 1 FROM session o WHERE o.id <> $1 AND o.until > clock_timestamp())",
                &[&me, &millis(lease)],
            )
            .await?;
        Ok(Renewed {
            kept: !rows.is_empty(),
            others: match rows.first() {
                Some(row) => row.try_get(0)?,
                None => true,
            },
        })
    }

    async fn end(&self) -> Outcome<()> {
        let me = self.me.0.as_slice();
        self.pool
            .write(
                "WITH locks AS (DELETE FROM file_lock WHERE session = $1), holds AS (DELETE FROM hold WHERE session = $1)
                 DELETE FROM session WHERE id = $1",
                &[&me],
            )
            .await?;
        Ok(())
    }

    async fn read_notices(&self, after: u64, limit: usize) -> Outcome<Notices> {
        let from = sql(after)?;
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        // All of a transaction or nothing of it. Those that have not ended may still write under numbers that are lower than others' that have.
        let rows = self
            .pool
            .read(
                "WITH bound AS (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1 AS last),
                   floor AS (SELECT xid FROM notice_floor WHERE id = 1),
                   cut AS (SELECT max(xid) AS xid FROM (
                     SELECT xid FROM notice, bound WHERE xid > $1 AND xid <= bound.last ORDER BY xid, seq LIMIT $2) AS first)
                 SELECT bound.last, floor.xid, cut.xid, n.origin, n.node, n.tag, n.sealed, n.removed,
                     EXISTS (SELECT 1 FROM notice WHERE notice.xid > bound.last)
                   FROM bound CROSS JOIN floor CROSS JOIN cut
                   LEFT JOIN LATERAL (
                     SELECT * FROM notice WHERE notice.xid > $1 AND notice.xid <= cut.xid ORDER BY xid, seq) n ON true",
                &[&from, &most],
            )
            .await?;
        let first = rows
            .first()
            .ok_or_else(|| damaged("the database answered nothing"))?;
        let (last, floor) = (number(first, 0)?, number(first, 1)?);
        let mut heard = Notices {
            changes: Vec::new(),
            next: last,
            missed: false,
        };
        if let Some(listener) = &*self.listener() {
            listener.unripe.store(first.try_get(8)?, Ordering::Release);
        }
        // The database may have been brought back from a backup, and not have come to where the reader is.
        if after < floor || after > last {
            heard.next = last;
            heard.missed = true;
            return Ok(heard);
        }
        if first.try_get::<_, Option<i64>>(2)?.is_some() {
            heard.next = number(first, 2)?;
        }
        for row in &rows {
            let Some(origin) = row.try_get::<_, Option<&[u8]>>(3)? else {
                continue;
            };
            if origin == self.me.0 {
                continue;
            }
            let node = NodeId(number(row, 4)?);
            let Some(tag) = row.try_get::<_, Option<&[u8]>>(5)? else {
                heard.changes.push(Change::Node(node));
                continue;
            };
            let tag: [u8; 16] = tag
                .try_into()
                .map_err(|_| damaged("a notice has a tag of another length"))?;
            let opened = self
                .key
                .open(Field::Name, &entry_row(node, &tag), row.try_get(6)?)
                .map_err(|_| damaged("a notice does not open under the vault's key"))?;
            let removed: Option<i64> = row.try_get(7)?;
            heard.changes.push(Change::Entry {
                parent: node,
                name: Name::new(opened.expose())
                    .map_err(|_| damaged("a notice tells of a name that no file can have"))?,
                removed: removed
                    .map(|node| u64::try_from(node).map(NodeId))
                    .transpose()
                    .map_err(|_| damaged("a notice tells of a node with a negative number"))?,
            });
        }
        Ok(heard)
    }

    async fn do_lock(&self, node: NodeId, request: &LockRequest) -> Outcome<Locked> {
        let me = self.me.0.as_slice();
        let (node_, owner) = (sql(node.0)?, request.owner.cast_signed());
        self.pool
            .transaction(ANSWER, || async {
                let mut session = self.pool.begin().await?;
                let outcome = async {
                    // The node's row stands for its locks: whoever wants one waits here for whoever is deciding.
                    let answers = session
                        .query_all(&[
                            ("SELECT id FROM node WHERE id = $1 FOR UPDATE", &[&node_]),
                            (
                                "SELECT id <> $1 FROM session WHERE until > clock_timestamp()",
                                &[&me],
                            ),
                            (LOCKS, &[&node_]),
                        ])
                        .await?;
                    let [_, sessions, locks] = answers.as_slice() else {
                        return Err(damaged("the database answered too little"));
                    };
                    let (mut alive, mut others) = (false, false);
                    for row in sessions {
                        let other: bool = row.try_get(0)?;
                        alive |= !other;
                        others |= other;
                    }
                    if !alive {
                        return Err(CatalogError::SessionEnded.into());
                    }
                    let locks: Vec<Lock> = locks.iter().map(lock_of).collect::<Outcome<_>>()?;
                    let now = match decide(&locks, self.me, request) {
                        Ok(now) => now,
                        Err(blocker) => {
                            return Ok(Locked {
                                blocker: Some(blocker),
                                others,
                            });
                        }
                    };
                    let number = |number: u64| sql(number);
                    let mut rows = Vec::with_capacity(now.len());
                    for lock in &now {
                        rows.push((
                            kind_code(lock.kind),
                            mode_code(lock.mode),
                            number(lock.first)?,
                            number(lock.last)?,
                            i64::from(lock.pid),
                        ));
                    }
                    let kinds: Vec<i64> = rows.iter().map(|row| row.0).collect();
                    let modes: Vec<i64> = rows.iter().map(|row| row.1).collect();
                    let firsts: Vec<i64> = rows.iter().map(|row| row.2).collect();
                    let lasts: Vec<i64> = rows.iter().map(|row| row.3).collect();
                    let pids: Vec<i64> = rows.iter().map(|row| row.4).collect();
                    session
                        .query_all(&[
                            (
                                "DELETE FROM file_lock WHERE node = $1 AND session = $2 AND owner = $3",
                                &[&node_, &me, &owner],
                            ),
                            (
                                "INSERT INTO file_lock (node, session, owner, kind, mode, first, last, pid)
                                 SELECT $1, $2, $3, * FROM unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])",
                                &[&node_, &me, &owner, &kinds, &modes, &firsts, &lasts, &pids],
                            ),
                        ])
                        .await?;
                    Ok(Locked {
                        blocker: None,
                        others,
                    })
                }
                .await;
                session.end(outcome).await
            })
            .await
    }

    async fn read_locks(&self, node: NodeId) -> Outcome<Vec<Lock>> {
        let rows = self.pool.read(LOCKS, &[&sql(node.0)?]).await?;
        rows.iter().map(lock_of).collect()
    }

    async fn do_hold(&self, opened: &[Hold], closed: &[u64]) -> Outcome<()> {
        let me = self.me.0.as_slice();
        let (mut numbers, mut nodes, mut secs, mut nanos, mut sealed) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for hold in opened {
            let number = sql(hold.number)?;
            numbers.push(number);
            nodes.push(sql(hold.node.0)?);
            secs.push(hold.since.secs);
            nanos.push(i64::from(hold.since.nanos));
            sealed.push(seal_hold(&self.key, &self.me.0, number, hold)?);
        }
        let closed: Vec<i64> = closed
            .iter()
            .map(|number| sql(*number))
            .collect::<Outcome<_>>()?;
        if !numbers.is_empty() {
            self.pool
                .write(
                    "INSERT INTO hold (session, number, node, since, since_ns, sealed)
                     SELECT $1, u.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[]) AS u
                       WHERE EXISTS (SELECT 1 FROM session WHERE id = $1 AND until > clock_timestamp())
                     ON CONFLICT (session, number) DO NOTHING",
                    &[&me, &numbers, &nodes, &secs, &nanos, &sealed],
                )
                .await?;
        }
        if !closed.is_empty() {
            self.pool
                .write(
                    "DELETE FROM hold WHERE session = $1 AND number = ANY ($2)",
                    &[&me, &closed],
                )
                .await?;
        }
        Ok(())
    }

    async fn read_present(&self) -> Outcome<Vec<Session>> {
        let rows = self
            .pool
            .read(
                "SELECT id, pid, since, since_ns, sealed FROM session WHERE until > clock_timestamp() ORDER BY id",
                &[],
            )
            .await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            let (id, info) = info_of(&self.key, row, 0)?;
            all.push(Session {
                id,
                info,
                holds: Vec::new(),
                locks: Vec::new(),
            });
        }
        let rows = self
            .pool
            .read(
                "SELECT session, number, node, since, since_ns, sealed FROM hold ORDER BY session, number",
                &[],
            )
            .await?;
        for row in &rows {
            let id = session_id(row, 0)?;
            if let Some(session) = all.iter_mut().find(|session| session.id == id) {
                session.holds.push(hold_of(&self.key, id, row, 1)?);
            }
        }
        for row in &self.pool.read(ALL_LOCKS, &[]).await? {
            let lock = lock_of(row)?;
            let node = NodeId(number(row, 7)?);
            if let Some(session) = all.iter_mut().find(|session| session.id == lock.session) {
                session.locks.push((node, lock));
            }
        }
        Ok(all)
    }

    async fn read_holders(&self, node: NodeId) -> Outcome<Vec<(SessionInfo, Hold)>> {
        let rows = self
            .pool
            .read(
                "SELECT s.id, s.pid, s.since, s.since_ns, s.sealed, h.number, h.node, h.since, h.since_ns, h.sealed FROM hold h
                   JOIN session s ON s.id = h.session AND s.until > clock_timestamp()
                 WHERE h.node = $1 ORDER BY h.since, h.since_ns, h.number",
                &[&sql(node.0)?],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let (id, info) = info_of(&self.key, row, 0)?;
                Ok((info, hold_of(&self.key, id, row, 5)?))
            })
            .collect()
    }
}

#[async_trait]
impl Sessions for PostgresCatalog {
    fn me(&self) -> SessionId {
        self.me
    }

    async fn begin_session(
        &self,
        info: &SessionInfo,
        lease: Duration,
    ) -> Result<u64, CatalogError> {
        Ok(self.begin(info, lease).await?)
    }

    async fn renew_session(&self, lease: Duration) -> Result<Renewed, CatalogError> {
        Ok(self.renew(lease).await?)
    }

    async fn end_session(&self) -> Result<(), CatalogError> {
        Ok(self.end().await?)
    }

    async fn present(&self) -> Result<Vec<Session>, CatalogError> {
        Ok(self.read_present().await?)
    }

    async fn notices(&self, after: u64, limit: usize) -> Result<Notices, CatalogError> {
        Ok(self.read_notices(after, limit).await?)
    }

    async fn noticed(&self, _after: u64) {
        let ear = self
            .listener()
            .as_ref()
            .map(|listener| (listener.news.clone(), Arc::clone(&listener.heard), listener.unripe.load(Ordering::Acquire)));
        let Some((mut news, heard, unripe)) = ear else {
            return tokio::time::sleep(LOOK_ANYWAY).await;
        };
        if unripe {
            return tokio::time::sleep(RIPENS).await;
        }
        let before = heard.load(Ordering::Acquire);
        let new = news.wait_for(|count| *count != before);
        if let Ok(Ok(count)) = tokio::time::timeout(LOOK_ANYWAY, new).await {
            heard.store(*count, Ordering::Release);
        }
    }

    async fn lock(&self, node: NodeId, request: &LockRequest) -> Result<Locked, CatalogError> {
        Ok(self.do_lock(node, request).await?)
    }

    async fn locks(&self, node: NodeId) -> Result<Vec<Lock>, CatalogError> {
        Ok(self.read_locks(node).await?)
    }

    async fn hold(&self, opened: &[Hold], closed: &[u64]) -> Result<(), CatalogError> {
        Ok(self.do_hold(opened, closed).await?)
    }

    async fn holders(&self, node: NodeId) -> Result<Vec<(SessionInfo, Hold)>, CatalogError> {
        Ok(self.read_holders(node).await?)
    }
}
