//! A context that is lost: every call says so with the same code until everything is given back, and then the device is well
//! again.

use std::ptr::null;

use convt_bn_gap::cuda::{CudaDevice, DeviceTensors, RawStream, devices};
use convt_bn_gap::{Device, Error, Plan, PlanOptions};
use cuda_std::simt::{FindingKind, Space};
use simulated_driver::{Fault, Machine, Usage, with};

use crate::alone::alone;
use crate::caller::Caller;
use crate::session::{code_of, smallest, whole};

/// A device and a plan that were well; losing the context in between must end as the module says.
fn losing(code: u32, lose: impl Fn(&mut Plan<f32>) -> Result<(), Error>) {
    let (problem, tensors) = smallest();
    let expected = whole(&problem, &tensors, PlanOptions::default()).unwrap();
    let device = Device::cuda(0).unwrap();
    let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
    assert_eq!(plan.run(&tensors.as_inputs()).unwrap(), expected);

    if let Err(error) = lose(&mut plan) {
        assert_eq!(code_of(&error), Some(code), "{error}");
    }
    assert!(with(|state| state.lost()));
    let fails = |result: Result<(), Error>| {
        let error = result.expect_err("the context is lost");
        assert_eq!(code_of(&error), Some(code), "{error}");
        assert!(error.is_device_failure() && error.to_string().contains(cuda_loader::error_name(code)), "{error}");
    };
    for _ in 0..2 {
        fails(plan.run(&tensors.as_inputs()).map(|_| ()));
        fails(plan.measure_on_device(&tensors.as_inputs(), 1).map(|_| ()));
        fails(Plan::<f32>::new(&problem, &device, PlanOptions::default()).map(|_| ()));
        fails(Device::cuda(0).map(|_| ()));
        fails(Device::auto().map(|_| ()));
    }
    // What does not use the context still answers.
    assert_eq!((devices().map(|all| all.len()), CudaDevice::current_ordinal()), (Ok(1), Ok(0)));
    assert_eq!(device.facts().available_memory, None);

    drop((plan, device));
    assert_eq!(with(|state| (state.usage(), state.abandoned)), (Usage::NOTHING, Usage::NOTHING));
    assert_eq!(whole(&problem, &tensors, PlanOptions::default()).unwrap(), expected, "a context anew");
}

#[test]
fn by_any_function_and_with_any_code() {
    alone(Machine::default(), || {
        for (function, code) in [
            ("cuLaunchKernelEx", 719),
            ("cuStreamSynchronize", 700),
            ("cuMemcpyDtoHAsync_v2", 716),
            ("cuMemcpyHtoDAsync_v2", 214),
            ("cuMemAlloc_v2", 999),
            ("cuMemGetInfo_v2", 720),
        ] {
            losing(code, |plan| {
                let (_, tensors) = smallest();
                with(|state| state.inject(Fault::of(function, 1, code).sticky()));
                match function {
                    "cuMemAlloc_v2" | "cuMemGetInfo_v2" => plan.measure_on_device(&tensors.as_inputs(), 1).map(|_| ()),
                    _ => plan.run(&tensors.as_inputs()).map(|_| ()),
                }
            });
        }
    });
}

/// A kernel's own fault: an output that is too short. As on a GPU the launch succeeds, and what comes later fails; beside
/// that the executor knows where.
#[test]
fn by_a_kernel_that_leaves_its_memory() {
    alone(Machine::default(), || {
        losing(700, |plan| {
            let (_, tensors) = smallest();
            let caller = Caller::new();
            let input = caller.array(tensors.input.as_slice().unwrap());
            let kernel = caller.array(tensors.kernel.as_slice().unwrap());
            let running = caller.array(&[1.0, 1.0]);
            let too_short = caller.array(&[0.0]);
            let there = DeviceTensors {
                input: input.address,
                kernel: kernel.address,
                running_mean: running.address,
                running_var: running.address,
                output: too_short.address,
                ..DeviceTensors::default()
            };
            // SAFETY: not kept: that is the test. The executor refuses every access outside an allocation.
            let launched = unsafe { plan.run_device(RawStream::DEFAULT, &there) };
            assert_eq!(launched, Ok(()), "the launch itself succeeds");
            launched
        });
        let findings = with(|state| std::mem::take(&mut state.findings));
        assert!(!findings.is_empty());
        for finding in findings {
            let beyond = matches!(finding.kind, FindingKind::OutOfBounds { space: Space::Global, limit: 4 });
            assert!(beyond && finding.kernel == "pool_finish_f32", "{finding}");
            assert!(finding.access.unwrap().at.file().ends_with("pool_finish.rs"), "{finding}");
        }
    });
}

/// A launch whose geometry is not the kernel's is refused, and nothing is lost.
#[test]
fn a_launch_that_contradicts_the_spec_is_refused() {
    use simulated_driver::functions::*;
    alone(Machine::default(), || {
        let caller = Caller::new();
        let (mut module, mut function) = (0, 0);
        let ptx = std::ffi::CString::new(include_str!("../../../host/ptx/kernel_gpu.sm_80.ptx")).unwrap();
        let parameters = [0u8; 256];
        let pointers = [parameters.as_ptr()];
        // SAFETY: strings of C, valid for the writes, a parameter block longer than the kernel's, which does not run.
        unsafe {
            assert_eq!(cuModuleLoadDataEx(&mut module, ptx.as_ptr().cast(), 0, null(), null()), 0);
            assert_eq!(cuModuleGetFunction(&mut function, module, c"batch_norm_reduce".as_ptr().cast()), 0);
            assert_eq!(cuModuleGetFunction(&mut function, module, c"no_such_kernel".as_ptr().cast()), 500);
            let launch = |threads| cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, 0, 0, pointers.as_ptr(), null());
            assert_eq!([launch(64), launch(0)], [1, 1]);
            assert_eq!((cuCtxSynchronize(), cuModuleUnload(module)), (0, 0));
        }
        drop(caller);
        let (findings, misuses) =
            with(|state| (std::mem::take(&mut state.findings), std::mem::take(&mut state.misuses)));
        assert_eq!(findings[0].kind, FindingKind::Launch { what: "threads", found: 64, needed: 128 });
        assert_eq!(misuses, ["cuLaunchKernel returned 1"; 2]);
    });
}
