"""A loop over the slices of one tensor, as a recurrent net reads its input: forward and backward, beside PyTorch.

    python benchmarks/slices.py

Prints milliseconds (medians of interleaved runs) for T slices of 64 numbers. PyTorch makes a full-size gradient for each slice, so
its time grows with T squared; here each slice's gradient is added to its region.
"""

import statistics
import time

import chainrule as cr


def once(library, steps):
    """Seconds of one forward and backward."""
    x = library.ones(steps, 64, requires_grad=True)
    start = time.perf_counter()
    h, total = x * 1, 0
    for i in range(steps):
        total = total + (h[i] * h[i]).sum()
    total.backward()
    return time.perf_counter() - start


def main():
    libraries = {"chainrule": cr}
    try:
        import torch

        torch.set_num_threads(1)
        libraries["torch"] = torch
    except ImportError:
        print("PyTorch is not installed: no ratio")
    for steps in (100, 1000):
        times = {name: [] for name in libraries}
        for _ in range(5):
            for name, library in libraries.items():
                times[name].append(once(library, steps))
        medians = {name: statistics.median(one) for name, one in times.items()}
        text = "  ".join(f"{name} {one * 1e3:8.1f} ms" for name, one in medians.items())
        ratio = f"  ratio {medians['chainrule'] / medians['torch']:.3f}" if "torch" in medians else ""
        print(f"T = {steps:>5}  {text}{ratio}")


if __name__ == "__main__":
    main()
