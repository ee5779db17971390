//! What each operation of `cuda_std` does: in the executor as a formula says, and on a GPU as in the executor.
//!
//! The kernels are `conformance`'s. Their PTX is built by `cargo xtask conformance` and named by
//! `CONVT_BN_GAP_CONFORMANCE_PTX`.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use conformance::Conformance;
use conformance::entries::{BEFORE, Entry, entries};
use convt_bn_gap_tests::gpu;
use cuda_std::global::{Global, GlobalMut};
use cuda_std::simt::{Grid, Memory, Schedule};
use cust::context::Context;
use cust::device::Device;
use cust::launch;
use cust::memory::{CopyDestination, DeviceBuffer, DeviceCopy};
use cust::module::Module;
use cust::stream::{Stream, StreamFlags};

/// Names the PTX of the kernels.
const PTX: &str = "CONVT_BN_GAP_CONFORMANCE_PTX";

const SCHEDULES: [Schedule; 3] = [Schedule::InOrder, Schedule::Reversed, Schedule::Random(0xc0f)];

/// What the kernel leaves in the executor; it must run clean.
fn in_the_executor(entry: &Entry, schedule: Schedule) -> Vec<u32> {
    let mut memory = Memory::new();
    let input = memory.buffer("input", &entry.input);
    let output = memory.buffer("output", &vec![BEFORE; entry.output_words]);
    let (input, words) = (input.global(), entry.input.len() as u64);
    let parameters = Conformance { input, output: output.global_mut(), words };
    // SAFETY: input and output are as the entry says, and every access is checked.
    let kernel = || unsafe { (entry.run)(parameters) };
    let grid = Grid::with_dimensions(entry.spec.name, entry.grid, entry.block);
    let grid = grid.shared_bytes(entry.spec.shared_bytes).schedule(schedule);
    let report = grid.run(&memory, kernel);
    assert!(report.is_clean(), "{}, {schedule:?}:\n{report}", entry.spec.name);
    memory.read(&output)
}

/// The first word at which the two differ, in words.
fn difference(entry: &Entry, found: &[u32], expected: &[u32]) -> Option<String> {
    let at = entry.agreement.difference(found, expected)?;
    let word = |words: &[u32]| words.get(at).map_or("nothing".to_owned(), |word| format!("{word:#010x}"));
    let name = entry.spec.name;
    Some(format!("{name}: word {at} is {}, not {}", word(found), word(expected)))
}

#[test]
fn every_operation_does_what_it_says_in_the_executor() {
    let mut wrong = Vec::new();
    for entry in entries() {
        let words = in_the_executor(&entry, SCHEDULES[0]);
        for schedule in &SCHEDULES[1..] {
            assert_eq!(in_the_executor(&entry, *schedule), words, "{}, {schedule:?}", entry.spec.name);
        }
        match &entry.expected {
            Some(expected) => wrong.extend(difference(&entry, &words, expected)),
            None => assert!(!words.contains(&BEFORE), "{} leaves words out", entry.spec.name),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The parameter block as cust launches it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Parameters(Conformance);
// SAFETY: addresses and a number, without padding.
unsafe impl DeviceCopy for Parameters {}

/// What the kernel leaves on the GPU.
fn on_the_gpu(entry: &Entry, module: &Module, stream: &Stream) -> cust::error::CudaResult<Vec<u32>> {
    // An allocation is never empty.
    let input = DeviceBuffer::from_slice(&[&entry.input[..], &[0]].concat())?;
    let output = DeviceBuffer::from_slice(&vec![BEFORE; entry.output_words])?;
    let parameters = Parameters(Conformance {
        input: Global::from_address(input.as_device_ptr().as_raw()),
        output: GlobalMut::from_address(output.as_device_ptr().as_raw()),
        words: entry.input.len() as u64,
    });
    let function = module.get_function(entry.spec.name)?;
    let (grid, block): ((u32, u32, u32), (u32, u32, u32)) = (entry.grid.into(), entry.block.into());
    // SAFETY: the entry's kernel, whose contract the executor has checked for this launch; the buffers live until the end.
    unsafe { launch!(function<<<grid, block, entry.spec.shared_bytes, stream>>>(parameters))? };
    stream.synchronize()?;
    let mut words = vec![0; entry.output_words];
    output.copy_to(&mut words)?;
    Ok(words)
}

/// Names the one entry that a process of its own is to run.
const ONE: &str = "CONVT_BN_GAP_CONFORMANCE_ENTRY";

/// What one kernel may take, loading its module included.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each kernel in a process of its own: one that fails or never ends spoils none of the others.
#[test]
fn a_gpu_does_what_the_executor_does() {
    let Some(device) = gpu() else { return };
    if device.gpu().expect("a GPU").facts().compute_capability != (9, 0) {
        let _ = std::io::stderr().write_all(b"skipped: the kernels of conformance are for compute capability 9.0\n");
        return;
    }
    if env::var_os(PTX).is_none() {
        panic!("{PTX} names no PTX: run `cargo xtask conformance` and set it to the path that this prints");
    }
    if let Ok(name) = env::var(ONE) {
        return compare_on_the_gpu(&name);
    }
    let wrong: Vec<String> = entries().iter().filter_map(|entry| fault_of(entry.spec.name)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with a kernel on the GPU, if anything.
fn fault_of(name: &str) -> Option<String> {
    let mut child = Command::new(env::current_exe().expect("a test knows its own executable"))
        .args(["--exact", "a_gpu_does_what_the_executor_does", "--nocapture"])
        .env(ONE, name)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test starts again");
    let began = Instant::now();
    loop {
        match child.try_wait().expect("a child of ours") {
            Some(status) if status.success() => return None,
            Some(_) => break,
            None if began.elapsed() > PATIENCE => {
                let _ = child.kill();
                return Some(format!("{name}: does not end within {} s", PATIENCE.as_secs()));
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
    let mut said = String::new();
    let _ = child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
    Some(format!(
        "{name}: {}",
        said.lines().filter(|line| !line.trim().is_empty()).take(4).collect::<Vec<_>>().join(" | ")
    ))
}

fn compare_on_the_gpu(name: &str) {
    let all = entries();
    let entry = all.iter().find(|entry| entry.spec.name == name).expect("an entry of that name");
    let path = env::var_os(PTX).expect("checked by the caller");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{PTX} names {}: {error}", path.display()));
    let expected = in_the_executor(entry, Schedule::InOrder);
    let _context = Context::new(Device::get_device(0).unwrap()).unwrap();
    let module =
        Module::from_ptx(text, &[]).unwrap_or_else(|error| panic!("{} does not load: {error}", path.display()));
    let stream = Stream::new(StreamFlags::NON_BLOCKING, None).unwrap();
    let found = on_the_gpu(entry, &module, &stream).unwrap_or_else(|error| panic!("{error}"));
    if let Some(difference) = difference(entry, &found, &expected) {
        panic!("{difference}");
    }
}

/// The PTX that is named holds these kernels and no others, with their bounds.
#[test]
fn the_ptx_holds_every_kernel() {
    let Some(path) = env::var_os(PTX) else { return };
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{PTX} names {}: {error}", path.display()));
    let mut found: Vec<_> =
        cuda_builder::ptx::entries(&text).into_iter().map(|entry| (entry.name, entry.max_threads)).collect();
    let mut expected: Vec<_> =
        entries().iter().map(|entry| (entry.spec.name.to_owned(), Some(entry.spec.threads))).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}
