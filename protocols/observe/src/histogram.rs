//! How long things take.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use serde::{Deserialize, Serialize};

/// Upper bounds in milliseconds: three to a decade from 1 ms to 10 minutes.
const BOUNDS_MS: [u64; 18] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000, 120_000,
    300_000, 600_000,
];

/// A histogram of durations. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// One for each bound, and one for what is above all.
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_us: AtomicU64,
}

/// What a histogram holds at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySnapshot {
    /// Upper bounds in milliseconds, ascending.
    pub bounds_ms: Vec<u64>,
    /// How many lie at or below each bound and above the one before; one more than bounds, for what is above all.
    pub counts: Vec<u64>,
    /// Sum of all durations, in seconds.
    pub sum_seconds: f64,
}

impl Latencies {
    /// Counts a duration.
    pub fn observe(&self, taken: Duration) {
        let at = BOUNDS_MS.partition_point(|bound| Duration::from_millis(*bound) < taken);
        self.0.buckets[at].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        self.0.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> LatencySnapshot {
        let counts = self.0.buckets.iter().map(|n| n.load(Ordering::Relaxed));
        LatencySnapshot {
            bounds_ms: BOUNDS_MS.to_vec(),
            counts: counts.collect(),
            sum_seconds: self.0.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

impl LatencySnapshot {
    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The upper bound of the bucket in which the `share` (0 to 1) of the durations ends, in milliseconds; `None` where there
    /// are none, or it lies above all bounds.
    pub fn quantile_ms(&self, share: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * share.clamp(0.0, 1.0))
            .ceil()
            .max(1.0) as u64;
        let mut below = 0;
        for (bound, count) in self.bounds_ms.iter().zip(&self.counts) {
            below += count;
            if below >= wanted {
                return Some(*bound);
            }
        }
        None
    }
}

impl TypedMetric for Latencies {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latencies {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = self.snapshot();
        let seconds = snapshot.bounds_ms.iter().map(|ms| *ms as f64 / 1e3);
        let bounds = seconds.chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(snapshot.counts.iter().copied()).collect();
        let (sum, count) = (snapshot.sum_seconds, snapshot.count());
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_at_or_below_its_bound() {
        let taken = Latencies::default();
        for us in [999, 1_000, 1_001, 600_000_000, 600_000_001] {
            taken.observe(Duration::from_micros(us));
        }
        let snapshot = taken.snapshot();
        assert_eq!(&snapshot.counts[..2], [2, 1]);
        assert_eq!(&snapshot.counts[17..], [1, 1]);
        assert_eq!(snapshot.count(), 5);
        assert_eq!(snapshot.quantile_ms(0.4), Some(1));
        assert_eq!(snapshot.quantile_ms(0.5), Some(2));
        assert_eq!(snapshot.quantile_ms(1.0), None, "above all bounds");
        assert_eq!(LatencySnapshot::default().quantile_ms(0.5), None);
    }
}
