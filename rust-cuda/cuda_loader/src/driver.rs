//! A bound driver: a pointer for every entry, and what the driver said of itself.

use std::mem::transmute;
use std::path::Path;

use crate::codes::{
    CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE, CUDA_ERROR_NO_DEVICE, CUDA_ERROR_STUB_LIBRARY,
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, CUDA_SUCCESS, error_name,
};
use crate::entries::Entry;
use crate::unavailable::Unavailable;

/// The oldest CUDA version, (major, minor), that a driver must support.
///
/// cust_raw's bindings are those of CUDA 11.4. A driver keeps the functions and codes of the
/// versions before its own, so from 11.4 on each entry is there and means what cust takes it to
/// mean. An older one lacks some.
pub const NEEDED_VERSION: (u32, u32) = (11, 4);

/// A function of the driver. Its true signature is the one that cust_raw declares.
pub(crate) type Symbol = unsafe extern "C" fn();

/// The bound driver. There is one a process: see [`load`](crate::load).
#[derive(Debug)]
pub struct Driver {
    symbols: Symbols,
    missing: Vec<&'static str>,
    version: (u32, u32),
    device_count: u32,
}

impl Driver {
    /// The CUDA version that the driver supports, (major, minor). Which PTX it takes follows from
    /// this.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The number of GPUs when the driver was bound, at least 1.
    pub fn device_count(&self) -> u32 {
        self.device_count
    }

    /// The functions that the library lacks. Calling one returns `CUDA_ERROR_NOT_FOUND`.
    pub fn missing_symbols(&self) -> &[&'static str] {
        &self.missing
    }

    pub(crate) fn symbol(&self, entry: Entry) -> Option<Symbol> {
        self.symbols.get(entry)
    }

    /// Fills the table through `lookup`, starts the driver and asks it for its version and its
    /// devices. `library` is where the driver lies, for messages.
    ///
    /// The order decides which reason is given. A stub has every symbol and answers every call
    /// with 34, so `cuInit` comes first. An old driver lacks symbols because it is old, so the
    /// version comes before the other essential ones.
    ///
    /// # Safety
    /// What `lookup` returns for a name is a function of the signature that cust_raw declares under
    /// that name, and may be called from any thread for the rest of the process.
    pub(crate) unsafe fn bind(
        lookup: &dyn Fn(&str) -> Option<*const ()>,
        library: &Path,
    ) -> Result<Driver, Unavailable> {
        // SAFETY: this function's own contract.
        let symbols = unsafe { Symbols::resolve(lookup) };
        symbols.need(&[Entry::cuInit, Entry::cuDriverGetVersion])?;

        // SAFETY: by the contract a function of cust_raw's signature, `cuInit(flags: c_uint)`.
        unsafe {
            symbols.call(Entry::cuInit, library, |symbol| {
                transmute::<Symbol, unsafe extern "C" fn(u32) -> u32>(symbol)(0)
            })?;
        }
        // SAFETY: `cuDriverGetVersion(driverVersion: *mut c_int)`.
        let version = unsafe { symbols.ask(Entry::cuDriverGetVersion, library)? };
        let version = (version / 1000, version % 1000 / 10);
        if version < NEEDED_VERSION {
            return Err(Unavailable::DriverTooOld { found: version, needed: NEEDED_VERSION });
        }
        symbols.need(Entry::ESSENTIAL)?;
        // SAFETY: `cuDeviceGetCount(count: *mut c_int)`.
        let device_count = unsafe { symbols.ask(Entry::cuDeviceGetCount, library)? };
        if device_count == 0 {
            return Err(Unavailable::NoDevice);
        }

        let missing = symbols.missing_among(Entry::ALL);
        Ok(Driver { symbols, missing, version, device_count })
    }
}

/// The table: a pointer or none for each entry, in the order of [`Entry::ALL`].
#[derive(Debug)]
struct Symbols(Vec<Option<Symbol>>);

impl Symbols {
    /// # Safety
    /// As [`Driver::bind`].
    unsafe fn resolve(lookup: &dyn Fn(&str) -> Option<*const ()>) -> Symbols {
        let resolve = |entry: &Entry| {
            let address = lookup(entry.name()).filter(|address| !address.is_null())?;
            // SAFETY: not null, and the address of a function by the contract.
            Some(unsafe { transmute::<*const (), Symbol>(address) })
        };
        Symbols(Entry::ALL.iter().map(resolve).collect())
    }

    fn get(&self, entry: Entry) -> Option<Symbol> {
        self.0[entry as usize]
    }

    fn missing_among(&self, entries: &[Entry]) -> Vec<&'static str> {
        let missing = entries.iter().filter(|&&entry| self.get(entry).is_none());
        missing.map(|entry| entry.name()).collect()
    }

    fn need(&self, entries: &[Entry]) -> Result<(), Unavailable> {
        let names = self.missing_among(entries);
        if names.is_empty() { Ok(()) } else { Err(Unavailable::MissingSymbol { names }) }
    }

    /// Calls an entry and turns a code other than success into the reason.
    fn call(&self, entry: Entry, library: &Path, call: impl FnOnce(Symbol) -> u32) -> Result<(), Unavailable> {
        let missing = || Unavailable::MissingSymbol { names: vec![entry.name()] };
        let code = call(self.get(entry).ok_or_else(missing)?);
        let name = error_name(code);
        match code {
            CUDA_SUCCESS => Ok(()),
            CUDA_ERROR_STUB_LIBRARY => Err(Unavailable::StubLibrary { path: library.into() }),
            CUDA_ERROR_NO_DEVICE => Err(Unavailable::NoDevice),
            CUDA_ERROR_SYSTEM_DRIVER_MISMATCH | CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => {
                Err(Unavailable::DriverMismatch { code, name })
            }
            _ => Err(Unavailable::InitFailed { entry: entry.name(), code, name }),
        }
    }

    /// Calls an entry that writes one number. A negative one, which no driver gives, counts as 0.
    ///
    /// # Safety
    /// The entry's one argument is a `*mut c_int`.
    unsafe fn ask(&self, entry: Entry, library: &Path) -> Result<u32, Unavailable> {
        let mut answer: i32 = 0;
        self.call(entry, library, |symbol| {
            // SAFETY: the signature is this function's contract; `answer` outlives the call.
            unsafe { transmute::<Symbol, unsafe extern "C" fn(*mut i32) -> u32>(symbol)(&mut answer) }
        })?;
        Ok(u32::try_from(answer).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn succeed() -> u32 {
        0
    }

    /// A driver of chosen answers: `INIT`, `VERSION` and `COUNT` are what its `cuInit`,
    /// `cuDriverGetVersion` and `cuDeviceGetCount` give; all else succeeds.
    struct Fake<const INIT: u32, const VERSION: i32, const COUNT: i32>;

    impl<const INIT: u32, const VERSION: i32, const COUNT: i32> Fake<INIT, VERSION, COUNT> {
        extern "C" fn init(_flags: u32) -> u32 {
            INIT
        }
        unsafe extern "C" fn version(out: *mut i32) -> u32 {
            // SAFETY: `Symbols::ask` passes a valid pointer.
            unsafe { *out = VERSION };
            0
        }
        unsafe extern "C" fn count(out: *mut i32) -> u32 {
            // SAFETY: as above.
            unsafe { *out = COUNT };
            0
        }

        fn bind_without(missing: &[&str]) -> Result<Driver, Unavailable> {
            let lookup = |name: &str| match name {
                name if missing.contains(&name) => None,
                "cuInit" => Some(Self::init as *const ()),
                "cuDriverGetVersion" => Some(Self::version as *const ()),
                "cuDeviceGetCount" => Some(Self::count as *const ()),
                _ => Some(succeed as *const ()),
            };
            // SAFETY: the three functions that `bind` calls have their true signatures; no test
            // here calls another.
            unsafe { Driver::bind(&lookup, Path::new("/opt/libcuda.so.1")) }
        }

        fn bind() -> Result<Driver, Unavailable> {
            Self::bind_without(&[])
        }
    }

    #[track_caller]
    fn says(result: Result<Driver, Unavailable>, expected: Unavailable, sentence: &str) {
        let reason = result.unwrap_err();
        assert_eq!(reason, expected);
        assert_eq!(reason.to_string(), sentence);
    }

    #[test]
    fn a_driver_that_is_all_there() {
        let driver = Fake::<0, 13_000, 2>::bind().unwrap();
        assert_eq!((driver.version(), driver.device_count()), ((13, 0), 2));
        assert!(driver.missing_symbols().is_empty());
        assert_eq!(Fake::<0, 11_040, 1>::bind().unwrap().version(), (11, 4));
        assert_eq!(Fake::<0, 12_080, 1>::bind().unwrap().version(), (12, 8));
    }

    #[test]
    fn the_toolkits_stub() {
        says(
            Fake::<34, 0, 0>::bind(),
            Unavailable::StubLibrary { path: "/opt/libcuda.so.1".into() },
            "/opt/libcuda.so.1 is the CUDA toolkit's stub library, not a driver: \
             take its folder off the library search path or install the NVIDIA driver",
        );
    }

    #[test]
    fn a_driver_older_than_the_bindings() {
        let too_old = Unavailable::DriverTooOld { found: (11, 3), needed: (11, 4) };
        let sentence = "the CUDA driver supports CUDA 11.3 but at least 11.4 is needed: \
                        update the NVIDIA driver";
        says(Fake::<0, 11_030, 1>::bind(), too_old.clone(), sentence);
        // Its age is the reason that it lacks symbols.
        says(Fake::<0, 11_030, 1>::bind_without(&["cuLaunchKernel"]), too_old, sentence);
        assert!(Fake::<0, -1, 1>::bind().is_err());
    }

    #[test]
    fn no_device() {
        let sentence = "the CUDA driver finds no GPU that this process may use \
                        (CUDA_VISIBLE_DEVICES can hide one)";
        says(Fake::<100, 13_000, 0>::bind(), Unavailable::NoDevice, sentence);
        says(Fake::<0, 13_000, 0>::bind(), Unavailable::NoDevice, sentence);
        assert_eq!(Fake::<0, 13_000, -1>::bind().unwrap_err(), Unavailable::NoDevice);
    }

    #[test]
    fn library_and_kernel_driver_do_not_fit() {
        says(
            Fake::<803, 13_000, 1>::bind(),
            Unavailable::DriverMismatch { code: 803, name: "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" },
            "the CUDA driver library does not fit the driver in the kernel \
             (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, 803): \
             restart after a driver update, or remove the CUDA compatibility library",
        );
        assert!(matches!(Fake::<804, 13_000, 1>::bind(), Err(Unavailable::DriverMismatch { code: 804, .. })));
    }

    #[test]
    fn other_failures_to_start() {
        says(
            Fake::<802, 13_000, 1>::bind(),
            Unavailable::InitFailed { entry: "cuInit", code: 802, name: "CUDA_ERROR_SYSTEM_NOT_READY" },
            "the CUDA driver failed to start: cuInit returned CUDA_ERROR_SYSTEM_NOT_READY (802)",
        );
    }

    #[test]
    fn each_essential_symbol_is_missed_by_name() {
        for entry in Entry::ESSENTIAL {
            let names = vec![entry.name()];
            let reason = Fake::<0, 13_000, 1>::bind_without(&names).unwrap_err();
            assert_eq!(reason, Unavailable::MissingSymbol { names });
        }
        says(
            Fake::<0, 13_000, 1>::bind_without(&["cuLaunchKernel", "cuMemAlloc_v2"]),
            Unavailable::MissingSymbol { names: vec!["cuMemAlloc_v2", "cuLaunchKernel"] },
            "the CUDA driver library lacks cuMemAlloc_v2, cuLaunchKernel, \
             without which no kernel can run",
        );
    }

    #[test]
    fn other_missing_symbols_are_listed() {
        let driver = Fake::<0, 13_000, 1>::bind_without(&["cuLaunchGrid", "cuGraphLaunch"]).unwrap();
        assert_eq!(driver.missing_symbols(), ["cuLaunchGrid", "cuGraphLaunch"]);
        assert!(driver.symbol(Entry::cuGraphLaunch).is_none());
        assert!(driver.symbol(Entry::cuLaunchKernel).is_some());
    }
}
