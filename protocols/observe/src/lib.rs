//! Metrics of a daemon, and where it serves them.
//!
//! * What matters is counted as a [`Triple`]: attempted, succeeded, failed for one of a closed set of reasons. A daemon
//!   that does nothing shows zeros for "attempted", which is another thing than no failures.
//! * Labels are closed sets ([`Label`]), never ids, names or anything that comes from outside. So the number of time series
//!   is fixed when the daemon starts, and all of them are there from the start, as zeros.
//! * How long something takes is a [`Latencies`]: a histogram that can be read back, so that what a dashboard shows
//!   and what is scraped are the same numbers.
//! * [`Metrics`] collects them and writes the [exposition](https://prometheus.io/docs/instrumenting/exposition_formats/)
//!   in OpenMetrics text; [`serve`] serves it and other [pages](Pages), on loopback only ([`Loopback`]). [`exposition`] reads it.
//!
//! Names are `ai_link_<what>_<unit>`; seconds and bytes; counters end in `_total`.
//!
//! No payload, key, account or job is in a metric. Who can connect to the address can read how much this daemon does,
//! and when.

#![forbid(unsafe_code)]

pub mod exposition;
mod family;
mod histogram;
mod label;
mod loopback;
mod metrics;
mod process;
mod serve;
mod triple;

pub use family::{Counters, Gauges, Timings};
pub use histogram::{Latencies, LatencySnapshot};
pub use label::{Dimensions, Label};
pub use loopback::{Loopback, ParseLoopbackError};
pub use metrics::Metrics;
pub use serve::{Page, Pages, ServeError, Served, serve};
pub use triple::Triple;
