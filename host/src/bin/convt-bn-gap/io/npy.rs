//! `.npy`: NumPy's file of one array. A magic number, a header that is a Python literal
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, then the values.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use convt_bn_gap::{f16, memory};
use npyz::{DType, Deserialize, NpyFile, Order, TypeChar};

use super::file::read_whole;
use super::{Tensor, Values};

/// Reads one array of floating-point values in C order, of either byte order.
pub fn read(path: &Path) -> Result<Tensor> {
    let bytes = read_whole(path)?;
    parse(&bytes).with_context(|| format!("{} cannot be used as a .npy array", path.display()))
}

fn parse(bytes: &[u8]) -> Result<Tensor> {
    let body = check_header(bytes)?;
    let file = NpyFile::new(bytes)?;
    if file.order() == Order::Fortran {
        bail!("it is stored in Fortran order; save numpy.ascontiguousarray of it");
    }
    let DType::Plain(element) = file.dtype() else {
        bail!("it holds records ({}); it must hold f4, f8 or f2 values", file.dtype().descr());
    };
    let width = match (element.type_char(), element.num_bytes()) {
        (TypeChar::Float, Some(width @ (2 | 4 | 8))) => width,
        _ => bail!("it holds '{element}' values; it must hold f4, f8 or f2 values"),
    };
    let shape: Vec<usize> = file.shape().iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>()?;
    let promised = file.len().checked_mul(width as u64);
    if promised != Some(body as u64) {
        bail!("its header promises {} values of {width} bytes, but {body} bytes follow", file.len());
    }
    // The product fits: it is the length of what was read, less the header.
    let count = body / width;
    let values = match width {
        2 => Values::F16(numbers::<f16>(file, count)?),
        4 => Values::F32(numbers::<f32>(file, count)?),
        _ => Values::F64(numbers::<f64>(file, count)?),
    };
    Ok(Tensor { shape, values })
}

fn numbers<T: Deserialize>(file: NpyFile<&[u8]>, count: usize) -> Result<Vec<T>> {
    let mut values = memory::try_with_capacity("the array", count)?;
    for value in file.data::<T>().map_err(|error| anyhow!("{error}"))? {
        values.push(value?);
    }
    Ok(values)
}

/// NumPy itself refuses longer headers (`max_header_size`).
const LONGEST_HEADER: usize = 10_000;

/// Checks a header before npyz parses it, and returns how many bytes follow it.
///
/// npyz reads any Python literal by recursion and multiplies the extents unchecked. The header of a plain array has
/// one dictionary with one tuple of numbers, so anything deeper, longer or larger is refused here.
fn check_header(bytes: &[u8]) -> Result<usize> {
    let (start, length) = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize)
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => bail!("its format version is not 1, 2 or 3, or it is cut short"),
        _ => bail!("it does not begin with NumPy's magic number"),
    };
    if length > LONGEST_HEADER {
        bail!("its header claims {length} bytes; at most {LONGEST_HEADER} are read");
    }
    let Some(header) = bytes.get(start..start + length) else {
        bail!("its header claims {length} bytes, but the file ends before");
    };
    let opened = |bracket| header.iter().filter(|&&b| b == bracket).count();
    if opened(b'{') > 1 || opened(b'(') > 1 || opened(b'[') > 0 || opened(b'\\') > 0 {
        bail!("its header describes more than one plain array of numbers");
    }
    let mut product = 1u64;
    let after_shape = header.rsplit(|&b| b == b'(').next().unwrap_or_default();
    let tuple = after_shape.split(|&b| b == b')').next().unwrap_or_default();
    for extent in tuple.split(|&b| b == b',') {
        let extent = str::from_utf8(extent)?.trim();
        if extent.is_empty() {
            continue;
        }
        let extent: u64 = extent.parse().map_err(|_| anyhow!("its shape holds {extent:?}, which is no extent"))?;
        // A zero must not hide that the others overflow.
        product = product.checked_mul(extent.max(1)).ok_or_else(|| anyhow!("its shape overflows 64 bits"))?;
    }
    Ok(bytes.len() - start - length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(body);
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        format!("{:#}", parse(bytes).expect_err("must be refused"))
    }

    #[test]
    fn reads_both_byte_orders() {
        let little = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", &[0, 0, 128, 63, 0, 0, 0, 64]);
        let big = npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }\n", &[63, 128, 0, 0, 64, 0, 0, 0]);
        let tensor = parse(&little).expect("a well-formed array");
        assert_eq!(tensor, Tensor { shape: vec![2], values: Values::F32(vec![1.0, 2.0]) });
        assert_eq!(parse(&big).expect("a well-formed array"), tensor);
    }

    #[test]
    fn refuses_what_it_cannot_read_by_name() {
        let header = |descr: &str, fortran: &str, shape: &str| {
            npy(&format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"), &[0; 8])
        };
        for (bytes, words) in [
            (header("'<f4'", "True", "(2,)"), "Fortran order"),
            (header("'<i4'", "False", "(2,)"), "'<i4'"),
            (header("'<c8'", "False", "(1,)"), "'<c8'"),
            (header("'|O'", "False", "(1,)"), "'|O'"),
            (header("'<f4'", "False", "(3,)"), "promises 3 values"),
            (header("'<f4'", "False", "(1,)"), "promises 1 values"),
            (header("'<f4'", "False", "(0, 9999999999, 9999999999)"), "overflows 64 bits"),
            (header("'<f4'", "False", "(99999999999999999999,)"), "no extent"),
            (header("'<f4'", "False", "(-2,)"), "no extent"),
            (header("[('a', '<f4')]", "False", "(2,)"), "more than one plain array"),
            (npy(&"(".repeat(9000), &[]), "more than one plain array"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "claims 4294967295 bytes"),
            (b"\x93NUMPY\x01\x00\xff\x00".to_vec(), "file ends before"),
            (b"\x93NUMPY\x09\x00\xff\x00".to_vec(), "version"),
            (b"PK\x03\x04".to_vec(), "magic number"),
            (Vec::new(), "magic number"),
        ] {
            let said = refusal(&bytes);
            assert!(said.contains(words), "{said:?} does not say {words:?}");
        }
    }
}
