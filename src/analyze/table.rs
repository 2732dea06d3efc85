//! Query results as plain tables: what every report format is rendered from.

/// One value of a result.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Unknown or not applicable.
    Null,
    /// A whole number.
    Int(i64),
    /// A real number; never NaN or infinite.
    Float(f64),
    /// A word.
    Text(String),
    /// A truth value.
    Bool(bool),
}

/// A column's name, and its unit where the query's header gives one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name in the query.
    pub name: String,
    /// Unit, such as `ns` or `tokens/s`.
    pub unit: Option<String>,
}

/// A query's result.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Name of the query.
    pub name: String,
    /// What it answers, in one line.
    pub purpose: String,
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Rows in order, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
    /// The SQL that was run.
    pub sql: String,
}

impl Cell {
    /// Returns the word; `None` where the value is none.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number; `None` where the value is null, not finite, or no number.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and nanoseconds of a run are far below 2^53"
    )]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) if value.is_finite() => Some(*value),
            _ => None,
        }
    }
}

impl Table {
    /// Returns the value of one of the table's rows in `column`.
    pub fn cell<'a>(&self, row: &'a [Cell], column: &str) -> Option<&'a Cell> {
        let mut columns = self.columns.iter();
        row.get(columns.position(|other| other.name == column)?)
    }
}
