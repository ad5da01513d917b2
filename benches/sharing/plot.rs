//! The picture: how quick splitting and joining are, by k and n.

use plotters::prelude::*;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A line: its name, its colour, and its points.
pub struct Line {
    pub name: String,
    pub color: RGBColor,
    pub points: Vec<(f64, f64)>,
}

/// Two panels side by side, both in GiB/s.
pub fn draw(path: &std::path::Path, title: &str, splits: &[Line], joins: &Line) -> Outcome<()> {
    let area = SVGBackend::new(path, (960, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(title, ("sans-serif", 18))?;
    let (left, right) = area.split_horizontally(560);
    panel(&left, "split, by n", "shares n", splits, 2.0..16.0)?;
    panel(
        &right,
        "join, by k",
        "threshold k",
        std::slice::from_ref(joins),
        2.0..16.0,
    )?;
    area.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    caption: &str,
    x_name: &str,
    lines: &[Line],
    x: std::ops::Range<f64>,
) -> Outcome<()> {
    let top = lines
        .iter()
        .flat_map(|line| &line.points)
        .fold(0.0_f64, |top, (_, y)| top.max(*y));
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(x, 0.0..top * 1.1)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc("GiB/s of secret, one core")
        .x_labels(8)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for line in lines {
        let color = line.color;
        chart
            .draw_series(LineSeries::new(
                line.points.iter().copied(),
                color.stroke_width(2),
            ))?
            .label(line.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    Ok(())
}
