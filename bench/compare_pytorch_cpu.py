"""Times this library's CPU backend beside PyTorch's on the same machine with the same number of threads.

    python3 compare_pytorch_cpu.py target/release/convt-bn-gap [--threads N …] [--rounds N] [--seconds S] [--only NAME …]

For each case PyTorch (conv_transpose3d, scale, batch_norm in training mode, mean) and `convt-bn-gap bench --device cpu` take
turns for some rounds, so that what else the machine does falls on both, for so many seconds each at a turn (two runs at least); the
shortest run of each counts. The tool holds
its result against the definition in f64 before it times anything. Prints a table in Markdown.
"""

import argparse
import json
import subprocess
import time
import warnings

import torch
import torch.nn.functional as F

from cases import PRESETS, SWEEP

warnings.filterwarnings("ignore")


def pytorch_ms(tensors, seconds):
    x, w, conv_bias, weight, bias = tensors
    best, began, runs = float("inf"), time.perf_counter(), 0
    with torch.no_grad():
        while runs < 2 or time.perf_counter() - began < seconds:
            start = time.perf_counter()
            z = F.conv_transpose3d(x, w, conv_bias) * 2.0
            F.batch_norm(z, None, None, weight, bias, True, 0.1, 1e-5).mean((2, 3, 4), keepdim=True)
            best, runs = min(best, time.perf_counter() - start), runs + 1
    return best * 1e3


def ours(tool, case, threads, expected_ms, seconds):
    sizes = (case.batch, case.cin, case.cout, *case.extents, *case.kernel)
    shape = ",".join(map(str, sizes))
    runs = min(max(2, int(seconds * 1e3 / expected_ms)), 100)
    command = [tool, "bench", "--device", "cpu", "--threads", str(threads), "--shape", shape, "--json", "--runs", str(runs)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("tool")
    arguments.add_argument("--threads", type=int, nargs="+", default=[2])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument("--only", nargs="*")
    given = arguments.parse_args()
    for threads in given.threads:
        compare(given, threads)


def compare(given, threads):
    torch.set_num_threads(threads)
    print(f"PyTorch {torch.__version__}, {threads} threads, shortest of {given.rounds} rounds\n")
    print("| case | B × Cin → Cout, input, kernel | PyTorch | this | ratio | way | error |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for case in [case for case in PRESETS[:2] + SWEEP if not given.only or case.name in given.only]:
        tensors = case.tensors("cpu")
        theirs, found = float("inf"), []
        for _ in range(given.rounds):
            theirs = min(theirs, pytorch_ms(tensors, given.seconds))
            found.append(ours(given.tool, case, threads, theirs, given.seconds))
        best = min(found, key=lambda run: run["min_ms"])
        stages = ", ".join(f"{stage['name']} {100 * stage['share']:.0f} %" for stage in best["stages"])
        error = "< rounding" if best["error"] == 0 else f"{best['error']:.0e}"
        print(
            f"| {case.name} | {case.shape()} | {theirs:.3g} ms | {best['min_ms']:.3g} ms | {theirs / best['min_ms']:.3g}× "
            f"| {best['algorithm']}: {stages} | {error} |",
            flush=True,
        )
    print()


if __name__ == "__main__":
    main()
