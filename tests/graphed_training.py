"""Models, data and a training that is the same each time it is made, for the tests of captured steps."""

import numpy as np

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn
from chainrule.backends import random

make = cr.cuda.make_graphed_step


def mlp():
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 3))


def cnn():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(36, 3)
    )  # fmt: skip


class Last(nn.Module):
    """The last output of an LSTM, classified."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 8, num_layers=2, dropout=0.2, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    """Two layers over embedded tokens."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.layers(self.embedding(x)).mean(1))


SHAPES = {"mlp": (6,), "cnn": (2, 6, 6), "lstm": (4, 5), "transformer": (7,)}
MODELS = {"mlp": mlp, "cnn": cnn, "lstm": Last, "transformer": Transformer}


def batches(name, count=9, size=8):
    rng = np.random.default_rng(0)
    for _ in range(count):
        shape = (size, *SHAPES[name])
        x = (
            rng.integers(0, 11, shape)
            if name == "transformer"
            else rng.standard_normal(shape).astype("float32")
        )
        yield x, rng.integers(0, 3, size)


OPTIMIZERS = {
    "adam": lambda p: cr.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: cr.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.01),
    "adamw": lambda p: cr.optim.AdamW(p, lr=0.01),
    "sgd": lambda p: cr.optim.SGD(p, lr=0.1),
    "nesterov": lambda p: cr.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "dampened": lambda p: cr.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.01),
}


class Training:
    """A model with optimizer, scheduler, scaler and a step, made the same every time."""

    def __init__(self, model="mlp", optimizer="adam", clip=None, scaler=None, scheduler=None):
        cr.manual_seed(7)
        self.model = MODELS[model]().to("fake")
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        schedule = scheduler or (lambda one: cr.optim.lr_scheduler.ExponentialLR(one, 0.8))
        self.scheduler = schedule(self.optimizer)
        self.scaler = scaler and scaler()
        self.clip = clip

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        if self.scaler is None:
            loss.backward()
            self.finish(self.optimizer.step)
        else:
            self.scaler.scale(loss).backward()
            if self.clip:
                self.scaler.unscale_(self.optimizer)
            self.finish(lambda: self.scaler.step(self.optimizer))
            self.scaler.update()
        return loss

    def finish(self, step):
        if self.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        step()

    def run(self, data, graphed):
        step = make(self.step, device="fake") if graphed else self.step
        self.losses = []
        for x, y in data:
            x, y = (cr.tensor(one, device="fake") for one in (x, y))
            self.losses.append(step(x, y).item())
            self.scheduler.step()
        assert not graphed or step.graphs() == 1
        return self

    def state(self):
        """Everything that N steps leave behind, in host memory."""
        return {
            "losses": np.array(self.losses),
            "drawn": random.default_generator.get_state(),
            "lr": np.array(self.scheduler.get_last_lr()),
            **{f"model {key}": one.cpu().numpy() for key, one in self.model.state_dict().items()},
            **{f"grad {key}": one.grad.cpu().numpy() for key, one in self.model.named_parameters()},
            **{
                f"{index} {key}": np.array(one.cpu().numpy(), "float64")
                for index, entries in self.optimizer.state_dict()["state"].items()
                for key, one in entries.items()
            },
            **{f"scaler {key}": np.array(one) for key, one in (self.scaler.state_dict() if self.scaler else {}).items()},
        }  # fmt: skip


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, one in ours.items():
        np.testing.assert_array_equal(one, theirs[key], err_msg=key)


def compare(data=None, **options):
    data = list(data or batches(options.get("model", "mlp")))
    eager = Training(**options).run(data, False).state()
    graphed = Training(**options).run(data, True)
    same(graphed.state(), eager)
    return graphed
