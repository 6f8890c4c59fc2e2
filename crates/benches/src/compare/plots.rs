//! The plots of a comparison.

use std::error::Error;
use std::path::Path;

use crate::chart::{self, Panel};
use crate::chosen::Scheme;
use crate::compare::report::Report;
use crate::kernel::Work;
use crate::model::PREDICTED;

/// Draws throughput and growth, one panel each, side by side.
///
/// # Errors
///
/// When the file cannot be written.
pub fn measured(report: &Report, path: &Path) -> Result<(), Box<dyn Error>> {
    let cpus = report.machine.cpus;
    let mut panels: Vec<Panel> = [Work::ForkExit, Work::ForkExecExit]
        .into_iter()
        .map(|work| Panel {
            title: format!("{} ({cpus} CPUs)", work.name()),
            x: "threads (beyond the CPUs: oversubscribed)",
            y: "operations per second",
            lines: lines(|scheme| {
                let points = report.throughput.iter();
                points
                    .filter(|point| point.work == work && point.scheme == scheme)
                    .map(|point| (point.threads as f64, point.per_second.median))
                    .collect()
            }),
        })
        .collect();
    panels.push(Panel {
        title: "growth by one slot".to_owned(),
        x: "live mms",
        y: "microseconds",
        lines: lines(|scheme| {
            let points = report.growth.iter().filter(|point| point.scheme == scheme);
            points.map(|point| (point.mms as f64, point.ns.median / 1e3)).collect()
        }),
    });
    chart::draw(path, &panels)
}

/// Draws what the model predicts, if there is a model.
///
/// # Errors
///
/// When the file cannot be written.
pub fn predicted(report: &Report, path: &Path) -> Result<(), Box<dyn Error>> {
    let Some(model) = &report.model else { return Ok(()) };
    let panels = PREDICTED.map(|work| Panel {
        title: format!("{}, predicted", work.name()),
        x: "CPUs",
        y: "operations per second",
        lines: lines(|scheme| {
            let curves = model.curves.iter();
            let points = curves.filter(|curve| curve.work == work && curve.scheme == scheme);
            let points = points.flat_map(|curve| &curve.points);
            points.map(|point| (point.cpus as f64, point.per_second)).collect()
        }),
    });
    chart::draw(path, &panels)
}

fn lines(of: impl Fn(Scheme) -> Vec<(f64, f64)>) -> Vec<(String, Vec<(f64, f64)>)> {
    Scheme::ALL.into_iter().map(|scheme| (scheme.name().to_owned(), of(scheme))).collect()
}
