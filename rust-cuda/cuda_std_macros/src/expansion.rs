//! `#[kernel] pub unsafe fn f(…) {…}` → the entry for `nvptx64`, its marker, the same function elsewhere.
//!
//! The marker is one assembler comment a kernel, `// cuda_std.kernel f maxntid=256 minnctapersm=2`.
//! `global_asm!` of every crate of the module reaches the PTX text unchanged, and ptxas skips comments:
//! a PTX that no `cuda_builder` has touched is still valid, without launch bounds.

use std::fmt::Write;

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{Attribute, Ident, ItemFn, Result};

use crate::bounds::Bounds;
use crate::checks;

pub(crate) fn kernel(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let bounds: Bounds = syn::parse2(arguments)?;
    let function = checks::kernel_function(syn::parse2(item)?)?;
    Ok(expand(&bounds, &function))
}

fn expand(bounds: &Bounds, function: &ItemFn) -> TokenStream {
    let ItemFn { attrs, sig, block, .. } = function;
    let (name, inputs) = (&sig.ident, &sig.inputs);
    let conditions: Vec<&Attribute> = attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect();
    let marker = marker(name, bounds);
    quote! {
        #[cfg(target_arch = "nvptx64")]
        #(#attrs)*
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn #name(#inputs) {
            ::cuda_std::programmatic_launch::begin();
            #block
        }

        #[cfg(target_arch = "nvptx64")]
        #(#conditions)*
        ::core::arch::global_asm!(#marker);

        #[cfg(not(target_arch = "nvptx64"))]
        #(#attrs)*
        pub unsafe fn #name(#inputs) #block
    }
}

/// The comment that `cuda_builder` looks for: it reads what is written here and nothing else.
fn marker(name: &Ident, bounds: &Bounds) -> String {
    let mut marker = format!("// cuda_std.kernel {}", name.unraw());
    for (key, value) in [("maxntid", bounds.max_threads), ("minnctapersm", bounds.min_blocks)] {
        if let Some(value) = value {
            write!(marker, " {key}={value}").expect("writing to a String cannot fail");
        }
    }
    marker
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::{File, Item};

    fn expanded(arguments: TokenStream, item: TokenStream) -> Vec<Item> {
        let tokens = kernel(arguments, item).expect("a valid kernel");
        syn::parse2::<File>(tokens).expect("items").items
    }

    fn function(item: &Item) -> &ItemFn {
        match item {
            Item::Fn(function) => function,
            other => panic!("a function, not {other:?}"),
        }
    }

    #[test]
    fn three_items_each_for_its_targets() {
        let items = expanded(
            quote!(max_threads = 256, min_blocks = 2),
            quote! {
                /// Doubles.
                #[allow(dead_code)]
                pub unsafe fn double(mut p: Params, n: u64) { work(p, n) }
            },
        );
        let [device, Item::Macro(marker), host] = &items[..] else {
            panic!("entry, marker, host function: {items:?}");
        };
        let (device, host) = (function(device), function(host));

        let abi = device.sig.abi.as_ref().and_then(|abi| abi.name.as_ref());
        assert_eq!(abi.map(syn::LitStr::value).as_deref(), Some("ptx-kernel"));
        assert!(host.sig.abi.is_none());
        for (item, target, attributes) in
            [(device, quote!(target_arch = "nvptx64"), 4), (host, quote!(not(target_arch = "nvptx64")), 3)]
        {
            assert!(item.sig.unsafety.is_some());
            assert_eq!(item.sig.inputs.len(), 2);
            assert_eq!(item.attrs.len(), attributes);
            assert_eq!(item.attrs[0], syn::parse_quote!(#[cfg(#target)]));
            assert!(item.attrs[1].path().is_ident("doc"));
            assert!(item.attrs[2].path().is_ident("allow"));
        }
        assert_eq!(device.attrs[3], syn::parse_quote!(#[unsafe(no_mangle)]));
        let [begin, block] = &device.block.stmts[..] else { panic!("the wait, then the body: {:?}", device.block) };
        assert_eq!(quote!(#begin).to_string(), quote!(::cuda_std::programmatic_launch::begin();).to_string());
        let host = &host.block;
        assert_eq!(quote!(#block).to_string(), quote!(#host).to_string());
        assert_eq!(marker.mac.tokens.to_string(), "\"// cuda_std.kernel double maxntid=256 minnctapersm=2\"");
    }

    #[test]
    fn the_marker_names_only_the_bounds_given() {
        let name: Ident = syn::parse_quote!(r#loop);
        assert_eq!(marker(&name, &Bounds::default()), "// cuda_std.kernel loop");
        let bounds = Bounds { max_threads: Some(1024), min_blocks: None };
        assert_eq!(marker(&name, &bounds), "// cuda_std.kernel loop maxntid=1024");
    }

    #[test]
    fn a_condition_holds_for_the_marker_too() {
        let items = expanded(TokenStream::new(), quote! { #[cfg(feature = "half")] pub unsafe fn k() {} });
        let Item::Macro(marker) = &items[1] else {
            panic!("the marker comes second");
        };
        assert_eq!(marker.attrs.len(), 2);
        assert_eq!(marker.attrs[1], syn::parse_quote!(#[cfg(feature = "half")]));
    }

    #[test]
    fn every_reason_is_given_at_once() {
        let error = kernel(TokenStream::new(), quote! { async fn k<T>(x: &f32) -> u32 { 0 } }).unwrap_err();
        assert_eq!(error.into_iter().count(), 6);
    }
}
