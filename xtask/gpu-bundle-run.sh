#!/bin/sh
# Runs what `cargo xtask bundle-gpu` packed: ./run [test] [bench] [sanitize] [pytorch] [differential] [large]; by default test,
# bench and pytorch. Needs a CUDA driver; `sanitize` needs compute-sanitizer, the last three a python3 with PyTorch, of which
# `pytorch` writes pytorch.json, `differential` holds random configurations against PyTorch on the CPU, and `large` inputs of more
# than 2^31 elements against this library on the CPU. Exits 1 if anything failed.
cd "$(dirname "$0")" || exit 2
export CONVT_BN_GAP_GOLDEN="$PWD/golden" CONVT_BN_GAP_BIN="$PWD/bin/convt-bn-gap"
export CONVT_BN_GAP_CONFORMANCE_PTX="$PWD/conformance.sm_90a.ptx"
failed=0
step() { echo "== $*"; "$@" || { failed=1; echo "== FAILED: $*"; }; }
[ $# -gt 0 ] || set -- test bench pytorch
cmp -s CHECKSUM bin/CHECKSUM || { rm -rf bin && tar -xzf bin.tar.gz && cp CHECKSUM bin; } || exit 2
cat MANIFEST
bin/convt-bn-gap devices
for what in "$@"; do
    case $what in
    test) for t in bin/test-*; do step "$t" --test-threads=2; done ;;
    bench)
        for preset in kernelbench-77 kernelbench-77-v0 batch-128 tensara cube-64; do
            step bin/convt-bn-gap bench --preset $preset --device cuda
        done
        for dtype in f16 bf16; do step bin/convt-bn-gap bench --preset kernelbench-77 --device cuda --dtype $dtype; done
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
        step python3 bench/differential.py bin/libconvt_bn_gap.so bin/convt-bn-gap --device cuda
        step python3 bench/differential.py bin/libconvt_bn_gap.so bin/convt-bn-gap --device cuda --algorithm spectral \
            --invalid 0 ;;
    large)
        step python3 bench/large_inputs.py bin/libconvt_bn_gap.so ;;
    *) echo "unknown: $what"; exit 2 ;;
    esac
done
[ $failed -eq 0 ] && echo "== all passed"
exit $failed
