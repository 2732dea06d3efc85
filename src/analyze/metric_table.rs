//! The table of metrics, for the code that tells what SQL computed.
//!
//! `queries/views/metrics.sql` is the one place for a metric's order, kind, unit and direction. It is
//! read as text: a condition on a command line is judged before there is a tape to ask.

use std::sync::LazyLock;

use crate::sql::VIEWS;

/// What a metric is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number of requests.
    Count,
    /// A rate or a share, of a run or a window.
    Rate,
    /// A latency.
    Latency,
    /// What the client did before a request was on its way.
    Client,
    /// How fast a single request was served.
    Speed,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetricRow {
    /// Its name, as in results.
    pub(crate) name: &'static str,
    /// What it is of.
    pub(crate) kind: Kind,
    /// Its unit; times are in `ns`.
    pub(crate) unit: &'static str,
    /// Which way is better; `None` where neither is.
    pub(crate) is_higher_better: Option<bool>,
}

/// Every row, in the order in which metrics are told.
pub(crate) static METRICS: LazyLock<Vec<MetricRow>> = LazyLock::new(|| {
    let file = VIEWS.iter().find(|(name, _)| *name == "metrics");
    let lines = file.map_or("", |(_, sql)| sql).lines();
    lines.filter_map(row).collect()
});

/// Returns the row of a metric; `None` for a name that the table lacks.
pub(crate) fn metric_row(name: &str) -> Option<&'static MetricRow> {
    METRICS.iter().find(|row| row.name == name)
}

/// Returns the names of one kind, in their order.
pub(super) fn names_of(kind: Kind) -> impl Iterator<Item = &'static str> {
    let rows = METRICS.iter().filter(move |row| row.kind == kind);
    rows.map(|row| row.name)
}

/// Reads `('name', place, 'kind', 'unit', 'better'),`; any other line is no row.
fn row(line: &'static str) -> Option<MetricRow> {
    let cells = line.trim().trim_end_matches(',');
    let cells = cells.strip_prefix("('")?.strip_suffix(')')?;
    let mut cells = cells.split(", ").map(|cell| cell.trim_matches('\''));
    let (name, _place) = (cells.next()?, cells.next()?);
    Some(MetricRow {
        name,
        kind: match cells.next()? {
            "count" => Kind::Count,
            "rate" => Kind::Rate,
            "latency" => Kind::Latency,
            "client" => Kind::Client,
            "speed" => Kind::Speed,
            _ => return None,
        },
        unit: cells.next()?,
        is_higher_better: match cells.next()? {
            "higher" => Some(true),
            "lower" => Some(false),
            _ => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{CATALOG, views};
    use crate::runtime::block_on;
    use crate::sql::fixture::TapeFixture;
    use crate::sql::{Settings, open_tapes};

    #[test]
    fn the_engine_reads_the_same_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = TapeFixture::default().write(&folder.path().join("t.tape"));
        let sql = "SELECT name || ' ' || kind || ' ' || unit || ' ' || coalesce(better, '-') AS line \
                   FROM metrics ORDER BY place";
        let batches = block_on(async {
            let tapes = open_tapes(&[path], &Settings::default()).await.unwrap();
            tapes.context.sql(sql).await.unwrap().collect().await
        });
        let batches = batches.unwrap().unwrap();
        let found: Vec<String> = batches
            .iter()
            .flat_map(|batch| crate::analyze::cells::rows(batch).unwrap())
            .filter_map(|cells| cells[0].text().map(str::to_owned))
            .collect();
        let line = |row: &MetricRow| {
            let better = match row.is_higher_better {
                Some(true) => "higher",
                Some(false) => "lower",
                None => "-",
            };
            let kind = format!("{:?}", row.kind).to_lowercase();
            format!("{} {kind} {} {better}", row.name, row.unit)
        };
        assert_eq!(found, METRICS.iter().map(line).collect::<Vec<_>>());
        assert!(found.len() > 20, "{found:?}");
    }

    #[test]
    fn units_are_those_of_the_definitions() {
        let of_queries = CATALOG.iter().flat_map(|query| query.defines.clone());
        let of_views = views().into_iter().flat_map(|view| view.defines);
        let mut compared = 0;
        for defined in of_queries.chain(of_views) {
            if let Some(row) = metric_row(&defined.name) {
                assert_eq!(row.unit, defined.unit, "{}", defined.name);
                compared += 1;
            }
        }
        assert!(compared > 20, "{compared} definitions");
    }
}
