//! Looking for plaintext where there must be none.
//!
//! Workers and coordinators can write down, decrypted, every frame that they send or receive (`capture` in their
//! configuration). This module searches those files, and all state of the processes, for records and answers in
//! every form in which they could appear: as floats, as the ring elements of the fixed-point encoding, as text.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use serde::Serialize;

/// Values in a row that make a pattern. Three floats are 12 bytes: by chance they occur in a gigabyte with
/// probability 10^-20.
const FLOATS: usize = 3;
/// Ring elements in a row that make a pattern: two large ones are telling; small ones leave most bytes zero, so
/// that it takes more of them.
const ELEMENTS: [usize; 2] = [2, 8];
/// A pattern with fewer bytes that are not zero could be a length, a padding, or another small number.
const MIN_NONZERO: usize = 5;
/// Files are searched in memory; no process of a development network writes larger ones.
const MAX_FILE: u64 = 1 << 30;

/// What must not be found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needles {
    patterns: Vec<Vec<u8>>,
    labels: Vec<String>,
}

/// What was searched and found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) found: Vec<Found>,
}

/// A needle in a file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    pub(crate) file: PathBuf,
    pub(crate) what: String,
}

impl Needles {
    /// A record or an answer as `f32`, little and big endian, as `f64`, and as text.
    pub(crate) fn values(&mut self, what: &str, values: &[f32]) {
        for window in values.windows(FLOATS) {
            let each = |f: fn(&f32) -> Vec<u8>| window.iter().flat_map(f).collect::<Vec<u8>>();
            self.add(
                &format!("{what} as f32"),
                each(|v| v.to_le_bytes().to_vec()),
            );
            self.add(
                &format!("{what} as f32, big-endian"),
                each(|v| v.to_be_bytes().to_vec()),
            );
            self.add(
                &format!("{what} as f64"),
                each(|v| f64::from(*v).to_le_bytes().to_vec()),
            );
            // Small whole numbers in a row occur in any text; numbers with fractions do not.
            if window.iter().any(|v| v.fract() != 0.0) {
                let text: Vec<String> = window.iter().map(ToString::to_string).collect();
                self.add(&format!("{what} as text"), text.join(",").into_bytes());
            }
        }
    }

    /// A record or an answer as ring elements.
    pub(crate) fn ring(&mut self, what: &str, elements: &[u64]) {
        for window in ELEMENTS.iter().flat_map(|n| elements.windows(*n)) {
            let bytes = window.iter().flat_map(|v| v.to_le_bytes()).collect();
            self.add(&format!("{what} in fixed point"), bytes);
        }
    }

    /// Bytes that must not be found anywhere.
    pub(crate) fn add(&mut self, what: &str, pattern: Vec<u8>) {
        if pattern.iter().filter(|b| **b != 0).count() >= MIN_NONZERO {
            self.patterns.push(pattern);
            self.labels.push(what.to_owned());
        }
    }

    /// All of these as well.
    pub(crate) fn extend(&mut self, other: Self) {
        self.patterns.extend(other.patterns);
        self.labels.extend(other.labels);
    }

    /// How many patterns there are.
    pub(crate) fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Searches every file under the given paths.
    pub(crate) fn search(&self, roots: &[PathBuf]) -> Result<Findings, SearchError> {
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(&self.patterns)
            .map_err(SearchError::Patterns)?;
        let mut findings = Findings::default();
        for root in roots {
            self.walk(root, &automaton, &mut findings)?;
        }
        Ok(findings)
    }

    fn walk(
        &self,
        path: &Path,
        automaton: &AhoCorasick,
        findings: &mut Findings,
    ) -> Result<(), SearchError> {
        let at = |source| SearchError::Read {
            path: path.into(),
            source,
        };
        let meta = match fs::metadata(path) {
            // Processes are running: a file may be gone by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            meta => meta.map_err(at)?,
        };
        if meta.is_dir() {
            for entry in fs::read_dir(path).map_err(at)? {
                self.walk(&entry.map_err(at)?.path(), automaton, findings)?;
            }
            return Ok(());
        }
        if meta.len() > MAX_FILE {
            return Err(SearchError::TooLarge {
                path: path.into(),
                size: meta.len(),
            });
        }
        let bytes = fs::read(path).map_err(at)?;
        findings.files += 1;
        findings.bytes += bytes.len() as u64;
        if let Some(hit) = automaton.find(&bytes) {
            let what = self.labels[hit.pattern().as_usize()].clone();
            findings.found.push(Found {
                file: path.into(),
                what,
            });
        }
        Ok(())
    }
}

/// Why a search is not complete. An incomplete search proves nothing, so it is an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    #[error("cannot build the search")]
    Patterns(#[source] BuildError),
    #[error("cannot read {path}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has {size} bytes, too many to search", path = .path.display())]
    TooLarge { path: PathBuf, size: u64 },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_form_is_found_and_noise_is_not() {
        let record = [17.99f32, 10.38, 122.8, 1001.0];
        let ring = [17_u64 << 33 | 12_345, (-5_i64 << 20) as u64];
        let mut needles = Needles::default();
        needles.values("record", &record);
        needles.ring("record", &ring);
        assert!(needles.len() >= 9);
        let forms: [Vec<u8>; 4] = [
            record.iter().flat_map(|v| v.to_le_bytes()).collect(),
            record
                .iter()
                .flat_map(|v| f64::from(*v).to_le_bytes())
                .collect(),
            ring.iter().flat_map(|v| v.to_le_bytes()).collect(),
            b"{\"data\":[17.99,10.38,122.8]}".to_vec(),
        ];
        let dir = tempfile::tempdir().unwrap();
        for (i, form) in forms.iter().enumerate() {
            let mut file = vec![0xa5; 1000];
            file.extend(form);
            file.extend([0x5a; 1000]);
            fs::write(dir.path().join(i.to_string()), file).unwrap();
        }
        let roots = [dir.path().to_path_buf()];
        assert_eq!(needles.search(&roots).unwrap().found.len(), forms.len());
        for i in 0..forms.len() {
            fs::write(dir.path().join(i.to_string()), vec![i as u8; 4096]).unwrap();
        }
        let findings = needles.search(&roots).unwrap();
        assert_eq!((findings.files, findings.found.len()), (forms.len(), 0));
    }

    #[test]
    fn patterns_that_could_be_anything_are_left_out() {
        let mut needles = Needles::default();
        needles.values("zeros", &[0.0; 64]);
        needles.ring("zeros", &[0; 64]);
        assert_eq!(needles.len(), 0);
    }
}
