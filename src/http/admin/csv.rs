//! CSV for spreadsheets: RFC 4180, and no cell that a spreadsheet would run.

/// One line. A cell that begins like a formula is made inert by an apostrophe before it, and cells are quoted where
/// they have to be.
pub fn line(cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| quote(&inert(cell))).collect();
    cells.join(",") + "\r\n"
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
            line(&cells.map(String::from)),
            "plain,\"a,b\",\"say \"\"x\"\"\",'=1+1,'+1,'-1,'@sum,'\t=1,a=b,\r\n"
        );
    }
}
