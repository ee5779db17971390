//! Plans on device pointers and a caller's stream: side by side with cust in the primary context, and in a CUDA graph.

use convt_bn_gap::cuda::{DeviceTensors, RawStream};
use convt_bn_gap::draw::Draws;
use convt_bn_gap::{KernelShape, Mode, Momentum, Plan, PlanOptions, Problem, Shape5};
use convt_bn_gap_tests::gpu;
use cust::context::Context;
use cust::device::Device;
use cust::memory::{CopyDestination, DeviceBuffer};
use cust::stream::{Stream, StreamFlags};
use cust::sys;

#[test]
fn run_device_is_asynchronous_and_can_be_captured() {
    let Some(device) = gpu() else { return };
    let input = Shape5 { batch: 4, channels: 5, depth: 4, height: 5, width: 6 };
    let kernel = KernelShape { in_channels: 5, out_channels: 37, depth: 3, height: 2, width: 3 };
    let mode = Mode::Train { momentum: Momentum::Factor(0.25) };
    let problem =
        Problem::builder(input, kernel).scale_factor(2.0).mode(mode).running_statistics(true).build().unwrap();
    let tensors = Draws::usual(&problem, 11).tensors::<f32>(&problem).unwrap();
    let mut plan = Plan::<f32>::new(&problem, &device, PlanOptions::default()).unwrap();
    let expected = plan.run(&tensors.as_inputs()).unwrap();

    let _context = Context::new(Device::get_device(0).unwrap()).unwrap();
    let stream = Stream::new(StreamFlags::NON_BLOCKING, None).unwrap();
    let send = |values: Option<&[f32]>| DeviceBuffer::from_slice(values.unwrap()).unwrap();
    let x = send(tensors.input.as_slice());
    let w = send(tensors.kernel.as_slice());
    let vector = |v: &Option<ndarray::Array1<f32>>| send(v.as_ref().unwrap().as_slice());
    let (bias, gamma, beta) = (vector(&tensors.conv_bias), vector(&tensors.bn_weight), vector(&tensors.bn_bias));
    let (mean, var) = (vector(&tensors.running_mean), vector(&tensors.running_var));
    let poison = vec![f32::NAN; problem.output_elements()];
    let mut output = DeviceBuffer::from_slice(&poison).unwrap();
    let addresses = DeviceTensors {
        input: x.as_device_ptr().as_raw(),
        kernel: w.as_device_ptr().as_raw(),
        conv_bias: bias.as_device_ptr().as_raw(),
        bn_weight: gamma.as_device_ptr().as_raw(),
        bn_bias: beta.as_device_ptr().as_raw(),
        running_mean: mean.as_device_ptr().as_raw(),
        running_var: var.as_device_ptr().as_raw(),
        output: output.as_device_ptr().as_raw(),
        ..DeviceTensors::default()
    };
    let handle = RawStream::from_handle(stream.as_inner().expose_provenance());

    // SAFETY: the buffers above hold the problem's lengths and outlive the stream's work, which is waited for.
    unsafe { plan.run_device(handle, &addresses) }.unwrap();
    stream.synchronize().unwrap();
    let mut found = poison.clone();
    output.copy_to(&mut found[..]).unwrap();
    assert_eq!(Some(&found[..]), expected.output.as_slice());
    let mut running = vec![0.0; 37];
    mean.copy_to(&mut running[..]).unwrap();
    let updated: Vec<f32> = expected.running_mean.as_ref().unwrap().iter().map(|&v| v as f32).collect();
    assert_eq!(running, updated, "updated in place");

    // Captured: nothing runs until the graph is launched, and then as often as it is.
    output.copy_from(&poison[..]).unwrap();
    let (mut graph, mut executable) = (std::ptr::null_mut(), std::ptr::null_mut());
    let ok = sys::CUresult::CUDA_SUCCESS;
    let raw = stream.as_inner();
    // SAFETY: the stream and the handles are this test's; captured work uses the buffers above, as before.
    unsafe {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
        assert_eq!(sys::cuStreamBeginCapture_v2(raw, mode), ok);
        plan.run_device(handle, &addresses).unwrap();
        assert_eq!(sys::cuStreamEndCapture(raw, &mut graph), ok);
        let (node, log) = (std::ptr::null_mut(), std::ptr::null_mut());
        assert_eq!(sys::cuGraphInstantiate_v2(&mut executable, graph, node, log, 0), ok);
    }
    for _ in 0..3 {
        output.copy_from(&poison[..]).unwrap();
        // SAFETY: as above.
        unsafe { assert_eq!(sys::cuGraphLaunch(executable, raw), ok) };
        stream.synchronize().unwrap();
        output.copy_to(&mut found[..]).unwrap();
        assert_eq!(Some(&found[..]), expected.output.as_slice());
    }
    // SAFETY: both were made above and are not used again.
    unsafe {
        assert_eq!(sys::cuGraphExecDestroy(executable), ok);
        assert_eq!(sys::cuGraphDestroy(graph), ok);
    }
}
