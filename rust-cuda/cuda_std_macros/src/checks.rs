//! What a kernel cannot be, each refusal at the culprit.
//!
//! A launch copies the parameters byte for byte into the kernel's parameter space and waits for no
//! result: hence no generics, no return value, and nothing that means something on the host alone.

use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{Error, FnArg, Item, ItemFn, Pat, Result, ReturnType, Signature, Token, Type, Visibility};

/// Types that own host memory.
const OWNERS: [&str; 3] = ["Box", "String", "Vec"];

/// The function under the attribute, when it can be a kernel; otherwise every reason why not.
pub(crate) fn kernel_function(item: Item) -> Result<ItemFn> {
    let Item::Fn(function) = item else {
        return Err(Error::new_spanned(item, "#[kernel] goes on a function"));
    };
    let mut reasons = Vec::new();
    visibility(&function, &mut reasons);
    qualifiers(&function.sig, &mut reasons);
    parameters(&function.sig.inputs, &mut reasons);
    match reasons.into_iter().reduce(|mut all, next| {
        all.combine(next);
        all
    }) {
        Some(reasons) => Err(reasons),
        None => Ok(function),
    }
}

fn visibility(function: &ItemFn, reasons: &mut Vec<Error>) {
    let culprit: &dyn ToTokens = match &function.vis {
        Visibility::Public(_) => return,
        Visibility::Restricted(restricted) => restricted,
        Visibility::Inherited => &function.sig.ident,
    };
    reasons.push(Error::new_spanned(culprit, "a kernel must be `pub`: it is an entry point of the module"));
}

fn qualifiers(signature: &Signature, reasons: &mut Vec<Error>) {
    let mut refuse = |culprit: &dyn ToTokens, why: &str| reasons.push(Error::new_spanned(culprit, why));
    if signature.unsafety.is_none() {
        refuse(&signature.fn_token, "a kernel must be `unsafe fn`: nothing checks what the launcher passes");
    }
    if let Some(token) = &signature.constness {
        refuse(token, "a kernel cannot be `const`");
    }
    if let Some(token) = &signature.asyncness {
        refuse(token, "a kernel cannot be `async`");
    }
    if let Some(abi) = &signature.abi {
        refuse(abi, "leave the ABI out: #[kernel] gives the function the one for kernels");
    }
    if !signature.generics.params.is_empty() {
        refuse(
            &signature.generics.params,
            "a kernel cannot be generic: its entry has one name; call a generic function from it",
        );
    }
    if let Some(clause) = &signature.generics.where_clause {
        refuse(clause, "a kernel cannot have a `where` clause");
    }
    if let Some(variadic) = &signature.variadic {
        refuse(variadic, "a kernel cannot be variadic");
    }
    if let ReturnType::Type(_, output) = &signature.output {
        refuse(output, "a kernel returns nothing: write results through a pointer parameter");
    }
}

fn parameters(inputs: &Punctuated<FnArg, Token![,]>, reasons: &mut Vec<Error>) {
    for input in inputs {
        match input {
            FnArg::Receiver(receiver) => {
                reasons.push(Error::new_spanned(receiver, "a kernel cannot take `self`: it is a free function"))
            }
            FnArg::Typed(parameter) => {
                pattern(&parameter.pat, reasons);
                passable(&parameter.ty, reasons);
            }
        }
    }
}

fn pattern(pattern: &Pat, reasons: &mut Vec<Error>) {
    let plain = matches!(pattern, Pat::Ident(ident) if ident.by_ref.is_none() && ident.subpat.is_none());
    if !plain {
        reasons.push(Error::new_spanned(pattern, "a kernel's parameter must be a plain name"));
    }
}

/// Refuses a type that cannot be copied to the device byte for byte, as far as its syntax shows.
fn passable(ty: &Type, reasons: &mut Vec<Error>) {
    let mut refuse = |why: &str| reasons.push(Error::new_spanned(ty, why));
    match ty {
        Type::Reference(_) => {
            refuse("a kernel cannot take a reference: pass a raw pointer to device memory, and a length")
        }
        Type::Slice(_) => {
            refuse("a kernel cannot take a slice: pass a raw pointer to device memory and a length");
        }
        Type::TraitObject(_) => {
            refuse("a kernel cannot take a trait object: its vtable is host memory");
        }
        Type::ImplTrait(_) => refuse("a kernel cannot be generic: name the type"),
        Type::Tuple(_) => refuse("a tuple has no fixed layout: pass a #[repr(C)] struct"),
        Type::Path(path) => match path.path.segments.last() {
            Some(segment) if segment.ident == "str" => {
                refuse("a kernel cannot take a `str`: pass a raw pointer to device memory and a length");
            }
            Some(segment) if OWNERS.iter().any(|owner| segment.ident == owner) => {
                refuse(&format!(
                    "a kernel cannot take a `{}`: it owns host memory; pass a raw pointer to device memory",
                    segment.ident
                ));
            }
            _ => {}
        },
        Type::Ptr(pointer) => passable(&pointer.elem, reasons),
        Type::Array(array) => passable(&array.elem, reasons),
        Type::Paren(inner) => passable(&inner.elem, reasons),
        Type::Group(inner) => passable(&inner.elem, reasons),
        _ => {}
    }
}
