"""Three networks whose classes are written once, for PyTorch and for chainrule: `MODELS[name](library)`.

`scripts/make_torch_fixtures.py` builds them with PyTorch and writes what they compute to `tests/golden/`; `test_torch_models.py`
builds them with chainrule.
"""

import numpy as np

CLASSES = 5


def resnet(library):
    """He et al. 2016: two stages of basic blocks, the second with half the resolution and twice the channels."""
    nn, F = library.nn, library.nn.functional

    class Block(nn.Module):
        def __init__(self, channels, out, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(out)
            self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(out)
            self.shortcut = nn.Sequential()
            if stride != 1 or channels != out:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
                )

        def forward(self, x):
            y = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
            self.bn = nn.BatchNorm2d(6)
            self.layer1 = nn.Sequential(Block(6, 6, 1), Block(6, 6, 1))
            self.layer2 = nn.Sequential(Block(6, 12, 2), Block(12, 12, 1))
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.head = nn.Linear(12, CLASSES)

        def forward(self, images):
            x = F.relu(self.bn(self.stem(images)))
            return self.head(library.flatten(self.pool(self.layer2(self.layer1(x))), 1))

    return ResNet()


def tagger(library):
    """A label for each token: embedding, two LSTM layers in both directions on packed sequences, a linear layer."""
    nn = library.nn

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(20, 8, padding_idx=0)
            self.lstm = nn.LSTM(8, 9, num_layers=2, bidirectional=True, batch_first=True)
            self.head = nn.Linear(18, CLASSES)

        def forward(self, tokens):
            lengths = (tokens != 0).sum(1).cpu()
            packed = nn.utils.rnn.pack_padded_sequence(
                self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
            )
            hidden, _ = nn.utils.rnn.pad_packed_sequence(
                self.lstm(packed)[0], batch_first=True, total_length=tokens.shape[1]
            )
            return self.head(hidden)

    return Tagger()


def transformer(library):
    """Vaswani et al. 2017: encoder and decoder of two layers each, padding masked in the source, the future in the target.

    The decoder normalizes first, the encoder afterwards. Without dropout, so that training is deterministic.
    """
    nn = library.nn
    width, heads, hidden = 8, 2, 16

    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            options = {"dropout": 0.0, "batch_first": True}
            self.source = nn.Embedding(20, width)
            self.target = nn.Embedding(20, width)
            self.position = nn.Parameter(library.zeros(12, width).normal_())
            self.encoder = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(width, heads, hidden, activation="gelu", **options),
                2,
                enable_nested_tensor=False,
            )
            self.decoder = nn.TransformerDecoder(
                nn.TransformerDecoderLayer(width, heads, hidden, norm_first=True, **options),
                2,
                norm=nn.LayerNorm(width),
            )
            self.head = nn.Linear(width, CLASSES)

        def forward(self, source, target):
            padding, length = source == 0, target.shape[1]
            future = library.ones(length, length, dtype=library.bool, device=target.device).triu(1)
            memory = self.encoder(
                self.source(source) + self.position[: source.shape[1]], src_key_padding_mask=padding
            )
            output = self.decoder(
                self.target(target) + self.position[:length],
                memory,
                tgt_mask=future,
                memory_key_padding_mask=padding,
            )
            return self.head(output)

    return Translator()


MODELS = {"resnet": resnet, "tagger": tagger, "transformer": transformer}


def batch(name, seed):
    """(inputs, targets) of a batch, as arrays."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 20, (4, 7))
    for row, length in zip(tokens, (4, 7, 2, 5), strict=True):
        row[length:] = 0
    inputs = {
        "resnet": [rng.standard_normal((6, 3, 8, 8)).astype(np.float32)],
        "tagger": [tokens],
        "transformer": [tokens, rng.integers(1, 20, (4, 6))],
    }[name]
    places = {"resnet": 6, "tagger": (4, 7), "transformer": (4, 6)}[name]
    return inputs, rng.integers(0, CLASSES, places)


def loss(library, outputs, targets):
    """The mean cross-entropy over all places."""
    return library.nn.functional.cross_entropy(outputs.reshape(-1, CLASSES), targets.reshape(-1))
