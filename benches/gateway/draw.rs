//! The drawing: a panel for each metric, a bar for each gateway, as a multiple of the pass-through's of the same round.

use crate::metric::{Bound, Metric, aims_of};
use crate::options::Subject;
use crate::report::Report;
use farebox_bench_support::machine::machine;
use farebox_bench_support::spread::Spread;
use farebox_bench_support::svg::{line, page, rect, text};
use farebox_bench_support::table::short;
use std::fmt::Write as _;

const COLUMNS: usize = 2;
/// A panel: its names end at `NAMES`, its bars begin at `BARS`, and figures and ratios end at the last two.
const PANEL: f64 = 470.0;
const NAMES: f64 = 96.0;
const BARS: f64 = 104.0;
const FIGURES: f64 = 374.0;
const RATIOS: f64 = 432.0;
/// What is once as much as the pass-through, and where a bar is cut off: beyond it only figures tell.
const ONCE: f64 = 68.0;
const MOST: f64 = 3.0;
const BAR: f64 = 13.0;
const ROW: f64 = 20.0;
/// Above a panel's bars and below them; above the first panels and left of them.
const HEAD: f64 = 34.0;
const FOOT: f64 = 36.0;
const TOP: f64 = 106.0;
const LEFT: f64 = 20.0;

const STYLE: &str = "\
  .farebox { fill: #0969da } .rated { fill: #54aeff } .passthrough { fill: #1a7f37 } .proxy { fill: #8c959f } .router { fill: #bc4c00 }
  .whisker { stroke: #1c2128; stroke-width: 1.3 } .aim { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 4 3 }
  .said { fill: #cf222e } .strong { font-weight: 600 } .small { font-size: 11px } .cut { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    .farebox { fill: #58a6ff } .rated { fill: #1f6feb } .passthrough { fill: #3fb950 } .proxy { fill: #6e7681 } .router { fill: #f0883e }
    .whisker { stroke: #e6edf3 } .aim { stroke: #ff7b72 } .said { fill: #ff7b72 } .cut { fill: #0d1117 }
  }
";

/// Draws what a run gave. Without the pass-through there is nothing to draw against.
pub fn svg(report: &Report<'_>) -> String {
    let bars = |metric: Metric| {
        let bar = |subject| {
            let (figure, ratio) = (report.figures(metric, subject)?, report.ratios(metric, subject)?);
            Some(Bar {
                subject,
                figure,
                ratio,
            })
        };
        Subject::ALL.into_iter().filter_map(bar).collect::<Vec<_>>()
    };
    let panels: Vec<(Metric, Vec<Bar>)> = Metric::DRAWN
        .into_iter()
        .map(|metric| (metric, bars(metric)))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let most_bars = panels.iter().map(|(_, bars)| bars.len()).max().unwrap_or(0);
    let high = HEAD + count(most_bars) * ROW + FOOT;
    let size = [
        LEFT + count(COLUMNS) * PANEL,
        TOP + count(panels.len().div_ceil(COLUMNS)) * high,
    ];
    let about = "What farebox and other gateways cost, as multiples of a plain pass-through";
    let mut out = page(size, about, STYLE);
    heading(&mut out, report);
    for (index, (metric, bars)) in panels.iter().enumerate() {
        let x = LEFT + count(index % COLUMNS) * PANEL;
        let y = TOP + count(index / COLUMNS) * high;
        panel(&mut out, [x, y], report, *metric, bars);
    }
    out.push_str("</svg>\n");
    out
}

struct Bar {
    subject: Subject,
    figure: Spread,
    ratio: Spread,
}

fn heading(out: &mut String, report: &Report<'_>) {
    let rounds = report.rounds.len();
    text(
        out,
        LEFT,
        30.0,
        "title",
        "farebox beside a pass-through, proxies and routers that bill nothing",
    );
    let what = format!(
        "bar: multiple of the pass-through's of the same round, median over the rounds ({rounds}); whisker: the smallest and the largest; \
         figure: median"
    );
    text(out, LEFT, 52.0, "quiet", &what);
    text(out, LEFT, 72.0, "quiet", &machine());
}

fn panel(out: &mut String, [x, y]: [f64; 2], report: &Report<'_>, metric: Metric, bars: &[Bar]) {
    text(out, x, y, "strong", &metric.title(report.options));
    let aims: Vec<Bound> = aims_of(metric, report.options).collect();
    if !aims.is_empty() {
        let all: Vec<String> = aims.iter().map(Bound::to_string).collect();
        let said = format!("aim: at most {}", all.join(" and "));
        text(out, x + RATIOS, y, "said end", &said);
    }
    let (top, bottom) = (y + 12.0, y + 12.0 + count(bars.len()) * ROW);
    let at = |ratio: f64| x + BARS + ratio.clamp(0.0, MOST) * ONCE;
    for times in 0..=3 {
        let x = at(f64::from(times));
        line(out, "grid", [x, top], [x, bottom]);
        text(out, x, bottom + 15.0, "quiet small middle", &format!("{times}x"));
    }
    for (index, bar) in bars.iter().enumerate() {
        row(out, x, top + count(index) * ROW, at, bar);
    }
    let floor = bars.iter().find(|bar| bar.subject == Subject::Passthrough);
    for aim in aims {
        let times = match aim {
            Bound::Times(times) => Some(times),
            Bound::AtMost(most, _) => floor.map(|floor| most / floor.figure.median),
        };
        if let Some(times) = times {
            line(out, "aim", [at(times), top - 2.0], [at(times), bottom + 2.0]);
        }
    }
}

fn row(out: &mut String, x: f64, y: f64, at: impl Fn(f64) -> f64, bar: &Bar) {
    let Bar {
        subject,
        figure,
        ratio,
    } = bar;
    let (middle, base) = (y + ROW / 2.0, y + ROW / 2.0 + 4.5);
    let weight = if *subject == Subject::Farebox {
        "end strong"
    } else {
        "end"
    };
    text(out, x + NAMES, base, weight, subject.name());
    let end = at(ratio.median);
    rect(
        out,
        class(*subject),
        [at(0.0), middle - BAR / 2.0],
        [end - at(0.0), BAR],
    );
    if ratio.median > MOST {
        cut(out, end - 16.0, middle);
    } else {
        line(out, "whisker", [at(ratio.min), middle], [at(ratio.max), middle]);
        // One that goes on beyond the panel has no end in it.
        for end in [ratio.min, ratio.max].into_iter().filter(|end| *end <= MOST) {
            line(out, "whisker", [at(end), middle - 4.0], [at(end), middle + 4.0]);
        }
    }
    text(out, x + FIGURES, base, "end", &short(figure.median));
    text(
        out,
        x + RATIOS,
        base,
        weight,
        &format!("{}x", short(ratio.median)),
    );
}

/// A gap in a bar that goes on beyond the panel.
fn cut(out: &mut String, x: f64, middle: f64) {
    let (top, bottom) = (middle - BAR / 2.0 - 1.0, middle + BAR / 2.0 + 1.0);
    let _infallible = writeln!(
        out,
        "<path class=\"cut\" d=\"M{:.1} {bottom:.1} L{:.1} {top:.1} h4 L{:.1} {bottom:.1} z\"/>",
        x,
        x + 5.0,
        x + 4.0
    );
}

fn class(subject: Subject) -> &'static str {
    match subject {
        Subject::Farebox => "farebox",
        Subject::Rated => "rated",
        Subject::Passthrough => "passthrough",
        Subject::Nginx | Subject::Haproxy | Subject::Direct => "proxy",
        Subject::Smg | Subject::VllmRouter | Subject::SglangRouter => "router",
    }
}

fn count(of: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let count = of as f64;
    count
}
