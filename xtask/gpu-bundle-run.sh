#!/bin/sh
# Runs what `cargo xtask bundle-gpu` packed: ./run [test] [bench] [sanitize] [pytorch] [differential]; by default all but sanitize
# and differential. Needs a CUDA driver; `sanitize` needs compute-sanitizer, the last two a python3 with PyTorch, of which `pytorch`
# writes pytorch.json and `differential` holds random configurations against PyTorch on the CPU. Exits 1
# if anything failed.
cd "$(dirname "$0")" || exit 2
export CONVT_BN_GAP_GOLDEN="$PWD/golden" CONVT_BN_GAP_BIN="$PWD/bin/convt-bn-gap"
export CONVT_BN_GAP_CONFORMANCE_PTX="$PWD/conformance.sm_90a.ptx"
failed=0
step() { echo "== $*"; "$@" || { failed=1; echo "== FAILED: $*"; }; }
[ $# -gt 0 ] || set -- test bench pytorch
cat MANIFEST
bin/convt-bn-gap devices
for what in "$@"; do
    case $what in
    test) for t in bin/test-*; do step "$t" --test-threads=2; done ;;
    bench)
        for preset in kernelbench-77 kernelbench-77-v0 batch-128 tensara cube-64; do
            step bin/convt-bn-gap bench --preset $preset --device cuda
        done
        step bin/convt-bn-gap bench --preset kernelbench-77 --device cuda --precision strict
        step bin/convt-bn-gap bench --preset kernelbench-77 --device cuda --algorithm direct ;;
    sanitize)
        for tool in memcheck racecheck initcheck synccheck; do
            for t in bin/test-gpu bin/test-gpu_spectral; do
                step compute-sanitizer --tool $tool --error-exitcode 9 --require-cuda-init=no $t --test-threads=1
            done
        done ;;
    pytorch)
        step python3 bench/compare_pytorch.py bin/libconvt_bn_gap.so --all --json pytorch.json ;;
    differential)
        step python3 bench/differential.py bin/libconvt_bn_gap.so bin/convt-bn-gap --device cuda ;;
    *) echo "unknown: $what"; exit 2 ;;
    esac
done
[ $failed -eq 0 ] && echo "== all passed"
exit $failed
