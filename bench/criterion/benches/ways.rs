//! Both ways of the CPU backend over the presets.
//!
//! Throughput is in flops of the convolution by its definition, so that ways and shares of a batch compare: the spectral way
//! takes a whole preset, the direct way, which would take up to a minute, one sample of it.

use std::time::Duration;

use convt_bn_gap::Algorithm;
use convt_bn_gap::preset::PRESETS;
use convt_bn_gap_bench::{Subject, problem};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

fn ways(criterion: &mut Criterion) {
    for (algorithm, samples) in [(Algorithm::Spectral, usize::MAX), (Algorithm::Direct, 1)] {
        let mut group = criterion.benchmark_group(algorithm.to_string());
        group.sampling_mode(SamplingMode::Flat).sample_size(10).warm_up_time(Duration::from_secs(1));
        for preset in &PRESETS {
            // Made when it is its turn, and not at all where a filter leaves it out.
            let mut subject = None;
            let flops = problem(preset, samples).expect("presets are valid problems").direct_flops();
            group.throughput(Throughput::Elements(u64::try_from(flops).unwrap_or(u64::MAX)));
            group.bench_function(preset.name, |bencher| {
                let subject = subject.get_or_insert_with(|| Subject::new(preset, samples, algorithm).expect("it fits"));
                bencher.iter(|| subject.run().expect("it runs"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, ways);
criterion_main!(benches);
