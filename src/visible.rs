//! Text from outside made visible: what would move a cursor, colour what follows or turn its
//! direction is shown by its number, so that it can be read and does nothing.

use std::borrow::Cow;

/// Says whether a letter does something other than be seen: it controls a terminal, ends a line, or
/// turns the direction of what follows.
pub(crate) fn is_hidden(letter: char) -> bool {
    let turns = matches!(
        letter,
        '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns || letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')
}

/// Shows text on one line, such as a name or a message: `\n` for a line end, `\u{1b}` for an escape.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    shown(text, is_hidden)
}

/// As [`visible`], for text of several lines, which keeps its line ends and tabs.
pub(crate) fn visible_lines(text: &str) -> Cow<'_, str> {
    shown(text, |letter| is_hidden(letter) && !"\n\t".contains(letter))
}

fn shown(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_hidden(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_something_is_shown_by_its_number_and_the_rest_stays() {
        assert_eq!(visible("new\nline\r"), r"new\nline\r");
        assert_eq!(
            visible("\u{1b}[2J\u{7}\u{9b}1m\u{7f}"),
            r"\u{1b}[2J\u{7}\u{9b}1m\u{7f}"
        );
        assert_eq!(
            visible("\u{202e}gnp.exe\u{2069}"),
            r"\u{202e}gnp.exe\u{2069}"
        );
        assert_eq!(visible_lines("a\tb\n\u{1b}c"), "a\tb\n\\u{1b}c");
        let plain = r"naïve 東京 \ 🦀 e\u{301}";
        assert!(matches!(visible(plain), Cow::Borrowed(text) if text == plain));
    }
}
