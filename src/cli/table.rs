//! Tables for people: columns aligned, numbers to the right, amounts of money at their decimal point.

use std::io::{self, Write};

/// How a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Whole numbers.
    Right,
    /// Decimals, one under the other at the point.
    Point,
}

/// A table that is being filled.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

const GAP: &str = "  ";

impl Table {
    /// A table with these columns and no rows.
    pub fn new(columns: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    /// Writes the header and the rows.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns: Vec<Vec<String>> = (0..self.columns.len()).map(|index| self.column(index)).collect();
        for line in 0..=self.rows.len() {
            let cells: Vec<&str> = columns.iter().map(|column| column[line].as_str()).collect();
            writeln!(out, "{}", cells.join(GAP).trim_end())?;
        }
        Ok(())
    }

    /// A column's cells, its header first, all of the same width.
    fn column(&self, index: usize) -> Vec<String> {
        let (header, align) = self.columns[index];
        let cells: Vec<&str> = self
            .rows
            .iter()
            .map(|row| row.get(index).map_or("", String::as_str))
            .collect();
        let body = match align {
            Align::Point => at_the_point(&cells),
            Align::Left | Align::Right => cells.into_iter().map(String::from).collect(),
        };
        let all = || std::iter::once(header).chain(body.iter().map(String::as_str));
        let width = all().map(width_of).max().unwrap_or(0);
        all().map(|cell| pad(cell, width, align == Align::Left)).collect()
    }
}

/// Fills the decimals up with spaces, so that aligned to the right they stand at their point.
fn at_the_point(cells: &[&str]) -> Vec<String> {
    let decimals = |cell: &str| cell.find('.').map_or(0, |point| cell.len() - point);
    let most = cells.iter().map(|cell| decimals(cell)).max().unwrap_or(0);
    cells
        .iter()
        .map(|cell| format!("{cell}{}", " ".repeat(most - decimals(cell))))
        .collect()
}

fn pad(cell: &str, width: usize, left: bool) -> String {
    let space = " ".repeat(width.saturating_sub(width_of(cell)));
    if left {
        format!("{cell}{space}")
    } else {
        format!("{space}{cell}")
    }
}

fn width_of(cell: &str) -> usize {
    cell.chars().count()
}

/// No cell moves the cursor or breaks a line.
fn clean(cell: &str) -> String {
    cell.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

/// Something that may be missing.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// `1 model`, `2 models`, `2 discrepancies`.
pub fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    fn shown(table: &Table) -> String {
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_money_stands_at_its_point() {
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("N", Align::Right),
            ("COST (USD)", Align::Point),
        ]);
        table.row(["a", "1", "12"].map(String::from));
        table.row(["Zoë", "1200", "0.000000000001"].map(String::from));
        table.row(["日本", "", "-3.5"].map(String::from));
        insta::assert_snapshot!(shown(&table), @r#"
NAME     N       COST (USD)
a        1  12
Zoë   1200   0.000000000001
日本          -3.5
"#);
    }

    #[test]
    fn a_cell_cannot_drive_the_terminal() {
        let mut table = Table::new([("NAME", Align::Left)]);
        table.row(["\u{1b}[2Ja\nb".to_owned()]);
        assert_eq!(shown(&table), "NAME\n\u{fffd}[2Ja\u{fffd}b\n");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(
            shown(&Table::new([("A", Align::Left), ("B", Align::Point)])),
            "A  B\n"
        );
    }
}
