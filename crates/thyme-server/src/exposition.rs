//! The text format of Prometheus.

use std::fmt::{Display, Write as _};

/// What a family's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows, but for restarts.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by upper bound, with a sum.
    Histogram,
}

/// Families of metrics as text, in the order in which they are written.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

/// The samples of one family.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Exposition {
    /// Begins a family; all its samples follow before the next one begins.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        for c in help.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                c => self.text.push(c),
            }
        }
        push(&mut self.text, format_args!("\n# TYPE {name} {kind}\n"));
        Family { text: &mut self.text, name }
    }

    /// A family with a single sample.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    /// A histogram: how many were at most each bound of `bounds`, and in the last place how many there
    /// were above; and the sum of all.
    pub fn histogram(&mut self, labels: &[(&str, &str)], bounds: &[&str], counts: &[u64], sum: f64) {
        let mut so_far = 0;
        for (index, count) in counts.iter().enumerate() {
            so_far += count;
            let bound = bounds.get(index).copied().unwrap_or("+Inf");
            let mut labels = labels.to_vec();
            labels.push(("le", bound));
            self.part("_bucket", &labels, so_far);
        }
        self.part("_sum", labels, sum);
        self.part("_count", labels, so_far);
    }

    fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        push(self.text, format_args!(" {value}\n"));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped_and_buckets_add_up() {
        let mut out = Exposition::default();
        out.family("a_total", Kind::Counter, "one\ntwo \\").sample(&[("x", "q\"\\\n"), ("y", "é")], 3);
        out.family("b_seconds", Kind::Histogram, "h").histogram(
            &[("r", "x")],
            &["0.1", "1"],
            &[2, 0, 1],
            1.5,
        );
        out.single("c", Kind::Gauge, "g", -1.25);
        let expected = "# HELP a_total one\\ntwo \\\\\n# TYPE a_total counter\n\
            a_total{x=\"q\\\"\\\\\\n\",y=\"é\"} 3\n\
            # HELP b_seconds h\n# TYPE b_seconds histogram\n\
            b_seconds_bucket{r=\"x\",le=\"0.1\"} 2\nb_seconds_bucket{r=\"x\",le=\"1\"} 2\n\
            b_seconds_bucket{r=\"x\",le=\"+Inf\"} 3\nb_seconds_sum{r=\"x\"} 1.5\nb_seconds_count{r=\"x\"} 3\n\
            # HELP c g\n# TYPE c gauge\nc -1.25\n";
        assert_eq!(out.into_text(), expected);
    }
}
