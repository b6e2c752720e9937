//! GGUF files, checked before they are read.
//!
//! candle's reader reserves memory by what the file claims. [`check`] walks the same header first and refuses what claims
//! more than there is, so that nothing is ever reserved beyond the file's own size.
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::io::Cursor;

use candle_core::quantized::{GgmlDType, gguf_file};

use crate::error::LoadError;
use crate::weights::Weights;

/// Arrays in arrays.
const DEEPEST: usize = 4;
/// Axes of a tensor.
const MOST_AXES: u32 = 4;

/// Reads a file.
pub(crate) fn open(bytes: Vec<u8>) -> Result<Weights, LoadError> {
    check(&bytes)?;
    let mut file = Cursor::new(bytes);
    let content = gguf_file::Content::read(&mut file);
    let content = content.map_err(|source| LoadError::Tensor {
        name: "the GGUF header".into(),
        source,
    })?;
    // Now that alignment is known: every tensor within the file.
    let size = file.get_ref().len();
    for info in content.tensor_infos.values() {
        let bytes = tensor_bytes(info.shape.dims(), info.ggml_dtype);
        let start = usize::try_from(info.offset).ok();
        let start =
            start.and_then(|o| o.checked_add(usize::try_from(content.tensor_data_offset).ok()?));
        let end = start
            .zip(bytes)
            .and_then(|(start, bytes)| start.checked_add(bytes));
        if end.is_none_or(|end| end > size) {
            return Err(LoadError::Gguf {
                why: "a tensor ends beyond the file",
                at: size,
            });
        }
    }
    Ok(Weights::Gguf(content, file))
}

fn tensor_bytes(dims: &[usize], kind: GgmlDType) -> Option<usize> {
    let elements = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    let blocks = elements / kind.block_size();
    (blocks * kind.block_size() == elements).then(|| blocks.checked_mul(kind.type_size()))?
}

/// Walks the header.
fn check(bytes: &[u8]) -> Result<(), LoadError> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.take(4)? != b"GGUF" {
        return Err(reader.error("no GGUF file"));
    }
    if !matches!(reader.u32()?, 2 | 3) {
        return Err(reader.error("neither version 2 nor 3"));
    }
    let (tensors, values) = (reader.u64()?, reader.u64()?);
    for _ in 0..values {
        reader.string()?;
        let kind = reader.u32()?;
        reader.value(kind, 0)?;
    }
    for _ in 0..tensors {
        reader.string()?;
        let axes = reader.u32()?;
        if axes > MOST_AXES {
            return Err(reader.error("a tensor with more than four axes"));
        }
        // Sizes, kind, offset.
        reader.take(axes as usize * 8 + 4 + 8)?;
    }
    Ok(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, why: &'static str) -> LoadError {
        LoadError::Gguf { why, at: self.at }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], LoadError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest
            .get(..count)
            .ok_or_else(|| self.error("the file ends here"))?;
        self.at += count;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, LoadError> {
        let bytes = self.take(4)?.try_into().unwrap_or([0; 4]);
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, LoadError> {
        let bytes = self.take(8)?.try_into().unwrap_or([0; 8]);
        Ok(u64::from_le_bytes(bytes))
    }

    fn size(&mut self) -> Result<usize, LoadError> {
        let size = self.u64()?;
        usize::try_from(size).map_err(|_| self.error("a length beyond all memory"))
    }

    fn string(&mut self) -> Result<(), LoadError> {
        let length = self.size()?;
        self.take(length).map(drop)
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<(), LoadError> {
        match kind {
            0 | 1 | 7 => self.take(1).map(drop),
            2 | 3 => self.take(2).map(drop),
            4..=6 => self.take(4).map(drop),
            10..=12 => self.take(8).map(drop),
            8 => self.string(),
            9 if depth < DEEPEST => {
                let kind = self.u32()?;
                let count = self.size()?;
                // Each element has at least a byte: no count beyond the file is walked.
                if count > self.bytes.len() - self.at {
                    return Err(self.error("an array longer than the file"));
                }
                (0..count).try_for_each(|_| self.value(kind, depth + 1))
            }
            _ => Err(self.error("a value of unknown kind")),
        }
    }
}
