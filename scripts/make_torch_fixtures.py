"""Write what PyTorch computes with the networks of tests/torch_models.py to tests/golden/; needs PyTorch.

    python scripts/make_torch_fixtures.py

For each network one file of torch.save: its state dict, the inputs and targets of a batch, the outputs in evaluation and in
training mode, the loss in training mode. tests/test_torch_models.py demands the same of chainrule.
"""

import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.torch_models import MODELS, batch, loss  # noqa: E402 - found in the checkout

GOLDEN = ROOT / "tests" / "golden"
LARGEST = 60_000


def record(name):
    """What the file of one network holds."""
    torch.manual_seed(0)
    model = MODELS[name](torch)
    for seed in (1, 2, 3):  # running statistics move away from 0 and 1
        model(*map(torch.from_numpy, batch(name, seed)[0]))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    inputs, targets = batch(name, 0)
    inputs, targets = [torch.from_numpy(one) for one in inputs], torch.from_numpy(targets)
    with torch.no_grad():
        eval_outputs = model.eval()(*inputs)
        train_outputs = model.train()(*inputs)
        train_loss = loss(torch, train_outputs, targets)
    return {
        "state_dict": state,
        "inputs": inputs,
        "targets": targets,
        "eval": eval_outputs,
        "train": train_outputs,
        "loss": train_loss,
    }


def main():
    """Write all files and say how large they are."""
    for name in MODELS:
        path = GOLDEN / f"{name}.pt"
        torch.save(record(name), path)
        size = path.stat().st_size
        print(f"{path.relative_to(ROOT)}: {size} bytes")
        if size > LARGEST:
            sys.exit(
                f"{path.name} has {size} bytes, more than the {LARGEST} allowed: make the network smaller"
            )


if __name__ == "__main__":
    main()
