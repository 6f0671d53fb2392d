"""What a captured training step asks of CuPy itself, where that is installed, over the C functions of `cupy_without_card.py`: nothing is computed."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

import chainrule as cr

CODE = """
import collections
from tests.kernels.cupy_without_card import asked, connect
connect()
import numpy as np
import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn

model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)).cuda()
optimizer = cr.optim.AdamW(model.parameters(), lr=0.01)
scheduler = cr.optim.lr_scheduler.StepLR(optimizer, 5, 0.5)
scaler = cr.amp.GradScaler("cuda")

def step(x, y):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    scaler.step(optimizer)
    scaler.update()
    return loss

def asks(*args):
    before = collections.Counter(asked)
    assert run(*args).shape == ()
    return asked - before

run = cr.cuda.make_graphed_step(step)
host = np.zeros((8, 6), "float32"), np.zeros(8, "int64")
card = [cr.tensor(one, device="cuda") for one in host]
for k in range(4):
    found = asks(*host)
    assert found["launch"] > 30 and run.graphs() == k // 3
    scheduler.step()
found = asks(*card)  # an eager step launches forty kernels and reads the overflow; a replay copies its arguments
assert set(found) == {"device to device"} and found["device to device"] == 2, found
scheduler.step()
found = asks(*card)  # with the new learning rate
assert set(found) <= {"device to device", "host to device", "malloc", "launch", "wait"} and found["host to device"] == 1, found
found = asks(*host)  # through pinned memory that is there already
assert set(found) == {"host to device", "wait"} and found["host to device"] == 2, found
assert not cr.cuda.is_current_stream_capturing() and cr.cuda.current_stream() == cr.cuda.default_stream()
import os
os._exit(0)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None or cr.cuda.is_available(), reason="needs CuPy, and no card"
)
def test_a_replay_asks_for_its_arguments_and_nothing_else():
    here = pathlib.Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE], capture_output=True, text=True, timeout=300, cwd=here,
        env={**os.environ, "PYTHONPATH": str(here)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
