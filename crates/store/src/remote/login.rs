//! How a WebDAV server is told who asks.

use http::HeaderValue;

/// `Basic` and the user's name and password in base64.
pub(super) fn basic(user: &str, password: &[u8]) -> Option<HeaderValue> {
    let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.len()));
    plain.extend_from_slice(user.as_bytes());
    plain.push(b':');
    plain.extend_from_slice(password);
    let mut text = zeroize::Zeroizing::new(String::with_capacity(6 + plain.len().div_ceil(3) * 4));
    text.push_str("Basic ");
    base64(&plain, &mut text);
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn base64(bytes: &[u8], text: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let mut word = [0_u8; 3];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        let [a, b, c] = word.map(u32::from);
        let bits = a << 16 | b << 8 | c;
        for digit in 0..4 {
            let value = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap_or(0);
            match DIGITS.get(value).filter(|_| digit <= chunk.len()) {
                Some(letter) => text.push(char::from(*letter)),
                None => text.push('='),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_what_everybody_else_has() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("割符", "5Ymy56ym"),
        ] {
            let mut text = String::new();
            base64(plain.as_bytes(), &mut text);
            assert_eq!(text, encoded);
        }
        let value = basic("Aladdin", b"open sesame").unwrap();
        assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{value:?}").contains("QWxh"));
    }
}
