//! Result tables by column name, as every part of a report reads them.

pub(crate) use crate::analyze::{Row, rows, rows_of};
