//! Writing and reading the fields of records.

use warifu_core::head::Timestamp;

use super::records::SegmentError;

/// Writes into memory that was taken before, or only counts.
pub(super) struct Writer<'a> {
    to: Option<&'a mut [u8]>,
    at: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn counting() -> Self {
        Self { to: None, at: 0 }
    }

    /// What goes beyond the end is only counted.
    pub(super) fn into_slice(to: &'a mut [u8]) -> Self {
        Self {
            to: Some(to),
            at: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.at
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        if let Some(place) = self
            .to
            .as_deref_mut()
            .and_then(|to| to.get_mut(self.at..end))
        {
            place.copy_from_slice(bytes);
        }
        self.at = end;
    }

    pub(super) fn u8(&mut self, number: u8) {
        self.bytes(&[number]);
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.bytes(&number.to_le_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    pub(super) fn time(&mut self, time: Timestamp) {
        self.bytes(&time.secs.to_le_bytes());
        self.u32(time.nanos);
    }

    /// Bytes after their length.
    pub(super) fn sized(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.bytes(bytes);
    }
}

/// Bytes still to be read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], SegmentError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(SegmentError::Short {
            needed: len,
            got: self.0.len(),
        })?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SegmentError> {
        let got = self.0.len();
        self.take(N)?
            .try_into()
            .map_err(|_| SegmentError::Short { needed: N, got })
    }

    pub(super) fn u8(&mut self) -> Result<u8, SegmentError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, SegmentError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, SegmentError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, SegmentError> {
        Ok(Timestamp {
            secs: self.array().map(i64::from_le_bytes)?,
            nanos: self.u32()?,
        })
    }

    pub(super) fn sized(&mut self) -> Result<&'a [u8], SegmentError> {
        let len = self.u32()?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }
}
