//! What every process has.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;

#[derive(Debug)]
pub(crate) struct Process {
    role: &'static str,
    version: &'static str,
    started: f64,
}

impl Process {
    pub(crate) fn new(role: &'static str, version: &'static str) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            role,
            version,
            started: started.map_or(0.0, |since| since.as_secs_f64()),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let build = Info::new([("role", self.role), ("version", self.version)]);
        build.encode(encoder.encode_descriptor(
            "ai_link_build",
            "What this daemon is",
            None,
            MetricType::Info,
        )?)?;
        ConstGauge::new(self.started).encode(encoder.encode_descriptor(
            "process_start_time_seconds",
            "When it started, in seconds since 1970",
            None,
            MetricType::Gauge,
        )?)?;
        if let Some(bytes) = resident() {
            ConstGauge::new(bytes).encode(encoder.encode_descriptor(
                "process_resident_memory_bytes",
                "Its memory",
                None,
                MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}

/// Resident memory, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    parse_resident(&status)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_linux_writes_it() {
        assert_eq!(
            parse_resident("Name:\tx\nVmRSS:\t    1234 kB\n"),
            Some(1_263_616)
        );
        assert_eq!(parse_resident("VmRSS:\tmany kB\n"), None);
        assert_eq!(parse_resident(""), None);
    }
}
