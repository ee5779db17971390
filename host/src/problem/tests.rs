//! Every refusal of [`Problem`], and its size formulas.

use super::*;

fn input() -> Shape5 {
    Shape5 { batch: 2, channels: 3, depth: 4, height: 5, width: 6 }
}

fn kernel() -> KernelShape {
    KernelShape { in_channels: 3, out_channels: 7, depth: 1, height: 2, width: 3 }
}

fn refused<const N: usize>(builder: ProblemBuilder<N>) -> ProblemError {
    builder.build().expect_err("this problem must be refused")
}

fn default() -> ProblemBuilder {
    Problem::builder(input(), kernel())
}

#[test]
fn sizes() {
    let problem = default().build().unwrap();
    assert_eq!(problem.output_extents(), [4, 6, 8]);
    assert_eq!(problem.positions(), 192);
    assert_eq!(problem.values_per_channel(), 384);
    assert_eq!(problem.taps(), 6);
    assert_eq!(problem.input_volume(), 120);
    assert_eq!(problem.input_elements(), 720);
    assert_eq!(problem.kernel_elements(), 126);
    assert_eq!(problem.convolution_elements(), 2688);
    assert_eq!(problem.output_elements(), 14);
    assert_eq!(problem.output_shape(), [2, 7, 1, 1, 1]);
    assert_eq!(problem.direct_flops(), 2 * 2 * 3 * 7 * 120 * 6);
}

#[test]
fn defaults_are_pytorchs() {
    let problem = default().build().unwrap();
    assert_eq!(problem.scale_factor(), 1.0);
    assert_eq!(problem.eps(), 1e-5);
    assert_eq!(problem.mode(), Mode::Train { momentum: Momentum::Factor(0.1) });
    assert!(!problem.has_running_statistics());
}

#[test]
fn which_statistics_are_used() {
    let uses =
        |mode, running| default().mode(mode).running_statistics(running).build().unwrap().uses_batch_statistics();
    assert!(uses(Mode::default(), true));
    assert!(uses(Mode::default(), false));
    assert!(uses(Mode::Eval, false));
    assert!(!uses(Mode::Eval, true));
}

#[test]
fn cumulative_momentum_counts_this_batch() {
    assert_eq!(Momentum::Cumulative { num_batches_tracked: 0 }.factor(), 1.0);
    assert_eq!(Momentum::Cumulative { num_batches_tracked: 3 }.factor(), 0.25);
    assert!(Momentum::Cumulative { num_batches_tracked: u64::MAX }.factor() > 0.0);
}

#[test]
fn empty_axes() {
    let axis = |shape: Shape5| refused(Problem::builder(shape, kernel()));
    let zero = |axis| ProblemError::ZeroExtent { tensor: "input", axis };
    assert_eq!(axis(Shape5 { batch: 0, ..input() }), zero("batch size"));
    assert_eq!(axis(Shape5 { channels: 0, ..input() }), zero("channels"));
    assert_eq!(axis(Shape5 { depth: 0, ..input() }), zero("depth"));
    assert_eq!(axis(Shape5 { height: 0, ..input() }), zero("height"));
    assert_eq!(axis(Shape5 { width: 0, ..input() }), zero("width"));
    let no_output = KernelShape { out_channels: 0, ..kernel() };
    let expected = ProblemError::ZeroExtent { tensor: "kernel", axis: "output channels" };
    assert_eq!(refused(Problem::builder(input(), no_output)), expected);
}

#[test]
fn channels_must_agree() {
    let four = KernelShape { in_channels: 4, ..kernel() };
    let expected = ProblemError::ChannelMismatch { input: 3, kernel: 4 };
    assert_eq!(refused(Problem::builder(input(), four)), expected);
}

#[test]
fn pytorchs_rules_come_first() {
    let below = |option, found, minimum| ProblemError::BelowMinimum { option, found, minimum };
    assert_eq!(refused(default().stride([1, 0, 1])), below("stride", 0, 1));
    assert_eq!(refused(default().padding([0, 0, -1])), below("padding", -1, 0));
    assert_eq!(refused(default().output_padding([-2, 0, 0])), below("output_padding", -2, 0));
    assert_eq!(refused(default().dilation([1, 1, -3])), below("dilation", -3, 1));
    assert_eq!(refused(default().groups(0)), below("groups", 0, 1));
    assert_eq!(refused(default().groups(2)), ProblemError::Groups { groups: 2, in_channels: 3 });
    let expected = ProblemError::OutputPadding { axis: "width", found: 2, stride: 2, dilation: 1 };
    assert_eq!(refused(default().stride([2; 3]).output_padding([1, 1, 2])), expected);
    let expected = ProblemError::EmptyOutput { axis: "depth", found: -4 };
    assert_eq!(refused(default().padding([4, 0, 0])), expected);
}

#[test]
fn every_option_is_kept() {
    let strided =
        default().stride([2, 1, 3]).padding([0, 1, 2]).output_padding([1, 0, 2]).dilation([1, 2, 1]).groups(3);
    let problem = strided.build().unwrap();
    assert_eq!(problem.output_extents(), [8, 5, 16]);
    assert_eq!((problem.out_channels(), problem.group_out_channels(), problem.group_in_channels()), (21, 7, 1));
    assert_eq!(problem.kernel_elements(), 126);
    assert_eq!(problem.output_shape(), [2, 21, 1, 1, 1]);
    assert_eq!(problem.convolution().first_set(), Some(("padding", "0,1,2".to_owned())));
    assert_eq!(default().groups(3).build().unwrap().convolution().first_set(), Some(("groups", "3".to_owned())));
    assert_eq!(default().build().unwrap().convolution().first_set(), None);
}

#[test]
fn flat_cases() {
    let image = Problem::builder_2d([2, 3, 5, 6], [3, 7, 2, 3]).stride([2, 3]).padding([1, 0]).build().unwrap();
    assert_eq!(image.input(), Shape5 { depth: 1, ..input() });
    assert_eq!(image.convolution().stride, [1, 2, 3]);
    assert_eq!(image.output_extents(), [1, 8, 18]);
    let line = Problem::builder_1d([2, 3, 6], [3, 7, 3]).dilation([4]).output_padding([3]).build().unwrap();
    assert_eq!(line.convolution().dilation, [1, 1, 4]);
    assert_eq!(line.output_extents(), [1, 1, 17]);
    assert_eq!(line.output_shape(), [2, 7, 1, 1, 1]);
}

#[test]
fn numbers_out_of_range() {
    let option = |builder| match refused(builder) {
        ProblemError::OutOfRange { option, .. } => option,
        other => panic!("{other:?}"),
    };
    for scale in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(option(default().scale_factor(scale)), "scale_factor");
    }
    for eps in [-1e-300, f64::NAN, f64::INFINITY] {
        assert_eq!(option(default().eps(eps)), "eps");
    }
    for factor in [-0.1, 1.1, f64::NAN] {
        assert_eq!(option(default().mode(Mode::Train { momentum: Momentum::Factor(factor) })), "momentum");
    }
    for accepted in [0.0, 1.0] {
        default()
            .mode(Mode::Train { momentum: Momentum::Factor(accepted) })
            .eps(0.0)
            .scale_factor(0.0)
            .build()
            .unwrap();
    }
}

#[test]
fn one_value_per_channel() {
    let one = Problem::builder(
        Shape5 { batch: 1, channels: 3, depth: 1, height: 1, width: 1 },
        KernelShape { depth: 1, height: 1, width: 1, ..kernel() },
    );
    assert_eq!(refused(one.clone()), ProblemError::OneValuePerChannel { mode: Mode::default() });
    assert_eq!(refused(one.clone().mode(Mode::Eval)), ProblemError::OneValuePerChannel { mode: Mode::Eval });
    one.mode(Mode::Eval).running_statistics(true).build().unwrap();
}

#[test]
fn sizes_past_63_bits() {
    let what = |input, kernel| match refused(Problem::builder(input, kernel)) {
        ProblemError::TooLarge { what, .. } => what,
        other => panic!("{other:?}"),
    };
    let wide = Shape5 { batch: 1 << 40, width: 1 << 40, ..input() };
    assert_eq!(what(wide, kernel()), "input");
    let deep = KernelShape { depth: 1 << 40, out_channels: 1 << 40, ..kernel() };
    assert_eq!(what(input(), deep), "kernel");
    let batches = Shape5 { batch: 1 << 40, ..input() };
    let many = KernelShape { out_channels: 1 << 40, ..kernel() };
    assert_eq!(what(batches, many), "the convolution's output");
    let full = Shape5 { width: usize::MAX, ..input() };
    let most = KernelShape { width: usize::MAX, ..kernel() };
    assert_eq!(what(full, most), "an extent of the convolution's output");
    // Past 2³¹ elements is fine.
    Problem::builder(Shape5 { width: 1 << 33, ..input() }, kernel()).build().unwrap();
}
