//! `.safetensors`: eight bytes of header length, a JSON header (name → type, shape, offsets; strings of metadata),
//! then the tensors' little-endian bytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail};
use convt_bn_gap::{bf16, f16, memory};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};

use super::file::read_whole;
use super::{Archive, EXPECTED, OPERANDS, Tensor, Values};

/// Reads the operands and expectations of a file; other tensors are only named.
pub fn read(path: &Path) -> Result<Archive> {
    let bytes = read_whole(path)?;
    let name = path.display();
    let malformed = || format!("{name} is not a readable safetensors file");
    // As messages, since the library's already hold those of their sources.
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(Error::msg).with_context(malformed)?;
    let file = SafeTensors::deserialize(&bytes).map_err(Error::msg).with_context(malformed)?;

    let mut archive = Archive::default();
    if let Some(metadata) = header.metadata() {
        archive.metadata = metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    }
    for (tensor, view) in file.iter() {
        match OPERANDS.into_iter().chain(EXPECTED).find(|&known| known == tensor) {
            Some(known) => {
                let read = decode(&view, known).with_context(|| format!("{name} cannot be used"))?;
                archive.tensors.insert(known.to_owned(), read);
            }
            None => archive.ignored.push(tensor.to_owned()),
        }
    }
    archive.ignored.sort();
    Ok(archive)
}

fn decode(view: &TensorView<'_>, name: &'static str) -> Result<Tensor> {
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F16 => Values::F16(numbers(name, data, f16::from_le_bytes)?),
        Dtype::BF16 => Values::BF16(numbers(name, data, bf16::from_le_bytes)?),
        Dtype::F32 => Values::F32(numbers(name, data, f32::from_le_bytes)?),
        Dtype::F64 => Values::F64(numbers(name, data, f64::from_le_bytes)?),
        foreign => bail!("{name} holds {foreign} values; it must hold f32, f64, f16 or bf16"),
    };
    Ok(Tensor { shape: view.shape().to_vec(), values })
}

fn numbers<const N: usize, T>(name: &'static str, data: &[u8], from_le: fn([u8; N]) -> T) -> Result<Vec<T>> {
    let (chunks, _) = data.as_chunks::<N>();
    let mut values = memory::try_with_capacity(name, chunks.len())?;
    values.extend(chunks.iter().map(|&chunk| from_le(chunk)));
    Ok(values)
}

/// The bytes of a file with these tensors and metadata.
pub fn serialize(tensors: &BTreeMap<String, Tensor>, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    safetensors::serialize(tensors, Some(metadata)).map_err(|error| anyhow!("cannot lay out the output: {error}"))
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::F16(_) => Dtype::F16,
            Values::BF16(_) => Dtype::BF16,
            Values::F32(_) => Dtype::F32,
            Values::F64(_) => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match &self.values {
            Values::F16(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Values::BF16(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Values::F32(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Values::F64(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        match &self.values {
            Values::F16(v) => size_of_val(&v[..]),
            Values::BF16(v) => size_of_val(&v[..]),
            Values::F32(v) => size_of_val(&v[..]),
            Values::F64(v) => size_of_val(&v[..]),
        }
    }
}
