//! Records of tag (u16), length (u32) and value, all numbers little endian.

use alloc::string::String;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::{HeadError, Timestamp};
use crate::ids::ExtentId;

/// Writes, or only counts, so that memory is taken once and never left behind half full of names.
pub(super) struct Writer {
    bytes: Zeroizing<Vec<u8>>,
    len: usize,
    counting: bool,
}

impl Writer {
    pub(super) fn counting() -> Self {
        Self {
            bytes: Zeroizing::new(Vec::new()),
            len: 0,
            counting: true,
        }
    }

    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(capacity)),
            len: 0,
            counting: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.len = self.len.saturating_add(bytes.len());
        if !self.counting {
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn time(&mut self, value: Timestamp) {
        self.bytes(&value.secs.to_le_bytes());
        self.u32(value.nanos.min(999_999_999));
    }

    pub(super) fn sized(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.bytes(bytes);
    }

    pub(super) fn record(&mut self, tag: u16, value: impl Fn(&mut Self)) {
        let mut counting = Self::counting();
        value(&mut counting);
        self.bytes(&tag.to_le_bytes());
        self.u32(u32::try_from(counting.len).unwrap_or(u32::MAX));
        value(self);
    }
}

/// Reads, and never beyond the end.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    tag: u16,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            tag: 0,
        }
    }

    fn malformed(&self) -> HeadError {
        HeadError::Malformed { tag: self.tag }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], HeadError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeadError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next record, `None` at the end.
    pub(super) fn record(&mut self) -> Result<Option<(u16, Reader<'a>)>, HeadError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let got = self.rest.len();
        let short = |needed: usize| HeadError::Short { needed, got };
        let (start, rest) = self.rest.split_first_chunk::<6>().ok_or(short(6))?;
        let [low, high, a, b, c, d] = *start;
        let tag = u16::from_le_bytes([low, high]);
        let len =
            usize::try_from(u32::from_le_bytes([a, b, c, d])).map_err(|_| short(usize::MAX))?;
        let (value, rest) = rest
            .split_at_checked(len)
            .ok_or(short(len.saturating_add(6)))?;
        self.rest = rest;
        Ok(Some((tag, Reader { rest: value, tag })))
    }

    pub(super) fn finish(&self) -> Result<(), HeadError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32, HeadError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, HeadError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, HeadError> {
        let secs = self.array().map(i64::from_le_bytes)?;
        let nanos = self.u32()?;
        if nanos > 999_999_999 {
            return Err(self.malformed());
        }
        Ok(Timestamp { secs, nanos })
    }

    pub(super) fn extent(&mut self) -> Result<ExtentId, HeadError> {
        self.array().map(ExtentId::from_bytes)
    }

    pub(super) fn text(&mut self) -> Result<String, HeadError> {
        let text = core::str::from_utf8(self.rest).map_err(|_| self.malformed())?;
        self.rest = &[];
        Ok(text.into())
    }

    pub(super) fn sized(&mut self) -> Result<Vec<u8>, HeadError> {
        let len = usize::try_from(self.u32()?).map_err(|_| self.malformed())?;
        self.take(len).map(<[u8]>::to_vec)
    }

    /// Items up to the end. Each takes at least four bytes, which bounds the memory.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, HeadError>,
    ) -> Result<Vec<T>, HeadError> {
        let mut items = Vec::new();
        while !self.rest.is_empty() {
            items.push(item(self)?);
        }
        Ok(items)
    }
}
