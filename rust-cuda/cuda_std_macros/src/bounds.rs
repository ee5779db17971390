//! The keys of `#[kernel(…)]`: `max_threads = 1..=1024`, `min_blocks = 1..=32`.

use std::ops::RangeInclusive;

use syn::parse::{Parse, ParseStream};
use syn::{Error, Ident, LitInt, Result, Token};

/// CUDA's limit on the threads of one block, on every architecture.
const THREADS: RangeInclusive<u32> = 1..=1024;
/// The most blocks that are resident on one multiprocessor, on any architecture.
const BLOCKS: RangeInclusive<u32> = 1..=32;

/// The launch bounds of a kernel.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) max_threads: Option<u32>,
    pub(crate) min_blocks: Option<u32>,
}

impl Parse for Bounds {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut bounds = Self::default();
        let mut min_blocks_key = None;
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            let (slot, range) = match key.to_string().as_str() {
                "max_threads" => (&mut bounds.max_threads, THREADS),
                "min_blocks" => {
                    min_blocks_key = Some(key.clone());
                    (&mut bounds.min_blocks, BLOCKS)
                }
                other => {
                    return Err(Error::new(
                        key.span(),
                        format!("unknown key `{other}`: a kernel has `max_threads` and `min_blocks`"),
                    ));
                }
            };
            if slot.is_some() {
                return Err(Error::new(key.span(), format!("`{key}` is given twice")));
            }
            input.parse::<Token![=]>()?;
            *slot = Some(value(input, &key, &range)?);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        match min_blocks_key {
            Some(key) if bounds.max_threads.is_none() => Err(Error::new(
                key.span(),
                "`min_blocks` needs `max_threads`: how many blocks fit depends on their size",
            )),
            _ => Ok(bounds),
        }
    }
}

/// The integer after `key =`, within `range`.
fn value(input: ParseStream<'_>, key: &Ident, range: &RangeInclusive<u32>) -> Result<u32> {
    let literal: LitInt = input.parse()?;
    match literal.base10_parse::<u32>() {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => Err(Error::new(
            literal.span(),
            format!("`{key}` is {literal}, must be {} to {}", range.start(), range.end()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<Bounds, String> {
        syn::parse_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn both_keys_in_any_order() {
        let expected = Bounds { max_threads: Some(256), min_blocks: Some(2) };
        assert_eq!(parse("max_threads = 256, min_blocks = 2").as_ref(), Ok(&expected));
        assert_eq!(parse("min_blocks = 2, max_threads = 256,").as_ref(), Ok(&expected));
        assert_eq!(parse(""), Ok(Bounds::default()));
    }

    #[test]
    fn the_ends_of_the_ranges() {
        assert_eq!(parse("max_threads = 1").unwrap().max_threads, Some(1));
        assert_eq!(parse("max_threads = 1024").unwrap().max_threads, Some(1024));
        assert!(parse("max_threads = 0").unwrap_err().contains("1 to 1024"));
        assert!(parse("max_threads = 1025").unwrap_err().contains("1 to 1024"));
        assert!(parse("max_threads = 99999999999").is_err());
        assert!(parse("max_threads = 32, min_blocks = 33").unwrap_err().contains("1 to 32"));
    }
}
