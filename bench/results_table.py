"""Markdown tables of what compare_pytorch.py measured.

    python3 results_table.py results.json [--presets kernelbench-77,kernelbench-77-v0]

The README's tables are this script's output. Needs no PyTorch.
"""

import argparse
import json

TF32 = "PyTorch, as it comes (TF32)"
STRICT = "PyTorch, strict f32"
CHANNELS_LAST = "PyTorch, channels_last_3d (TF32)"
BF16 = "PyTorch, bf16"
COMPILED = "PyTorch, torch.compile (TF32)"
PLAIN = "this"
GRAPH = "this, in a CUDA graph"
WAYS = [TF32, CHANNELS_LAST, COMPILED, STRICT, BF16, PLAIN, GRAPH]
# What the sweep compares with.
F32_WAYS = [TF32, STRICT, CHANNELS_LAST]


def number(value):
    """Three significant digits."""
    digits = max(0, 3 - len(str(int(value)))) if value >= 1 else 4 if value < 0.01 else 3
    return f"{value:.{digits}f}"


def error(value):
    return f"{value:.0e}".replace("e-0", "e-") if value > 0 else "< rounding"


def milliseconds(result, spread=True):
    if result is None or "median_ms" not in result:
        return "failed" if result and "failed" in result else "–"
    text = f"{number(result['median_ms'])} ms"
    return f"{text} ({number(result['min_ms'])}–{number(result['max_ms'])})" if spread else text


def ratio(case, way, ours=PLAIN):
    """How many times as long as ours, where both were measured."""
    theirs, own = case["ways"].get(way, {}), case["ways"].get(ours, {})
    return theirs["median_ms"] / own["median_ms"] if "median_ms" in theirs and "median_ms" in own else None


def times(value):
    return "–" if value is None else f"{number(value)}×"


def rows(lines):
    head, *body = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *body])


def preset_table(cases):
    lines = [["", *(f"{case['name']} | error" for case in cases)]]
    for way in WAYS:
        results = [case["ways"].get(way) for case in cases]
        if any(results):
            cells = [f"{milliseconds(r)} | {error(r['error']) if r and 'error' in r else '–'}" for r in results]
            lines.append([f"**{way}**" if way.startswith(PLAIN) else way, *cells])
    for way in (TF32, STRICT):
        lines.append([f"{way} / this", *(f"{times(ratio(case, way))} |" for case in cases)])
    # A head cell holds two columns, so the rule beneath it must too.
    head, *body = lines
    text = ["| " + " | ".join(head) + " |", "|" + "---|" * (1 + 2 * len(cases))]
    return "\n".join(text + ["| " + " | ".join(line) + " |" for line in body])


def sweep_table(cases):
    lines = [["case", "B × Cin → Cout, input, kernel", "PyTorch's fastest f32", "this", "in a graph", "ratio", "error"]]
    for case in cases:
        measured = [way for way in F32_WAYS if "median_ms" in case["ways"].get(way, {})]
        best = min(measured, key=lambda way: case["ways"][way]["median_ms"], default=None)
        fastest = "–"
        if best:
            fastest = f"{milliseconds(case['ways'][best], False)} ({best.removeprefix('PyTorch, ')})"
        own = case["ways"].get(PLAIN)
        lines.append([
            case["name"],
            case["shape"],
            fastest,
            milliseconds(own, False),
            milliseconds(case["ways"].get(GRAPH), False),
            times(ratio(case, best)),
            error(own["error"]) if own and "error" in own else "–",
        ])
    return rows(lines)


def tables(report, presets=None):
    chosen = [c for c in report["cases"] if c["kind"] == "preset" and (presets is None or c["name"] in presets)]
    sweeps = [[c for c in report["cases"] if c["kind"] == kind] for kind in ("sweep", "options")]
    parts = [f"{report['device']}, PyTorch {report['pytorch']} (CUDA {report['cuda']}), L2 flushed by a {report['flush']}:"]
    # Three presets fit a page's width.
    parts += [preset_table(chosen[i : i + 3]) for i in range(0, len(chosen), 3)]
    parts += [sweep_table(sweep) for sweep in sweeps if sweep]
    for case in report["cases"]:
        for way, result in case["ways"].items():
            if "failed" in result:
                parts.append(f"{case['name']}: {way} failed: {result['failed']}")
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("results")
    parser.add_argument("--presets", help="only these, by commas")
    options = parser.parse_args()
    with open(options.results) as file:
        report = json.load(file)
    print(tables(report, options.presets.split(",") if options.presets else None))


if __name__ == "__main__":
    main()
