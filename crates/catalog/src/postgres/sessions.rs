//! Sessions of many machines, by the database's clock.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use warifu_core::keys::CatalogKey;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::seam::locks::{Lock, LockRequest, decide};
use warifu_vault::seam::sessions::{
    Hold, Locked, Notices, Renewed, Session, SessionId, SessionInfo, Sessions,
};

use super::PostgresCatalog;
use super::error::no_answer;
use super::listener::Listener;
use super::pool::Value;
use super::rows::{id, key, number, time};
use super::write::only;
use crate::codec::sql;
use crate::error::{Outcome, damaged};
use crate::sessions::{
    kind_code, kind_of, millis, mode_code, mode_of, open_hold, open_info, seal_hold, seal_info,
};

/// So often is a lock decided anew because somebody else was quicker.
const ATTEMPTS: usize = 50;

/// When there is nothing to listen on.
const LOOK: Duration = Duration::from_secs(1);

/// The columns of a lock `l` of a session that is there, as [`lock_of`] reads them.
macro_rules! lock_columns {
    () => {
        "l.session, l.owner, l.kind, l.mode, l.first, l.last, l.pid, l.node, l.id"
    };
}

/// Whether this session and others are there, and the locks of a node. A time that is asked for once can be looked up in an index; one that
/// is asked for at each row cannot.
const DECISION: &str = concat!(
    "SELECT ",
    lock_columns!(),
    ", s.alive, s.others FROM (SELECT bool_or(id = $2) AS alive, bool_or(id <> $2) AS others FROM session WHERE until > (SELECT clock_timestamp())) s
       LEFT JOIN (file_lock l JOIN session o ON o.id = l.session AND o.until > clock_timestamp()) ON l.node = $1
     ORDER BY l.id"
);

const LOCKS: &str = concat!(
    "SELECT ",
    lock_columns!(),
    " FROM file_lock l JOIN session s ON s.id = l.session AND s.until > clock_timestamp() WHERE l.node = $1 ORDER BY l.id"
);

const ALL_LOCKS: &str = concat!(
    "SELECT ",
    lock_columns!(),
    " FROM file_lock l JOIN session s ON s.id = l.session AND s.until > clock_timestamp() ORDER BY l.id"
);

fn session_id(row: &Row, at: usize) -> Outcome<SessionId> {
    id(row, at).map(SessionId)
}

fn pid(row: &Row, at: usize) -> Outcome<u32> {
    u32::try_from(row.try_get::<_, i64>(at)?)
        .map_err(|_| damaged("a process has an impossible number"))
}

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

/// From the columns id, pid, since, since_ns, sealed.
pub(super) fn info_of(key: &CatalogKey, row: &Row) -> Outcome<(SessionId, SessionInfo)> {
    let id = session_id(row, 0)?;
    let info = open_info(key, &id.0, pid(row, 1)?, time(row, 2)?, row.try_get(4)?)?;
    Ok((id, info))
}

fn hold_of(key: &CatalogKey, session: SessionId, row: &Row, at: usize) -> Outcome<Hold> {
    let (actor, program) = open_hold(key, &session.0, row.try_get(at)?, row.try_get(at + 4)?)?;
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
        let sealed = seal_info(&self.key, &self.me.0, info)?;
        self.pool
            .write(
                "SELECT begin_session($1, $2, $3, $4, $5, $6)",
                &[
                    &self.me.0.as_slice(),
                    &millis(lease),
                    &i64::from(info.pid),
                    &info.since.secs,
                    &i64::from(info.since.nanos),
                    &sealed,
                ],
            )
            .await?;
        self.listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| Arc::new(Listener::start(Arc::clone(&self.pool))));
        self.place_now().await
    }

    async fn renew(&self, lease: Duration) -> Outcome<Renewed> {
        let me = self.me.0.as_slice();
        let text = "SELECT kept, others, first FROM renew_session($1, $2)";
        let lease = millis(lease);
        let values: [Value<'_>; 2] = [&me, &lease];
        // On the listener's connection, which nothing else uses: however much others want of the database, a lease must not end for that.
        let listener = self
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let aside = match listener {
            Some(listener) => listener.ask(text, &values).await,
            None => None,
        };
        let rows = match aside {
            Some(answer) => answer?,
            // To renew it twice does no harm.
            None => self.pool.write(text, &values).await?,
        };
        let row = only(&rows)?;
        Ok(Renewed {
            kept: row.try_get(0)?,
            others: row.try_get(1)?,
            first: row.try_get(2)?,
        })
    }

    /// Reads, decides here, and writes what was decided unless something changed meanwhile.
    async fn do_lock(&self, node: NodeId, request: &LockRequest) -> Outcome<Locked> {
        let (me, node) = (self.me.0.as_slice(), sql(node.0)?);
        for _ in 0..ATTEMPTS {
            let rows = self.pool.read(DECISION, &[&node, &me]).await?;
            let first = only(&rows)?;
            if first.try_get::<_, Option<bool>>(9)? != Some(true) {
                return Err(CatalogError::SessionEnded.into());
            }
            let others = first.try_get(10)?;
            let (mut locks, mut seen) = (Vec::new(), Vec::new());
            for row in &rows {
                if let Some(number) = row.try_get::<_, Option<i64>>(8)? {
                    seen.push(number);
                    locks.push(lock_of(row)?);
                }
            }
            let now = match decide(&locks, self.me, request) {
                Ok(now) => now,
                Err(blocker) => {
                    return Ok(Locked {
                        blocker: Some(blocker),
                        others,
                    });
                }
            };
            let bounds = |bound: fn(&Lock) -> u64| -> Outcome<Vec<i64>> {
                now.iter().map(|lock| sql(bound(lock))).collect()
            };
            let (firsts, lasts) = (bounds(|lock| lock.first)?, bounds(|lock| lock.last)?);
            let kinds: Vec<i64> = now.iter().map(|lock| kind_code(lock.kind)).collect();
            let modes: Vec<i64> = now.iter().map(|lock| mode_code(lock.mode)).collect();
            let pids: Vec<i64> = now.iter().map(|lock| i64::from(lock.pid)).collect();
            let owner = request.owner.cast_signed();
            let text = "SELECT set_locks($1, $2, $3, $4, $5, $6, $7, $8, $9)";
            let done = self
                .pool
                .write(
                    text,
                    &[
                        &node, &me, &owner, &seen, &kinds, &modes, &firsts, &lasts, &pids,
                    ],
                )
                .await?;
            if only(&done)?.try_get(0)? {
                return Ok(Locked {
                    blocker: None,
                    others,
                });
            }
        }
        Err(no_answer("too many want locks on one file at this moment").into())
    }

    async fn do_hold(&self, opened: &[Hold], closed: &[u64]) -> Outcome<()> {
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
        let closed: Vec<i64> = closed.iter().map(|number| key(*number)).collect();
        let me = self.me.0.as_slice();
        let text = "SELECT note_holds($1, $2, $3, $4, $5, $6, $7)";
        self.pool
            .write(
                text,
                &[&me, &numbers, &nodes, &secs, &nanos, &sealed, &closed],
            )
            .await
            .map(drop)
    }

    async fn read_present(&self) -> Outcome<Vec<Session>> {
        let text = "SELECT id, pid, since, since_ns, sealed FROM session WHERE until > (SELECT clock_timestamp()) ORDER BY id";
        let mut all = Vec::new();
        for row in &self.pool.read(text, &[]).await? {
            let (id, info) = info_of(&self.key, row)?;
            all.push(Session {
                id,
                info,
                holds: Vec::new(),
                locks: Vec::new(),
            });
        }
        // What belongs to a session that came or went between these is left out.
        let text = "SELECT session, number, node, since, since_ns, sealed FROM hold ORDER BY session, number";
        for row in &self.pool.read(text, &[]).await? {
            let id = session_id(row, 0)?;
            if let Some(session) = all.iter_mut().find(|session| session.id == id) {
                session.holds.push(hold_of(&self.key, id, row, 1)?);
            }
        }
        for row in &self.pool.read(ALL_LOCKS, &[]).await? {
            let lock = lock_of(row)?;
            if let Some(session) = all.iter_mut().find(|session| session.id == lock.session) {
                session.locks.push((NodeId(number(row, 7)?), lock));
            }
        }
        Ok(all)
    }

    async fn read_holders(&self, node: NodeId) -> Outcome<Vec<(SessionInfo, Hold)>> {
        let text = "SELECT s.id, s.pid, s.since, s.since_ns, s.sealed, h.number, h.node, h.since, h.since_ns, h.sealed FROM hold h
               JOIN session s ON s.id = h.session AND s.until > clock_timestamp()
             WHERE h.node = $1 ORDER BY h.since, h.since_ns, h.number";
        let rows = self.pool.read(text, &[&key(node.0)]).await?;
        rows.iter()
            .map(|row| {
                let (id, info) = info_of(&self.key, row)?;
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
        let me = self.me.0.as_slice();
        Ok(self
            .pool
            .write("SELECT end_session($1)", &[&me])
            .await
            .map(drop)?)
    }

    async fn present(&self) -> Result<Vec<Session>, CatalogError> {
        Ok(self.read_present().await?)
    }

    async fn notices(&self, after: u64, limit: usize) -> Result<Notices, CatalogError> {
        Ok(self.read_notices(after, limit).await?)
    }

    async fn noticed(&self, _after: u64) {
        let listener = self
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match listener {
            Some(listener) => listener.wait().await,
            None => tokio::time::sleep(LOOK).await,
        }
    }

    async fn lock(&self, node: NodeId, request: &LockRequest) -> Result<Locked, CatalogError> {
        Ok(self.do_lock(node, request).await?)
    }

    async fn locks(&self, node: NodeId) -> Result<Vec<Lock>, CatalogError> {
        let rows = self.pool.read(LOCKS, &[&key(node.0)]).await?;
        let locks: Outcome<_> = rows.iter().map(lock_of).collect();
        Ok(locks?)
    }

    async fn hold(&self, opened: &[Hold], closed: &[u64]) -> Result<(), CatalogError> {
        Ok(self.do_hold(opened, closed).await?)
    }

    async fn holders(&self, node: NodeId) -> Result<Vec<(SessionInfo, Hold)>, CatalogError> {
        Ok(self.read_holders(node).await?)
    }
}
