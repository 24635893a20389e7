//! The results beside each other: what, ours, theirs, ratio, floor.

use std::fmt;

use serde_json::{Value, json};

use crate::row::{Row, Unit};

/// Whose numbers a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Ours,
    Theirs,
    Floor,
}

struct Line {
    /// Place of the measure in the run.
    measure: usize,
    id: String,
    what: String,
    unit: Unit,
    /// By [`Column`].
    values: [Option<f64>; 3],
}

/// Lines in the order of the measures.
#[derive(Default)]
pub struct Table(Vec<Line>);

impl Table {
    /// Puts a number where it belongs. `measure` is the place of its measure in the run.
    pub fn add(&mut self, column: Column, measure: usize, row: Row) {
        let at = self.0.iter().position(|line| line.id == row.id);
        let at = at.unwrap_or_else(|| {
            let place = self.0.partition_point(|line| line.measure <= measure);
            let line = Line {
                measure,
                id: row.id,
                what: row.what,
                unit: row.unit,
                values: [None; 3],
            };
            self.0.insert(place, line);
            place
        });
        self.0[at].values[column as usize] = Some(row.value);
    }

    /// For a program that compares runs.
    pub fn to_json(&self) -> Value {
        let line = |line: &Line| {
            let [ours, theirs, floor] = line.values;
            json!({
                "id": line.id, "what": line.what, "unit": line.unit.name(),
                "ours": ours, "theirs": theirs, "ratio": line.ratio(), "floor": floor,
            })
        };
        self.0.iter().map(line).collect()
    }
}

impl Line {
    fn ratio(&self) -> Option<f64> {
        let [ours, theirs, _] = self.values;
        self.unit.ratio(ours?, theirs?)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .0
            .iter()
            .map(|line| line.what.chars().count())
            .max()
            .unwrap_or(0);
        writeln!(
            f,
            "{:width$}  {:>12}  {:>12}  {:>7}  {:>12}",
            "what", "ours", "theirs", "ratio", "floor"
        )?;
        for line in &self.0 {
            let value = |column: Column| match line.values[column as usize] {
                Some(value) => line.unit.show(value),
                None => "-".to_owned(),
            };
            let ratio = line
                .ratio()
                .map_or("-".to_owned(), |ratio| format!("{ratio:.2}x"));
            writeln!(
                f,
                "{:width$}  {:>12}  {:>12}  {ratio:>7}  {:>12}",
                line.what,
                value(Column::Ours),
                value(Column::Theirs),
                value(Column::Floor)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn numbers_of_one_row_stand_beside_each_other_in_the_order_of_the_measures() {
        let mut table = Table::default();
        table.add(Column::Floor, 1, Row::rate("messages", "messages", 900.0));
        table.add(Column::Ours, 1, Row::rate("messages", "messages", 600.0));
        table.add(
            Column::Ours,
            0,
            Row::time("start", "start", Duration::from_secs(1)),
        );
        table.add(Column::Theirs, 1, Row::rate("messages", "messages", 200.0));
        let text = table.to_string();
        let line: Vec<&str> = text
            .lines()
            .nth(2)
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(line, ["messages", "600/s", "200/s", "3.00x", "900/s"]);
        assert_eq!(table.to_json()[0]["theirs"], Value::Null);
    }
}
