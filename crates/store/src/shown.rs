//! What a server says, on its way into an error or a log.

/// So many characters of it are shown.
const SHOWN: usize = 200;

/// A server's words, cut to 200 characters, and harmless to whoever reads them on a terminal or in a log: control characters, line ends and the marks that turn
/// text round are replaced.
pub(crate) fn shown(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    let mut chars = text
        .chars()
        .map(|c| if is_tame(c) { c } else { '\u{fffd}' });
    let mut shown: String = chars.by_ref().take(SHOWN).collect();
    if chars.next().is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

fn is_tame(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_what_a_server_says_is_cut_and_cannot_move_the_cursor() {
        assert_eq!(shown("no such file: 契約書"), "no such file: 契約書");
        assert_eq!(
            shown("a\u{1b}[2J\r\nb\u{202e}c\0"),
            "a\u{fffd}[2J\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}"
        );
        let exact = "字".repeat(SHOWN);
        assert_eq!(shown(&exact), exact);
        let long = shown("字".repeat(100_000));
        assert_eq!(long.chars().count(), SHOWN);
        assert!(long.ends_with("字…"));
    }
}
