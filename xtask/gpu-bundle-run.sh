#!/bin/sh
# Runs what `cargo xtask bundle-gpu` packed: ./run [test] [verify] [bench] [sanitize] [pytorch]; all but sanitize by default.
# Needs a CUDA driver; `sanitize` needs compute-sanitizer, `pytorch` a python3 with PyTorch. Exits 1 if anything failed.
cd "$(dirname "$0")" || exit 2
export CONVT_BN_GAP_GOLDEN="$PWD/golden" CONVT_BN_GAP_BIN="$PWD/bin/convt-bn-gap"
failed=0
step() { echo "== $*"; "$@" || { failed=1; echo "== FAILED: $*"; }; }
[ $# -gt 0 ] || set -- test verify bench pytorch
cat MANIFEST
bin/convt-bn-gap devices
for what in "$@"; do
    case $what in
    test) for t in bin/test-*; do step "$t" --test-threads=2; done ;;
    verify)
        # Cases whose options are refused are other tests' business; here every case that runs must pass.
        for precision in default strict; do
            for f in golden/*.safetensors; do
                bin/convt-bn-gap verify "$f" --device cuda --precision $precision >out.txt 2>err.txt
                code=$?
                [ $code -eq 2 ] && grep -q 'not supported' out.txt err.txt && { echo "refused: $f"; continue; }
                [ $code -eq 0 ] && echo "pass: $precision $f" || { failed=1; echo "FAILED ($code): $f"; cat out.txt err.txt; }
            done
        done ;;
    bench)
        step bin/convt-bn-gap bench --preset kernelbench-77 --device cuda --algorithm direct
        step bin/convt-bn-gap bench --preset kernelbench-77-v0 --device cuda --algorithm direct
        step bin/convt-bn-gap bench --preset kernelbench-77 --device cuda --algorithm direct --precision strict ;;
    sanitize)
        for tool in memcheck racecheck initcheck synccheck; do
            step compute-sanitizer --tool $tool --error-exitcode 9 --require-cuda-init=no bin/test-gpu --test-threads=1
        done ;;
    pytorch)
        for preset in kernelbench-77 kernelbench-77-v0 odd; do
            step python3 compare.py bin/libconvt_bn_gap.so --preset $preset
        done ;;
    *) echo "unknown: $what"; exit 2 ;;
    esac
done
[ $failed -eq 0 ] && echo "== all passed"
exit $failed
