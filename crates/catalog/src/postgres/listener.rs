//! [`Listener`]: a connection of its own on which the database tells that something changed.
//!
//! What changed is read elsewhere: so nothing is lost with this connection but time. Having it to itself, a session renews its lease on it.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Client, Row};

use super::error::no_answer;
use super::pool::{Pool, Value};
use crate::error::{Fail, Fate, Outcome};

/// When nothing was heard for so long, it is looked all the same.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);

/// The same while the database cannot tell anything.
const LOOK_DEAF: Duration = Duration::from_secs(1);

/// What comes sooner after one another is looked at together.
const TOGETHER: Duration = Duration::from_millis(10);

/// How soon a broken connection is made anew.
const AGAIN: Duration = Duration::from_millis(500);

/// How often it is asked whether the connection is still one, and how long an answer may take.
const PROBE: Duration = Duration::from_secs(15);
const PROBED: Duration = Duration::from_secs(5);

/// The ear on the database. Dropping it hangs up.
#[derive(Debug)]
pub(super) struct Listener {
    heard: watch::Receiver<Heard>,
    line: Arc<Line>,
    /// How much of it was waited for, and when that was.
    seen: Mutex<(u64, Option<Instant>)>,
    task: JoinHandle<()>,
}

/// The connection itself, while there is one.
#[derive(Default)]
struct Line(Mutex<Option<Arc<Client>>>);

impl Line {
    fn set(&self, client: Option<Arc<Client>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    fn get(&self) -> Option<Arc<Client>> {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.clone().filter(|client| !client.is_closed())
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// How often the database has told something.
    count: u64,
    listening: bool,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    pub(super) fn start(pool: Arc<Pool>) -> Self {
        let (told, heard) = watch::channel(Heard::default());
        let line = Arc::new(Line::default());
        let for_task = Arc::clone(&line);
        let task = tokio::spawn(async move {
            loop {
                if let Err(fail) = listen(&pool, &told, &for_task).await {
                    tracing::debug!(error = %fail.error, "the database's notices are not heard at the moment; trying again");
                }
                for_task.set(None);
                told.send_modify(|heard| heard.listening = false);
                tokio::time::sleep(AGAIN).await;
            }
        });
        Self {
            heard,
            line,
            seen: Mutex::default(),
            task,
        }
    }

    /// Asks something on this connection; `None` where there is none at the moment, or it does not answer.
    pub(super) async fn ask(&self, sql: &str, values: &[Value<'_>]) -> Option<Outcome<Vec<Row>>> {
        let client = self.line.get()?;
        let answer = tokio::time::timeout(PROBED, client.query(sql, values)).await;
        let answer = answer.ok()?.map_err(Fail::from);
        match answer {
            Err(fail) if fail.fate != Fate::Answered => None,
            answered => Some(answered),
        }
    }

    /// Waits until something may have changed since this was last called.
    pub(super) async fn wait(&self) {
        let (before, last) = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last {
            tokio::time::sleep_until(last + TOGETHER).await;
        }
        let mut heard = self.heard.clone();
        let limit = match heard.borrow_and_update().listening {
            true => LOOK_ANYWAY,
            false => LOOK_DEAF,
        };
        let news = heard.wait_for(|heard| heard.count != before);
        let count = match tokio::time::timeout(limit, news).await {
            Ok(Ok(heard)) => heard.count,
            Ok(Err(_)) | Err(_) => before,
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = (count, Some(Instant::now()));
    }
}

/// Listens until the connection breaks.
async fn listen(pool: &Pool, told: &watch::Sender<Heard>, line: &Line) -> Outcome<()> {
    let (client, mut connection) = pool.dial().await?;
    let client = Arc::new(client);
    let me = pool.me().to_string();
    let hear = async {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                // Nobody has to look for what this process has changed itself.
                Some(Ok(AsyncMessage::Notification(note))) if note.payload() == me => {}
                Some(Ok(AsyncMessage::Notification(_))) => {
                    told.send_modify(|heard| heard.count += 1);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Fail::from(error)),
                None => return Err(no_answer("the database hung up").into()),
            }
        }
    };
    let speak = async {
        let setup = format!("{}; LISTEN \"{}\"", pool.setup(), pool.schema());
        client.batch_execute(&setup).await?;
        line.set(Some(Arc::clone(&client)));
        // What was told before this is looked for now.
        told.send_modify(|heard| {
            heard.listening = true;
            heard.count += 1;
        });
        loop {
            tokio::time::sleep(PROBE).await;
            let probed = tokio::time::timeout(PROBED, client.batch_execute("")).await;
            match probed {
                Ok(answer) => answer?,
                Err(_) => return Err(no_answer("the database does not answer").into()),
            }
        }
    };
    let ended: Outcome<()> = tokio::select! {
        ended = hear => ended,
        ended = speak => ended,
    };
    ended
}
