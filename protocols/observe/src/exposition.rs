//! Reads an exposition: for tests, and for whoever shows metrics to people.
//!
//! Of [OpenMetrics](https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md) what daemons of this
//! network write: `# HELP`, `# TYPE`, `# UNIT`, samples without timestamps and exemplars, `# EOF`.

use std::collections::{BTreeMap, BTreeSet};

/// The metrics of a daemon at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// By the name of the family.
    pub families: BTreeMap<String, Family>,
}

/// Metrics of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// What it says.
    pub help: String,
    /// Its samples, in their order.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The family's name with an ending such as `_total`.
    pub name: String,
    /// By name.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// Why a text is no exposition.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line} of the metrics: {problem}")]
pub struct ExpositionError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// Endings of samples by the kind of their family.
fn endings(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_count", "_sum"],
        "info" => &["_info"],
        _ => return None,
    })
}

impl Exposition {
    /// Reads an exposition, and checks it: every sample belongs to the family before it, and none comes twice.
    ///
    /// # Errors
    /// [`ExpositionError`] with the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, ExpositionError> {
        let mut parsed = Self::default();
        let mut family = None;
        let mut seen = BTreeSet::new();
        let mut ended = false;
        for (at, line) in text.lines().enumerate() {
            let wrong = |problem| ExpositionError {
                line: at + 1,
                problem,
            };
            if ended {
                return Err(wrong("something follows the end"));
            }
            if line == "# EOF" {
                ended = true;
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or(wrong("no help"))?;
                let known = parsed.families.entry(name.to_owned()).or_default();
                help.clone_into(&mut known.help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or(wrong("no type"))?;
                endings(kind).ok_or(wrong("a type that is not known"))?;
                let known = parsed.families.entry(name.to_owned()).or_default();
                if !known.kind.is_empty() {
                    return Err(wrong("a family comes twice"));
                }
                kind.clone_into(&mut known.kind);
                family = Some(name.to_owned());
            } else if line.starts_with("# UNIT ") {
            } else {
                let sample = sample(line).ok_or(wrong("not a sample"))?;
                let of = family.as_ref().ok_or(wrong("a sample without a family"))?;
                let known = parsed
                    .families
                    .get_mut(of)
                    .ok_or(wrong("a sample without a family"))?;
                let ending = sample.name.strip_prefix(of.as_str());
                let fits = |ending| endings(&known.kind).is_some_and(|all| all.contains(&ending));
                if !ending.is_some_and(fits) {
                    return Err(wrong("a sample of another family"));
                }
                if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                    return Err(wrong("a sample comes twice"));
                }
                known.samples.push(sample);
            }
        }
        let lines = text.lines().count();
        match ended {
            true => Ok(parsed),
            false => Err(ExpositionError {
                line: lines,
                problem: "it is cut off",
            }),
        }
    }

    /// The sum of the samples called `name` that have all of `labels`; `None` where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &Sample, (label, value): &(&str, &str)| {
            sample.labels.get(*label).is_some_and(|v| v == value)
        };
        let samples = self.families.values().flat_map(|family| &family.samples);
        let fitting = samples
            .filter(|sample| sample.name == name && labels.iter().all(|label| has(sample, label)));
        fitting.map(|sample| sample.value).reduce(|a, b| a + b)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let is_name = |text: &str| {
        let mut chars = text.chars();
        chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut labels = BTreeMap::new();
    let rest = match rest.strip_prefix('{') {
        None => rest,
        Some(inner) => {
            let mut inner = inner;
            loop {
                if let Some(rest) = inner.strip_prefix('}') {
                    break rest;
                }
                let (label, after) = inner.split_once("=\"")?;
                let (value, after) = quoted(after)?;
                if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                    return None;
                }
                inner = after.strip_prefix(',').unwrap_or(after);
            }
        }
    };
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    is_name(name).then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// A label's value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                other @ ('"' | '\\') => other,
                _ => return None,
            }),
            (_, other) => value.push(other),
        }
    }
}
