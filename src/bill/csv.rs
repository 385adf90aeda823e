//! CSV for spreadsheets: RFC 4180, and no cell that a spreadsheet would run.

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Anything that somebody wrote. Where it begins like a formula it is made inert by an apostrophe before it.
    Text(String),
    /// A number of ours: it stays a number for a spreadsheet and for a program, below zero too.
    Number(String),
}

impl Cell {
    /// A text, or an empty cell.
    pub fn text(value: Option<impl ToString>) -> Self {
        Self::Text(value.map(|value| value.to_string()).unwrap_or_default())
    }

    /// A number, or an empty cell.
    pub fn number(value: Option<impl ToString>) -> Self {
        Self::Number(value.map(|value| value.to_string()).unwrap_or_default())
    }
}

/// One line. Cells are quoted where they have to be.
pub fn line(cells: &[Cell]) -> String {
    let cells: Vec<_> = cells
        .iter()
        .map(|cell| match cell {
            Cell::Text(text) => quote(&inert(text)),
            Cell::Number(digits) => digits.clone(),
        })
        .collect();
    cells.join(",") + "\r\n"
}

/// The first line: names of ours.
pub fn header(names: &[&str]) -> String {
    names.join(",") + "\r\n"
}

/// OWASP, "CSV Injection": `=`, `+`, `-`, `@`, tab and carriage return begin a formula.
fn inert(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula {
        format!("'{cell}")
    } else {
        cell.into()
    }
}

fn quote(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_formulas_are_inert() {
        let cells = [
            "plain",
            "a,b",
            "say \"x\"",
            "=1+1",
            "+1",
            "-1",
            "@sum",
            "\t=1",
            "a=b",
            "",
        ];
        assert_eq!(
            line(&cells.map(|cell| Cell::Text(cell.into()))),
            "plain,\"a,b\",\"say \"\"x\"\"\",'=1+1,'+1,'-1,'@sum,'\t=1,a=b,\r\n"
        );
    }

    #[test]
    fn a_number_below_zero_stays_a_number() {
        assert_eq!(
            line(&[Cell::number(Some(-5)), Cell::number(None::<u64>)]),
            "-5,\r\n"
        );
    }
}
