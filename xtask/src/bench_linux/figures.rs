//! The figures of both kernels: reading them, and putting them side by side.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

/// What one turn has printed.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Operations per second, of all workers together, by row and number of workers.
    rates: BTreeMap<(String, u32), (u32, f64)>,
    /// What Linux says about itself.
    facts: Vec<String>,
}

impl Run {
    /// Reads the lines `figure ROW WORKERS OPERATIONS NANOSECONDS` of a serial log.
    pub(super) fn parse(text: &str) -> Result<Self, Box<dyn Error>> {
        let mut run = Self::default();
        for line in text.lines().map(str::trim) {
            if let Some(fact) = line.strip_prefix("linux ") {
                run.facts.push(fact.to_owned());
            }
            let Some(figure) = line.strip_prefix("figure ") else { continue };
            let words: Vec<&str> = figure.split(' ').collect();
            let [row, workers, operations, nanoseconds] = words[..] else {
                return Err(format!("`{line}` is no figure").into());
            };
            let rate = operations.parse::<f64>()? * 1e9 / nanoseconds.parse::<f64>()?;
            let (count, total) = run.rates.entry((row.into(), workers.parse()?)).or_default();
            *count += 1;
            *total += rate;
        }
        Ok(run)
    }
}

/// Which row, on how many processors, by how many workers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    row: String,
    processors: u32,
    workers: u32,
}

/// Figures of a row, one for each turn, in operations per second.
#[derive(Debug)]
pub(super) struct Row {
    place: Place,
    linux: Vec<f64>,
    kernel: Vec<f64>,
}

impl Row {
    /// Names the row and the machine.
    pub(super) fn name(&self) -> String {
        let Place { row, processors, workers } = &self.place;
        let plural = if *workers == 1 { "" } else { "s" };
        format!("{row}, smp {processors}, {workers} worker{plural}")
    }

    /// Returns how many times as fast as Linux the kernel is, if both were measured.
    pub(super) fn ratio(&self) -> Option<f64> {
        Some(median(&self.kernel)? / median(&self.linux)?)
    }
}

/// The figures of both kernels.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    rows: Vec<Row>,
    facts: Vec<String>,
}

impl Comparison {
    /// Takes over a turn of Linux in which `workers` had `rows` to do.
    pub(super) fn add_linux(
        &mut self,
        processors: u32,
        workers: &[u32],
        rows: &[&str],
        run: Run,
    ) -> Result<(), Box<dyn Error>> {
        self.add(processors, workers, rows, &run, |row| &mut row.linux)?;
        self.facts = run.facts;
        Ok(())
    }

    /// Takes over a turn of the reference kernel.
    pub(super) fn add_kernel(
        &mut self,
        processors: u32,
        workers: &[u32],
        rows: &[&str],
        run: Run,
    ) -> Result<(), Box<dyn Error>> {
        self.add(processors, workers, rows, &run, |row| &mut row.kernel)
    }

    fn add(
        &mut self,
        processors: u32,
        workers: &[u32],
        rows: &[&str],
        run: &Run,
        side: impl Fn(&mut Row) -> &mut Vec<f64>,
    ) -> Result<(), Box<dyn Error>> {
        for (&name, &workers) in rows.iter().flat_map(|row| workers.iter().map(move |it| (row, it)))
        {
            let (count, rate) = run
                .rates
                .get(&(name.to_owned(), workers))
                .filter(|(count, _)| *count == workers)
                .ok_or_else(|| format!("not every one of {workers} workers did {name}"))?;
            debug_assert_eq!(*count, workers);
            let place = Place { row: name.into(), processors, workers };
            let at = self.rows.iter().position(|row| row.place == place).unwrap_or_else(|| {
                self.rows.push(Row { place, linux: Vec::new(), kernel: Vec::new() });
                self.rows.len() - 1
            });
            side(&mut self.rows[at]).push(*rate);
        }
        Ok(())
    }

    /// Returns the rows, in the order they were measured.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Returns what Linux says about itself.
    pub(super) fn linux_facts(&self) -> &[String] {
        &self.facts
    }

    /// Returns an array with an object for each row.
    pub(super) fn to_json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "row": row.place.row,
                "smp": row.place.processors,
                "workers": row.place.workers,
                "unit": "operations per second",
                "linux": { "median": median(&row.linux), "samples": row.linux },
                "kernel": { "median": median(&row.kernel), "samples": row.kernel },
                "ratio": row.ratio(),
            })
        };
        self.rows.iter().map(row).collect()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fact in &self.facts {
            writeln!(f, "Linux: {fact}")?;
        }
        writeln!(f, "\n| operations per second | smp | workers | Linux | this kernel | ratio |")?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|")?;
        for row in &self.rows {
            let Place { row: name, processors, workers } = &row.place;
            let [linux, kernel] = [&row.linux, &row.kernel]
                .map(|side| median(side).map_or("-".into(), |median| format!("{median:.0}")));
            let ratio = row.ratio().map_or("-".into(), |ratio| format!("{ratio:.2}"));
            writeln!(f, "| {name} | {processors} | {workers} | {linux} | {kernel} | {ratio} |")?;
        }
        Ok(())
    }
}

/// Returns the median; `None` of nothing.
fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 0 => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_add_up_and_turns_do_not() {
        let two = "noise\r\nfigure a 2 10 1000000000\r\nfigure a 2 30 2000000000\r\n";
        let mut comparison = Comparison::default();
        for _ in 0..3 {
            let run = Run::parse(two).unwrap();
            comparison.add_kernel(2, &[2], &["a"], run).unwrap();
        }
        let run = Run::parse(&two.replace("10 1000000000", "10 2000000000")).unwrap();
        comparison.add_linux(2, &[2], &["a"], run).unwrap();
        let [row] = comparison.rows() else { panic!("one row") };
        assert_eq!(row.kernel, [25.0; 3]);
        assert_eq!(row.linux, [20.0]);
        assert_eq!(row.ratio(), Some(1.25));
    }

    #[test]
    fn a_worker_without_a_figure_is_an_error() {
        let run = Run::parse("figure a 2 10 1000000000\n").unwrap();
        let result = Comparison::default().add_kernel(2, &[2], &["a"], run);
        assert_eq!(result.unwrap_err().to_string(), "not every one of 2 workers did a");
    }

    #[test]
    fn a_line_that_is_cut_short_is_an_error() {
        assert!(Run::parse("figure a 2 10\n").is_err());
    }

    #[test]
    fn the_median_of_an_even_number_is_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }
}
