//! Figures, their table, and their file.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::error::{BenchError, io};

/// One figure beside its yardstick.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// As the targets name it.
    pub name: String,
    /// The median of its runs.
    pub value: f64,
    /// Of the value and the yardstick.
    pub unit: String,
    /// The median of the yardstick's runs; `None` where the target is absolute.
    pub yardstick: Option<f64>,
    /// The median of the pairs' ratios; without a yardstick the value.
    pub ratio: f64,
    /// The smallest ratio of a pair.
    pub min: f64,
    /// The largest ratio of a pair.
    pub max: f64,
}

impl Figure {
    /// A figure without a yardstick.
    pub fn absolute(name: &str, unit: &str, value: f64) -> Self {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        Self { name, value, unit, yardstick: None, ratio: value, min: value, max: value }
    }

    /// A figure from pairs (value, yardstick), of which there is at least one.
    pub fn paired(name: &str, unit: &str, pairs: &[(f64, f64)]) -> Self {
        let ratios: Vec<f64> = pairs.iter().map(|(value, yardstick)| value / yardstick).collect();
        Self {
            name: name.to_owned(),
            value: median(pairs.iter().map(|pair| pair.0)),
            unit: unit.to_owned(),
            yardstick: Some(median(pairs.iter().map(|pair| pair.1))),
            ratio: median(ratios.iter().copied()),
            min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            max: ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// The middle of some numbers, the mean of the two middle ones of an even number; NaN of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The figures as a table.
pub fn table(figures: &[Figure]) -> String {
    let mut rows = vec![["name", "value", "yardstick", "unit", "ratio", "min–max"].map(str::to_owned)];
    for figure in figures {
        let (ratio, range) = match figure.yardstick {
            Some(_) => (format!("{:.3}", figure.ratio), format!("{:.3}–{:.3}", figure.min, figure.max)),
            None => (String::new(), String::new()),
        };
        let yardstick = figure.yardstick.map(number).unwrap_or_default();
        rows.push([figure.name.clone(), number(figure.value), yardstick, figure.unit.clone(), ratio, range]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let cell = if matches!(column, 0 | 3) { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            // Writing to a string cannot fail.
            let _ = write!(text, "{cell}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// A number with as many digits as a person reads.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes the figures as JSON.
pub fn write(figures: &[Figure], path: &Path) -> Result<(), BenchError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io(format!("make {}", folder.display())))?;
    }
    let json = serde_json::to_string_pretty(figures).map_err(std::io::Error::other).map_err(io("write figures"))?;
    std::fs::write(path, json + "\n").map_err(io(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_that_the_machine_slowed_down_does_not_move_the_ratio() {
        let figure = Figure::paired("x", "1/s", &[(30.0, 100.0), (3.0, 10.0), (60.0, 100.0)]);
        assert_eq!((figure.ratio, figure.min, figure.max), (0.3, 0.3, 0.6));
        assert_eq!((figure.value, figure.yardstick), (30.0, Some(100.0)));
    }

    #[test]
    fn tables_line_up() {
        let figures = [Figure::absolute("row-bytes", "bytes", 1_234_567.0), Figure::paired("s", "1/s", &[(1.0, 4.0)])];
        let expected = "\
name           value  yardstick  unit   ratio      min–max
row-bytes  1,234,567             bytes
s              1.000      4.000  1/s    0.250  0.250–0.250
";
        assert_eq!(table(&figures), expected);
    }

    #[test]
    fn the_middle_of_an_even_number_is_between() {
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
    }
}
