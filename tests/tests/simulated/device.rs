//! Opening devices: facts, contexts, which PTX.

use std::thread;

use convt_bn_gap::cuda::{CudaDevice, CudaError, CudaPlan, devices};
use convt_bn_gap::{Backend, Device, Error, Plan, PlanOptions};
use simulated_driver::functions::*;
use simulated_driver::{Machine, with};

use crate::alone::alone;
use crate::session::smallest;

fn current() -> usize {
    let mut context = 0;
    // SAFETY: valid for a write.
    assert_eq!(unsafe { cuCtxGetCurrent(&mut context) }, 0);
    context
}

#[test]
fn auto_takes_the_device_and_knows_its_facts() {
    alone(Machine { memory: 3 << 20, ..Machine::default() }, || {
        let device = Device::auto().unwrap();
        assert_eq!((device.backend(), device.fallback()), (Backend::Cuda, None));
        assert_eq!(device.name(), "Simulated GPU");
        assert_eq!(device.facts().available_memory, Some(3 << 20));
        let facts = device.gpu().unwrap().facts();
        assert_eq!((facts.compute_capability, facts.driver), ((9, 0), (13, 0)));
        assert_eq!((facts.memory, facts.multiprocessors, facts.l2_cache), (3 << 20, 4, 1 << 20));
        assert_eq!(devices().unwrap(), std::slice::from_ref(facts));
        let refused = Device::cuda(1).unwrap_err();
        assert_eq!(refused, Error::Cuda(CudaError::NoSuchDevice { ordinal: 1, count: 1 }));
    });
}

#[test]
fn the_callers_context_is_put_back() {
    alone(Machine::default(), || {
        assert_eq!(current(), 0);
        let device = Device::cuda(0).unwrap();
        let (problem, tensors) = smallest();
        let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
        plan.run(&tensors.as_inputs()).unwrap();
        assert_eq!((current(), CudaDevice::current_ordinal()), (0, Ok(0)));
        let mut primary = 0;
        // SAFETY: valid for a write; the handle is of a live context.
        unsafe {
            assert_eq!((cuDevicePrimaryCtxRetain(&mut primary, 0), cuCtxSetCurrent(primary)), (0, 0));
        }
        plan.run(&tensors.as_inputs()).unwrap();
        drop((plan, device));
        assert_eq!((current(), CudaDevice::current_ordinal()), (primary, Ok(0)));
        // SAFETY: retained above.
        unsafe { assert_eq!((cuCtxSetCurrent(0), cuDevicePrimaryCtxRelease_v2(0)), (0, 0)) };
    });
}

/// In whichever order device and plan go, and on whichever thread: the context goes last.
#[test]
fn a_plan_outlives_its_device() {
    alone(Machine::default(), || {
        for runs in [0, 1] {
            let (problem, tensors) = smallest();
            let device = Device::cuda(0).unwrap();
            let mut plan = Plan::new(&problem, &device, PlanOptions::default()).unwrap();
            drop(device);
            thread::scope(|scope| {
                scope.spawn(move || {
                    for _ in 0..runs {
                        plan.run(&tensors.as_inputs()).unwrap();
                    }
                });
            });
            with(|state| assert_eq!(state.usage(), simulated_driver::Usage::NOTHING));
            assert_eq!(with(|state| state.misuses.split_off(0)), [""; 0], "after {runs} runs");
        }
    });
}

#[test]
fn both_targets_load_and_agree() {
    alone(Machine::default(), || {
        let (problem, tensors) = smallest();
        let run = |target| {
            let device = CudaDevice::open_with(0, target).unwrap();
            let out =
                CudaPlan::new(&problem, PlanOptions::default(), &device).unwrap().run(&tensors.as_inputs()).unwrap();
            (device.ptx_target(), out)
        };
        let best = run(None);
        assert_eq!(best.0, "sm_90a");
        assert_eq!(run(Some("sm_90a")), best);
        assert_eq!(run(Some("sm_80")), ("sm_80", best.1));
        let refused = CudaDevice::open_with(0, Some("sm_70")).unwrap_err();
        assert!(matches!(refused, CudaError::DeviceTooOld { .. }), "{refused}");
    });
}

#[test]
fn a_device_of_another_generation_gets_the_baseline() {
    alone(Machine { capability: (12, 0), driver: (12, 8), ..Machine::default() }, || {
        assert_eq!(CudaDevice::open(0).unwrap().ptx_target(), "sm_80");
        let refused = CudaDevice::open_with(0, Some("sm_90a")).unwrap_err();
        assert!(matches!(refused, CudaError::DeviceTooOld { needed: (9, 0), .. }), "{refused}");
    });
}

#[test]
fn a_device_too_old_is_refused_by_its_numbers() {
    alone(Machine { capability: (7, 5), ..Machine::default() }, || {
        let expected = CudaError::DeviceTooOld { device: "Simulated GPU".into(), found: (7, 5), needed: (8, 0) };
        assert_eq!(Device::cuda(0).unwrap_err(), Error::Cuda(expected));
        let auto = Device::auto().unwrap();
        assert_eq!(auto.backend(), Backend::Cpu);
        let reason = auto.fallback().unwrap().to_string();
        assert!(reason.contains("7.5") && reason.contains("8.0"), "{reason}");
    });
}

#[test]
fn a_driver_older_than_one_ptx_gets_the_other_or_is_refused_by_its_numbers() {
    alone(Machine { driver: (11, 8), ..Machine::default() }, || {
        assert_eq!(CudaDevice::open(0).unwrap().ptx_target(), "sm_80", "the best that this driver reads");
        let refused = CudaDevice::open_with(0, Some("sm_90a")).unwrap_err();
        let CudaError::DriverTooOldForPtx { found: (11, 8), needed, .. } = &refused else { panic!("{refused}") };
        assert!(*needed > (11, 8), "{refused}");
    });
}
