//! The pieces of a drawing: a page that can be read on white and on black, text and lines.

use std::fmt::Write as _;

const STYLE: &str = "\
  svg { font: 13px system-ui, sans-serif; color-scheme: light dark }
  text { fill: #1c2128 } .quiet { fill: #57606a } .value { font-size: 11.5px; text-anchor: middle }
  .middle { text-anchor: middle } .end { text-anchor: end } .title { font-size: 15px; font-weight: 600 }
  .paper { fill: #ffffff } .grid { stroke: #d8dee4 } .bound { stroke: #1c2128; stroke-width: 1.5; stroke-dasharray: 5 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9aa4af } .paper { fill: #0d1117 } .grid { stroke: #30363d } .bound { stroke: #e6edf3 }
  }
";

/// The beginning of a page: `label` is what it shows, in a sentence, and `style` is more CSS. It ends with `</svg>`.
pub fn page([width, height]: [f64; 2], label: &str, style: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         aria-label=\"{label}\">\n<style>\n{STYLE}{style}</style>\n\
         <rect class=\"paper\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n"
    )
}

/// `what` goes in as it is: no `<` and no `&`.
pub fn text(out: &mut String, x: f64, y: f64, class: &str, what: &str) {
    // Writing to a string cannot fail.
    let _infallible = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{what}</text>"
    );
}

/// A straight one.
pub fn line(out: &mut String, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
    let _infallible = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// A filled one.
pub fn rect(out: &mut String, class: &str, [x, y]: [f64; 2], [width, height]: [f64; 2]) {
    let _infallible = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
    );
}
