//! The spectral way's second stream. Streams here do their work as late as the order of streams and events allows, so that what
//! no event orders is out of order.

use std::ptr::null_mut;

use convt_bn_gap::cuda::RawStream;
use convt_bn_gap::draw::Draws;
use convt_bn_gap::{Algorithm, AlgorithmChoice, Device, Mode, Plan, PlanOptions, Problem, Tensors};
use convt_bn_gap_tests::agreement::{problem, run, train};
use simulated_driver::functions::*;
use simulated_driver::{Machine, with};

use crate::alone::alone;
use crate::caller::Caller;
use crate::plans::OnDevice;

fn spectral() -> PlanOptions {
    PlanOptions { algorithm: AlgorithmChoice::Force(Algorithm::Spectral), ..PlanOptions::default() }
}

/// With energies and, in eval mode, without.
fn problems() -> [(Problem, Tensors<f32>); 2] {
    [train(), Mode::Eval].map(|mode| {
        let problem = problem((3, 2, 5, [2, 3, 4], [2, 3, 2]), mode);
        let tensors = Draws::usual(&problem, 5).tensors(&problem).unwrap();
        (problem, tensors)
    })
}

#[test]
fn host_arrays_are_computed_on_whenever_the_streams_get_to_it() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        for (problem, tensors) in problems() {
            let expected = run(&device, &problem, spectral(), &tensors);
            with(|state| state.late = true);
            let mut plan = Plan::new(&problem, &device, spectral()).unwrap();
            for _ in 0..3 {
                assert_eq!(plan.run(&tensors.as_inputs()).unwrap(), expected);
            }
            with(|state| state.late = false);
        }
    });
}

/// Running statistics and output after two runs behind each other, of a plan that is dropped before anybody waited for them.
fn two_runs(
    device: &Device,
    (problem, tensors): &(Problem, Tensors<f32>),
    own_stream: bool,
    late: bool,
) -> [Vec<f32>; 3] {
    with(|state| state.late = late);
    let caller = Caller::new();
    let stream = if own_stream { caller.stream() } else { RawStream::DEFAULT.handle() };
    let plan = Plan::new(problem, device, spectral()).unwrap();
    let mut there = OnDevice::new(&caller, plan, problem, tensors);
    for _ in 0..2 {
        there.run(stream).unwrap();
    }
    let OnDevice { plan, arrays, .. } = there;
    drop(plan);
    // SAFETY: the caller's streams.
    unsafe {
        assert_eq!(cuStreamSynchronize(stream), 0);
        assert!(!own_stream || cuStreamDestroy_v2(stream) == 0);
    }
    with(|state| state.late = false);
    [5, 6, 7].map(|array: usize| arrays[array].read())
}

#[test]
fn runs_follow_each_other_on_any_stream_and_outlive_their_plan() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        for case in &problems() {
            let expected = two_runs(&device, case, false, false);
            assert!(expected.iter().flatten().all(|value| value.is_finite()));
            for own_stream in [false, true] {
                assert_eq!(two_runs(&device, case, own_stream, true), expected);
            }
        }
    });
}

#[test]
fn a_capture_takes_in_both_streams_and_leaves_them_usable() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        let (problem, tensors) = problems().into_iter().next().unwrap();
        let expected = run(&device, &problem, spectral(), &tensors);
        with(|state| state.late = true);
        let caller = Caller::new();
        let plan = Plan::new(&problem, &device, spectral()).unwrap();
        let mut there = OnDevice::new(&caller, plan, &problem, &tensors);
        let (stream, mut graph, mut executable) = (caller.stream(), 0, 0);
        let running = there.arrays[6].read();
        // SAFETY: handles of this driver; valid for the writes; nothing captured goes before the graph.
        unsafe {
            assert_eq!(cuStreamBeginCapture_v2(stream, 0), 0);
            there.run(stream).unwrap();
            assert_eq!(cuStreamEndCapture(stream, &mut graph), 0);
            assert!(there.arrays[7].read().iter().all(|y| y.is_nan()), "nothing has run");
            assert_eq!(cuGraphInstantiate_v2(&mut executable, graph, null_mut(), null_mut(), 0), 0);
            for captured in [true, false, true] {
                there.arrays[6].write(&running);
                if captured {
                    assert_eq!(cuGraphLaunch(executable, stream), 0);
                } else {
                    there.run(stream).unwrap();
                }
                assert_eq!(cuStreamSynchronize(stream), 0);
                there.agrees(&expected);
            }
            assert_eq!((cuGraphExecDestroy(executable), cuGraphDestroy(graph), cuStreamDestroy_v2(stream)), (0, 0, 0));
        }
    });
}

/// Asynchronous and without allocations: launches, and an event each way.
#[test]
fn a_run_makes_no_other_calls() {
    alone(Machine::default(), || {
        let device = Device::cuda(0).unwrap();
        let caller = Caller::new();
        for (problem, tensors) in problems() {
            let plan = Plan::new(&problem, &device, spectral()).unwrap();
            let mut there = OnDevice::new(&caller, plan, &problem, &tensors);
            let (before, held) = with(|state| (state.calls.len(), state.usage()));
            there.run(RawStream::DEFAULT.handle()).unwrap();
            let (mut calls, now) = with(|state| (state.calls[before..].to_vec(), state.usage()));
            calls.retain(|call| !call.starts_with("cuCtx"));
            let of = |name| calls.iter().filter(|&&call| call == name).count();
            assert_eq!((of("cuEventRecord"), of("cuStreamWaitEvent"), held), (2, 2, now));
            assert_eq!(of("cuLaunchKernelEx") + 4, calls.len(), "{calls:?}");
        }
    });
}
