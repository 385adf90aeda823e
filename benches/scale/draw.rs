//! The drawing: a panel for each dimension, a line of ratios over sizes on a logarithmic axis.

use crate::cost::{FLAT, Grown, Sized};
use crate::report::Report;
use farebox_bench_support::svg::{line, page, text};
use farebox_bench_support::table::short;
use std::fmt::Write as _;

const COLUMNS: usize = 2;
const PANEL: [f64; 2] = [480.0, 262.0];
const TOP: f64 = 112.0;
const LEFT: f64 = 20.0;
/// Within a panel: where its axes are.
const AXIS: [f64; 2] = [40.0, 20.0];
const PLOT: [f64; 2] = [390.0, 160.0];
/// The ratios that are shown at least.
const RATIOS: [f64; 2] = [0.75, 1.5];
/// Lines of the grid at the most.
const GRID: f64 = 6.0;

const STYLE: &str = "\
  .curve { fill: none; stroke: #0969da; stroke-width: 2 } .dot { fill: #0969da } .whisker { stroke: #0969da; stroke-width: 1.3 }
  .aim { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 4 3 } .said { fill: #cf222e }
  .strong { font-weight: 600 } .small { font-size: 11px }
  @media (prefers-color-scheme: dark) {
    .curve { stroke: #58a6ff } .dot { fill: #58a6ff } .whisker { stroke: #58a6ff } .aim { stroke: #ff7b72 } .said { fill: #ff7b72 }
  }
";

/// Draws what a run gave of costs.
pub fn svg(report: &Report) -> String {
    let rows = count(report.cost.len().div_ceil(COLUMNS));
    let size = [LEFT + count(COLUMNS) * PANEL[0], TOP + rows * PANEL[1]];
    let about = "What a request costs farebox by keys, models, engines and entries, as multiples of the smallest size";
    let mut out = page(size, about, STYLE);
    text(
        &mut out,
        LEFT,
        30.0,
        "title",
        "What a request costs, by how much there is",
    );
    let what = format!(
        "CPU of a request at C=32, as a multiple of the smallest size's of the same round: median of {} rounds (whisker: min to max)",
        report.rounds
    );
    text(&mut out, LEFT, 52.0, "quiet", &what);
    text(&mut out, LEFT, 72.0, "quiet", &report.machine);
    let ratios = Ratios::of(&report.cost);
    for (index, grown) in report.cost.iter().enumerate() {
        let x = LEFT + count(index % COLUMNS) * PANEL[0];
        let y = TOP + count(index / COLUMNS) * PANEL[1];
        panel(&mut out, [x, y], grown, ratios);
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, [x, y]: [f64; 2], grown: &Grown, ratios: Ratios) {
    text(out, x, y, "strong", grown.title);
    let (left, top) = (x + AXIS[0], y + AXIS[1]);
    let (right, bottom) = (left + PLOT[0], top + PLOT[1]);
    let height = |ratio: f64| bottom - (ratio - ratios.least) / (ratios.most - ratios.least) * PLOT[1];
    for ratio in ratios.grid() {
        line(out, "grid", [left, height(ratio)], [right, height(ratio)]);
        text(
            out,
            left - 6.0,
            height(ratio) + 4.0,
            "quiet small end",
            &format!("{ratio}x"),
        );
    }
    line(out, "aim", [left, height(FLAT)], [right, height(FLAT)]);
    text(
        out,
        left + 4.0,
        height(FLAT) - 5.0,
        "said small",
        &format!("flat: at most {FLAT}x"),
    );
    let place = Axis::of(&grown.sizes);
    let points: Vec<[f64; 2]> = grown
        .sizes
        .iter()
        .map(|sized| {
            [
                left + place.of_size(sized.size) * PLOT[0],
                height(sized.ratio.median),
            ]
        })
        .collect();
    let path: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
    // Writing to a string cannot fail.
    let _infallible = writeln!(out, "<polyline class=\"curve\" points=\"{}\"/>", path.join(" "));
    for (sized, [x, y]) in grown.sizes.iter().zip(points) {
        line(
            out,
            "whisker",
            [x, height(sized.ratio.min)],
            [x, height(sized.ratio.max)],
        );
        let _infallible = writeln!(out, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
        let figures = [
            ("small middle", abbreviated(sized.size)),
            ("quiet small middle", format!("{} us", short(sized.cpu_us.median))),
            ("quiet small middle", format!("{:.2}x", sized.ratio.median)),
        ];
        for (line, (class, figure)) in figures.iter().enumerate() {
            text(out, x, bottom + 17.0 + 14.0 * count(line), class, figure);
        }
    }
}

/// The axis of the ratios, the same in all panels: whiskers and all are within it.
#[derive(Clone, Copy)]
struct Ratios {
    least: f64,
    most: f64,
    step: f64,
}

impl Ratios {
    fn of(all: &[Grown]) -> Self {
        let spreads = || all.iter().flat_map(|grown| &grown.sizes).map(|sized| sized.ratio);
        let least = spreads().map(|ratio| ratio.min).fold(RATIOS[0], f64::min);
        let most = spreads().map(|ratio| ratio.max).fold(RATIOS[1], f64::max);
        let steps = [0.25, 0.5, 1.0, 2.0, 5.0];
        let step = steps
            .into_iter()
            .find(|step| most - least <= GRID * step)
            .unwrap_or(10.0);
        let (least, most) = ((least / step).floor() * step, (most / step).ceil() * step);
        Self { least, most, step }
    }

    fn grid(self) -> impl Iterator<Item = f64> {
        let lines = (0..).map(move |line| self.least + count(line) * self.step);
        lines.take_while(move |ratio| *ratio <= self.most)
    }
}

/// 1,000 as 1k: neighbours on the axis may be a finger's breadth apart.
fn abbreviated(size: u64) -> String {
    match size {
        1_000_000.. if size.is_multiple_of(1_000_000) => format!("{}M", size / 1_000_000),
        1_000.. if size.is_multiple_of(1_000) => format!("{}k", size / 1_000),
        _ => size.to_string(),
    }
}

/// Sizes by their logarithms, from 0 to 1 with a margin on both sides; none at all stands a step before the smallest.
struct Axis {
    nothing: f64,
    first: f64,
    last: f64,
}

const MARGIN: f64 = 0.08;

impl Axis {
    fn of(sizes: &[Sized]) -> Self {
        let mut logarithms = sizes
            .iter()
            .filter(|sized| sized.size > 0)
            .map(|sized| log(sized.size));
        let smallest = logarithms.next().unwrap_or_default();
        let last = logarithms.next_back().unwrap_or(smallest);
        let nothing = smallest - ((last - smallest) / 3.0).max(1.0);
        let has_nothing = sizes.iter().any(|sized| sized.size == 0);
        Self {
            nothing,
            first: if has_nothing { nothing } else { smallest },
            last,
        }
    }

    fn of_size(&self, size: u64) -> f64 {
        let at = if size == 0 { self.nothing } else { log(size) };
        MARGIN + (at - self.first) / (self.last - self.first).max(1.0) * (1.0 - 2.0 * MARGIN)
    }
}

fn log(size: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
    let size = size as f64;
    size.log10()
}

fn count(of: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let count = of as f64;
    count
}
