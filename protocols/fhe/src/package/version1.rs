//! Packages as they were before networks could be exact: without a method, and with one score for each output.

use serde::Deserialize;

use super::{Fidelity, Method, Package, Range};
use crate::encoder::{Code, Decoder, Encoder};
use crate::model::Head;
use crate::program::{Exactness, Program};

/// First bytes of a package of version 1.
pub(crate) const MAGIC: [u8; 4] = *b"AFM\x01";

#[derive(Deserialize)]
pub(crate) struct PackageV1 {
    program: Program,
    encoder: Encoder,
    decoder: DecoderV1,
    fidelity: Fidelity,
}

#[derive(Deserialize)]
struct DecoderV1 {
    scale: Vec<f64>,
    offset: Vec<f64>,
    head: Head,
}

impl From<PackageV1> for Package {
    fn from(old: PackageV1) -> Self {
        let DecoderV1 {
            scale,
            offset,
            head,
        } = old.decoder;
        let (method, range) = match (old.program.exactness(), &old.encoder.code) {
            (Exactness::Approximate, _) => {
                (Method::Network(Exactness::Approximate), Range::Calibrated)
            }
            (Exactness::Exact, Code::Thermometer(_)) => (Method::Trees, Range::Proven),
            (Exactness::Exact, Code::Grid { .. }) => (Method::Linear, Range::Proven),
        };
        Self {
            program: old.program,
            encoder: old.encoder,
            decoder: Decoder::each(scale, offset, head),
            fidelity: old.fidelity,
            method,
            range,
        }
    }
}
