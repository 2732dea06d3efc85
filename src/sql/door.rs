//! What is refused before a parser sees it: text that is too long, or nested too deeply.
//!
//! An expression is as deep as it has operators in a row, and parser and planner descend once a
//! level. What is beside each other, such as the values of a list, is not deep, however long the
//! list is. This is the cheap door, and no proof: a question is answered by a process that may die
//! (`process.rs`).

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::SqlError;

/// Longest text of all statements together, in bytes.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// Most levels of an expression. 8,000 overflow even the stack that planners are given.
const MOST_LEVELS: usize = 2_000;

/// Most parentheses, brackets and CASEs inside each other. Past 50 the parser gives up, but only
/// after it has tried every alternative on the way back, which are twice as many with each level.
const MOST_NESTS: usize = 40;

/// Refuses text that could be too deep to be planned.
///
/// # Errors
///
/// Says what there is too much of.
pub(super) fn check(sql: &str) -> Result<(), SqlError> {
    let too_much = |what: String| Err(SqlError::TooDeep { reason: what });
    if sql.len() > MOST_BYTES {
        return too_much(format!("the statement has more than {MOST_BYTES} bytes"));
    }
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else {
        // The parser says better what is wrong.
        return Ok(());
    };
    let mut depth = Depth::default();
    for token in &tokens {
        depth.take(token);
    }
    if depth.nests_max > MOST_NESTS {
        return too_much(format!(
            "{} parentheses are nested, and at most {MOST_NESTS} can be planned",
            depth.nests_max
        ));
    }
    let levels = depth.levels();
    if levels > MOST_LEVELS {
        return too_much(format!(
            "an expression has {levels} levels of operators and parentheses, and at most \
             {MOST_LEVELS} can be planned"
        ));
    }
    Ok(())
}

/// What is inside one pair of parentheses, as far as it has been read.
#[derive(Debug, Default)]
struct Frame {
    /// Operators of the current item of its list.
    operators: usize,
    /// Levels of the deepest thing in parentheses in the current item.
    inside: usize,
    /// Levels of the deepest item.
    items_max: usize,
    /// Queries and relations that are joined one to another.
    joined: usize,
    /// True from FROM to the next clause: relations beside each other are joined.
    is_from: bool,
}

impl Frame {
    fn levels(&self) -> usize {
        self.items_max.max(self.operators + self.inside) + self.joined
    }

    /// The next item of a list is beside the last one, not below it.
    fn next_item(&mut self) {
        self.items_max = self.items_max.max(self.operators + self.inside);
        (self.operators, self.inside) = (0, 0);
    }
}

/// Levels of the expressions of a text, from its tokens.
#[derive(Debug, Default)]
struct Depth {
    outer: Vec<Frame>,
    frame: Frame,
    nests_max: usize,
    levels_max: usize,
}

impl Depth {
    fn take(&mut self, token: &Token) {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => self.open(),
            Token::RParen | Token::RBracket | Token::RBrace => self.close(),
            Token::Comma if self.frame.is_from => self.frame.joined += 1,
            Token::Comma => self.frame.next_item(),
            Token::SemiColon => {
                self.levels_max = self.levels();
                (self.outer, self.frame) = Default::default();
            }
            Token::Word(word) => self.take_word(word.keyword),
            Token::Whitespace(_)
            | Token::Period
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::EOF => {}
            _ => self.frame.operators += 1,
        }
    }

    fn take_word(&mut self, keyword: Keyword) {
        match keyword {
            // What stands between operands, or beside a keyword that counts, nests nothing.
            Keyword::NoKeyword
            | Keyword::SELECT
            | Keyword::ALL
            | Keyword::DISTINCT
            | Keyword::AS
            | Keyword::ON
            | Keyword::BY
            | Keyword::NULL
            | Keyword::TRUE
            | Keyword::FALSE => {}
            Keyword::CASE => self.open(),
            Keyword::END => self.close(),
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE => self.frame.next_item(),
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::JOIN => {
                self.frame.joined += 1;
                self.frame.is_from = keyword == Keyword::JOIN;
            }
            Keyword::FROM => self.frame.is_from = true,
            Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::ORDER
            | Keyword::WINDOW
            | Keyword::LIMIT => {
                self.frame.is_from = false;
            }
            // Any other may be a prefix or a suffix, such as INTERVAL or AT TIME ZONE.
            _ => self.frame.operators += 1,
        }
    }

    fn open(&mut self) {
        self.frame.operators += 1;
        self.outer.push(std::mem::take(&mut self.frame));
        self.nests_max = self.nests_max.max(self.outer.len());
    }

    fn close(&mut self) {
        // One that closes nothing is for the parser to refuse.
        if let Some(outer) = self.outer.pop() {
            let inner = std::mem::replace(&mut self.frame, outer);
            self.frame.inside = self.frame.inside.max(inner.levels());
        }
    }

    fn levels(&self) -> usize {
        let open: usize = self.outer.iter().map(Frame::levels).sum();
        self.levels_max.max(open + self.frame.levels())
    }
}

#[cfg(test)]
mod tests {
    use super::{Depth, MOST_BYTES, MOST_NESTS, check};
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    fn levels(sql: &str) -> usize {
        let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap();
        let mut depth = Depth::default();
        tokens.iter().for_each(|token| depth.take(token));
        depth.levels()
    }

    #[test]
    fn what_is_beside_each_other_is_not_deep() {
        let negatives = vec!["-1"; 5_000].join(", ");
        let cases = "WHEN 1 = 1 THEN 2 + 2 ".repeat(3_000);
        for sql in [
            format!("SELECT 1 IN ({negatives})"),
            format!("SELECT {negatives}"),
            format!("SELECT CASE {cases} END"),
            format!(
                "SELECT * FROM (VALUES {})",
                vec!["(1, -1)"; 4_000].join(", ")
            ),
            "SELECT 1 + 1;".repeat(3_000),
        ] {
            assert!(levels(&sql) < 12, "{}: {}", &sql[..40], levels(&sql));
            check(&sql).unwrap();
        }
    }

    #[test]
    fn what_is_below_each_other_is_counted_through_every_list() {
        let deep = |start: &str, unit: &str| {
            let sql = format!("{start}{}", unit.repeat(3_000));
            let levels = levels(&sql);
            assert!(levels >= 3_000, "{start}{unit}: {levels}");
            assert!(check(&sql).is_err(), "{start}{unit}");
        };
        deep("SELECT 1", " + 1");
        deep("SELECT ", "INTERVAL ");
        deep("SELECT 1", " AT TIME ZONE 'UTC'");
        deep("SELECT 1", " IS NULL");
        deep("SELECT 1", " COLLATE a");
        deep("SELECT a", "[1]");
        deep("SELECT ", "f(1, ");
        deep("SELECT ", "CASE WHEN 1 THEN ");
        deep("SELECT ", "[");
        deep("SELECT 1, 2", " UNION ALL SELECT 1, 2");
        deep("SELECT 1 FROM a", ", b");
        deep("SELECT 1, 2 FROM a", " JOIN b ON true, c");
        deep("SELECT ", "PRIOR ");
        deep("SELECT 'a'", " || 'a'");
        deep("SELECT 1", "::int");
    }

    #[test]
    fn parts_in_parentheses_beside_each_other_count_once() {
        let sums = vec!["(1 + 1)"; 500].join(", ");
        assert!(levels(&format!("SELECT greatest({sums})")) < 12);
        // In a chain, the chain and the deepest of its parts.
        assert!(levels(&format!("SELECT {}", vec!["(1 * 1 * 1)"; 20].join(" + "))) < 50);
    }

    #[test]
    fn text_without_end_is_refused_before_it_is_read() {
        let error = check(&"x".repeat(MOST_BYTES + 1)).unwrap_err();
        assert!(error.to_string().contains("bytes"), "{error}");
        check(&format!("SELECT '{}'", "x".repeat(1_000_000))).unwrap();
    }

    #[test]
    fn nests_are_few() {
        let nested = |count: usize| format!("SELECT {}1{}", "(".repeat(count), ")".repeat(count));
        check(&nested(MOST_NESTS)).unwrap();
        let error = check(&nested(MOST_NESTS + 1)).unwrap_err();
        assert!(error.to_string().contains("nested"), "{error}");
    }
}
