//! Texts of anybody's, short enough for a message and without what would do something to a terminal.

use std::fmt;

/// Characters of a name or a value that a message quotes.
const QUOTED_CHARS: usize = 120;

/// Characters of a message in the engine's or a parser's words, which may quote anything.
const MESSAGE_CHARS: usize = 600;

/// A text of anybody's, in a message: what is too long ends with an ellipsis, and control characters
/// but line breaks are spaces.
pub(super) struct Short<'a>(pub(super) &'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_short(self.0, MESSAGE_CHARS, out)
    }
}

fn write_short(text: &str, chars: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    for (at, letter) in text.chars().enumerate() {
        if at == chars {
            return out.write_char('…');
        }
        let is_shown = !letter.is_control() || letter == '\n';
        out.write_char(if is_shown { letter } else { ' ' })?;
    }
    Ok(())
}

/// Takes the start of what is written into it, on one line, and then no more: a value may be far
/// larger than what is shown of it.
#[derive(Default)]
pub(super) struct Quoted {
    pub(super) text: String,
    chars: usize,
}

impl fmt::Write for Quoted {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for letter in part.chars() {
            if self.chars == QUOTED_CHARS {
                self.text.push('…');
                self.chars += 1;
            }
            if self.chars > QUOTED_CHARS {
                return Err(fmt::Error);
            }
            self.text
                .push(if letter.is_control() { ' ' } else { letter });
            self.chars += 1;
        }
        Ok(())
    }
}

/// Returns the start of a text of anybody's, for a message that quotes it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = Quoted::default();
    // It fails where it has enough.
    let _ = fmt::Write::write_str(&mut quoted, text);
    quoted.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_the_start_of_one_line() {
        assert_eq!(quoted("a\u{1b}[2J\nb"), "a [2J b");
        assert_eq!(
            quoted(&"x".repeat(1_000_000)).chars().count(),
            QUOTED_CHARS + 1
        );
    }
}
