//! What stands between the kernel's calls and the drive: each call becomes a task, and each task answers once.

use std::ffi::OsStr;
use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use fuser::{
    Errno, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLock, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request,
};
use warifu_vault::node::{Attr, BadName, Name};

use crate::attrs::file_attr;
use crate::caller::Caller;
use crate::drive::{Answer, Drive};
use crate::kernel::Agreed;
use crate::lanes::{Lane, Lanes};
use crate::xattrs::Told;

/// How long the kernel may believe what it was told about names and attributes. Changes made through this drive it
/// knows at once; this is for those that others make to the same vault.
pub(crate) const BELIEVED: Duration = Duration::from_secs(1);

/// Node numbers are never used again, so all are of one generation.
pub(crate) const GENERATION: Generation = Generation(0);

/// What stands between the kernel and the drive.
#[derive(Debug)]
pub(crate) struct Skin {
    pub(crate) drive: Arc<Drive>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) agreed: Agreed,
}

/// A reply that can be a refusal.
pub(crate) trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),+ $(,)?) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })+
    };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLock,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr,
);

impl Skin {
    pub(crate) fn new(drive: Arc<Drive>, lanes: Arc<Lanes>, agreed: Agreed) -> Self {
        Self {
            drive,
            lanes,
            agreed,
        }
    }

    /// The drive, and who asks.
    pub(crate) fn asked(&self, request: &Request) -> (Arc<Drive>, Caller) {
        (self.drive(), Caller::of(request))
    }

    /// The same with a name, which may be none that a file can have.
    pub(crate) fn named(
        &self,
        request: &Request,
        name: &OsStr,
    ) -> (Arc<Drive>, Caller, Result<Name, BadName>) {
        (
            self.drive(),
            Caller::of(request),
            Name::new(name.as_bytes()),
        )
    }

    pub(crate) fn drive(&self) -> Arc<Drive> {
        Arc::clone(&self.drive)
    }

    /// Does `work` in its lane, then sends what it gives, or the refusal.
    pub(crate) fn answer<R: Refuse, T: Send>(
        &self,
        call: (Lane, &'static str, INodeNo),
        reply: R,
        work: impl Future<Output = Answer<T>> + Send + 'static,
        send: impl FnOnce(R, T) + Send + 'static,
    ) {
        let (lane, operation, ino) = call;
        self.lanes.run(lane, async move {
            respond((operation, ino), reply, work.await, send);
        });
    }
}

/// Sends what was asked for, or the refusal.
pub(crate) fn respond<R: Refuse, T>(
    (operation, ino): (&'static str, INodeNo),
    reply: R,
    answer: Answer<T>,
    send: impl FnOnce(R, T),
) {
    match answer {
        Ok(told) => send(reply, told),
        Err(refusal) => {
            refusal.log(operation, ino.0);
            reply.refuse(refusal.errno());
        }
    }
}

impl Skin {
    /// Answers with a node.
    pub(crate) fn entry(&self) -> impl FnOnce(ReplyEntry, Attr) + Send + use<> {
        let drive = self.drive();
        move |reply, attr| {
            let attr = file_attr(&attr);
            drive.told.note(&attr);
            reply.entry(&BELIEVED, &attr, GENERATION);
        }
    }

    /// Answers with attributes.
    pub(crate) fn attributes(&self) -> impl FnOnce(ReplyAttr, Attr) + Send + use<> {
        let drive = self.drive();
        move |reply, attr| {
            let attr = file_attr(&attr);
            drive.told.note(&attr);
            reply.attr(&BELIEVED, &attr);
        }
    }
}

pub(crate) fn done(reply: ReplyEmpty, (): ()) {
    reply.ok();
}

pub(crate) fn told(reply: ReplyXattr, told: Told) {
    match told {
        Told::Length(length) => reply.size(length),
        Told::Bytes(bytes) => reply.data(&bytes),
    }
}
