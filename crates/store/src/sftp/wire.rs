//! SFTP version 3, as far as a store needs it: requests as bytes, replies from bytes.
//!
//! Our own because a handle is bytes: OpenSSH's are numbers, and the client library at hand takes them for text, which damages every
//! handle from the 128th on. And a request must be on its way in the order in which it is made, not in which it is waited for.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::shown::shown;

pub(super) const VERSION: u32 = 3;

/// A reply beyond this is not one of SFTP; the largest that we ask for is a block of data.
const LARGEST_REPLY: usize = 1 << 20;

const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RENAME: u8 = 18;
const EXTENDED: u8 = 200;

const REPLY_VERSION: u8 = 2;
const REPLY_STATUS: u8 = 101;
const REPLY_HANDLE: u8 = 102;
const REPLY_DATA: u8 = 103;
const REPLY_NAME: u8 = 104;
const REPLY_ATTRS: u8 = 105;
const REPLY_EXTENDED: u8 = 201;

const FLAG_READ: u32 = 1;
const FLAG_WRITE: u32 = 2;
const FLAG_CREATE: u32 = 8;
const FLAG_EXCLUSIVE: u32 = 32;

const ATTR_SIZE: u32 = 1;
const ATTR_OWNER: u32 = 2;
const ATTR_MODE: u32 = 4;
const ATTR_TIMES: u32 = 8;
const ATTR_EXTENDED: u32 = 0x8000_0000;

pub(super) const FSYNC: &str = "fsync@openssh.com";
pub(super) const HARDLINK: &str = "hardlink@openssh.com";
pub(super) const STATVFS: &str = "statvfs@openssh.com";
pub(super) const LIMITS: &str = "limits@openssh.com";

/// What is asked of a server.
#[derive(Debug)]
pub(super) enum Request<'a> {
    /// To read, or a folder to put on disk.
    OpenRead(&'a str),
    /// A file that must not be there yet, for its owner alone.
    OpenNew(&'a str),
    Close(&'a Bytes),
    Read {
        handle: &'a Bytes,
        offset: u64,
        len: u32,
    },
    Write {
        handle: &'a Bytes,
        offset: u64,
        data: Bytes,
    },
    Lstat(&'a str),
    OpenDir(&'a str),
    ReadDir(&'a Bytes),
    Remove(&'a str),
    MakeDir(&'a str),
    Rename {
        from: &'a str,
        to: &'a str,
    },
    Link {
        from: &'a str,
        to: &'a str,
    },
    Fsync(&'a Bytes),
    Statvfs(&'a str),
    Limits,
}

/// A request on its way: its own bytes, and the data that follows them.
#[derive(Debug)]
pub(super) struct Packet {
    pub head: Bytes,
    pub data: Bytes,
}

/// What a server knows of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attrs {
    pub size: Option<u64>,
    pub mode: Option<u32>,
    pub modified: Option<u32>,
}

impl Attrs {
    fn is(self, kind: u32) -> bool {
        self.mode.is_some_and(|mode| mode & 0o170_000 == kind)
    }

    pub fn is_file(self) -> bool {
        self.is(0o100_000)
    }

    pub fn is_folder(self) -> bool {
        self.is(0o040_000)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub code: u32,
    pub message: String,
}

impl Status {
    pub const OK: u32 = 0;
    pub const END: u32 = 1;
    pub const NO_SUCH_FILE: u32 = 2;
    pub const DENIED: u32 = 3;
    pub const NO_CONNECTION: u32 = 6;
    pub const CONNECTION_LOST: u32 = 7;

    /// What the number means, where the server says nothing.
    pub fn words(&self) -> String {
        let meaning = match self.code {
            Self::OK => "no error",
            Self::END => "end of file",
            Self::NO_SUCH_FILE => "no such file",
            Self::DENIED => "permission denied",
            5 => "bad message",
            8 => "operation unsupported",
            _ => "failure",
        };
        if self.message.is_empty() || self.message.eq_ignore_ascii_case(meaning) {
            meaning.to_owned()
        } else {
            format!("{meaning}: {}", self.message)
        }
    }
}

#[derive(Debug)]
pub(super) enum Reply {
    Version(Vec<String>),
    Status(Status),
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<(String, Attrs)>),
    Attrs(Attrs),
    Extended(Bytes),
}

/// The room of a file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub total: u64,
    pub free: u64,
    pub free_names: u64,
    pub names: u64,
    pub read_only: bool,
}

/// What a server takes in one request; zero where it does not say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub packet: u64,
    pub read: u64,
    pub write: u64,
    pub handles: u64,
}

/// Not the bytes of an SFTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) fn init() -> Bytes {
    let mut bytes = BytesMut::with_capacity(9);
    bytes.put_u32(5);
    bytes.put_u8(INIT);
    bytes.put_u32(VERSION);
    bytes.freeze()
}

impl Request<'_> {
    pub fn encode(self, id: u32) -> Packet {
        let mut body = BytesMut::with_capacity(128);
        let mut payload = Bytes::new();
        let mut begin = |kind: u8| {
            body.put_u32(0);
            body.put_u8(kind);
            body.put_u32(id);
        };
        match self {
            Self::OpenRead(path) => {
                begin(OPEN);
                put_bytes(&mut body, path.as_bytes());
                body.put_u32(FLAG_READ);
                body.put_u32(0);
            }
            Self::OpenNew(path) => {
                begin(OPEN);
                put_bytes(&mut body, path.as_bytes());
                body.put_u32(FLAG_WRITE | FLAG_CREATE | FLAG_EXCLUSIVE);
                put_mode(&mut body, 0o600);
            }
            Self::Close(handle) => {
                begin(CLOSE);
                put_bytes(&mut body, handle);
            }
            Self::Read {
                handle,
                offset,
                len,
            } => {
                begin(READ);
                put_bytes(&mut body, handle);
                body.put_u64(offset);
                body.put_u32(len);
            }
            Self::Write {
                handle,
                offset,
                data,
            } => {
                begin(WRITE);
                put_bytes(&mut body, handle);
                body.put_u64(offset);
                body.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
                payload = data;
            }
            Self::Lstat(path) => {
                begin(LSTAT);
                put_bytes(&mut body, path.as_bytes());
            }
            Self::OpenDir(path) => {
                begin(OPENDIR);
                put_bytes(&mut body, path.as_bytes());
            }
            Self::ReadDir(handle) => {
                begin(READDIR);
                put_bytes(&mut body, handle);
            }
            Self::Remove(path) => {
                begin(REMOVE);
                put_bytes(&mut body, path.as_bytes());
            }
            Self::MakeDir(path) => {
                begin(MKDIR);
                put_bytes(&mut body, path.as_bytes());
                put_mode(&mut body, 0o700);
            }
            Self::Rename { from, to } => {
                begin(RENAME);
                put_bytes(&mut body, from.as_bytes());
                put_bytes(&mut body, to.as_bytes());
            }
            Self::Link { from, to } => {
                begin(EXTENDED);
                put_bytes(&mut body, HARDLINK.as_bytes());
                put_bytes(&mut body, from.as_bytes());
                put_bytes(&mut body, to.as_bytes());
            }
            Self::Fsync(handle) => {
                begin(EXTENDED);
                put_bytes(&mut body, FSYNC.as_bytes());
                put_bytes(&mut body, handle);
            }
            Self::Statvfs(path) => {
                begin(EXTENDED);
                put_bytes(&mut body, STATVFS.as_bytes());
                put_bytes(&mut body, path.as_bytes());
            }
            Self::Limits => {
                begin(EXTENDED);
                put_bytes(&mut body, LIMITS.as_bytes());
            }
        }
        let len = body.len().saturating_sub(4).saturating_add(payload.len());
        let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        for (to, from) in body.iter_mut().zip(len) {
            *to = from;
        }
        Packet {
            head: body.freeze(),
            data: payload,
        }
    }
}

fn put_bytes(body: &mut BytesMut, bytes: &[u8]) {
    // Paths and handles are far below 4 GiB.
    body.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    body.extend_from_slice(bytes);
}

fn put_mode(body: &mut BytesMut, mode: u32) {
    body.put_u32(ATTR_MODE);
    body.put_u32(mode);
}

/// Takes one whole reply from what has arrived; `None` while it is not whole. The first number says whose reply it is, and is 0 for
/// the version.
pub(super) fn take_reply(arrived: &mut BytesMut) -> Result<Option<(u32, Reply)>, Malformed> {
    let Some(len) = arrived.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| Malformed)?;
    if len > LARGEST_REPLY {
        return Err(Malformed);
    }
    if arrived.len() < len + 4 {
        arrived.reserve(len + 4 - arrived.len());
        return Ok(None);
    }
    arrived.advance(4);
    let mut body = arrived.split_to(len).freeze();
    let kind = body.try_get_u8().map_err(|_| Malformed)?;
    if kind == REPLY_VERSION {
        if u32_of(&mut body)? < VERSION {
            return Err(Malformed);
        }
        let mut extensions = Vec::new();
        while body.has_remaining() {
            extensions.push(text_of(&mut body)?);
            bytes_of(&mut body)?;
        }
        return Ok(Some((0, Reply::Version(extensions))));
    }
    let id = u32_of(&mut body)?;
    let reply = match kind {
        REPLY_STATUS => Reply::Status(Status {
            code: u32_of(&mut body)?,
            // Some servers leave the words out.
            message: shown(text_of(&mut body).unwrap_or_default()),
        }),
        REPLY_HANDLE => Reply::Handle(bytes_of(&mut body)?),
        REPLY_DATA => Reply::Data(bytes_of(&mut body)?),
        REPLY_NAME => {
            let count = u32_of(&mut body)?;
            let mut names = Vec::new();
            for _ in 0..count {
                let name = text_of(&mut body)?;
                bytes_of(&mut body)?;
                names.push((name, attrs_of(&mut body)?));
            }
            Reply::Names(names)
        }
        REPLY_ATTRS => Reply::Attrs(attrs_of(&mut body)?),
        REPLY_EXTENDED => Reply::Extended(body),
        _ => return Err(Malformed),
    };
    Ok(Some((id, reply)))
}

fn u32_of(body: &mut Bytes) -> Result<u32, Malformed> {
    body.try_get_u32().map_err(|_| Malformed)
}

fn u64_of(body: &mut Bytes) -> Result<u64, Malformed> {
    body.try_get_u64().map_err(|_| Malformed)
}

fn bytes_of(body: &mut Bytes) -> Result<Bytes, Malformed> {
    let len = usize::try_from(u32_of(body)?).map_err(|_| Malformed)?;
    if len > body.len() {
        return Err(Malformed);
    }
    Ok(body.split_to(len))
}

/// A name that is no text is not one of ours: it stays foreign however it is spelled here.
fn text_of(body: &mut Bytes) -> Result<String, Malformed> {
    Ok(String::from_utf8_lossy(&bytes_of(body)?).into_owned())
}

fn attrs_of(body: &mut Bytes) -> Result<Attrs, Malformed> {
    let flags = u32_of(body)?;
    let mut attrs = Attrs::default();
    if flags & ATTR_SIZE != 0 {
        attrs.size = Some(u64_of(body)?);
    }
    if flags & ATTR_OWNER != 0 {
        u64_of(body)?;
    }
    if flags & ATTR_MODE != 0 {
        attrs.mode = Some(u32_of(body)?);
    }
    if flags & ATTR_TIMES != 0 {
        u32_of(body)?;
        attrs.modified = Some(u32_of(body)?);
    }
    if flags & ATTR_EXTENDED != 0 {
        for _ in 0..u32_of(body)? {
            bytes_of(body)?;
            bytes_of(body)?;
        }
    }
    Ok(attrs)
}

impl Room {
    pub fn parse(mut body: Bytes) -> Result<Self, Malformed> {
        let mut numbers = [0_u64; 11];
        for number in &mut numbers {
            *number = u64_of(&mut body)?;
        }
        let [_, unit, blocks, _, free, names, _, free_names, _, flags, _] = numbers;
        Ok(Self {
            total: blocks.saturating_mul(unit),
            free: free.saturating_mul(unit),
            free_names,
            names,
            read_only: flags & 1 != 0,
        })
    }
}

impl Limits {
    pub fn parse(mut body: Bytes) -> Result<Self, Malformed> {
        Ok(Self {
            packet: u64_of(&mut body)?,
            read: u64_of(&mut body)?,
            write: u64_of(&mut body)?,
            handles: u64_of(&mut body)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_framed_with_its_data() {
        let handle = Bytes::from_static(&[0xFF, 0, 0x80, 1]);
        let packet = Request::Write {
            handle: &handle,
            offset: 7,
            data: Bytes::from_static(b"share"),
        }
        .encode(9);
        let expected: &[u8] = &[
            0, 0, 0, 30, 6, 0, 0, 0, 9, 0, 0, 0, 4, 0xFF, 0, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0,
            0, 5,
        ];
        assert_eq!(&packet.head[..], expected);
        assert_eq!(packet.data, "share");
        let open = Request::OpenNew("/a").encode(1);
        assert_eq!(
            &open.head[..],
            [
                0, 0, 0, 23, 3, 0, 0, 0, 1, 0, 0, 0, 2, b'/', b'a', 0, 0, 0, 0x2A, 0, 0, 0, 4, 0,
                0, 1, 0x80
            ]
        );
    }

    #[test]
    fn replies_are_taken_when_they_are_whole_and_never_before() {
        let mut whole = BytesMut::new();
        whole.extend_from_slice(&[0, 0, 0, 13, 102, 0, 0, 0, 5, 0, 0, 0, 4, 0xFF, 0, 0x80, 1]);
        whole.extend_from_slice(&[0, 0, 0, 9, 101, 0, 0, 0, 6, 0, 0, 0, 2]);
        for cut in 0..17 {
            let mut part = BytesMut::from(&whole[..cut]);
            assert!(take_reply(&mut part).unwrap().is_none(), "{cut}");
        }
        let (id, reply) = take_reply(&mut whole).unwrap().unwrap();
        assert!(
            matches!(reply, Reply::Handle(handle) if id == 5 && handle[..] == [0xFF, 0, 0x80, 1])
        );
        let (_, reply) = take_reply(&mut whole).unwrap().unwrap();
        assert!(
            matches!(reply, Reply::Status(status) if status.code == Status::NO_SUCH_FILE && status.words() == "no such file")
        );
        assert!(take_reply(&mut whole).unwrap().is_none());
    }

    #[test]
    fn p10_bytes_that_are_no_reply_are_refused_and_nothing_panics() {
        for bad in [
            &[0xFF, 0, 0, 0][..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 5, 99, 0, 0, 0, 1],
            &[0, 0, 0, 9, 103, 0, 0, 0, 1, 0, 0, 0, 9],
            &[0, 0, 0, 5, 2, 0, 0, 0, 2],
            &[0, 0, 0, 9, 104, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF],
        ] {
            assert!(take_reply(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
        }
        // Whatever is said, it is a reply or an error.
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut bytes = BytesMut::new();
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let len = (state >> 59) as usize;
            bytes.put_u32(len as u32);
            bytes.put_u8([2, 101, 102, 103, 104, 105, 201][(state >> 40) as usize % 7]);
            for step in 0..len {
                bytes.put_u8(if step % 3 == 0 {
                    (state >> step) as u8 & 7
                } else {
                    0
                });
            }
            let _ = take_reply(&mut bytes);
        }
    }
}
