//! The processor.

use std::fs;
use std::thread;

use ai_link_wire::Bytes;

use super::{Device, DeviceKind};

/// Assumed where the system does not say how much memory there is.
const ASSUMED_MEMORY: Bytes = Bytes(1 << 30);

/// The processor of this machine.
#[derive(Clone, Debug)]
pub struct CpuDevice {
    cores: u16,
    memory: Bytes,
    description: String,
}

impl CpuDevice {
    /// Reads what the machine has.
    pub fn open() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            cores: u16::try_from(cores).unwrap_or(u16::MAX),
            memory: memory_total().unwrap_or(ASSUMED_MEMORY),
            description: format!("cpu, {cores} cores, {}", vector_instructions()),
        }
    }
}

impl Device for CpuDevice {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu
    }

    fn description(&self) -> String {
        self.description.clone()
    }

    fn memory(&self) -> Bytes {
        self.memory
    }

    fn units(&self) -> u16 {
        self.cores
    }
}

/// From `/proc/meminfo`, in KiB there.
fn memory_total() -> Option<Bytes> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Bytes(kib.checked_mul(1024)?))
}

#[cfg(target_arch = "x86_64")]
fn vector_instructions() -> &'static str {
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
        "AVX-512"
    } else if is_x86_feature_detected!("avx2") {
        "AVX2"
    } else {
        "portable kernels"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_instructions() -> &'static str {
    "portable kernels"
}
