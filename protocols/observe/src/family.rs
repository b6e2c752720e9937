//! Counters, gauges and histograms, one for each value of their labels.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::label::Set;
use crate::{Dimensions, Latencies, LatencySnapshot};

macro_rules! family {
    ($(#[$about:meta])* $name:ident of $metric:ty) => {
        $(#[$about])*
        #[derive(Debug)]
        pub struct $name<D: Dimensions>(pub(crate) Family<Set<D>, $metric>);

        impl<D: Dimensions> Clone for $name<D> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<D: Dimensions> Default for $name<D> {
            /// All that there can be, as zeros.
            fn default() -> Self {
                let family = Family::default();
                for by in D::all() {
                    drop(family.get_or_create(&Set(by)));
                }
                Self(family)
            }
        }
    };
}

family! {
    /// A counter for each of `D`. Clones count together.
    Counters of Counter
}
family! {
    /// A gauge for each of `D`. Clones are of the same gauges.
    Gauges of Gauge
}
family! {
    /// A histogram of durations for each of `D`. Clones count together.
    Timings of Latencies
}

impl<D: Dimensions> Counters<D> {
    /// Counts.
    pub fn add(&self, by: D, count: u64) {
        self.0.get_or_create(&Set(by)).inc_by(count);
    }

    /// What was counted so far.
    pub fn get(&self, by: D) -> u64 {
        self.0.get_or_create(&Set(by)).get()
    }
}

impl<D: Dimensions> Gauges<D> {
    /// Sets the gauge; what no gauge holds becomes the most that it does.
    pub fn set(&self, by: D, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.0.get_or_create(&Set(by)).set(value);
    }
}

impl<D: Dimensions> Timings<D> {
    /// Counts a duration.
    pub fn observe(&self, by: D, taken: Duration) {
        self.0.get_or_create(&Set(by)).observe(taken);
    }

    /// What was counted so far.
    pub fn snapshot(&self, by: D) -> LatencySnapshot {
        self.0.get_or_create(&Set(by)).snapshot()
    }
}
