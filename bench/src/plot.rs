//! Plots as SVG: bars for comparisons, a line for what changes over time.

use plotters::prelude::*;

use crate::error::{Fallible, Tried};

const SIZE: (u32, u32) = (760, 60);
const ROW: u32 = 30;
const OURS: RGBColor = RGBColor(0x7a, 0x3d, 0xc2);
const OTHERS: RGBColor = RGBColor(0x8a, 0x94, 0xa6);
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);

/// A bar for each name; Fanfare's has a colour of its own. The shortest bar is the best.
///
/// # Errors
/// When the drawing fails.
pub fn bars(title: &str, bars: &[(String, f64, String)]) -> Fallible<String> {
    let mut svg = String::new();
    {
        let rows = u32::try_from(bars.len()).unwrap_or(1);
        let area = SVGBackend::with_string(&mut svg, (SIZE.0, SIZE.1 + rows * ROW)).into_drawing_area();
        area.fill(&WHITE).tried("drawing")?;
        let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
        area.draw(&Text::new(title.to_owned(), (16, 14), text(17))).tried("drawing")?;
        let most = bars.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
        for (at, (name, value, label)) in (0i32..).zip(bars) {
            let top = 50 + at * ROW as i32;
            let length = (value / most * 430.0).max(2.0) as i32;
            let colour = if name.starts_with("fanfare") { OURS } else { OTHERS };
            area.draw(&Text::new(name.clone(), (16, top + 4), text(14))).tried("drawing")?;
            area.draw(&Rectangle::new([(190, top), (190 + length, top + 20)], colour.filled()))
                .tried("drawing")?;
            area.draw(&Text::new(label.clone(), (198 + length, top + 4), text(13))).tried("drawing")?;
        }
        area.present().tried("drawing")?;
    }
    Ok(svg)
}

/// Values over time.
///
/// # Errors
/// When the drawing fails.
pub fn line(title: &str, x: &str, y: &str, points: &[(f64, f64)]) -> Fallible<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0, 340)).into_drawing_area();
        area.fill(&WHITE).tried("drawing")?;
        let last = points.last().map_or(1.0, |(at, _)| *at);
        let most = points.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 17).into_font().color(&INK))
            .margin(14)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..last, 0.0..most * 1.15)
            .tried("drawing")?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(x)
            .y_desc(y)
            .label_style(("sans-serif", 13).into_font().color(&INK))
            .draw()
            .tried("drawing")?;
        chart.draw_series(LineSeries::new(points.iter().copied(), OURS.stroke_width(2))).tried("drawing")?;
        area.present().tried("drawing")?;
    }
    Ok(svg)
}
