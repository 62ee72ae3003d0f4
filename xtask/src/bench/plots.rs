//! The plots of `docs/benchmarks/`, as SVG that reads on white and on dark pages.
//!
//! Owns how they look. Never measures.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use super::growth::Operations;
use super::load::{Round, median};
use super::report::Figures;

/// Each plot, and what it shows.
pub(super) const PLOTS: &[(&str, &str)] = &[
    ("reads.svg", "Reads as a ratio to tuned nginx, with the floor of each"),
    ("growth-cpu.svg", "Processor time of a PUT and of a GET over the size of the catalogue"),
    ("growth-bytes.svg", "Bytes written for a PUT over the size of the catalogue"),
    ("writes.svg", "Writes a second of movies-api and of the seed's design"),
];

const SIZE: (u32, u32) = (760, 420);
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(36, 41, 47);
/// Its own, so that the plot reads on a dark page.
const PAPER: RGBColor = RGBColor(255, 255, 255);
const GRID: RGBColor = RGBColor(225, 228, 232);
const OURS: RGBColor = RGBColor(31, 111, 180);
const PEER: RGBColor = RGBColor(214, 116, 26);
const FLOOR: RGBColor = RGBColor(190, 30, 45);
/// Room above the highest value.
const HEADROOM: f64 = 1.2;

/// One bar, and the mark that it should reach.
struct Bar {
    label: String,
    value: f64,
    floor: Option<f64>,
    color: RGBColor,
}

/// Values over the number of movies.
struct Line {
    label: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// What a plot is called, and what its values are.
#[derive(Clone, Copy)]
struct Words {
    title: &'static str,
    values: &'static str,
}

/// Draws all of them into `folder`.
pub(super) fn draw(figures: &Figures, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let file = |name: &str| folder.join(name);
    bars(
        &file("reads.svg"),
        Words {
            title: "Reads against a static file of tuned nginx",
            values: "requests a second, as a ratio to nginx",
        },
        &read_bars(figures),
    )?;
    lines(
        &file("growth-cpu.svg"),
        Words {
            title: "Processor time of an operation, checkpoints included",
            values: "microseconds of the server, memory://",
        },
        &[
            line(figures, "PUT", OURS, |operations| operations.put.microseconds),
            line(figures, "GET of one movie", PEER, |operations| operations.get.microseconds),
        ],
    )?;
    lines(
        &file("growth-bytes.svg"),
        Words { title: "Bytes written for a PUT", values: "bytes, on a folder" },
        &[
            line(figures, "commits and checkpoints", OURS, |operations| operations.bytes.all()),
            line(figures, "commits alone", PEER, |operations| operations.bytes.commit),
        ],
    )?;
    bars(
        &file("writes.svg"),
        Words { title: "Writes over 32 connections, on the same moto", values: "PUTs a second" },
        &write_bars(figures),
    )
}

fn read_bars(figures: &Figures) -> Vec<Bar> {
    let ratio = |ours: &[Round], nginx: &[Round]| per_second(ours) / per_second(nginx);
    let reads = figures.reads.iter().map(|reads| Bar {
        label: reads.read.what.split(';').next().unwrap_or_default().to_owned(),
        value: ratio(&reads.ours, &reads.nginx),
        floor: Some(reads.read.floor),
        color: OURS,
    });
    reads.collect()
}

fn write_bars(figures: &Figures) -> Vec<Bar> {
    let bar = |label: &str, rounds: &[Round], color| Bar {
        label: label.to_owned(),
        value: per_second(rounds),
        floor: None,
        color,
    };
    vec![
        bar("movies-api", &figures.writes.ours, OURS),
        bar("the seed's design", &figures.writes.seed, PEER),
    ]
}

fn per_second(rounds: &[Round]) -> f64 {
    median(rounds.iter().map(|round| round.per_second))
}

fn line(
    figures: &Figures,
    label: &'static str,
    color: RGBColor,
    of: fn(&Operations) -> f64,
) -> Line {
    let points = figures
        .growth
        .iter()
        .filter_map(|size| Some((size.movies as f64, of(size.operations.as_ref()?))));
    Line { label, color, points: points.collect() }
}

fn bars(file: &Path, words: Words, bars: &[Bar]) -> Result<()> {
    let marks = bars.iter().flat_map(|bar| [Some(bar.value), bar.floor]).flatten();
    let top = marks.fold(0.0, f64::max) * HEADROOM;
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&PAPER)?;
    // The first one on top; each has a row of height 1.
    let mut chart = ChartBuilder::on(&area)
        .caption(words.title, (FONT, 20).into_font().color(&INK))
        .margin(16)
        .x_label_area_size(44)
        .build_cartesian_2d(0.0..top, bars.len() as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc(words.values)
        .axis_style(INK)
        .light_line_style(PAPER)
        .bold_line_style(GRID)
        .label_style((FONT, 13).into_font().color(&INK))
        .draw()?;
    for (row, bar) in bars.iter().enumerate() {
        let row = row as f64;
        let text = format!("{}: {}", bar.label, short(bar.value));
        let small = (FONT, 14).into_font().color(&INK);
        let (from, to) = ((0.0, row + 0.45), (bar.value, row + 0.85));
        chart.draw_series([Rectangle::new([from, to], bar.color.filled())])?;
        chart.draw_series([Text::new(text, (top * 0.006, row + 0.2), small)])?;
        if let Some(floor) = bar.floor {
            let mark = PathElement::new(
                vec![(floor, row + 0.38), (floor, row + 0.92)],
                FLOOR.stroke_width(3),
            );
            chart.draw_series([mark])?;
            let (text, at) = (format!("floor {floor}"), (floor + top * 0.006, row + 0.24));
            chart.draw_series([Text::new(text, at, (FONT, 12).into_font().color(&FLOOR))])?;
        }
    }
    area.present().with_context(|| format!("cannot write {}", file.display()))
}

fn lines(file: &Path, words: Words, lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let top = points().map(|(_, value)| value).fold(0.0, f64::max) * HEADROOM;
    let least = points().map(|(movies, _)| movies).fold(f64::INFINITY, f64::min);
    let most = points().map(|(movies, _)| movies).fold(0.0, f64::max);
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&PAPER)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(words.title, (FONT, 20).into_font().color(&INK))
        .margin(16)
        .margin_right(40)
        .x_label_area_size(48)
        .y_label_area_size(70)
        .build_cartesian_2d((least / 2.0..most * 2.0).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("movies in the catalogue (logarithmic)")
        .y_desc(words.values)
        .x_label_formatter(&|movies| short(*movies))
        .y_label_formatter(&|value| short(*value))
        .axis_style(INK)
        .light_line_style(PAPER)
        .bold_line_style(GRID)
        .label_style((FONT, 13).into_font().color(&INK))
        .draw()?;
    for Line { label, color, points } in lines {
        let stroke = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), stroke))?
            .label(*label)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], stroke));
        let dots = points.iter().map(|point| Circle::new(*point, 4, color.filled()));
        chart.draw_series(dots)?;
        let small = (FONT, 12).into_font().color(color);
        let texts = points.iter().map(|(movies, value)| {
            let text = EmptyElement::at((*movies, *value));
            text + Text::new(short(*value), (-8, -20), small.clone())
        });
        chart.draw_series(texts)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(PAPER)
        .border_style(GRID)
        .label_font((FONT, 14).into_font().color(&INK))
        .draw()?;
    area.present().with_context(|| format!("cannot write {}", file.display()))
}

/// A number as one says it.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", rounded(value / 1e6)),
        value if value >= 1e4 => format!("{} k", rounded(value / 1e3)),
        value => rounded(value),
    }
}

/// With two decimals below ten, one below a hundred; without zeros at the end.
fn rounded(value: f64) -> String {
    let text = match value {
        value if value >= 100.0 => return format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell;

    #[test]
    fn numbers_are_short() {
        let cases =
            [(0.0, "0"), (0.85, "0.85"), (3_200.0, "3200"), (1e5, "100 k"), (1.1e7, "11 M")];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn bars_and_lines_are_whole_pictures() {
        let folder = shell::scratch("tests/plots").expect("target can be written");
        let bar = Bar { label: "a read".to_owned(), value: 1.1, floor: Some(0.9), color: OURS };
        let words = Words { title: "Bars", values: "ratio" };
        bars(&folder.join("bars.svg"), words, &[bar]).expect("bars");
        let line = Line { label: "PUT", color: OURS, points: vec![(3_200.0, 48.0), (1e6, 60.5)] };
        lines(&folder.join("lines.svg"), words, &[line]).expect("lines");
        for name in ["bars.svg", "lines.svg"] {
            let svg = fs::read_to_string(folder.join(name)).expect("it is written");
            assert!(svg.contains("Bars") && svg.trim_end().ends_with("</svg>"), "{svg}");
        }
    }
}
