//! Files that ship no inputs: their metadata's `recipe` says how each tensor is drawn (tests/golden/README.md), and
//! the metadata's sizes say how large it is.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use convt_bn_gap::draw::Draw;
use serde_json::Value;

use crate::failure::Failure;
use crate::io::{Archive, OPERANDS, Tensor, Values};
use crate::options::from_metadata;

/// Draws the operands that the recipe of the file names; a file without a recipe stays as it is.
pub fn draw_operands(archive: &mut Archive) -> Result<(), Failure> {
    let Some(recipe) = archive.metadata.get("recipe") else { return Ok(()) };
    let recipe: BTreeMap<String, Value> = serde_json::from_str(recipe).context("the metadata's recipe is no JSON")?;
    for name in OPERANDS {
        let Some(draw) = recipe.get(name) else { continue };
        let draw = seed_and_range(draw)
            .with_context(|| format!("the recipe of {name} is {draw}; it must be [seed, lo, hi]"))?;
        let shape = shape_of(name, &archive.metadata)?;
        let count = shape
            .iter()
            .try_fold(1usize, |product, &extent| product.checked_mul(extent))
            .with_context(|| format!("{name} of shape {shape:?} has more elements than 64 bits count"))?;
        archive.tensors.insert(name.to_owned(), Tensor { shape, values: Values::F32(draw.vector(name, count)?) });
    }
    Ok(())
}

fn seed_and_range(draw: &Value) -> Option<Draw> {
    match &draw.as_array()?[..] {
        [seed, lo, hi] => Some(Draw { seed: seed.as_u64()?, lo: lo.as_f64()?, hi: hi.as_f64()? }),
        _ => None,
    }
}

fn shape_of(name: &str, metadata: &BTreeMap<String, String>) -> Result<Vec<usize>> {
    let extent = |name: &str| -> Result<usize> {
        from_metadata(metadata, name)?.with_context(|| format!("the metadata has a recipe but no {name}"))
    };
    let sizes: &[&str] = match name {
        "input" => &["batch_size", "in_channels", "depth", "height", "width"],
        "kernel" => &["in_channels", "out_channels", "kernel_d", "kernel_h", "kernel_w"],
        _ => &["out_channels"],
    };
    let mut shape = sizes.iter().map(|name| extent(name)).collect::<Result<Vec<usize>>>()?;
    if name == "kernel" {
        // A kernel stores the output channels of one group; a malformed number of groups is refused with the options.
        let groups: Option<usize> = from_metadata(metadata, "groups")?;
        shape[1] /= groups.unwrap_or(1).max(1);
    }
    Ok(shape)
}
