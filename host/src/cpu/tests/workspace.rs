//! Budgets: what is cut to stay within them comes out the same.

use super::*;
use crate::cpu::spectral::{Cut, Order};

fn spectral(workspace_budget: u64) -> Way {
    Way { workspace_budget, ..WAYS[0] }
}

/// The least budget that the spectral way takes.
fn least(problem: &Problem, dtype: DType) -> u64 {
    workspace_bytes(problem, dtype, spectral(0), 1).unwrap_err()
}

/// From all at once to a plane of one sample at a time, in both orders: the definition's results.
#[test]
fn less_memory_gives_the_same_results() {
    let cases: [Sizes; 6] = [
        [9, 5, 70, 12, 15, 14, 3, 2, 3],
        [4, 40, 3, 3, 4, 5, 2, 3, 2],
        [3, 9, 8, 1, 12, 9, 1, 4, 3],
        [3, 9, 8, 5, 1, 40, 1, 1, 5], // the outer axis is not transformed
        [4, 5, 6, 4, 3, 5, 1, 1, 1],  // nor any other
        [6, 3, 2, 2, 1, 30, 2, 1, 4],
    ];
    let mut seen = Vec::new();
    for sizes in cases {
        let problem = builder(sizes).build().unwrap();
        let tensors: Tensors<f64> = draw(&problem);
        let expected = definition(&problem, &tensors);
        let least = least(&problem, DType::F64);
        let budgets = (0..40).map(|step| least + step * step * least / 100).chain([1 << 30]);
        let mut cuts = Vec::new();
        for budget in budgets {
            let bytes = workspace_bytes(&problem, DType::F64, spectral(budget), 3).unwrap();
            assert!(bytes <= budget, "{sizes:?}: {bytes} of {budget}");
            let cut = Cut::of::<f64>(&problem, budget - means::workspace_bytes(&problem)).unwrap();
            let pieces = (cut.order, cut.samples, cut.frequencies, cut.planes, cut.tiles_at_once);
            if !cuts.contains(&pieces) {
                cuts.push(pieces);
                seen.push((cut.order, cut.samples < sizes[0], cut.frequencies < cut.geometry.outer.n));
                assert_agrees(&problem, &tensors, &expected, spectral(budget));
            }
        }
        assert!(cuts.len() >= 3, "{sizes:?} {cuts:?}");
    }
    for order in [Order::Gram, Order::Product] {
        for cut in [(order, false, false), (order, true, false), (order, true, true)] {
            assert!(seen.contains(&cut), "{cut:?} of {seen:?}");
        }
    }
}

#[test]
fn parts_share_the_budget() {
    let options = builder([3, 8, 6, 5, 6, 7, 3, 4, 3]).stride([2, 1, 2]).dilation([1, 2, 1]).groups(2);
    let problem = options.build().unwrap();
    let tensors: Tensors<f64> = draw(&problem);
    let expected = definition(&problem, &tensors);
    let least = least(&problem, DType::F64);
    for budget in [least, least + least / 8, 2 * least] {
        assert!(workspace_bytes(&problem, DType::F64, spectral(budget), 8).unwrap() <= budget);
        assert_agrees(&problem, &tensors, &expected, spectral(budget));
    }
}

#[test]
fn too_small_a_budget_is_refused_with_what_would_do() {
    for dtype in [DType::F32, DType::F64] {
        let problem = builder([3, 8, 6, 5, 6, 7, 3, 4, 3]).build().unwrap();
        let least = least(&problem, dtype);
        assert_eq!(workspace_bytes(&problem, dtype, spectral(least - 1), 7), Err(least));
        assert_eq!(workspace_bytes(&problem, dtype, spectral(least), 7), Ok(least), "one thread works");
    }
    let problem = builder([3, 8, 6, 5, 6, 7, 3, 4, 3]).build().unwrap();
    let tensors: Tensors<f32> = draw(&problem);
    let refused = run(&problem, &tensors.as_inputs(), spectral(20_000)).unwrap_err();
    assert!(matches!(refused, Error::Ineligible(Ineligible::Workspace { .. })), "{refused}");
}

/// The budget that is left to scratch decides how many threads work, and nothing else.
#[test]
fn the_same_bits_with_any_number_of_threads_in_little_memory() {
    let problem = builder([3, 20, 30, 4, 9, 20, 3, 3, 3]).build().unwrap();
    let tensors: Tensors<f32> = draw(&problem);
    let way = spectral(least(&problem, DType::F32) * 5 / 4);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&problem, &tensors.as_inputs(), way)).unwrap()
    };
    let once = with(1);
    for threads in [2, 3, 8] {
        assert_eq!(with(threads), once, "{threads} threads");
    }
}

/// Sizes that no memory holds are refused at once, by their numbers.
#[test]
fn absurd_sizes_are_cut_at_once() {
    for sizes in [
        [2, 1, 1, 1, 1, 1, 1, 1, 1 << 40],
        [2, 1, 1, 1, 1, (1 << 40) + 7, 1, 1, 3],
        [1 << 20, 1 << 10, 1 << 10, 1, 1 << 10, 1 << 10, 1, 3, 3],
    ] {
        let problem = builder(sizes).build().unwrap();
        let refused = workspace_bytes(&problem, DType::F32, spectral(WORKSPACE_BUDGET), 2);
        match refused {
            Err(needed) => assert!(needed > WORKSPACE_BUDGET, "{sizes:?} {needed}"),
            Ok(bytes) => assert!(bytes <= WORKSPACE_BUDGET, "{sizes:?} {bytes}"),
        }
    }
}
