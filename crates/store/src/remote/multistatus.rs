//! What a WebDAV server says of a folder's entries (RFC 4918, section 13).

use quick_xml::NsReader;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};
use warifu_core::head::Timestamp;

use crate::shown::shown;

/// One entry of a folder, or the folder itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// The path as the server writes it, unescaped, without a slash at its end.
    pub path: String,
    pub folder: bool,
    pub len: Option<u64>,
    pub modified: Option<Timestamp>,
    pub quota_available: Option<u64>,
    pub quota_used: Option<u64>,
    /// A status other than 200 for the entry as a whole.
    pub refused: Option<u16>,
}

impl Entry {
    /// The last part of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn depth(&self) -> usize {
        self.path.split('/').filter(|part| !part.is_empty()).count()
    }
}

/// So many entries are taken in of one folder.
pub(super) const MOST_ENTRIES: usize = 200_000;

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAListing {
    #[error("its answer is no list of files: {0}")]
    Odd(String),
    #[error(
        "it lists more than {MOST_ENTRIES} files in one folder: there is room for millions of objects in the others, so something else writes there"
    )]
    TooMany,
}

/// What the properties of one `propstat` are, until its status says whether they count.
#[derive(Default)]
struct Properties {
    folder: bool,
    len: Option<u64>,
    modified: Option<Timestamp>,
    quota_available: Option<u64>,
    quota_used: Option<u64>,
    status: Option<u16>,
}

/// Reads a whole answer. One that is cut off is an error, never a shorter listing.
pub(super) fn read(body: &[u8]) -> Result<Vec<Entry>, NotAListing> {
    let bad = |what: &dyn std::fmt::Display| NotAListing::Odd(shown(what.to_string()));
    let text = std::str::from_utf8(body).map_err(|error| bad(&error))?;
    let mut reader = NsReader::from_str(text);
    let mut open: Vec<String> = Vec::new();
    let mut ended = false;
    let mut entries = Vec::new();
    let mut entry = Entry::default();
    let mut properties = Properties::default();
    let mut said = String::new();
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|error| bad(&error))?;
        let dav = matches!(namespace, ResolveResult::Bound(Namespace("DAV:")));
        match event {
            Event::Start(start) => {
                let name = tag(dav, start.local_name().into_inner());
                begin(&name, &open, &mut entry, &mut properties);
                open.push(name);
                said.clear();
            }
            Event::Empty(start) => {
                let name = tag(dav, start.local_name().into_inner());
                begin(&name, &open, &mut entry, &mut properties);
            }
            Event::Text(text) => said.push_str(&text.xml10_content()),
            Event::CData(text) => said.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.xml10_content().as_ref() {
                "amp" => said.push('&'),
                "lt" => said.push('<'),
                "gt" => said.push('>'),
                "quot" => said.push('"'),
                "apos" => said.push('\''),
                other => said.push(char_of(other).ok_or_else(|| bad(&"an unknown entity"))?),
            },
            Event::End(_) => {
                let Some(name) = open.pop() else {
                    return Err(bad(&"an end without a beginning"));
                };
                let parent = open.last().map(String::as_str).unwrap_or_default();
                let value = said.trim();
                match (parent, name.as_str()) {
                    ("response", "href") => entry.path = path_of(value),
                    ("response", "status") => entry.refused = status(value),
                    ("propstat", "status") => properties.status = status(value),
                    ("prop", "getcontentlength") => properties.len = value.parse().ok(),
                    ("prop", "getlastmodified") => properties.modified = http_date(value),
                    ("prop", "quota-available-bytes") => {
                        properties.quota_available = value.parse().ok();
                    }
                    ("prop", "quota-used-bytes") => properties.quota_used = value.parse().ok(),
                    ("response", "propstat") => take(&mut entry, &properties),
                    ("multistatus", "response") => {
                        entry.refused = entry.refused.filter(|status| *status != 200);
                        if entries.len() > MOST_ENTRIES {
                            return Err(NotAListing::TooMany);
                        }
                        entries.push(std::mem::take(&mut entry));
                    }
                    ("", "multistatus") => ended = true,
                    _ => {}
                }
                said.clear();
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    if !ended || !open.is_empty() {
        return Err(bad(&"it is cut off"));
    }
    Ok(entries)
}

/// The entries of a folder without the folder itself, which must be among what the server says.
pub(super) fn children(entries: Vec<Entry>) -> Result<Vec<Entry>, NotAListing> {
    let top = entries
        .iter()
        .map(Entry::depth)
        .min()
        .ok_or_else(|| NotAListing::Odd("it is empty".into()))?;
    let (folder, children): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.depth() == top);
    match folder.as_slice() {
        [folder] if folder.folder => Ok(children),
        _ => Err(NotAListing::Odd("the folder itself is missing".into())),
    }
}

/// Names of other namespaces are told apart from those of WebDAV by a mark that no name has.
fn tag(dav: bool, name: &str) -> String {
    if dav {
        name.to_owned()
    } else {
        format!("?{name}")
    }
}

fn begin(name: &str, open: &[String], entry: &mut Entry, properties: &mut Properties) {
    match (open.last().map(String::as_str).unwrap_or_default(), name) {
        ("multistatus", "response") => *entry = Entry::default(),
        ("response", "propstat") => *properties = Properties::default(),
        ("resourcetype", "collection") => properties.folder = true,
        _ => {}
    }
}

fn take(entry: &mut Entry, properties: &Properties) {
    if properties.status != Some(200) {
        return;
    }
    entry.folder |= properties.folder;
    entry.len = entry.len.or(properties.len);
    entry.modified = entry.modified.or(properties.modified);
    entry.quota_available = entry.quota_available.or(properties.quota_available);
    entry.quota_used = entry.quota_used.or(properties.quota_used);
}

/// The number in `HTTP/1.1 200 OK`.
fn status(line: &str) -> Option<u16> {
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The path of a link, which some servers write with their own name in front.
fn path_of(href: &str) -> String {
    let path = match href.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)),
        None => Some(href),
    };
    let path = path.unwrap_or_default().trim_end_matches('/');
    let mut bytes = Vec::with_capacity(path.len());
    let mut pieces = path.split('%');
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        match piece
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(piece.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A numeric character reference.
fn char_of(reference: &str) -> Option<char> {
    let digits = reference.strip_prefix('#')?;
    let number = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    char::from_u32(number)
}

/// The time in `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp {
        secs: zoned.timestamp().as_second(),
        nanos: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const APACHE: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
<D:response xmlns:lp1="DAV:" xmlns:lp2="http://apache.org/dav/props/" xmlns:g0="DAV:">
<D:href>/dav/d%201/</D:href>
<D:propstat><D:prop><lp1:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</lp1:getlastmodified>
<lp1:resourcetype><D:collection/></lp1:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>
<D:propstat><D:prop><g0:getcontentlength/><g0:quota-available-bytes/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>
</D:response>
<D:response xmlns:lp1="DAV:" xmlns:lp2="http://apache.org/dav/props/">
<D:href>/dav/d%201/b&amp;c</D:href>
<D:propstat><D:prop><lp1:getcontentlength>200000</lp1:getcontentlength><lp2:executable>F</lp2:executable>
<lp1:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</lp1:getlastmodified><lp1:resourcetype/></D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
</D:multistatus>
"#;

    #[test]
    fn a_listing_as_apache_writes_it() {
        let entries = read(APACHE.as_bytes()).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].path.as_str(), entries[0].folder),
            ("/dav/d 1", true)
        );
        let children = children(entries).unwrap();
        assert_eq!(children.len(), 1);
        let file = &children[0];
        assert_eq!((file.name(), file.folder), ("b&c", false));
        assert_eq!(file.len, Some(200_000));
        assert_eq!(
            file.modified,
            Some(Timestamp {
                secs: 784_111_777,
                nanos: 0
            })
        );
    }

    #[test]
    fn p4_a_listing_cut_off_anywhere_is_an_error_and_never_shorter() {
        let end = APACHE.trim_end().len();
        for cut in 0..end {
            if APACHE.is_char_boundary(cut) {
                assert!(read(&APACHE.as_bytes()[..cut]).is_err(), "{cut}");
            }
        }
        assert!(read(&APACHE.as_bytes()[..end]).is_ok());
    }

    #[test]
    fn what_is_no_listing_of_the_folder_is_refused() {
        for text in [
            "",
            "<html><body>Welcome</body></html>",
            "{}",
            r#"<multistatus/>"#,
            r#"<D:multistatus xmlns:D="other:"></D:multistatus>"#,
        ] {
            assert!(
                read(text.as_bytes()).and_then(children).is_err(),
                "{text:?}"
            );
        }
        let without_itself = APACHE.replace("/dav/d%201/<", "/dav/d%201/a<");
        assert!(children(read(without_itself.as_bytes()).unwrap()).is_err());
    }

    #[test]
    fn p10_a_listing_without_end_is_refused() {
        let entry = "<response><href>/x/y</href></response>";
        let listing = |count| {
            let entries = entry.repeat(count);
            format!("<multistatus xmlns='DAV:'>{entries}</multistatus>")
        };
        assert_eq!(read(listing(1_000).as_bytes()).unwrap().len(), 1_000);
        let error = read(listing(MOST_ENTRIES + 2).as_bytes()).unwrap_err();
        assert!(matches!(error, NotAListing::TooMany), "{error}");
    }

    #[test]
    fn quotas_and_refusals_and_whole_urls_are_read() {
        let text = r#"<multistatus xmlns="DAV:"><response><href>https://nas:8443/dav/x/</href><propstat><prop>
<quota-available-bytes>596</quota-available-bytes><quota-used-bytes>4</quota-used-bytes><resourcetype><collection/></resourcetype>
</prop><status>HTTP/1.1 200 OK</status></propstat></response>
<response><href>/dav/x/y</href><status>HTTP/1.1 403 Forbidden</status></response></multistatus>"#;
        let entries = read(text.as_bytes()).unwrap();
        assert_eq!(entries[0].path, "/dav/x");
        assert_eq!(
            (entries[0].quota_available, entries[0].quota_used),
            (Some(596), Some(4))
        );
        assert_eq!(entries[1].refused, Some(403));
    }
}
