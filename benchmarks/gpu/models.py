"""Whole models and their training steps, written once for chainrule and for PyTorch: the library is an argument.

    model = MODELS["gpt"]
    network = model.build(library, model.full)
    step = training(library, model, network, "cuda")
    loss = step(*batch)

Nothing below asks which library it was given. `full` is the size that is timed on a card, `small` one that a CPU computes in
milliseconds.
"""

import contextlib
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np


@dataclass(frozen=True)
class Model:
    """build(library, size) gives the Module, batch(size, rng) its inputs and targets as NumPy arrays, optimizer(library, parameters,
    **options) what trains it. amp: computed in bfloat16 where that may be. images: 4-d inputs, which may be channels_last."""

    build: object
    batch: object
    optimizer: object
    full: SimpleNamespace
    small: SimpleNamespace
    amp: bool = False
    images: bool = False


def adam(library, parameters, **options):
    """Adam with PyTorch's defaults."""
    return library.optim.Adam(parameters, lr=1e-3, **options)


def adamw(library, parameters, **options):
    """AdamW as GPT-2 was trained with."""
    return library.optim.AdamW(parameters, lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, **options)


def momentum(library, parameters, **options):
    """SGD with momentum."""
    return library.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-4)


def loss_of(library, scores, targets):
    """The mean cross-entropy over all places; scores (..., classes), targets (...)."""
    return library.nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), targets.reshape(-1))


def optimizer_of(library, model, network, device):
    """The model's optimizer as it is fastest: PyTorch's only takes its step count from the card when told to."""
    cuda = str(device).startswith("cuda")
    options = {"fused": True, "capturable": True} if cuda and library.__name__ == "torch" else {}
    return model.optimizer(library, network.parameters(), **options)


def training(library, model, network, device, amp=None):
    """The training step `step(inputs, targets)`, which gives the loss; `step.optimizer` is what moves the parameters."""
    optimizer = optimizer_of(library, model, network, device)
    amp = model.amp if amp is None else amp

    def step(inputs, targets):
        optimizer.zero_grad(set_to_none=True)
        precision = contextlib.nullcontext()
        if amp:
            # No casts are kept: a captured step would go on using them.
            kind = str(device).partition(":")[0]
            precision = library.autocast(kind, dtype=library.bfloat16, cache_enabled=False)
        with precision:
            loss = loss_of(library, network(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss.detach()

    step.optimizer = optimizer
    return step


# --- 15: a multilayer perceptron ---


def mlp(library, size):
    """784 pixels, two hidden layers, 10 scores."""
    nn = library.nn
    layers = [nn.Linear(size.pixels, size.width), nn.ReLU(), nn.Dropout(size.dropout)]
    layers += [nn.Linear(size.width, size.width), nn.ReLU(), nn.Dropout(size.dropout)]
    return nn.Sequential(*layers, nn.Linear(size.width, 10))


def vectors(size, rng):
    """Pixels and classes."""
    return rng.standard_normal((size.batch, size.pixels), dtype="float32"), rng.integers(0, 10, size.batch)


# --- 16: recurrent networks ---


def recurrent(library, size):
    """Two layers of LSTM or GRU over a sequence of vectors; the class is read off the last step."""
    nn = library.nn

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            kind = getattr(nn, size.kind)
            self.layers = kind(size.width, size.width, num_layers=2, dropout=size.dropout)
            self.head = nn.Linear(size.width, 10)

        def forward(self, x):
            return self.head(self.layers(x)[0][-1])

    return Recurrent()


def sequences(size, rng):
    """Sequences (steps, batch, width) and classes."""
    shape = size.steps, size.batch, size.width
    return rng.standard_normal(shape, dtype="float32"), rng.integers(0, 10, size.batch)


# --- 17: GPT-2 ---


def gpt(library, size):
    """Radford et al. 2019: normalized before each part, GELU by tanh, the embedding used again as the head."""
    nn, F = library.nn, library.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1 = nn.LayerNorm(size.width)
            self.qkv = nn.Linear(size.width, 3 * size.width)
            self.out = nn.Linear(size.width, size.width)
            self.norm2 = nn.LayerNorm(size.width)
            self.up = nn.Linear(size.width, 4 * size.width)
            self.down = nn.Linear(4 * size.width, size.width)
            self.dropout = nn.Dropout(size.dropout)

        def attention(self, x):
            batch, length, width = x.shape
            q, k, v = (
                one.reshape(batch, length, size.heads, width // size.heads).transpose(1, 2)
                for one in self.qkv(x).split(width, dim=2)
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.transpose(1, 2).reshape(batch, length, width))

        def forward(self, x):
            x = x + self.dropout(self.attention(self.norm1(x)))
            return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh")))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(size.vocabulary, size.width)
            self.places = nn.Embedding(size.length, size.width)
            self.blocks = nn.ModuleList([Block() for _ in range(size.layers)])
            self.norm = nn.LayerNorm(size.width)
            for name, one in self.named_parameters():
                if one.ndim == 2:
                    nn.init.normal_(one, std=0.02)
                elif name.endswith("bias"):
                    nn.init.zeros_(one)

        def forward(self, tokens):
            x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
            for block in self.blocks:
                x = block(x)
            return F.linear(self.norm(x), self.tokens.weight)

    return GPT()


def tokens(size, rng):
    """Tokens, and for each the next one."""
    text = rng.integers(0, size.vocabulary, (size.batch, size.length + 1))
    return np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])


# --- 18: ResNet-50 ---


def resnet(library, size):
    """He et al. 2016 with the stride in the 3x3 convolution: bottlenecks of 1x1, 3x3 and 1x1 in four stages."""
    nn, F = library.nn, library.nn.functional

    class Bottleneck(nn.Module):
        def __init__(self, channels, width, stride):
            super().__init__()
            out = 4 * width
            self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, out, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(out)
            self.shortcut = nn.Sequential()
            if stride != 1 or channels != out:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
                )

        def forward(self, x):
            y = F.relu(self.bn1(self.conv1(x)))
            y = F.relu(self.bn2(self.conv2(y)))
            return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, size.width, 7, 2, padding=3, bias=False)
            self.bn = nn.BatchNorm2d(size.width)
            channels, stages = size.width, []
            for stage, count in enumerate(size.blocks):
                width = size.width * 2**stage
                for block in range(count):
                    stages.append(Bottleneck(channels, width, 2 if stage and not block else 1))
                    channels = 4 * width
            self.stages = nn.Sequential(*stages)
            self.head = nn.Linear(channels, 10)

        def forward(self, images):
            x = F.max_pool2d(F.relu(self.bn(self.stem(images))), 3, 2, padding=1)
            return self.head(F.adaptive_avg_pool2d(self.stages(x), 1).flatten(1))

    return ResNet()


def images(size, rng):
    """Images of three colours and classes."""
    shape = size.batch, 3, size.pixels, size.pixels
    return rng.standard_normal(shape, dtype="float32"), rng.integers(0, 10, size.batch)


# --- 19: a small network for CIFAR ---


def cifar(library, size):
    """Three stages of two 3x3 convolutions with batch norm; a pooling after each."""
    nn = library.nn
    layers, channels = [], 3
    for width in (size.width, 2 * size.width, 4 * size.width):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers += [nn.MaxPool2d(2)]
    side = size.pixels // 8
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Dropout(size.dropout), nn.Linear(channels * side * side, 10)
    )


def augmented(library, pixels):
    """Images of bytes on the device, as floats: each mirrored or not, and all shifted by what was drawn for the batch."""
    x = pixels.to(library.float32) / 127.5 - 1
    mirror = library.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    x = library.where(mirror, x.flip(3), x)
    side = x.shape[-1]
    across, down = np.random.randint(0, 9, 2).tolist()
    return library.nn.functional.pad(x, (4, 4, 4, 4))[:, :, down : down + side, across : across + side]


_recurrent = {"width": 512, "batch": 64, "steps": 100, "dropout": 0.0}
_little = {"width": 8, "batch": 3, "steps": 4, "dropout": 0.0}

MODELS = {
    "mlp": Model(
        mlp, vectors, adam,
        full=SimpleNamespace(pixels=784, width=512, batch=128, dropout=0.0),
        small=SimpleNamespace(pixels=20, width=16, batch=8, dropout=0.0),
    ),
    "lstm": Model(
        recurrent, sequences, adam,
        full=SimpleNamespace(kind="LSTM", **_recurrent), small=SimpleNamespace(kind="LSTM", **_little),
    ),
    "gru": Model(
        recurrent, sequences, adam,
        full=SimpleNamespace(kind="GRU", **_recurrent), small=SimpleNamespace(kind="GRU", **_little),
    ),
    "gpt": Model(
        gpt, tokens, adamw, amp=True,
        full=SimpleNamespace(vocabulary=50304, width=768, heads=12, layers=12, length=1024, batch=16, dropout=0.0),
        small=SimpleNamespace(vocabulary=50, width=16, heads=2, layers=2, length=8, batch=2, dropout=0.0),
    ),
    "resnet": Model(
        resnet, images, momentum, amp=True, images=True,
        full=SimpleNamespace(width=64, blocks=(3, 4, 6, 3), pixels=224, batch=256),
        small=SimpleNamespace(width=4, blocks=(1, 2), pixels=16, batch=4),
    ),
    "cifar": Model(
        cifar, images, momentum, images=True,
        full=SimpleNamespace(width=64, pixels=32, batch=512, dropout=0.0),
        small=SimpleNamespace(width=4, pixels=16, batch=4, dropout=0.0),
    ),
}  # fmt: skip
