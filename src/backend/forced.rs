//! How servers are made to say a text: by a grammar that allows no other.

/// A regular expression that matches this text alone, of the kind that engines compile for decoding
/// (those of Rust and of Python without flags).
pub(super) fn regex(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + text.len() / 8);
    for letter in text.chars() {
        match letter {
            '\n' => pattern.push_str("\\n"),
            '\r' => pattern.push_str("\\r"),
            '\t' => pattern.push_str("\\t"),
            '\\' | '.' | '^' | '$' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|'
            | '/' | '-' => {
                pattern.push('\\');
                pattern.push(letter);
            }
            letter => pattern.push(letter),
        }
    }
    pattern
}

/// A grammar in llama.cpp's form (GBNF) whose only sentence is this text.
pub(super) fn gbnf(text: &str) -> String {
    let mut grammar = String::with_capacity(text.len() + 16);
    grammar.push_str("root ::= \"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                grammar.push('\\');
                grammar.push(letter);
            }
            '\n' => grammar.push_str("\\n"),
            '\r' => grammar.push_str("\\r"),
            '\t' => grammar.push_str("\\t"),
            letter => grammar.push(letter),
        }
    }
    grammar.push('"');
    grammar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_only_one_that_is_allowed() {
        let text = "a.b\n[1] \\ \"c\" é (x|y)*";
        assert_eq!(regex(text), r#"a\.b\n\[1\] \\ "c" é \(x\|y\)\*"#);
        assert_eq!(gbnf(text), "root ::= \"a.b\\n[1] \\\\ \\\"c\\\" é (x|y)*\"");
        let found = regex_automata::meta::Regex::new(&regex(text)).unwrap();
        assert_eq!(found.find(text).map(|it| it.range()), Some(0..text.len()));
        assert!(found.find("axb").is_none());
    }
}
