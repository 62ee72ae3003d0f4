//! The text format of Prometheus (version 0.0.4), written out. It is three kinds of lines; a crate
//! for it would bring its own counters, which the store must not know. `cargo xtask telemetry` has
//! `promtool` read it.

use std::fmt::{Display, Write as _};

use movies_store::meters::Distribution;

use super::names::{Kind, Metric};

/// Microseconds to seconds.
pub(super) const MICROSECONDS: f64 = 1e-6;

/// Names of labels and what they hold.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins a metric; its samples follow.
    pub(super) fn metric(&mut self, metric: &Metric) -> Samples<'_> {
        let Metric { name, kind, help } = *metric;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
        Samples { text: self, name }
    }

    /// A metric of one number.
    pub(super) fn one(&mut self, metric: &Metric, value: impl Display) {
        self.metric(metric).add(&[], value);
    }

    /// A histogram without labels.
    pub(super) fn histogram(&mut self, metric: &Metric, unit: f64, read: &Distribution) {
        self.metric(metric).distribution(&[], unit, read);
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a String takes everything");
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    text: &'a mut Text,
    name: &'static str,
}

impl Samples<'_> {
    pub(super) fn add(&mut self, labels: Labels<'_>, value: impl Display) {
        self.sample("", labels, None, value);
    }

    pub(super) fn distribution(&mut self, labels: Labels<'_>, unit: f64, read: &Distribution) {
        let mut count = 0;
        for (bound, more) in read.bounds.iter().zip(&read.counts) {
            count += more;
            let bound = format!("{}", rounded(*bound as f64 * unit));
            self.sample("_bucket", labels, Some(&bound), count);
        }
        count += read.counts.last().copied().unwrap_or_default();
        self.sample("_bucket", labels, Some("+Inf"), count);
        self.sample("_sum", labels, None, rounded(read.sum as f64 * unit));
        self.sample("_count", labels, None, count);
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<&str>,
        value: impl Display,
    ) {
        let bound = bound.map(|bound| ("le", bound));
        let labels = labels.iter().copied().chain(bound);
        let labels: Vec<String> =
            labels.map(|(name, text)| format!("{name}=\"{}\"", escaped(text))).collect();
        let name = self.name;
        if labels.is_empty() {
            self.text.line(format_args!("{name}{suffix} {value}"));
        } else {
            self.text.line(format_args!("{name}{suffix}{{{}}} {value}", labels.join(",")));
        }
    }
}

/// To whole millionths: a product with 1e-6 is off in its last digit.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut text = Text::default();
        text.metric(&names::SEQ).add(&[("collection", "a\"b\\c\nd.json")], 7);
        let read =
            Distribution { bounds: &[250, 1_000_000], counts: vec![1, 2, 3], sum: 1_500_250 };
        text.histogram(&names::COMMIT_TIME, MICROSECONDS, &read);
        let text = text.finish();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                r#"movies_collection_seq{collection="a\"b\\c\nd.json"} 7"#,
                r#"movies_commit_duration_seconds_bucket{le="0.00025"} 1"#,
                r#"movies_commit_duration_seconds_bucket{le="1"} 3"#,
                r#"movies_commit_duration_seconds_bucket{le="+Inf"} 6"#,
                "movies_commit_duration_seconds_sum 1.50025",
                "movies_commit_duration_seconds_count 6",
            ]
        );
    }
}
