//! A plot of a bench's figures: one panel per group, one line per scheme.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

/// One coordinate system with its lines.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What is above it.
    pub title: String,
    /// What is counted to the right, on a logarithmic scale, with its unit.
    pub x: &'static str,
    /// What is counted upwards, on a logarithmic scale, with its unit.
    pub y: &'static str,
    /// Lines with their names.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// Size of a panel in pixels.
const PANEL: (u32, u32) = (640, 480);

/// Draws `panels` side by side into an SVG file.
///
/// # Errors
///
/// When the file cannot be written.
pub fn draw(path: &Path, panels: &[Panel]) -> Result<(), Box<dyn Error>> {
    let columns = u32::try_from(panels.len())?.max(1);
    let root = SVGBackend::new(path, (PANEL.0 * columns, PANEL.1)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, panel) in root.split_evenly((1, columns as usize)).iter().zip(panels) {
        draw_panel(area, panel)?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    panel: &Panel,
) -> Result<(), Box<dyn Error>> {
    let points = || panel.lines.iter().flat_map(|line| &line.1);
    let mut x = span(points().map(|point| point.0));
    // Room for the names, to the right of the lines.
    x.end = x.start * (x.end / x.start).powf(1.5);
    let y = span(points().map(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(x.log_scale(), y.log_scale())?;
    let plain = |figure: &f64| format!("{figure}");
    chart
        .configure_mesh()
        .x_desc(panel.x)
        .y_desc(panel.y)
        .x_label_formatter(&plain)
        .y_label_formatter(&plain)
        .draw()?;
    for (number, (name, line)) in panel.lines.iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        chart
            .draw_series(
                LineSeries::new(line.iter().copied(), colour.stroke_width(2)).point_size(3),
            )?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.4))
        .draw()?;
    Ok(())
}

/// From a little below the least to a little above the greatest.
fn span(figures: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (least, greatest) = figures
        .fold((f64::INFINITY, 0.0_f64), |(least, greatest), it| (least.min(it), greatest.max(it)));
    if least > greatest {
        return 1.0..10.0;
    }
    least * 0.8..greatest * 1.25
}
