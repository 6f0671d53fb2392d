"""Layers and small models, forward and backward or a whole training step, beside PyTorch.

    python benchmarks/layers.py [--only LSTM] [--rounds 21]

Prints milliseconds (medians of interleaved runs, one thread, freed memory kept for the next arrays) and the ratio to PyTorch
where it is installed. Processor time is counted, which other work on the machine disturbs least.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import statistics
import time

import chainrule as cr
from chainrule.backends.machine import reuse_memory

try:
    import torch

    torch.set_num_threads(1)
except ImportError:
    torch = None

WORDS, CONTEXT, WIDTH = 65, 32, 64


def layer(make, *shape):
    """Forward and backward of a layer, to its parameters and its input: `library -> a function without arguments`."""

    def prepared(library):
        model, x = make(library.nn), library.randn(*shape, requires_grad=True)

        def run():
            y = model(x)
            y = y[0] if isinstance(y, tuple) else y
            if run.seed is None:
                run.seed = library.randn(*y.shape)
            model.zero_grad()
            x.grad = None
            y.backward(run.seed)

        run.seed = None
        return run

    return prepared


def training(library, model, inputs, classes):
    """One training step with Adam on fixed data."""
    optimizer, targets = library.optim.Adam(model.parameters()), library.randint(0, 10, (classes,))

    def run():
        optimizer.zero_grad()
        scores = model(inputs)
        library.nn.functional.cross_entropy(scores.reshape(classes, -1), targets).backward()
        optimizer.step()

    return run


def small_cnn(library):
    """Images of 28 x 28 in batches of 64."""
    nn = library.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip
    return training(library, model, library.randn(64, 1, 28, 28), 64)


def tiny_gpt(library):
    """Two blocks of attention and an MLP over 32 characters, in batches of 16."""
    nn = library.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

        def forward(self, x):
            count = x.shape[0]
            heads = self.qkv(self.norm1(x)).reshape(count, CONTEXT, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4)
            y = nn.functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(count, CONTEXT, WIDTH))
            return x + self.mlp(self.norm2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(CONTEXT, WIDTH)
            self.blocks = nn.Sequential(Block(), Block())
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS, bias=False)

        def forward(self, words):
            x = self.words(words) + self.places(library.arange(CONTEXT))
            return self.head(self.norm(self.blocks(x)))

    return training(library, GPT(), library.randint(0, WORDS, (16, CONTEXT)), 16 * CONTEXT)


CASES = {
    "RNN 20 steps of 8, 16 -> 32": layer(lambda nn: nn.RNN(16, 32), 20, 8, 16),
    "GRU 20 steps of 8, 16 -> 32": layer(lambda nn: nn.GRU(16, 32), 20, 8, 16),
    "LSTM 20 steps of 8, 16 -> 32": layer(lambda nn: nn.LSTM(16, 32), 20, 8, 16),
    "RNN 64 steps of 32, 128 -> 128": layer(lambda nn: nn.RNN(128, 128), 64, 32, 128),
    "GRU 64 steps of 32, 128 -> 128": layer(lambda nn: nn.GRU(128, 128), 64, 32, 128),
    "LSTM 64 steps of 32, 128 -> 128": layer(lambda nn: nn.LSTM(128, 128), 64, 32, 128),
    "conv2d 3x3, 16 of 3 -> 32, 32 x 32": layer(lambda nn: nn.Conv2d(3, 32, 3, padding=1), 16, 3, 32, 32),
    "conv2d 3x3, 16 of 16 -> 32, 16 x 16": layer(lambda nn: nn.Conv2d(16, 32, 3, padding=1), 16, 16, 16, 16),
    "conv2d 3x3, 16 of 64 -> 64, 32 x 32": layer(lambda nn: nn.Conv2d(64, 64, 3, padding=1), 16, 64, 32, 32),
    "conv2d 3x3 stride 2, 16 of 64 -> 128": layer(lambda nn: nn.Conv2d(64, 128, 3, 2, 1), 16, 64, 32, 32),
    "small CNN, training step": small_cnn,
    "tiny GPT, training step": tiny_gpt,
}


def seconds(run):
    """The processor time of one run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--only", default="", help="only the cases whose names contain this")
    options = parser.parse_args()
    reuse_memory()
    for name, case in CASES.items():
        if options.only not in name:
            continue
        runs = [case(library) for library in (cr, torch) if library is not None]
        for run in runs * 2:
            run()  # to warm up
        rounds = [[seconds(run) for run in runs] for _ in range(options.rounds)]
        ours, *theirs = (1e3 * statistics.median(one) for one in zip(*rounds, strict=True))
        beside = f"   PyTorch {theirs[0]:8.2f} ms   ratio {ours / theirs[0]:.2f}" if theirs else ""
        print(f"{name:<38}{ours:8.2f} ms{beside}", flush=True)


if __name__ == "__main__":
    main()
