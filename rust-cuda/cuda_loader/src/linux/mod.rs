//! Linux on x86-64 and 64-bit Arm: finding and opening the driver's library.

mod trampolines;

use std::ffi::{CStr, OsStr, OsString, c_void};
use std::mem::{MaybeUninit, forget};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::driver::Driver;
use crate::unavailable::Unavailable;

pub(crate) use trampolines::keep_linked;

/// The environment variable that names the library to open instead.
const OVERRIDE: &str = "CUDA_LOADER_LIBRARY";
/// What the driver installs, then what only some installations have.
const NAMES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

/// Opens the library that the environment or convention names, and binds it.
pub(crate) fn open() -> Result<Driver, Unavailable> {
    match std::env::var_os(OVERRIDE) {
        Some(name) if !name.is_empty() => open_first(&[name]),
        _ => open_first(&NAMES.map(OsString::from)),
    }
}

/// Opens the first of the libraries that opens, and binds it.
fn open_first(names: &[OsString]) -> Result<Driver, Unavailable> {
    let mut reasons = Vec::new();
    for name in names {
        // SAFETY: opening runs the library's constructors. That of the driver is sound; another
        // library comes here only if the user's environment names it.
        match unsafe { Library::new(name) } {
            Ok(library) => return bind(library, name),
            Err(error) => reasons.push(reason(&error)),
        }
    }
    Err(Unavailable::NoLibrary {
        tried: names.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
        reason: reasons.join("; "),
    })
}

/// What the dynamic linker said, which names the file.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn bind(library: Library, name: &OsStr) -> Result<Driver, Unavailable> {
    let lookup = |name: &str| -> Option<*const ()> {
        // SAFETY: only the address is taken; `Driver::bind` gives it its type.
        let symbol = unsafe { library.get::<*const ()>(name.as_bytes()) };
        symbol.ok().map(|symbol| *symbol)
    };
    let path = lookup("cuInit").and_then(file_of).unwrap_or_else(|| name.into());
    // SAFETY: a library that calls itself the CUDA driver exports under these names the functions
    // of CUDA's header, which cust_raw's declarations were made from. They stay callable because
    // the library is never closed, below.
    let driver = unsafe { Driver::bind(&lookup, &path) };
    // Once `cuInit` has run, the driver may have threads of its own: closing it, even after a
    // failure, could pull the code from under them.
    forget(library);
    driver
}

/// The file that an address was loaded from.
fn file_of(address: *const ()) -> Option<PathBuf> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be asked about; `info` is valid for a write.
    if unsafe { libc::dladdr(address.cast::<c_void>(), info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: all zeros is a valid `Dl_info`, and dladdr filled it.
    let name = unsafe { info.assume_init() }.dli_fname;
    if name.is_null() {
        return None;
    }
    // SAFETY: where dladdr succeeds, `dli_fname` is a string that lives as long as the library,
    // which is still open.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())).to_path_buf())
}

#[cfg(test)]
#[path = "../../tests/fake_driver/mod.rs"]
mod fake_driver;

#[cfg(test)]
mod tests {
    use super::*;

    fn open_fake(definitions: &[&str]) -> Option<(Result<Driver, Unavailable>, PathBuf)> {
        let folder = tempfile::tempdir().unwrap();
        let library = fake_driver::compile(folder.path(), definitions)?;
        Some((open_first(&[library.clone().into()]), library))
    }

    #[test]
    fn a_driver() {
        let Some((driver, _)) = open_fake(&["INIT_RESULT=0", "VERSION=13000", "DEVICES=1"]) else {
            return;
        };
        assert_eq!(driver.unwrap().version(), (13, 0));
    }

    #[test]
    fn the_stub_is_named_by_its_path() {
        let Some((driver, path)) = open_fake(&["INIT_RESULT=34", "VERSION=0", "DEVICES=0"]) else {
            return;
        };
        assert_eq!(driver.unwrap_err(), Unavailable::StubLibrary { path });
    }

    #[test]
    fn a_library_without_the_symbols() {
        let Some((driver, _)) = open_fake(&["INIT_RESULT=0", "ONLY_INIT"]) else {
            return;
        };
        let names = vec!["cuDriverGetVersion"];
        assert_eq!(driver.unwrap_err(), Unavailable::MissingSymbol { names });
    }

    #[test]
    fn a_library_that_does_not_open_is_followed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let garbage = folder.path().join("libcuda.so.1");
        std::fs::write(&garbage, "no library").unwrap();
        let absent = folder.path().join("libcuda.so");
        let reason = open_first(&[garbage.clone().into(), absent.clone().into()]).unwrap_err();
        let Unavailable::NoLibrary { tried, reason } = reason else { panic!("{reason:?}") };
        assert_eq!(tried, [garbage.to_str().unwrap(), absent.to_str().unwrap()]);
        let (first, second) = reason.split_once("; ").unwrap();
        assert!(first.contains("file too short") || first.contains("ELF"), "{first}");
        assert!(second.contains("No such file"), "{second}");

        let Some(library) = fake_driver::compile(folder.path(), &["INIT_RESULT=0", "VERSION=13000", "DEVICES=4"])
        else {
            return;
        };
        let driver = open_first(&[absent.into(), library.into()]).unwrap();
        assert_eq!(driver.device_count(), 4);
    }
}
