//! `%` escapes.

use super::UrlError;

/// Escapes what could not stand in a URL as itself. Slashes stay in paths.
pub(crate) fn escape(text: &str, path: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || (path && matches!(byte, b'/' | b'+' | b',' | b'=' | b'@' | b':' | b'!'));
        if plain {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

pub(super) fn unescape(text: &str) -> Result<String, UrlError> {
    let bad = UrlError::BadPath {
        why: "a % must be followed by two hexadecimal digits",
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let digits = piece
            .get(..2)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| bad.clone())?;
        bytes.push(byte);
        bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| UrlError::BadPath {
        why: "it is not UTF-8",
    })
}
