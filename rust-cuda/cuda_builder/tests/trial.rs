//! The trial crate built for real, where a compiler for it exists.
//!
//! What the build must not depend on is set against it: its workspace's profile, a configuration file with
//! other flags, and the folder it lies in. The copies are kept from run to run, so that `core` is compiled for
//! each only once: about a minute and a half the first time on two cores, then seconds.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cuda_builder::{Arch, BuildError, CudaBuilder, MANIFEST_FILE, Manifest, Rebuild, Refusal, Stale, compiler};

/// The tests share the copies: one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A copy of the trial project in a folder called `name`.
struct Trial {
    root: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Trial {
    /// None, said aloud, where nothing can compile it.
    fn new(name: &str) -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if compiler::search().capable.is_empty() {
            // Not `eprintln!`, which the test harness shows for failures alone.
            let _ = writeln!(io::stderr(), "skipped: no nvptx64 compiler");
            return None;
        }
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trial");
        for file in
            ["kernels/Cargo.toml", "kernels/Cargo.lock", "kernels/src/lib.rs", "shapes/Cargo.toml", "shapes/src/lib.rs"]
        {
            let copy = root.join(file);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(original.join(file), copy).unwrap();
        }
        let ptx = root.join("ptx");
        if ptx.exists() {
            fs::remove_dir_all(ptx).unwrap();
        }
        Some(Self { root, _turn: turn })
    }

    fn builder(&self) -> CudaBuilder {
        CudaBuilder::new(self.root.join("kernels")).out_dir(self.root.join("ptx"))
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join("ptx").join(file)).unwrap()
    }

    /// Appends to a source file of the copy.
    fn append(&self, file: &str, text: &str) {
        let path = self.root.join(file);
        fs::write(&path, fs::read_to_string(&path).unwrap() + text).unwrap();
    }
}

#[test]
fn both_architectures_with_bounds_sizes_and_a_manifest() {
    let Some(trial) = Trial::new("here") else {
        return;
    };
    let builder = trial.builder().arch(Arch::Sm80).arch(Arch::Sm90a);
    let manifest = builder.build().unwrap();
    assert_eq!(Manifest::read(&trial.root.join("ptx")).unwrap(), manifest);
    assert_eq!(manifest.package, "trial-kernels");

    for (target, arch) in manifest.targets.iter().zip(["sm_80", "sm_90a"]) {
        assert_eq!(target.file, format!("trial_kernels.{arch}.ptx"));
        let text = trial.read(&target.file);
        assert_eq!(cuda_builder::ptx::target(&text), Some(arch));
        let [axpy, meet, place] = &target.entries[..] else {
            panic!("three kernels: {:?}", target.entries);
        };
        assert_eq!((axpy.name.as_str(), meet.name.as_str(), place.name.as_str()), ("axpy", "meet", "place"));
        assert_eq!((axpy.max_threads, axpy.min_blocks), (Some(256), Some(2)));
        assert_eq!((place.max_threads, place.min_blocks), (None, None));
        assert_eq!(axpy.static_shared_bytes, 4096);
        assert_eq!(place.static_shared_bytes, 0);
        let sizes: Vec<_> = place.params.iter().map(|p| (p.align, p.bytes)).collect();
        assert_eq!((axpy.params[0].align, axpy.params[0].bytes), (8, 32));
        assert_eq!(sizes, [(8, 8), (4, 4)]);

        // As many as in the source: none is copied into a branch, where lanes of one warp would wait apart.
        let body = &text[text.find(".entry meet").expect("its entry")..];
        let body = &body[..body.find("\n}").expect("its end")];
        assert_eq!(body.matches("bar.sync").count(), 2, "{body}");

        assert!(text.contains("call.uni"), "a call is left to look at");
        assert!(text.contains("trial_shapes_weighted"), "{text}");
        for leftover in ["_RNv", "_ZN", ".loc ", ".file", "rustc", "LLVM", "cuda_std.kernel"] {
            assert!(!text.contains(leftover), "{leftover} in {text}");
        }
    }

    let check = builder.check().unwrap();
    assert_eq!(check.stale, []);
    assert!(matches!(check.rebuild, Rebuild::Identical(_)));
}

#[test]
fn the_same_bytes_in_another_folder_under_hostile_settings() {
    let build = |trial: &Trial| {
        let manifest = trial.builder().arch(Arch::Sm80).build().unwrap();
        (trial.read(&manifest.targets[0].file), manifest)
    };
    let Some(here) = Trial::new("here") else {
        return;
    };
    let expected = build(&here);
    drop(here);

    let Some(there) = Trial::new("another folder/with a longer name") else {
        return;
    };
    fs::create_dir_all(there.root.join("kernels/.cargo")).unwrap();
    fs::write(
        there.root.join("kernels/.cargo/config.toml"),
        r#"
            [build]
            rustflags = ["-Cdebuginfo=2", "--cfg=hostile"]
            rustc-wrapper = "/no/such/wrapper"
            target = "wasm32-unknown-unknown"
            target-dir = "target/elsewhere"
            incremental = true
            [target.nvptx64-nvidia-cuda]
            rustflags = ["-Ctarget-cpu=sm_70"]
            linker = "/no/such/linker"
            [profile.release]
            debug = true
            lto = "off"
            codegen-units = 16
            panic = "unwind"
            strip = true
            [env]
            RUSTFLAGS = "-Cdebuginfo=2"
        "#,
    )
    .unwrap();
    assert_eq!(build(&there), expected);
}

#[test]
fn a_check_tells_what_changed() {
    let Some(trial) = Trial::new("here") else {
        return;
    };
    let builder = trial.builder().arch(Arch::Sm80);
    assert!(matches!(builder.check().unwrap().stale[..], [Stale::Manifest(_)]));
    let manifest = builder.build().unwrap();
    let (file, json) = (&manifest.targets[0].file, trial.read(MANIFEST_FILE));
    let write = |name: &str, text: &str| fs::write(trial.root.join("ptx").join(name), text).unwrap();

    // The PTX edited: alone, then with its hash in the manifest set right.
    let edited = trial.read(file).replacen("256", "128", 1);
    write(file, &edited);
    let check = builder.check().unwrap();
    let [Stale::Changed { expected, actual, .. }] = &check.stale[..] else {
        panic!("{:?}", check.stale);
    };
    assert!(matches!(check.rebuild, Rebuild::NotTried));
    let forged = json.replace(expected, actual);
    write(MANIFEST_FILE, &forged);
    assert!(matches!(builder.check().unwrap().stale[..], [Stale::Described { .. }]));
    let forged = forged.replace("\"max_threads\": 256", "\"max_threads\": 128");
    write(MANIFEST_FILE, &forged);
    let check = builder.check().unwrap();
    assert!(matches!(check.stale[..], [Stale::Rebuilt { .. }]));
    assert!(matches!(check.rebuild, Rebuild::Different(_)));
    write(MANIFEST_FILE, &json);

    // Another compiler's: not stale, but said.
    builder.build().unwrap();
    write(MANIFEST_FILE, &json.replace("rustc 1.", "rustc 99."));
    let check = builder.check().unwrap();
    assert!(check.is_current());
    assert!(matches!(check.rebuild, Rebuild::OtherCompiler { .. }));
    write(MANIFEST_FILE, &json);

    // The sources, even of the dependency; other architectures; no PTX.
    trial.append("shapes/src/lib.rs", "// changed\n");
    assert!(matches!(builder.check().unwrap().stale[..], [Stale::Sources { .. }]));
    let both = builder.arch(Arch::Sm90a).check().unwrap();
    assert!(matches!(both.stale[..], [Stale::Targets { .. }, Stale::Sources { .. }]));
    fs::remove_file(trial.root.join("ptx").join(file)).unwrap();
    let check = trial.builder().arch(Arch::Sm80).check().unwrap();
    assert!(matches!(check.stale[..], [Stale::Sources { .. }, Stale::Missing { .. }]));
}

#[test]
fn what_cannot_load_is_refused_and_nothing_is_written() {
    let Some(trial) = Trial::new("here") else {
        return;
    };
    let refusal = |source: &str| {
        let trial_source = trial.root.join("kernels/src/lib.rs");
        let original = fs::read_to_string(&trial_source).unwrap();
        trial.append("kernels/src/lib.rs", source);
        let error = trial.builder().arch(Arch::Sm80).build().unwrap_err();
        fs::write(trial_source, original).unwrap();
        error
    };

    let error = refusal(
        "unsafe extern \"C\" { fn vprintf(format: *const u8, arguments: *const u8) -> i32; }
         #[unsafe(no_mangle)]
         pub unsafe extern \"ptx-kernel\" fn print(x: *const u8) { unsafe { vprintf(x, x); } }",
    );
    let BuildError::Refused { reason, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(reason, Refusal::Unresolved { symbol: "vprintf".to_owned() });

    let error = refusal(
        "struct Out(*mut u8);
         impl core::fmt::Write for Out {
             fn write_str(&mut self, text: &str) -> core::fmt::Result {
                 for byte in text.bytes() { unsafe { *self.0 = byte; self.0 = self.0.add(1); } }
                 Ok(())
             }
         }
         #[unsafe(no_mangle)]
         pub unsafe extern \"ptx-kernel\" fn print(x: *mut u8, y: f32) {
             let _ = core::fmt::Write::write_fmt(&mut Out(x), format_args!(\"{y:?}\"));
         }",
    );
    let BuildError::Refused { reason, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(reason, Refusal::Formatting { .. }), "{reason}");

    let error = refusal("fn broken() -> u32 { \"text\" }");
    let BuildError::Compile { messages, .. } = error else {
        panic!("{error}");
    };
    assert!(messages.contains("mismatched types"), "{messages}");
    assert!(!trial.root.join("ptx").exists());

    let ancient = "sm_10".parse().unwrap();
    assert!(matches!(trial.builder().arch(ancient).build(), Err(BuildError::UnknownArch { .. })));
    assert!(matches!(trial.builder().build(), Err(BuildError::NoArch)));
}
