//! `.npy` files: the form in which records enter and answers leave the command line.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use npyz::WriterBuilder;

/// No tensor on the command line is larger: a claim in a header is checked before anything is allocated.
const MAX_ELEMENTS: u64 = 1 << 28;

/// A tensor of `f32` in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) dims: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

impl Array {
    /// Elements of one record: all axes but the first.
    pub(crate) fn record_len(&self) -> usize {
        self.dims.iter().skip(1).product()
    }

    /// Records: the first axis.
    pub(crate) fn records(&self) -> usize {
        self.dims.first().copied().unwrap_or(0)
    }

    /// Records `from..to` as an array of their own.
    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        let n = self.record_len();
        let mut dims = self.dims.clone();
        if let Some(first) = dims.first_mut() {
            *first = to - from;
        }
        Self {
            dims,
            data: self.data[from * n..to * n].to_vec(),
        }
    }
}

/// Reads little-endian or big-endian `f4`, `f8` and integer arrays as `f32`.
///
/// # Errors
/// [`NpyError`] when the file cannot be read, is not `.npy`, is in Fortran order, or too large.
pub(crate) fn read(path: &Path) -> Result<Array, NpyError> {
    let at = |source| NpyError::Read {
        path: path.into(),
        source,
    };
    decode(BufReader::new(File::open(path).map_err(at)?), path)
}

/// The same, of a file that was in storage.
///
/// # Errors
/// [`NpyError`].
pub(crate) fn parse(bytes: &[u8]) -> Result<Array, NpyError> {
    decode(bytes, Path::new("the stored object"))
}

fn decode(reader: impl Read, path: &Path) -> Result<Array, NpyError> {
    let at = |source| NpyError::Read {
        path: path.into(),
        source,
    };
    let file = npyz::NpyFile::new(reader).map_err(at)?;
    if file.order() != npyz::Order::C {
        return Err(NpyError::FortranOrder { path: path.into() });
    }
    let elements = file.shape().iter().try_fold(1u64, |n, d| n.checked_mul(*d));
    match elements {
        Some(n) if n <= MAX_ELEMENTS => {}
        _ => {
            return Err(NpyError::TooLarge {
                path: path.into(),
                limit: MAX_ELEMENTS,
            });
        }
    }
    let dims = file.shape().iter().map(|d| *d as usize).collect();
    let dtype = file.dtype().descr();
    let data = match dtype.trim_matches(|c: char| "\"'<>|=".contains(c)) {
        "f4" => file.into_vec::<f32>().map_err(at)?,
        "f8" => file
            .into_vec::<f64>()
            .map_err(at)?
            .into_iter()
            .map(|v| v as f32)
            .collect(),
        "i8" => file
            .into_vec::<i64>()
            .map_err(at)?
            .into_iter()
            .map(|v| v as f32)
            .collect(),
        "i4" => file
            .into_vec::<i32>()
            .map_err(at)?
            .into_iter()
            .map(|v| v as f32)
            .collect(),
        "u1" => file
            .into_vec::<u8>()
            .map_err(at)?
            .into_iter()
            .map(f32::from)
            .collect(),
        _ => {
            return Err(NpyError::DataType {
                path: path.into(),
                found: dtype,
            });
        }
    };
    Ok(Array { dims, data })
}

/// Writes `f4`, C order.
///
/// # Errors
/// [`NpyError::Write`] when the file cannot be written.
pub(crate) fn write(path: &Path, array: &Array) -> Result<(), NpyError> {
    let at = |source| NpyError::Write {
        path: path.into(),
        source,
    };
    let shape: Vec<u64> = array.dims.iter().map(|d| *d as u64).collect();
    let mut file = BufWriter::new(File::create(path).map_err(at)?);
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&shape)
        .writer(&mut file)
        .begin_nd()
        .map_err(at)?;
    writer.extend(array.data.iter().copied()).map_err(at)?;
    writer.finish().map_err(at)?;
    file.flush().map_err(at)
}

/// What can be wrong with a `.npy` file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NpyError {
    #[error("{path} holds {found} values; f4, f8, i8, i4 and u1 can be read", path = .path.display())]
    DataType { path: PathBuf, found: String },
    #[error("{path} is in Fortran order; save it with numpy.ascontiguousarray", path = .path.display())]
    FortranOrder { path: PathBuf },
    #[error("cannot read {path} as .npy", path = .path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} claims more than {limit} elements", path = .path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("cannot write {path}", path = .path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let array = Array {
            dims: vec![2, 3],
            data: vec![0.0, -1.5, 3.25, f32::MAX, 1e-30, 7.0],
        };
        write(&path, &array).unwrap();
        assert_eq!(read(&path).unwrap(), array);
        assert_eq!(
            array.slice(1, 2),
            Array {
                dims: vec![1, 3],
                data: array.data[3..].to_vec()
            }
        );
    }

    #[test]
    fn garbage_and_claims_are_typed_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        std::fs::write(&path, b"not numpy at all").unwrap();
        assert!(matches!(read(&path), Err(NpyError::Read { .. })));
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,), }";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(read(&path), Err(NpyError::TooLarge { .. })));
    }
}
