//! The GPU's place in a build without a GPU back-end.

use std::convert::Infallible;

use ai_link_wire::Bytes;

use super::{Device, DeviceError, DeviceKind};

/// An NVIDIA GPU. In this build no value of the type exists.
#[derive(Debug)]
pub struct CudaDevice {
    never: Infallible,
}

impl CudaDevice {
    /// # Errors
    /// Always [`DeviceError::NotCompiled`] in this build.
    pub fn open() -> Result<Self, DeviceError> {
        Err(DeviceError::NotCompiled(DeviceKind::Cuda))
    }
}

impl Device for CudaDevice {
    fn kind(&self) -> DeviceKind {
        match self.never {}
    }

    fn description(&self) -> String {
        match self.never {}
    }

    fn memory(&self) -> Bytes {
        match self.never {}
    }

    fn units(&self) -> u16 {
        match self.never {}
    }
}
