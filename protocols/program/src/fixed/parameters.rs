//! The values of private weights: they travel apart from the program, from the owner to whom it trusts with them.

use std::fmt;

use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::{ParamId, ParamInfo, Program};

/// First bytes of encoded parameters, with the version of the format.
const MAGIC: [u8; 8] = *b"AILINKW\x01";

/// The owner's values for the parameters of a program, checked against it: count, sizes, bounds.
///
/// Wiped when dropped; `Debug` tells only how many there are.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameters {
    tensors: Vec<Zeroizing<Vec<i64>>>,
    bounds: Vec<u8>,
}

/// Why values are not the parameters of a program. Tells sizes, never values.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterError {
    /// Number of tensors.
    #[error("the program has {want} private constants, {have} were given")]
    Count {
        /// Parameters of the program.
        want: usize,
        /// Tensors given.
        have: usize,
    },
    /// Number of elements of one tensor.
    #[error("parameter {name:?} has {want} elements, {have} were given")]
    Elements {
        /// The parameter.
        name: String,
        /// Its elements.
        want: usize,
        /// Elements given.
        have: usize,
    },
    /// A value is past the bound that the program states.
    #[error("parameter {name:?} element {index} is not below 2^{bound_bits} in magnitude")]
    Bound {
        /// The parameter.
        name: String,
        /// Which element.
        index: usize,
        /// The bound.
        bound_bits: u8,
    },
    /// Not encoded parameters, or of another version.
    #[error("the bytes do not start like parameters of version {}", MAGIC[7])]
    Magic,
    /// The size that the program implies.
    #[error("the parameters of this program take {want} bytes, {have} were given")]
    Size {
        /// Bytes needed.
        want: usize,
        /// Bytes given.
        have: usize,
    },
}

impl Parameters {
    /// Checks `values` (one tensor for each of [`Program::parameters`], row-major) against the program.
    pub fn new(program: &Program, values: Vec<Vec<i64>>) -> Result<Self, ParameterError> {
        let parameters = Self {
            tensors: values.into_iter().map(Zeroizing::new).collect(),
            bounds: bounds(program.parameters()),
        };
        parameters.check(program)?;
        Ok(parameters)
    }

    /// For a program whose weights are all public.
    pub fn none() -> Self {
        Self {
            tensors: Vec::new(),
            bounds: Vec::new(),
        }
    }

    /// Whether there are none: all weights of the program are public.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Elements of one parameter, row-major.
    ///
    /// # Panics
    /// If `id` belongs to another program and is out of range here.
    pub fn tensor(&self, id: ParamId) -> &[i64] {
        &self.tensors[id.index()]
    }

    /// Whether these are values for `program`. True for the one that they were made for; to be asked before they are
    /// used with a program from elsewhere.
    pub fn check(&self, program: &Program) -> Result<(), ParameterError> {
        let infos = program.parameters();
        if self.tensors.len() != infos.len() {
            return Err(ParameterError::Count {
                want: infos.len(),
                have: self.tensors.len(),
            });
        }
        for (info, tensor) in infos.iter().zip(&self.tensors) {
            if tensor.len() != info.elements() {
                return Err(ParameterError::Elements {
                    name: info.name.clone(),
                    want: info.elements(),
                    have: tensor.len(),
                });
            }
            let past = |v: &i64| v.unsigned_abs() >= 1 << info.bound_bits;
            if let Some(index) = tensor.iter().position(past) {
                return Err(ParameterError::Bound {
                    name: info.name.clone(),
                    index,
                    bound_bits: info.bound_bits,
                });
            }
        }
        Ok(())
    }

    /// Eight bytes of magic and version, then every element in as many bytes as its bound needs, little endian, two's
    /// complement. Secret: encrypt before it leaves the owner.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let size = self.sizes().sum::<usize>() + MAGIC.len();
        // Reserved in full: a buffer that grows leaves copies behind that nobody wipes.
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        bytes.extend_from_slice(&MAGIC);
        for (tensor, bound) in self.tensors.iter().zip(&self.bounds) {
            for v in tensor.iter() {
                bytes.extend_from_slice(&v.to_le_bytes()[..width(*bound)]);
            }
        }
        bytes
    }

    /// Reads parameters of `program`, whose shapes and bounds say how many bytes there must be.
    pub fn from_bytes(bytes: &[u8], program: &Program) -> Result<Self, ParameterError> {
        let body = bytes.strip_prefix(&MAGIC).ok_or(ParameterError::Magic)?;
        let infos = program.parameters();
        let size = |p: &ParamInfo| p.elements() * width(p.bound_bits);
        let want = infos.iter().map(size).sum::<usize>();
        if body.len() != want {
            return Err(ParameterError::Size {
                want: want + MAGIC.len(),
                have: bytes.len(),
            });
        }
        let mut rest = body;
        let mut tensors = Vec::with_capacity(infos.len());
        for info in infos {
            let (these, behind) = rest.split_at(size(info));
            rest = behind;
            let elements = these.chunks_exact(width(info.bound_bits)).map(signed);
            tensors.push(Zeroizing::new(elements.collect()));
        }
        let parameters = Self {
            tensors,
            bounds: bounds(infos),
        };
        parameters.check(program)?;
        Ok(parameters)
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        let both = self.tensors.iter().zip(&self.bounds);
        both.map(|(t, bound)| t.len() * width(*bound))
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        self.tensors.zeroize();
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements: usize = self.tensors.iter().map(|t| t.len()).sum();
        let tensors = self.tensors.len();
        write!(f, "Parameters({tensors} tensors, {elements} elements)")
    }
}

fn bounds(infos: &[ParamInfo]) -> Vec<u8> {
    infos.iter().map(|p| p.bound_bits).collect()
}

/// Bytes of a value with |value| < 2^bound: a sign bit more than the bound.
fn width(bound: u8) -> usize {
    usize::from(bound / 8) + 1
}

/// Two's complement of up to eight bytes.
fn signed(bytes: &[u8]) -> i64 {
    let sign = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut full = [if sign { 0xff } else { 0 }; 8];
    for (to, from) in full.iter_mut().zip(bytes) {
        *to = *from;
    }
    i64::from_le_bytes(full)
}
