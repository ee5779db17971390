//! Every call that the host makes, failed once: each failure ends in a typed error, nothing is left over, and what is still
//! there works again.

use convt_bn_gap::cuda::CudaError;
use convt_bn_gap::{Device, Error, Outputs, Plan, PlanOptions, Tensors};
use simulated_driver::functions::cuCtxSetCurrent;
use simulated_driver::{Fault, Machine, Usage, with};

use crate::alone::alone;
use crate::session::{both_ways, code_of, smallest, whole};

/// A code that no CUDA version has: it must come through unchanged.
const UNHEARD_OF: u32 = 917;

/// Calls that give back, or put the caller's context back: nobody can be told that they failed.
const UNHEARD: [&str; 9] = [
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuDevicePrimaryCtxRelease_v2",
    "cuEventDestroy_v2",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuMemFree_v2",
    "cuModuleUnload",
    "cuStreamDestroy_v2",
];

/// The calls that `session` makes.
fn calls_of(session: impl FnOnce()) -> Vec<&'static str> {
    with(|state| state.calls.clear());
    session();
    with(|state| state.calls.clone())
}

/// Fails with [`UNHEARD_OF`] where `function` does, and says which function.
#[track_caller]
fn is_told(error: &Error, function: &str, n: usize) {
    assert_eq!(code_of(error), Some(UNHEARD_OF), "call {n}, {function}: {error}");
    if let Error::Cuda(CudaError::Call { entry, name, .. }) = error {
        assert_eq!((*entry, *name), (function, cuda_loader::error_name(UNHEARD_OF)), "call {n}");
    }
    assert!(error.is_device_failure());
}

#[test]
fn any_call_of_a_whole_session_may_fail() {
    alone(Machine::default(), || both_ways().into_iter().for_each(any_call_may_fail));
}

fn any_call_may_fail(options: PlanOptions) {
    let (problem, tensors) = smallest();
    let calls = calls_of(|| drop(whole(&problem, &tensors, options).unwrap()));
    let expected = whole(&problem, &tensors, options).unwrap();
    let mut silent = 0;
    for (n, function) in (1..).zip(&calls) {
        with(|state| state.inject(Fault::call(n as u64, UNHEARD_OF)));
        match whole(&problem, &tensors, options) {
            Ok(out) => {
                // Where a device says how much memory is free, it may as well not.
                assert!(UNHEARD.contains(function) || *function == "cuMemGetInfo_v2", "call {n}, {function}");
                assert_eq!(out, expected, "call {n}, {function}");
                silent += 1;
            }
            Err(error) => is_told(&error, function, n),
        }
        with(|state| {
            assert_eq!(state.forget_faults(), 0, "call {n}, {function}");
            assert_eq!(state.usage(), Usage::NOTHING, "call {n}, {function}");
            // What cannot be reached because its context cannot be made current goes with the context.
            let abandoned = std::mem::take(&mut state.abandoned);
            assert!(
                abandoned == Usage::NOTHING || function.starts_with("cuCtx"),
                "call {n}, {function}: {abandoned:?}"
            );
        });
        // Where the caller's context, here none, could not be put back, it is the caller who must.
        // SAFETY: none may always be made current.
        assert_eq!(unsafe { cuCtxSetCurrent(0) }, 0);
    }
    assert!(silent <= calls.len() * 3 / 5, "{silent} of {}", calls.len());
    assert_eq!(whole(&problem, &tensors, options).unwrap(), expected);
}

/// One failure at a time in a plan that goes on: the next use of it is well again. What is left to the end of the context,
/// because it could not be made current when it was to be freed.
fn a_plan_survives(
    tensors: &Tensors<f32>,
    plan: &mut Plan<f32>,
    use_it: impl Fn(&mut Plan<f32>) -> Result<(), Error>,
    expected: &Outputs<f32>,
) -> Usage {
    let held = with(|state| state.usage());
    let mut left = Usage::NOTHING;
    let calls = calls_of(|| use_it(plan).unwrap());
    for (n, function) in (1..).zip(&calls) {
        with(|state| state.inject(Fault::call(n as u64, UNHEARD_OF)));
        match use_it(plan) {
            Ok(()) => assert!(UNHEARD.contains(function), "call {n}, {function}"),
            Err(error) => is_told(&error, function, n),
        }
        let (faults, now) = with(|state| (state.forget_faults(), state.usage()));
        if function.starts_with("cuCtx") {
            left = Usage {
                allocations: now.allocations - held.allocations,
                streams: now.streams - held.streams,
                graphs: now.graphs - held.graphs,
                ..Usage::NOTHING
            };
        }
        let expected_now = Usage {
            allocations: held.allocations + left.allocations,
            streams: held.streams + left.streams,
            graphs: held.graphs + left.graphs,
            ..held
        };
        assert_eq!((faults, now), (0, expected_now), "call {n}, {function}");
        assert_eq!(&plan.run(&tensors.as_inputs()).unwrap(), expected, "after call {n}, {function}");
    }
    left
}

#[test]
fn any_call_of_a_run_may_fail_and_the_next_run_is_well() {
    alone(Machine::default(), || {
        let (problem, tensors) = smallest();
        let device = Device::cuda(0).unwrap();
        for options in both_ways() {
            let mut plan = Plan::new(&problem, &device, options).unwrap();
            let expected = plan.run(&tensors.as_inputs()).unwrap();
            let run = |plan: &mut Plan<f32>| plan.run(&tensors.as_inputs()).map(|_| ());
            assert_eq!(a_plan_survives(&tensors, &mut plan, run, &expected), Usage::NOTHING);
        }
    });
}

#[test]
fn any_call_of_a_measurement_may_fail_and_the_next_run_is_well() {
    alone(Machine { memory: 1 << 18, ..Machine::default() }, || {
        let (problem, tensors) = smallest();
        let device = Device::cuda(0).unwrap();
        let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
        let expected = plan.run(&tensors.as_inputs()).unwrap();
        let measure = |plan: &mut Plan<f32>| plan.measure_on_device(&tensors.as_inputs(), 1).map(|_| ());
        let left = a_plan_survives(&tensors, &mut plan, measure, &expected);
        drop((plan, device));
        let abandoned = with(|state| std::mem::take(&mut state.abandoned));
        assert_eq!(abandoned, left);
    });
}

#[test]
fn any_allocation_may_find_no_memory() {
    alone(Machine::default(), || {
        let (problem, tensors) = smallest();
        for options in both_ways() {
            let calls = calls_of(|| drop(whole(&problem, &tensors, options).unwrap()));
            let allocations = calls.iter().filter(|&&function| function == "cuMemAlloc_v2").count();
            assert!(allocations > 15, "{allocations}");
            for n in 1..=allocations {
                with(|state| state.inject(Fault::of("cuMemAlloc_v2", n as u64, 2)));
                let error = whole(&problem, &tensors, options).unwrap_err();
                let Error::Memory { needed, available: Some(available), .. } = error else { panic!("{n}: {error}") };
                assert!(needed > 0 && available > 0);
                assert_eq!(with(|state| (state.usage(), state.abandoned)), (Usage::NOTHING, Usage::NOTHING), "{n}");
            }
        }
    });
}

#[test]
fn a_refused_module_says_what_the_compiler_said() {
    alone(Machine::default(), || {
        for (code, name) in [(218, "CUDA_ERROR_INVALID_PTX"), (222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION")] {
            with(|state| state.inject(Fault::of("cuModuleLoadDataEx", 1, code)));
            let error = Device::cuda(0).unwrap_err();
            let log = "ptxas application ptx input, line 9; fatal : as ordered".to_owned();
            assert_eq!(error, Error::Cuda(CudaError::Module { target: "sm_90a", code, name, log }));
            // It is there and fails: `auto` does not hide that.
            with(|state| state.inject(Fault::of("cuModuleLoadDataEx", 1, code)));
            assert_eq!(Device::auto().unwrap_err(), error);
        }
        assert!(Device::cuda(0).is_ok());
    });
}

/// That the sweeps above sweep over everything: every function of the driver that the host's sources name is called.
#[test]
fn every_function_that_the_host_names_is_reached() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../host/src/cuda");
    if !std::path::Path::new(sources).exists() {
        return;
    }
    alone(Machine { memory: 1 << 18, ..Machine::default() }, || {
        let (problem, tensors) = smallest();
        let calls = calls_of(|| {
            for options in both_ways() {
                drop(whole(&problem, &tensors, options).unwrap());
            }
            let device = Device::cuda(0).unwrap();
            let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
            plan.measure_on_device(&tensors.as_inputs(), 1).unwrap();
            let caller = crate::caller::Caller::new();
            assert_eq!(convt_bn_gap::cuda::CudaDevice::current_ordinal(), Ok(0));
            drop(caller);
        });
        let mut named = 0;
        for file in std::fs::read_dir(sources).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for rest in text.split("sys::cu").skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                let function = format!("cu{}", &rest[..end]);
                // The one that an older driver gets: the test below.
                assert!(calls.contains(&&*function) || function == "cuLaunchKernel", "{function} is never called");
                named += 1;
            }
        }
        assert!(named > 15, "{named}");
    });
}

/// A driver whose graphs could not hold launches that begin early gets plain ones, and what fails is told as well.
#[test]
fn an_older_driver_launches_plainly() {
    alone(Machine { driver: (12, 2), ..Machine::default() }, || {
        let (problem, tensors) = smallest();
        let calls = calls_of(|| drop(whole(&problem, &tensors, PlanOptions::default()).unwrap()));
        assert!(calls.contains(&"cuLaunchKernel") && !calls.contains(&"cuLaunchKernelEx"), "{calls:?}");
        both_ways().into_iter().for_each(any_call_may_fail);
    });
}
