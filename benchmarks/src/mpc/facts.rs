//! What the machine is, and how much memory a process took.

use std::fs;

use ai_link_mpc::kernels::Isa;
use serde::Serialize;

/// What figures depend on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// Name of the processor.
    cpu: String,
    /// Cores that this process may use.
    cores: usize,
    /// The instruction set that the kernels chose.
    instructions: String,
}

impl Machine {
    pub(super) fn here() -> Self {
        Self {
            cpu: cpu().unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            instructions: Isa::best().to_string(),
        }
    }
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The most memory that this process has had, in bytes; `None` where the system does not tell.
pub(super) fn peak_rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
