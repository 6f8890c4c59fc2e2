//! The ratios as a bar chart.

use super::figures::{Comparison, Row};
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

/// Pixels of a bar with the space around it.
const BAR: u32 = 18;
const WIDTH: u32 = 900;
/// Pixels for the names.
const NAMES: u32 = 260;

/// Draws a bar for each row, as long as the kernel is faster than Linux, on a logarithmic scale.
pub(super) fn draw(path: &Path, comparison: &Comparison) -> Result<(), Box<dyn Error>> {
    let rows: Vec<(&Row, f64)> =
        comparison.rows().iter().filter_map(|row| Some((row, row.ratio()?))).collect();
    let least = rows.iter().fold(1.0_f64, |least, (_, ratio)| least.min(*ratio));
    let greatest = rows.iter().fold(3.0_f64, |greatest, (_, ratio)| greatest.max(*ratio));
    let height = BAR * rows.len() as u32 + 100;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Times as fast as Linux on the same virtual machine", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(
            (least * 0.9..greatest * 1.2).log_scale(),
            (0..rows.len()).into_segmented(),
        )?;
    let count = rows.len();
    let name = |at: &SegmentValue<usize>| match at {
        // From the top.
        SegmentValue::CenterOf(at) => {
            rows.get((count - 1).wrapping_sub(*at)).map_or(String::new(), |(row, _)| row.name())
        }
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc("this kernel / Linux")
        .x_label_formatter(&|ratio| format!("{ratio:.1}"))
        .y_labels(count)
        .y_label_formatter(&name)
        .draw()?;
    chart.draw_series(rows.iter().rev().enumerate().map(|(at, (_, ratio))| {
        let (from, to) = (SegmentValue::Exact(at), SegmentValue::Exact(at + 1));
        let mut bar = Rectangle::new(
            [(1.0, from), (*ratio, to)],
            Palette99::pick(usize::from(*ratio < 1.0)).filled(),
        );
        bar.set_margin(3, 3, 0, 0);
        bar
    }))?;
    root.present()?;
    Ok(())
}
