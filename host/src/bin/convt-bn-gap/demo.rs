//! `demo`: KernelBench 77 on the best device there is, in words.

use std::time::Instant;

use clap::Args;
use convt_bn_gap::check;
use convt_bn_gap::preset::PRESETS;
use convt_bn_gap::{DType, Plan};

use crate::arguments::Where;
use crate::bench::Subject;
use crate::failure::Failure;
use crate::progress::Bar;
use crate::report;

/// Compute KernelBench level 2, problem 77 on the best device there is, and show how far it is from f64.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Where,
}

/// Draws, runs, compares, and says each.
pub fn demo(arguments: &Arguments) -> Result<(), Failure> {
    let place = arguments.place.prepare()?;
    let device = place.device()?;
    let [preset, ..] = &PRESETS;
    let subject = Subject::<f32>::preset(preset)?;
    let problem = &subject.problem;
    report::print(&format!(
        "{}: ConvTranspose3d, times {}, BatchNorm3d (training), global average pooling\n{}\n\
         The convolution by its definition costs {:.0} GFLOP.",
        preset.about,
        problem.scale_factor(),
        report::shape_in_words(problem),
        problem.direct_flops() as f64 / 1e9,
    ))?;

    let mut plan = Plan::<f32>::new(problem, device, arguments.place.plan_options())?;
    let began = Instant::now();
    let outputs = {
        let bar = Bar::of("computing");
        plan.run_with_progress(&subject.tensors.as_inputs(), &|done, total| bar.set(done, total))?
    };
    let elapsed = began.elapsed();
    let recipe = plan.recipe();
    let values: Vec<String> = outputs.output.iter().take(4).map(|value| format!("{value:.6}")).collect();
    report::print(&format!(
        "{} on {}: {}\noutput {:?}: {}, …",
        recipe.algorithm,
        report::place(recipe.backend, &device.name()),
        report::milliseconds(elapsed.as_secs_f64() * 1e3),
        outputs.output.shape(),
        values.join(", "),
    ))?;

    let (error, channels) = subject.error(outputs.output.view())?;
    let bound = check::bound(recipe.algorithm, DType::F32);
    report::print(&format!(
        "error against the definition in f64, relative to |output − β|: {:.1e} (bound {:.0e}), over {channels} of {} \
         channels",
        error.value,
        error.bound(bound),
        problem.out_channels(),
    ))?;
    if !error.passes(bound) {
        return Err(Failure::Check("the result is outside its bound".to_owned()));
    }
    Ok(())
}
