//! Text in columns.

use console::{measure_text_width, style};

/// A table with a heading: columns as wide as they must be, two blanks between them.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| measure_text_width(&row[column]))
            .chain([heading[column].len()])
            .max()
            .unwrap_or(0)
    });
    let heading = heading.map(|word| style(word).bold().to_string());
    let lines: Vec<String> = std::iter::once(&heading)
        .chain(rows)
        .map(|row| line(row, &widths))
        .collect();
    lines.join("\n")
}

/// Names and values under each other, two blanks in front.
pub(crate) fn pairs<Name: AsRef<str>, Value: AsRef<str>>(rows: &[(Name, Value)]) -> String {
    let width = rows
        .iter()
        .map(|(name, _)| measure_text_width(name.as_ref()))
        .max()
        .unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| {
            let (name, value) = (name.as_ref(), value.as_ref());
            format!("  {}{value}", padded(name, width + 2))
                .trim_end()
                .to_owned()
        })
        .collect();
    lines.join("\n")
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells: String = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| padded(cell, width + 2))
        .collect();
    cells.trim_end().to_owned()
}

fn padded(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(measure_text_width(text));
    format!("{text}{}", " ".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "long cell".to_owned(), "x".to_owned()],
            ["ä ö".to_owned(), String::new(), "y".to_owned()],
        ];
        assert_eq!(
            table(["ID", "NAME", "Z"], &rows),
            "ID   NAME       Z\na    long cell  x\nä ö             y"
        );
        assert_eq!(pairs(&[("a", "1"), ("long", "")]), "  a     1\n  long");
    }
}
