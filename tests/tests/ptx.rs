//! The committed PTX against what the host launches: kernels, parameter blocks, launch bounds, targets.
//!
//! The host passes each kernel one `#[repr(C)]` block by value. A block of another size or alignment than the `.param`
//! would be read past its end, so this is what the launches' safety rests on.

use std::collections::BTreeSet;

use cuda_builder::{Manifest, ptx};
use cuda_std::launch::KernelSpec;
use kernel_gpu::batch_norm_reduce::{self, BatchNormReduce};
use kernel_gpu::box_sums::{self, BoxSums};
use kernel_gpu::channels_last::{self, ChannelsLast};
use kernel_gpu::conv_means::{self, ConvMeans};
use kernel_gpu::conv_transpose_moments::{self as conv, ConvTransposeMoments};
use kernel_gpu::dft_axis::{self, DftAxis};
use kernel_gpu::dft_store::{self, DftStore};
use kernel_gpu::gram_energy::{self, GramEnergy};
use kernel_gpu::grid_resample::{self, GridResample};
use kernel_gpu::implicit_gemm::{self, ImplicitGemm};
use kernel_gpu::input_scales::{self, InputScales};
use kernel_gpu::line_gram::{self, LineGram};
use kernel_gpu::pair_resample::{self, PairResample};
use kernel_gpu::phase_taps::{self, PhaseTaps};
use kernel_gpu::pool_finish::{self, PoolFinish};
use kernel_gpu::segment_sums::{self, SegmentSums};
use kernel_gpu::spectral_finish::{self, SpectralFinish};
use kernel_gpu::split_taps::{self, SplitTaps};
use kernel_gpu::tap_moments::{self, TapMoments};
use kernel_gpu::tap_spectrum::{self, TapSpectrum};
use kernel_gpu::volume_fft::{self, VolumeFft};
use kernel_gpu::volume_sums::{self, VolumeSums};
use kernel_gpu::volume_transform::{self, VolumeTransform};

const MANIFEST: &str = include_str!("../../host/ptx/manifest.json");

/// Architecture, file, text.
const MODULES: [(&str, &str, &str); 2] = [
    ("sm_80", "kernel_gpu.sm_80.ptx", include_str!("../../host/ptx/kernel_gpu.sm_80.ptx")),
    ("sm_90a", "kernel_gpu.sm_90a.ptx", include_str!("../../host/ptx/kernel_gpu.sm_90a.ptx")),
];

/// A kernel as the host launches it.
struct Launched {
    spec: KernelSpec,
    bytes: usize,
    align: usize,
}

fn launched<P>(spec: KernelSpec) -> Launched {
    Launched { spec, bytes: size_of::<P>(), align: align_of::<P>() }
}

fn kernels() -> Vec<Launched> {
    let mut kernels = vec![
        launched::<BatchNormReduce>(batch_norm_reduce::SPEC),
        launched::<PoolFinish<f32>>(pool_finish::SPEC_F32),
        launched::<PoolFinish<f64>>(pool_finish::SPEC_F64),
        launched::<PhaseTaps>(phase_taps::SPEC),
        launched::<TapMoments>(tap_moments::SPEC),
        launched::<TapSpectrum>(tap_spectrum::SPEC),
        launched::<VolumeSums>(volume_sums::SPEC),
        launched::<DftAxis>(dft_axis::SPEC),
        launched::<DftStore>(dft_store::SPEC),
        launched::<InputScales>(input_scales::SPEC),
        launched::<VolumeFft>(volume_fft::SPEC),
        launched::<LineGram>(line_gram::SPEC_2),
        launched::<LineGram>(line_gram::SPEC_4),
        launched::<GridResample>(grid_resample::SPEC),
        launched::<PairResample>(pair_resample::SPEC),
        launched::<GramEnergy>(gram_energy::SPEC),
        launched::<SpectralFinish>(spectral_finish::SPEC),
        launched::<SegmentSums>(segment_sums::SPEC),
        launched::<BoxSums>(box_sums::SPEC),
        launched::<ChannelsLast>(channels_last::SPEC),
        launched::<SplitTaps>(split_taps::SPEC),
        launched::<ConvMeans>(conv_means::SPEC),
    ];
    kernels.extend(implicit_gemm::FORMS.map(|form| launched::<ImplicitGemm>(form.spec)));
    kernels.extend(conv::FORMS.map(|form| match form.spec.name.contains("_f64_") {
        true => launched::<ConvTransposeMoments<f64>>(form.spec),
        false => launched::<ConvTransposeMoments<f32>>(form.spec),
    }));
    kernels.extend(volume_transform::FORMS.map(|form| launched::<VolumeTransform>(form.spec)));
    kernels.sort_by_key(|kernel| kernel.spec.name);
    kernels
}

/// Every way in which a module is not what the host launches.
fn disagreements(arch: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut differs = |what: String, ptx: String, host: String| {
        if ptx != host {
            found.push(format!("{what} is {ptx} in the PTX and {host} on the host"));
        }
    };
    differs("the target".into(), format!("{:?}", ptx::target(text)), format!("{:?}", Some(arch)));
    let (entries, kernels) = (ptx::entries(text), kernels());
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    let launched: Vec<&str> = kernels.iter().map(|kernel| kernel.spec.name).collect();
    differs("the list of kernels".into(), format!("{names:?}"), format!("{launched:?}"));
    for Launched { spec, bytes, align } in &kernels {
        let Some(entry) = entries.iter().find(|entry| entry.name == spec.name) else { continue };
        let block = entry.params.iter().map(|param| (param.bytes, param.align)).collect::<Vec<_>>();
        let expected = vec![(*bytes as u64, *align as u64)];
        differs(format!("{}'s block (bytes, alignment)", spec.name), format!("{block:?}"), format!("{expected:?}"));
        let bounds = (entry.max_threads, entry.min_blocks);
        let expected = (Some(spec.threads), Some(spec.min_blocks));
        differs(format!("{}'s launch bounds", spec.name), format!("{bounds:?}"), format!("{expected:?}"));
        // All shared memory is the launch's: static memory would come on top of what the spec says.
        differs(format!("{}'s static memory", spec.name), entry.static_shared_bytes.to_string(), "0".into());
    }
    found.extend(unresolved(text).into_iter().map(|name| format!("{name} is called and nothing defines it")));
    found.extend(touched_in_flight(text).into_iter().map(|line| format!("products in flight are touched: {line}")));
    found
}

/// Instructions between the start of a warpgroup's products and their wait that name a register of the products: the compiler knows nothing
/// of what is in flight. A wait leaves as many groups in flight as it says. Text is no order of execution: after a function's end comes its beginning, until the wait.
fn touched_in_flight(text: &str) -> Vec<&str> {
    let registers = |line: &str| -> BTreeSet<String> {
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '%'));
        words.filter(|word| word.starts_with("%r")).map(str::to_owned).collect()
    };
    let mut touched = Vec::new();
    for function in text.split(".entry ").filter(|function| function.contains("wgmma.mma_async")) {
        // The groups in flight; the last one is not closed yet.
        let mut flying = vec![BTreeSet::new()];
        for line in function.lines().chain(function.lines()).map(str::trim) {
            if line.starts_with(".reg") {
                continue;
            }
            if let Some((_, operands)) = line.split_once("wgmma.mma_async") {
                let taken = registers(operands.split('}').next().unwrap_or(""));
                if flying[..flying.len() - 1].iter().any(|group| !group.is_disjoint(&taken)) {
                    touched.push(line);
                }
                flying.last_mut().unwrap().extend(taken);
            } else if line.contains("wgmma.commit_group") {
                flying.push(BTreeSet::new());
            } else if let Some((_, rest)) = line.split_once("wgmma.wait_group.sync.aligned ") {
                let left: usize = rest.trim_end_matches(';').parse().expect("a number of groups");
                flying.drain(..(flying.len() - 1).saturating_sub(left));
            } else if flying.iter().any(|group| !registers(line).is_disjoint(group)) {
                touched.push(line);
            }
        }
    }
    touched
}

/// The functions that the module declares or calls and does not define.
fn unresolved(text: &str) -> BTreeSet<String> {
    // `.extern .func (return) name (parameters)`, and `call.uni (return), name, (arguments);`: the name follows the
    // return value, where there is one.
    let after_return = |rest: &str| {
        let rest = rest.trim_start();
        let rest = if rest.starts_with('(') { rest.split_once(')').map_or("", |(_, rest)| rest) } else { rest };
        let name = rest.trim_start_matches([',', ' ', '\t']);
        name.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).next().unwrap_or("").to_owned()
    };
    let named = |line: &str, word: &str| line.split_once(word).map(|(_, rest)| after_return(rest));
    let lines = || text.lines().map(str::trim);
    let is_call = |line: &&str| line.split_whitespace().any(|word| word == "call" || word.starts_with("call."));
    let declared = lines().filter(|line| line.starts_with(".extern .func")).filter_map(|line| named(line, ".func"));
    let called = lines().filter(is_call).filter_map(|line| {
        let (_, rest) = line.split_once("call")?;
        Some(after_return(rest.split_once(char::is_whitespace)?.1))
    });
    let defined: BTreeSet<String> =
        lines().filter(|line| !line.starts_with(".extern")).filter_map(|line| named(line, ".func")).collect();
    declared.chain(called).filter(|name| !defined.contains(name)).collect()
}

#[test]
fn the_committed_modules_are_what_the_host_launches() {
    for (arch, _, text) in MODULES {
        let found = disagreements(arch, text);
        assert!(found.is_empty(), "{arch}:\n{}", found.join("\n"));
    }
}

#[test]
fn every_form_is_among_the_kernels() {
    let kernels = kernels();
    let specs = conv::FORMS.iter().map(|form| form.spec).chain(implicit_gemm::FORMS.iter().map(|form| form.spec));
    let specs = specs.chain(volume_transform::FORMS.iter().map(|form| form.spec));
    for spec in specs {
        let same = kernels.iter().filter(|kernel| kernel.spec == spec).count();
        assert_eq!(same, 1, "{}", spec.name);
    }
    assert_eq!(kernels.len(), conv::FORMS.len() + implicit_gemm::FORMS.len() + volume_transform::FORMS.len() + 22);
}

/// Each kind of disagreement is found: the comparison above can fail.
#[test]
fn a_module_that_differs_is_found_out() {
    let (arch, _, text) = MODULES[1];
    let name = conv::FORM_F32_WIDE.spec.name;
    let bytes = size_of::<ConvTransposeMoments<f32>>();
    let controls = [
        ("another target", text.replacen(".target sm_90a", ".target sm_90", 1), "the target"),
        (
            "a kernel less",
            text.replacen(&format!(".entry {name}("), &format!(".func {name}("), 1),
            "the list of kernels",
        ),
        ("a kernel more", format!("{text}.visible .entry another() {{ ret; }}\n"), "the list of kernels"),
        (
            "a smaller block",
            text.replacen(&format!("{name}_param_0[{bytes}]"), &format!("{name}_param_0[{}]", bytes - 8), 1),
            "block",
        ),
        (
            "another alignment",
            text.replacen(&format!(".align 8 .b8 {name}_param_0"), &format!(".align 4 .b8 {name}_param_0"), 1),
            "block",
        ),
        (
            "a second parameter",
            text.replacen(&format!("{name}_param_0[{bytes}]"), &format!("{name}_param_0[{bytes}], .param .u32 n"), 1),
            "block",
        ),
        ("fewer threads", text.replacen(".maxntid 256", ".maxntid 128", 1), "launch bounds"),
        ("no bound", text.replacen(".minnctapersm 4", "", 1), "launch bounds"),
        ("static memory", text.replacen("\n{\n", "\n{\n\t.shared .align 4 .b8 tile[64];\n", 1), "static memory"),
        (
            "a declaration without a definition",
            format!("{text}.extern .func (.param .b32 r) vprintf(.param .b64 a);\n"),
            "vprintf is called",
        ),
        ("a call of nothing", text.replacen("\n{\n", "\n{\n\tcall.uni (r), memcpy, (a, b);\n", 1), "memcpy is called"),
    ];
    for (control, changed, words) in controls {
        assert_ne!(changed, text, "{control} changes nothing");
        let found = disagreements(arch, &changed);
        assert!(found.iter().any(|sentence| sentence.contains(words)), "{control}: {found:?}");
    }
}

#[test]
fn the_manifest_lists_what_the_modules_hold() {
    let manifest: Manifest = serde_json::from_str(MANIFEST).expect("a manifest");
    assert_eq!(manifest.package, "kernel-gpu");
    assert_eq!(manifest.targets.len(), MODULES.len());
    for (target, (arch, file, text)) in manifest.targets.iter().zip(MODULES) {
        assert_eq!(target.arch.to_string(), arch);
        assert_eq!(target.file, file);
        assert_eq!(Some(target.ptx_version.as_str()), ptx::version(text));
        assert_eq!(target.entries, ptx::entries(text), "{arch}");
    }
}

/// What a module has before a kernel's wait for the grid ahead that touches memory or other threads, or the lack of the wait: launches
/// that begin early rest on it.
fn before_the_wait(text: &str) -> Vec<String> {
    text.split(".visible .entry ")
        .skip(1)
        .filter_map(|entry| {
            let (name, body) = entry.split_once('(')?;
            let Some((before, _)) = body.split_once("griddepcontrol.wait;") else {
                return Some(format!("{name}: no wait"));
            };
            let early =
                ["ld.global", "st.global", ".shared", "cp.async", "prefetch", "atom", "red.", "bar", "bra", "ret"];
            let found = early.into_iter().find(|early| before.contains(early))?;
            Some(format!("{name}: {found} before the wait"))
        })
        .collect()
}

#[test]
fn every_kernel_of_sm_90a_waits_for_the_grid_ahead() {
    let [(_, _, plain), (_, _, text)] = MODULES;
    assert_eq!(before_the_wait(text), Vec::<String>::new());
    // Controls: PTX that does not wait, and one that reads first.
    assert_eq!(before_the_wait(plain).len(), kernels().len());
    let early = text.replacen("griddepcontrol.wait;", "ld.global.nc.u32 %r1, [%rd1];\n\tgriddepcontrol.wait;", 1);
    assert_eq!(before_the_wait(&early).len(), 1);
}
