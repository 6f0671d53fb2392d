"""A training step on a device neither reads from it nor copies to it: the digits demo, every layer and loss, every optimizer."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn, optim
from tests.layer_table import LAYERS
from tests.test_layers import given, made, results

ROOT = Path(__file__).resolve().parent.parent

# Layers that do ask the device, and why.
ASKING = {
    "CTCLoss": "how long inputs and targets are decides the shape of the trellis, which the host lays out",
    "AdaptiveLogSoftmaxWithLoss": "only the rows of a cluster go through its layers, and how many these are depends on the labels",
    "EmbeddingBag(7, 3, mode='max')": "bags of unequal length are filled up to the longest one, which must be known",
}


def asks(row):
    return row.name in ASKING or row.make.removeprefix("nn.") in ASKING


# --- layers and losses ---


@pytest.mark.parametrize("dtype", [cr.float32, cr.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("row", LAYERS, ids=lambda row: f"{row.make}-{row.inputs[0]}"[:60])
def test_layers(row, dtype):
    """The second step: constants (the weights of an interpolation) are copied to a device once."""
    if dtype is cr.bfloat16:
        pytest.importorskip("ml_dtypes")
    layer = made(row, dtype, "fake")
    parameters = list(layer.parameters())
    places = [one.data_ptr() for one in parameters]
    optimizer = optim.SGD(parameters, 0.01) if parameters else None

    def step():
        found = results(layer, row, inputs)
        loss = sum(one.sum() for one in found)
        if optimizer is not None:
            optimizer.zero_grad()
        if any(one.requires_grad for one in found):
            loss.backward()
        if optimizer is not None:
            optimizer.step()

    inputs = given(row, dtype, "fake", requires_grad=True)
    try:
        step()
    except (RuntimeError, TypeError, NotImplementedError):
        if dtype is cr.bfloat16:
            pytest.skip("has no 16-bit version")
        raise
    inputs = given(row, dtype, "fake", requires_grad=True)
    if asks(row):
        with cr.no_transfer(explicit=True), pytest.raises(cr.TransferError, match="no_transfer: "):
            step()
        return
    with cr.no_transfer(explicit=True), cr.cuda.count() as work:
        step()
    assert work.host_reads == work.copies_to_device == work.copies_to_host == 0 < work.launches
    assert [one.data_ptr() for one in parameters] == places


def test_every_exception_is_in_the_table():
    assert all(any(asks(row) and one in row.make for row in LAYERS) for one in ASKING)


def test_packed_sequences():
    lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.3).to("fake")
    x = cr.randn(5, 4, 3, device="fake")
    packed = nn.utils.rnn.pack_padded_sequence(x, [5, 4, 2, 2])
    for round in range(2):
        with cr.no_transfer(bool(round), explicit=True):
            output, _ = lstm(packed)
            output.data.sum().backward()


def test_masks_of_attention():
    attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True).to("fake")
    x = cr.randn(2, 5, 8, device="fake")
    padding = cr.zeros(2, 5, dtype="bool", device="fake")
    causal = nn.Transformer.generate_square_subsequent_mask(5, device="fake")
    with cr.no_transfer(explicit=True):
        attention(x, x, x, key_padding_mask=padding)[0].sum().backward()
        attention(x, x, x, attn_mask=causal, need_weights=False)[0].sum().backward()
        F.scaled_dot_product_attention(x, x, x, is_causal=True).sum()
        cr.arange(5, device="fake"), cr.linspace(0, 1, 5, device="fake"), cr.eye(3, device="fake")


# --- what stands around a step ---


def model_and_data():
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).to("fake")
    return model, cr.randn(16, 3, device="fake"), cr.randint(0, 2, (16,), device="fake")


METHODS = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD", "Muon",
]  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_optimizers_with_clipping_and_schedules(name):
    model, x, y = model_and_data()
    parameters = [one for one in model.parameters() if one.ndim == 2 or name != "Muon"]
    optimizer = getattr(optim, name)(parameters, lr=0.01)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    averages = [
        optim.swa_utils.AveragedModel(model).to("fake"),
        optim.swa_utils.AveragedModel(model, avg_fn=lambda mean, new, n: mean + (new - mean) / (n + 1)),
        optim.swa_utils.AveragedModel(model, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.9)),
    ]

    def step():
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        nn.utils.clip_grad_value_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step()

    step()
    for average in averages:
        average.update_parameters(model)
    with cr.no_transfer(explicit=True):
        for _ in range(2):
            step()
            for average in averages:
                average.update_parameters(model)
    assert [one.n_averaged.item() for one in averages] == [3] * 3


def test_autocast_and_a_scaler():
    pytest.importorskip("ml_dtypes")
    model, x, y = model_and_data()
    optimizer, scaler = optim.AdamW(model.parameters()), cr.amp.GradScaler("fake")

    def step():
        with cr.autocast("fake", dtype=cr.float16):
            loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    step()
    with cr.cuda.count() as work:
        step()
    # Whether a gradient overflowed decides whether the step is made.
    assert [one.by for one in work.crossings if one.by != "step"] == [] and work.host_reads <= 1


@pytest.mark.parametrize(
    "metric",
    [cr.metrics.Accuracy(), cr.metrics.TopKAccuracy(2), cr.metrics.F1Score("macro", 3)],
    ids=lambda one: type(one).__name__,
)
def test_a_metric_waits_when_it_is_asked(metric):
    scores, classes = cr.randn(40, 3), cr.randint(0, 3, (40,))
    expected = metric.update(scores, classes).compute()
    metric.reset()
    batches = [(scores[rows].to("fake"), classes[rows].to("fake")) for rows in (slice(25), slice(25, 40))]
    with cr.no_transfer(explicit=True):
        for batch in batches:
            metric.update(*batch)
    assert metric.compute() == expected


def test_a_class_that_is_none_is_noticed_on_a_device_too():
    matrix = cr.metrics.ConfusionMatrix(3).update(cr.tensor([0, 5]).to("fake"), cr.tensor([0, 1]).to("fake"))
    with pytest.raises(
        ValueError, match=r"ConfusionMatrix: classes must be in \[0, 3\), and 1 samples were not"
    ):
        matrix.compute()


# --- the demo ---


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("train_digits", ROOT / "examples" / "train_digits.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    return demo


@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm"])
def test_the_step_of_the_digits_demo(digits, name):
    make, _, lr = digits.MODELS[name]
    model, (train_set, *_) = make().to("fake"), digits.load("fake")
    optimizer = optim.AdamW(model.parameters(), lr=lr)
    images, labels = train_set[:32]

    def step():
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach() * len(labels)

    total = step()
    places = [one.data_ptr() for one in model.parameters()]
    with cr.no_transfer(explicit=True), cr.cuda.count() as work:
        for _ in range(2):
            total += step()
    assert work.host_reads == work.copies_to_device == work.copies_to_host == 0
    assert [one.data_ptr() for one in model.parameters()] == places
    assert math.isfinite(total.item())


def test_an_epoch_of_the_digits_demo_reads_once(digits):
    """Around the steps: the loader copies the numbers of a batch's samples, and the mean loss is read."""
    make, _, lr = digits.MODELS["mlp"]
    model, (train_set, *_) = make().to("fake"), digits.load("fake")
    batches = digits.DataLoader(train_set, batch_size=256, shuffle=True)
    optimizer = optim.AdamW(model.parameters(), lr=lr)
    with cr.cuda.count() as work:
        loss = digits.train_epoch(model, batches, optimizer, "epoch")
    assert np.isfinite(loss) and work.host_reads == 1
    assert work.crossings[-1].by == "item" and "total.item()" in work.crossings[-1].line
    assert work.copies_to_device <= len(batches)
