//! A part of the report under one heading.

use serde::Serialize;

use super::figures::Figure;
use super::grid::Grid;

/// A part of the report under one heading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Section {
    /// Anchor inside the page.
    pub(crate) id: &'static str,
    /// Its heading.
    pub(crate) heading: String,
    /// What is to be known before reading it.
    pub(crate) lead: String,
    /// Its tables.
    pub(crate) grids: Vec<Grid>,
    /// Its pictures.
    pub(crate) figures: Vec<Figure>,
}
