//! The two text formats of metrics, and which of them a scraper understands. Pure.
//!
//! Everything is written as `OpenMetrics`; the classic format is made from that.

use std::fmt::Write as _;

use http::HeaderValue;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>, which every scraper understands.
    Classic,
}

// === impl Format ===

impl Format {
    /// What a scraper prefers that sends this `Accept` header. One that does not name `OpenMetrics` may not know it.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let (mut open, mut classic) = (0.0, 0.0);
        for offer in accept.unwrap_or_default().split(',') {
            let mut parts = offer.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let quality = parts.filter_map(|part| part.strip_prefix("q=")?.parse().ok()).next_back();
            let quality: f64 = quality.unwrap_or(1.0);
            if kind.eq_ignore_ascii_case("application/openmetrics-text") {
                open = quality.max(open);
            } else if kind.eq_ignore_ascii_case("text/plain") {
                classic = quality.max(classic);
            }
        }
        if open > 0.0 && open >= classic { Self::OpenMetrics } else { Self::Classic }
    }

    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        })
    }

    /// Brings a text in `OpenMetrics` into this format.
    pub fn render(self, open: String) -> String {
        match self {
            Self::OpenMetrics => open,
            Self::Classic => classic(&open),
        }
    }
}

/// The classic format names the samples where `OpenMetrics` names their family, and has neither infos nor an end.
fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = "";
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let _ = write!(text, "# HELP {family}{suffix} {help}\n# TYPE {family}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_format_that_it_understands() {
        use Format::{Classic, OpenMetrics};
        let table = [
            ("nothing", None, Classic),
            ("a browser", Some("text/html,application/xml;q=0.9,*/*;q=0.8"), Classic),
            ("an old Prometheus", Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"), Classic),
            (
                "a present Prometheus",
                Some(
                    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                OpenMetrics,
            ),
            ("OpenMetrics alone", Some("application/openmetrics-text; version=1.0.0"), OpenMetrics),
            ("in capitals", Some("Application/OpenMetrics-Text"), OpenMetrics),
            ("OpenMetrics refused", Some("application/openmetrics-text;q=0, text/plain"), Classic),
            ("text preferred", Some("application/openmetrics-text;q=0.3, text/plain;q=0.9"), Classic),
            ("nonsense", Some(";;q=,"), Classic),
        ];
        for (name, accept, expected) in table {
            assert_eq!(Format::negotiate(accept), expected, "{name}");
        }
    }

    #[test]
    fn the_classic_format_names_samples_and_has_no_end() {
        let open = "# HELP a_checks Checks.\n# TYPE a_checks counter\na_checks_total{reason=\"x\"} 1\n\
            # HELP a_build The version.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
            # HELP a_ready Ready.\n# TYPE a_ready gauge\n# UNIT a_ready seconds\na_ready 1\n# EOF\n";
        let expected = "# HELP a_checks_total Checks.\n# TYPE a_checks_total counter\na_checks_total{reason=\"x\"} 1\n\
            # HELP a_build_info The version.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
            # HELP a_ready Ready.\n# TYPE a_ready gauge\na_ready 1\n";
        assert_eq!(Format::Classic.render(open.to_owned()), expected);
        assert_eq!(Format::OpenMetrics.render(open.to_owned()), open);
    }
}
