//! Where ring kernels run.
//!
//! One trait, and the same types in every build: a build without a GPU back-end has [`CudaDevice`] too, whose
//! only constructor says why there is none (the way candle's dummy back-end does it). Code above never needs
//! a `cfg`.

mod cpu;
mod cuda;

use std::fmt::Debug;
use std::sync::Arc;

use ai_link_wire::Bytes;

pub use cpu::CpuDevice;
pub use cuda::CudaDevice;

/// A place to run an evaluation.
pub trait Device: Debug + Send + Sync {
    /// What it is.
    fn kind(&self) -> DeviceKind;
    /// For people: name and features that matter to speed.
    fn description(&self) -> String;
    /// Memory that evaluations may use.
    fn memory(&self) -> Bytes;
    /// Cores, or multiprocessors.
    fn units(&self) -> u16;
}

/// Kinds of device.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// The processor, with the widest vector instructions it has.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

/// Opens the device that the configuration names. There is no silent fall-back from one to another: an
/// operator who asked for a GPU hears that there is none.
///
/// # Errors
/// [`DeviceError`] with what to do.
pub fn open(kind: DeviceKind) -> Result<Arc<dyn Device>, DeviceError> {
    Ok(match kind {
        DeviceKind::Cpu => Arc::new(CpuDevice::open()),
        DeviceKind::Cuda => Arc::new(CudaDevice::open()?),
    })
}

/// Why a device cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// This build has no back-end for it.
    #[error("this build of ai-link has no {0:?} back-end; set `device = \"cpu\"`")]
    NotCompiled(DeviceKind),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_a_missing_gpu_is_an_error() {
        let Ok(cpu) = open(DeviceKind::Cpu) else {
            panic!("no CPU device")
        };
        assert_eq!(cpu.kind(), DeviceKind::Cpu);
        assert!(cpu.units() > 0 && cpu.memory().0 > 0);
        assert!(matches!(
            open(DeviceKind::Cuda),
            Err(DeviceError::NotCompiled(DeviceKind::Cuda))
        ));
    }
}
