//! On whose behalf the kernel asks.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Arc, PoisonError, RwLock};

use fuser::Request;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use warifu_vault::context::Context;

/// How many users are remembered. A machine with more of them asks the name service again.
const REMEMBERED: usize = 4096;

/// Whose request it is, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// The user's number.
    pub(crate) uid: u32,
    /// The group's number.
    pub(crate) gid: u32,
    /// The thread that asks; 0 where it cannot be named, as for what the kernel does on its own.
    pub(crate) pid: u32,
}

impl Caller {
    /// Whose request this is.
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            uid: request.uid(),
            gid: request.gid(),
            pid: request.pid(),
        }
    }

    /// The process of the thread that asks; `None` where it cannot be told.
    pub(crate) fn process(self) -> Option<u32> {
        let pid = Pid::from_raw(self.pid.try_into().ok()?)?;
        // Only a process has one, and not a thread of it: nearly always the one that asks is its process's first, and then this
        // takes a twentieth of the time.
        if pidfd_open(pid, PidfdFlags::empty()).is_ok() {
            return Some(self.pid);
        }
        self.status("Tgid:")?.parse().ok()
    }

    /// Whether a group is one of the caller's, or makes no difference to root.
    pub(crate) fn is_in(self, gid: u32) -> bool {
        let also = |groups: String| {
            groups
                .split_whitespace()
                .any(|also| also.parse() == Ok(gid))
        };
        self.uid == 0 || self.gid == gid || self.status("Groups:").is_some_and(also)
    }

    /// What the system says of the thread that asks. It waits for our answer, so its number still stands for it.
    fn status(self, field: &str) -> Option<String> {
        if self.pid == 0 {
            return None;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(line.trim().to_owned())
    }

    /// This process itself.
    pub(crate) fn this_process() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            pid: std::process::id(),
        }
    }

    /// Whether set-id bits stay although the caller writes. The kernel's own question is for a capability; who is not
    /// root and has it loses bits that could have stayed, which is safe.
    pub(crate) const fn keeps_set_id(self) -> bool {
        self.uid == 0
    }
}

/// Makes the [`Context`] of each request.
#[derive(Debug)]
pub(crate) struct Callers {
    host: String,
    known: RwLock<HashMap<(u32, u32), Arc<Context>>>,
}

impl Callers {
    pub(crate) fn new() -> Self {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Self {
            host,
            known: RwLock::new(HashMap::new()),
        }
    }

    /// The context without the program: for requests that only look, of which there are very many.
    pub(crate) async fn glance(&self, caller: Caller) -> Arc<Context> {
        let key = (caller.uid, caller.gid);
        // A panic elsewhere leaves the map whole: each change of it is one insertion.
        if let Some(context) = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Arc::clone(context);
        }
        let (actor, sure) = user_name(caller.uid).await;
        let context = Arc::new(Context {
            actor,
            uid: caller.uid,
            gid: caller.gid,
            host: self.host.clone(),
            program: String::new(),
            purpose: String::new(),
        });
        // Whom the name service could not name just now, it may name the next time.
        if !sure {
            return context;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, Arc::clone(&context));
        context
    }

    /// The whole context: for requests that the audit log keeps.
    pub(crate) async fn act(&self, caller: Caller) -> Context {
        Context {
            program: program(caller.pid),
            ..Context::clone(&*self.glance(caller).await)
        }
    }
}

/// The user's name by the system's name service, or `uid:1000`; and whether the service has answered.
async fn user_name(uid: u32) -> (String, bool) {
    // The name service may ask a server on the network, so it must not hold up the runtime.
    let found = tokio::task::spawn_blocking(move || {
        nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))
    })
    .await;
    named(uid, found.unwrap_or(Err(nix::errno::Errno::EIO)))
}

fn named(uid: u32, found: nix::Result<Option<nix::unistd::User>>) -> (String, bool) {
    match found {
        Ok(Some(user)) => (user.name, true),
        Ok(None) => (format!("uid:{uid}"), true),
        Err(_) => (format!("uid:{uid}"), false),
    }
}

/// The name of the program that a thread runs; empty where it cannot be told.
fn program(pid: u32) -> String {
    if pid == 0 {
        return String::new();
    }
    // The thread waits for our answer, so its number still stands for it.
    let path = format!("/proc/{pid}/comm\0");
    let mut name = [0_u8; 64];
    let read = CStr::from_bytes_with_nul(path.as_bytes())
        .ok()
        .and_then(|path| {
            let file = rustix::fs::open(
                path,
                rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            );
            rustix::io::read(file.ok()?, &mut name).ok()
        });
    let bytes = read.and_then(|len| name.get(..len)).unwrap_or_default();
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_context_names_user_host_and_program() {
        let callers = Callers::new();
        let context = callers
            .act(Caller {
                uid: 0,
                gid: 0,
                pid: std::process::id(),
            })
            .await;
        assert_eq!(context.actor, "root");
        assert!(!context.host.is_empty());
        assert!(!context.program.is_empty());
        assert!(
            callers
                .glance(Caller {
                    uid: 0,
                    gid: 0,
                    pid: 1
                })
                .await
                .program
                .is_empty()
        );
    }

    #[test]
    fn a_thread_is_known_by_its_process() {
        let of = |pid: i32| Caller {
            uid: 0,
            gid: 0,
            pid: pid.try_into().unwrap(),
        };
        let me = std::process::id();
        let thread = || rustix::thread::gettid().as_raw_nonzero().get();
        assert_eq!(of(me.try_into().unwrap()).process(), Some(me));
        let other = std::thread::spawn(move || (thread(), of(thread()).process()));
        let (number, process) = other.join().unwrap();
        assert!(number != me.try_into().unwrap());
        assert_eq!(process, Some(me));
        assert_eq!(of(0).process(), None);
    }

    #[tokio::test]
    async fn a_user_without_a_name_is_a_number_and_a_thread_that_is_gone_has_no_program() {
        let callers = Callers::new();
        let context = callers
            .act(Caller {
                uid: 3_999_999_999,
                gid: 5,
                pid: 0,
            })
            .await;
        assert_eq!(
            (context.actor.as_str(), context.uid, context.gid),
            ("uid:3999999999", 3_999_999_999, 5)
        );
        assert_eq!(context.program, "");
        assert_eq!(program(u32::MAX), "");
    }
}
