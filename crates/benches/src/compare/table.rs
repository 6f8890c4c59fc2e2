//! The README's table, of a comparison's figures.

use std::fmt::Write;

use crate::chosen::Scheme;
use crate::compare::report::Report;
use crate::kernel::Work;

/// Writes the main figures as a table in Markdown, a column for each scheme. In brackets: times this project's, round by round.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut table = String::from(
        "| | this project | `pgd_list` under `pgd_lock` | 256 slots preallocated | generation check | constructed PGDs |\n\
         |---|---|---|---|---|---|\n",
    );
    for work in Work::ALL {
        for threads in [1, 2] {
            let name = format!("{}/s, {threads} thread{}", work.name(), plural(threads));
            row(&mut table, &name, |scheme| {
                let point = report.at(work, threads, scheme)?;
                let rate = thousands(point.per_second.median);
                let ratio = point.late_over_this.median.recip();
                Some(if scheme == Scheme::Late { rate } else { format!("{rate} ({ratio:.3})") })
            });
        }
    }
    for mms in [1_000, 100_000] {
        let name = format!("growth over {} mms, us", thousands(mms as f64));
        row(&mut table, &name, |scheme| {
            let mut points = report.growth.iter();
            let point = points.find(|point| point.mms == mms && point.scheme == scheme)?;
            Some(format!("{:.2}", point.ns.median / 1e3))
        });
    }
    let waits = |name: &str, table: &mut String, of: fn(&crate::compare::waits::Forks) -> f64| {
        row(table, name, |scheme| {
            let point = report.waits.iter().find(|point| point.scheme == scheme)?;
            Some(format!("{:.1}", of(&point.growing) / 1e3))
        });
    };
    let mms = report.waits.first().map_or(0, |point| point.mms);
    let beside = format!("fork beside growths over {} mms", thousands(mms as f64));
    waits(&format!("{beside}, 99 %, us"), &mut table, |forks| forks.p99);
    waits(&format!("{beside}, 99.99 %, us"), &mut table, |forks| forks.p9999);
    waits(&format!("{beside}, longest, us"), &mut table, |forks| forks.longest_unpreempted);
    row(&mut table, "frames at boot, kept by 2 CPUs", |scheme| {
        let point = report.memory.iter().find(|point| point.scheme == scheme)?;
        Some(format!("{}, {}", point.boot_frames, point.kept_frames))
    });
    if !report.shared_lines.is_empty() {
        row(&mut table, "writes to shared lines, instructions of a fork and exit", |scheme| {
            let mut points = report.shared_lines.iter();
            let point =
                points.find(|point| point.work == Work::ForkExit && point.scheme == scheme)?;
            Some(format!("{:.2}, {:.0}", point.shared_writes, point.instructions))
        });
    }
    for work in Work::ALL {
        let mut points = report.alone.iter();
        let two = points.find(|point| point.beside == work && point.threads == 2);
        if let Some(times) = report.alone_scales(work, 2)
            && let Some(line) = two.and_then(|point| point.line_transfer_ns)
        {
            let (work, ns, p25, p75) = (work.name(), line.median, line.p25, line.p75);
            let _ = writeln!(
                table,
                "\nBeside {work}: two threads that share nothing make {times:.2} times what one makes; a line moves in {ns:.0} ns [{p25:.0} {p75:.0}].",
            );
        }
    }
    table
}

/// Adds a row, a dash where there is no figure; nothing where there is none at all.
fn row(table: &mut String, name: &str, of: impl Fn(Scheme) -> Option<String>) {
    let cells = Scheme::ALL.map(of);
    if cells.iter().any(Option::is_some) {
        let cells = cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
        let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
    }
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// A whole number with commas.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn commas_stand_every_three_digits() {
        let texts = [0.0, 999.0, 1_000.0, 12_345.4, 1_483_755.0].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,483,755"]);
    }
}
