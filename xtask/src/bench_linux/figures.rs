//! The figures of both kernels: reading them, and putting them side by side.
//!
//! # Samples that do not count
//!
//! The machine that measures is often one of several on a host, and what it is worth changes within a second, by half.
//! So each worker says with its figure how fast a loop went that no kernel has a part in. Of the samples of a row, those
//! count in which the loop went at least [`FULL_PACE`] times as fast as usual, which is the upper quartile of the samples of both
//! kernels. Which ones these are does not depend on the figures.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

/// Of the usual pace, what a sample needs to count.
const FULL_PACE: f64 = 0.9;

/// What one turn says about one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// Operations per second, of all workers together.
    rate: f64,
    /// Rounds per second of a loop beside it, of the slowest worker.
    pace: f64,
}

/// What one turn has printed.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// By row and number of workers: how many have told, and what they make together.
    samples: BTreeMap<(String, u32), (u32, Sample)>,
    /// What Linux says about itself.
    facts: Vec<String>,
}

impl Run {
    /// Reads the lines `figure ROW WORKERS OPERATIONS NANOSECONDS PACE` of a serial log.
    pub(super) fn parse(text: &str) -> Result<Self, Box<dyn Error>> {
        let mut run = Self::default();
        for line in text.lines().map(str::trim) {
            if let Some(fact) = line.strip_prefix("linux ") {
                run.facts.push(fact.to_owned());
            }
            let Some(figure) = line.strip_prefix("figure ") else { continue };
            let words: Vec<&str> = figure.split(' ').collect();
            let [row, workers, operations, nanoseconds, pace] = words[..] else {
                return Err(format!("`{line}` is no figure").into());
            };
            let rate = operations.parse::<f64>()? * 1e9 / nanoseconds.parse::<f64>()?;
            let pace = pace.parse::<f64>()?;
            let nobody = (0, Sample { rate: 0.0, pace: f64::INFINITY });
            let (count, all) = run.samples.entry((row.into(), workers.parse()?)).or_insert(nobody);
            *count += 1;
            all.rate += rate;
            all.pace = all.pace.min(pace);
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

/// Figures of a row, one for each turn.
#[derive(Debug)]
pub(super) struct Row {
    place: Place,
    linux: Vec<Sample>,
    kernel: Vec<Sample>,
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
        Some(median(&self.counting(&self.kernel))? / median(&self.counting(&self.linux))?)
    }

    /// The rates of those of `samples` that count.
    fn counting(&self, samples: &[Sample]) -> Vec<f64> {
        let mut paces: Vec<f64> =
            self.linux.iter().chain(&self.kernel).map(|sample| sample.pace).collect();
        paces.sort_by(f64::total_cmp);
        let usual = paces.get(paces.len() * 3 / 4).copied().unwrap_or(0.0);
        let counts = |sample: &&Sample| sample.pace >= usual * FULL_PACE;
        samples.iter().filter(counts).map(|sample| sample.rate).collect()
    }

    /// Median, and how many of the samples count, as a table has it.
    fn cells(&self, samples: &[Sample]) -> [String; 2] {
        let counting = self.counting(samples);
        let median = median(&counting).map_or("-".into(), |median| format!("{median:.0}"));
        [median, format!("{} of {}", counting.len(), samples.len())]
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
        side: impl Fn(&mut Row) -> &mut Vec<Sample>,
    ) -> Result<(), Box<dyn Error>> {
        for (&name, &workers) in rows.iter().flat_map(|row| workers.iter().map(move |it| (row, it)))
        {
            let (_, sample) = run
                .samples
                .get(&(name.to_owned(), workers))
                .filter(|(count, _)| *count == workers)
                .ok_or_else(|| format!("not every one of {workers} workers did {name}"))?;
            let place = Place { row: name.into(), processors, workers };
            let at = self.rows.iter().position(|row| row.place == place).unwrap_or_else(|| {
                self.rows.push(Row { place, linux: Vec::new(), kernel: Vec::new() });
                self.rows.len() - 1
            });
            side(&mut self.rows[at]).push(*sample);
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
        let side = |row: &Row, samples: &[Sample]| {
            let counting = row.counting(samples);
            json!({
                "median": median(&counting),
                "counting": counting.len(),
                "samples": samples.iter().map(|sample| sample.rate).collect::<Vec<_>>(),
                "pace": samples.iter().map(|sample| sample.pace).collect::<Vec<_>>(),
            })
        };
        let row = |row: &Row| {
            json!({
                "row": row.place.row,
                "smp": row.place.processors,
                "workers": row.place.workers,
                "unit": "operations per second",
                "linux": side(row, &row.linux),
                "kernel": side(row, &row.kernel),
                "ratio": row.ratio(),
            })
        };
        self.rows.iter().map(row).collect()
    }

    /// Writes every sample of every row, in the order of the turns, as a table. Those that do not count are in brackets.
    pub(super) fn write_samples(&self, f: &mut impl fmt::Write) -> fmt::Result {
        writeln!(f, "| row, smp, workers | Linux | this kernel |")?;
        writeln!(f, "|---|---|---|")?;
        for row in &self.rows {
            let Place { row: name, processors, workers } = &row.place;
            let list = |samples: &[Sample]| {
                let list = samples.iter().map(|sample| {
                    let counts = row.counting(&[*sample]).len() == 1;
                    let rate = format!("{:.0}", sample.rate);
                    if counts { rate } else { format!("({rate})") }
                });
                list.collect::<Vec<_>>().join(" ")
            };
            let [linux, kernel] = [&row.linux, &row.kernel].map(|samples| list(samples));
            writeln!(f, "| {name}, {processors}, {workers} | {linux} | {kernel} |")?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| row | smp | workers | Linux | samples | this kernel | samples | ratio |")?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|")?;
        for row in &self.rows {
            let Place { row: name, processors, workers } = &row.place;
            let [linux, linux_samples] = row.cells(&row.linux);
            let [kernel, kernel_samples] = row.cells(&row.kernel);
            let ratio = row.ratio().map_or("-".into(), |ratio| format!("{ratio:.2}"));
            writeln!(
                f,
                "| {name} | {processors} | {workers} | {linux} | {linux_samples} | {kernel} | {kernel_samples} | {ratio} |"
            )?;
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

    fn rates(samples: &[Sample]) -> Vec<f64> {
        samples.iter().map(|sample| sample.rate).collect()
    }

    #[test]
    fn workers_add_up_and_turns_do_not() {
        let two = "noise\r\nfigure a 2 10 1000000000 7\r\nfigure a 2 30 2000000000 6\r\n";
        let mut comparison = Comparison::default();
        for _ in 0..3 {
            let run = Run::parse(two).unwrap();
            comparison.add_kernel(2, &[2], &["a"], run).unwrap();
        }
        let run = Run::parse(&two.replace("10 1000000000", "10 2000000000")).unwrap();
        comparison.add_linux(2, &[2], &["a"], run).unwrap();
        let [row] = comparison.rows() else { panic!("one row") };
        assert_eq!(rates(&row.kernel), [25.0; 3]);
        assert_eq!(row.linux, [Sample { rate: 20.0, pace: 6.0 }]);
        assert_eq!(row.ratio(), Some(1.25));
    }

    #[test]
    fn a_turn_in_which_the_host_was_slow_does_not_count() {
        let mut comparison = Comparison::default();
        for (operations, pace) in [(10, 1000), (4, 500), (11, 950), (12, 990)] {
            let run = Run::parse(&format!("figure a 1 {operations} 1000000000 {pace}\n")).unwrap();
            comparison.add_kernel(1, &[1], &["a"], run).unwrap();
        }
        // As slow as Linux was in a turn at full pace: what counts does not depend on the figure.
        for (operations, pace) in [(4, 1000), (3, 890)] {
            let run = Run::parse(&format!("figure a 1 {operations} 1000000000 {pace}\n")).unwrap();
            comparison.add_linux(1, &[1], &["a"], run).unwrap();
        }
        let [row] = comparison.rows() else { panic!("one row") };
        assert_eq!(row.counting(&row.kernel), [10.0, 11.0, 12.0]);
        assert_eq!(row.counting(&row.linux), [4.0]);
        assert_eq!(row.ratio(), Some(11.0 / 4.0));
        let mut samples = String::new();
        comparison.write_samples(&mut samples).unwrap();
        assert!(samples.ends_with("| a, 1, 1 | 4 (3) | 10 (4) 11 12 |\n"), "{samples}");
    }

    #[test]
    fn a_worker_without_a_figure_is_an_error() {
        let run = Run::parse("figure a 2 10 1000000000 5\n").unwrap();
        let result = Comparison::default().add_kernel(2, &[2], &["a"], run);
        assert_eq!(result.unwrap_err().to_string(), "not every one of 2 workers did a");
    }

    #[test]
    fn a_line_that_is_cut_short_is_an_error() {
        assert!(Run::parse("figure a 2 10 1000000000\n").is_err());
    }

    #[test]
    fn the_median_of_an_even_number_is_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }
}
