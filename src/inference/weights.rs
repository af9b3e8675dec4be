//! Tensors of a safetensors file, in the binary or on disk, converted to `f32` where they are used.
//!
//! A file is read tensor by tensor with positioned reads and never mapped: a file that shrinks under us is an error and
//! not a signal, nothing is held twice, and pages of a file don't count as memory of the process. Bytes in the binary are
//! borrowed. `f32`, `f16` and `bf16` are understood.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

/// Longest header that is read; the safetensors format has the same limit.
const MAX_HEADER: u64 = 100_000_000;

/// Why weights could not be had.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file can't be opened or read.
    #[error("can't read weights {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a whole safetensors file.
    #[error("{path} is not a complete safetensors file: {reason}")]
    Format {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the network needs is not there.
    #[error("tensor `{name}` is missing in {path}")]
    Missing {
        /// Which tensor.
        name: String,
        /// Which file.
        path: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration calls for.
        expected: Vec<usize>,
    },
    /// The configuration calls for a tensor without numbers.
    #[error("tensor `{name}` is empty, by the sizes in the configuration")]
    Empty {
        /// Which tensor.
        name: String,
    },
    /// A tensor has numbers of a kind that is not understood.
    #[error("tensor `{name}` holds {dtype:?}; f32, f16 and bf16 are supported")]
    Type {
        /// Which tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
    },
    /// A candle device refused the tensor.
    #[error("tensor `{name}`: {source}")]
    Device {
        /// Which tensor.
        name: String,
        /// What candle said.
        source: candle_core::Error,
    },
}

/// An open safetensors file.
pub struct Weights {
    metadata: Metadata,
    data: Data,
    /// Where the tensors begin.
    start: u64,
    /// For messages.
    path: String,
}

enum Data {
    Static(&'static [u8]),
    File(File),
}

impl Weights {
    /// Reads the header of a file on disk.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let name = path.display().to_string();
        let read = |source| WeightsError::Read { path: name.clone(), source };
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let mut prefix = [0; 8];
        file.read_exact_at(&mut prefix, 0).map_err(read)?;
        let header_length = u64::from_le_bytes(prefix);
        if header_length > MAX_HEADER.min(length) {
            let reason = format!("its header claims {header_length} of {length} bytes");
            return Err(WeightsError::Format { path: name, reason });
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact_at(&mut header, 8).map_err(read)?;
        Self::new(&header, length, Data::File(file), name)
    }

    /// Reads the header of a file that is compiled in; `name` is for messages.
    pub fn embedded(bytes: &'static [u8], name: &str) -> Result<Self, WeightsError> {
        let header = bytes.split_first_chunk().and_then(|(prefix, rest)| {
            let length = usize::try_from(u64::from_le_bytes(*prefix)).ok()?;
            rest.get(..length)
        });
        let header = header.ok_or_else(|| WeightsError::Format {
            path: name.to_owned(),
            reason: "its header is cut off".to_owned(),
        })?;
        Self::new(header, bytes.len() as u64, Data::Static(bytes), name.to_owned())
    }

    fn new(header: &[u8], length: u64, data: Data, path: String) -> Result<Self, WeightsError> {
        let metadata: Metadata = match serde_json::from_slice(header) {
            Ok(metadata) => metadata,
            Err(error) => return Err(WeightsError::Format { path, reason: error.to_string() }),
        };
        let start = header.len() as u64 + 8;
        let expected = start + metadata.data_len() as u64;
        if expected != length {
            let reason = format!("it has {length} bytes, its header calls for {expected}");
            return Err(WeightsError::Format { path, reason });
        }
        Ok(Self { metadata, data, start, path })
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize], WeightsError> {
        Ok(&self.info(name)?.shape)
    }

    /// Names of all tensors, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Number of parameters in all tensors together.
    pub fn parameters(&self) -> usize {
        self.metadata.tensors().values().map(|info| info.shape.iter().product::<usize>()).sum()
    }

    /// A matrix (or what can be read as one, `shape[0]` rows) whose numbers stay as they are in the file.
    pub fn table(&self, name: &str) -> Result<Table, WeightsError> {
        let info = self.info(name)?;
        let number = match info.dtype {
            Dtype::F32 => Number::F32,
            Dtype::F16 => Number::F16,
            Dtype::BF16 => Number::Bf16,
            dtype => return Err(WeightsError::Type { name: name.to_owned(), dtype }),
        };
        let rows = info.shape.first().copied().unwrap_or(1);
        let width = info.shape.iter().skip(1).product();
        Ok(Table { bytes: self.bytes(info)?, number, rows, width })
    }

    /// All numbers of a tensor.
    pub fn vector(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let table = self.table(name)?;
        let mut numbers = vec![0f32; table.rows * table.width];
        table.number.read(&table.bytes, &mut numbers);
        Ok(numbers)
    }

    /// As [`Weights::vector`], of a tensor that must have exactly this shape.
    pub fn shaped(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        self.expect_shape(name, shape)?;
        self.vector(name)
    }

    /// Fails unless the tensor has exactly this shape, and something in it.
    pub fn expect_shape(&self, name: &str, expected: &[usize]) -> Result<(), WeightsError> {
        let found = self.shape(name)?;
        if expected.contains(&0) {
            return Err(WeightsError::Empty { name: name.to_owned() });
        }
        if found == expected {
            return Ok(());
        }
        Err(WeightsError::Shape { name: name.to_owned(), found: found.to_vec(), expected: expected.to_vec() })
    }

    /// A tensor on a candle device, in `f32`.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor, WeightsError> {
        let shape = self.shape(name)?.to_vec();
        Tensor::from_vec(self.vector(name)?, shape, device)
            .map_err(|source| WeightsError::Device { name: name.to_owned(), source })
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, WeightsError> {
        self.metadata.info(name).ok_or_else(|| WeightsError::Missing { name: name.to_owned(), path: self.path.clone() })
    }

    fn bytes(&self, info: &TensorInfo) -> Result<Cow<'static, [u8]>, WeightsError> {
        let (from, to) = info.data_offsets;
        match &self.data {
            // The header's offsets were checked against the length.
            Data::Static(bytes) => Ok(Cow::Borrowed(&bytes[self.start as usize..][from..to])),
            Data::File(file) => {
                let mut bytes = vec![0; to - from];
                file.read_exact_at(&mut bytes, self.start + from as u64)
                    .map_err(|source| WeightsError::Read { path: self.path.clone(), source })?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

/// How a number is stored.
#[derive(Clone, Copy)]
enum Number {
    F32,
    F16,
    Bf16,
}

impl Number {
    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    fn read(self, bytes: &[u8], into: &mut [f32]) {
        match self {
            Self::F32 => {
                for (x, bytes) in into.iter_mut().zip(bytes.as_chunks().0) {
                    *x = f32::from_le_bytes(*bytes);
                }
            }
            Self::F16 => {
                for (x, bytes) in into.iter_mut().zip(bytes.as_chunks().0) {
                    *x = f16::from_le_bytes(*bytes).to_f32();
                }
            }
            Self::Bf16 => {
                for (x, bytes) in into.iter_mut().zip(bytes.as_chunks().0) {
                    *x = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
        }
    }
}

/// Rows of numbers as they are in the file: an embedding table stays at half precision, and in the binary, where it is.
pub struct Table {
    bytes: Cow<'static, [u8]>,
    number: Number,
    rows: usize,
    width: usize,
}

impl Table {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Writes row `row` into `into`.
    ///
    /// # Panics
    /// When there is no such row (a bug in the caller: token ids are checked against the table when a model is loaded).
    pub fn read(&self, row: usize, into: &mut [f32]) {
        let length = self.width * self.number.size();
        self.number.read(&self.bytes[row * length..][..length], into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn file(tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
        let views: HashMap<_, _> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap();
                ((*name).to_owned(), view)
            })
            .collect();
        safetensors::serialize(views, None).unwrap()
    }

    fn on_disk(bytes: &[u8]) -> (tempfile::TempDir, Result<Weights, WeightsError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let weights = Weights::open(&path);
        (folder, weights)
    }

    #[test]
    fn three_kinds_of_numbers_from_disk_and_from_the_binary() {
        let numbers = [1.5f32, -2.0, 0.25, 1024.0];
        let bytes = file(&[
            ("a", Dtype::F32, vec![2, 2], numbers.iter().flat_map(|x| x.to_le_bytes()).collect()),
            ("b", Dtype::F16, vec![4], numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect()),
            ("c", Dtype::BF16, vec![4, 1], numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()),
            ("d", Dtype::I64, vec![1], vec![0; 8]),
        ]);
        let (_folder, disk) = on_disk(&bytes);
        let embedded = Weights::embedded(bytes.leak(), "test").unwrap();
        for weights in [disk.unwrap(), embedded] {
            for name in ["a", "b", "c"] {
                assert_eq!(weights.vector(name).unwrap(), numbers, "{name}");
            }
            let table = weights.table("a").unwrap();
            let mut row = [0f32; 2];
            table.read(1, &mut row);
            assert_eq!((table.rows(), table.width(), row), (2, 2, [0.25, 1024.0]));
            assert!(matches!(weights.vector("d"), Err(WeightsError::Type { dtype: Dtype::I64, .. })));
            assert!(matches!(weights.vector("e"), Err(WeightsError::Missing { .. })));
            assert!(matches!(weights.shaped("a", &[4]), Err(WeightsError::Shape { .. })));
            assert_eq!(weights.parameters(), 13);
        }
    }

    #[test]
    fn a_cut_or_wrong_file_is_refused() {
        let bytes = file(&[("a", Dtype::F32, vec![2, 2], vec![0; 16])]);
        for (case, bytes) in [
            ("cut data", bytes[..bytes.len() - 1].to_vec()),
            ("cut header", bytes[..20].to_vec()),
            ("no header", bytes[..4].to_vec()),
            ("trailing bytes", [&bytes[..], b"x"].concat()),
            ("huge header", u64::MAX.to_le_bytes().to_vec()),
            ("git-lfs pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:".to_vec()),
        ] {
            let (_folder, disk) = on_disk(&bytes);
            assert!(disk.is_err(), "{case} on disk");
            assert!(Weights::embedded(bytes.leak(), "test").is_err(), "{case} in the binary");
        }
    }
}
