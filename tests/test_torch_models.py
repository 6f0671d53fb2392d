"""Networks saved by PyTorch: loaded without it they compute its outputs; beside it they train like its own, and go back."""

import re
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from tests.torch_models import MODELS, batch, loss

GOLDEN = Path(__file__).parent / "golden"
EVERY = pytest.mark.parametrize("name", MODELS)


@pytest.fixture
def pair(torch):
    """A function from a name to (PyTorch's network, ours), both with the weights of its golden file."""

    def make(name):
        theirs, ours = MODELS[name](torch), MODELS[name](cr)
        theirs.load_state_dict(torch.load(GOLDEN / f"{name}.pt")["state_dict"])
        ours.load_state_dict(cr.load(GOLDEN / f"{name}.pt")["state_dict"])
        return theirs, ours

    return make


def host(tensor):
    return tensor.detach().cpu().numpy()


def close(ours, theirs, tolerance, words=""):
    np.testing.assert_allclose(host(ours), host(theirs), rtol=tolerance, atol=tolerance, err_msg=words)


def same_state(ours, theirs, tolerance):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        close(value, theirs[key], tolerance, key)


def tensors(library, name, seed, device=None):
    inputs, targets = batch(name, seed)
    return [library.tensor(one, device=device) for one in inputs], library.tensor(targets, device=device)


def floats(inputs, model):
    """The inputs, those that are floating point in the dtype of the network."""
    dtype = next(model.parameters()).dtype
    return [one.to(dtype) if one.is_floating_point() else one for one in inputs]


def learn(library, model, name, seed):
    """One batch forward and backward: (outputs, loss)."""
    inputs, targets = tensors(library, name, seed)
    outputs = model(*floats(inputs, model))
    value = loss(library, outputs, targets)
    value.backward()
    return outputs, value


# --- without PyTorch ---


@EVERY
def test_outputs_are_those_pytorch_wrote(name, device):
    saved = cr.load(GOLDEN / f"{name}.pt", map_location=device)
    model = MODELS[name](cr).to(device)
    assert list(model.state_dict()) == list(saved["state_dict"])
    assert model.load_state_dict(saved["state_dict"]) == ([], [])
    assert sum(one.numel() for one in model.parameters()) > 3000
    for mode in ("eval", "train"):
        outputs = model.train(mode == "train")(*saved["inputs"])
        assert outputs.device.type == device and outputs.dtype is cr.float32
        close(outputs, saved[mode], 1e-5, mode)
    close(loss(cr, outputs, saved["targets"]), saved["loss"], 1e-5)


def test_the_two_modes_of_batch_normalization_differ():
    """So that the numbers above say something of each."""
    saved = cr.load(GOLDEN / "resnet.pt")
    assert (saved["eval"] - saved["train"]).abs().max().item() > 0.1


@EVERY
def test_our_files_give_the_state_back(name, tmp_path):
    saved = cr.load(GOLDEN / f"{name}.pt")
    cr.save(saved["state_dict"], tmp_path / "model.safetensors")
    model = MODELS[name](cr).eval()
    model.load_state_dict(cr.load(tmp_path / "model.safetensors"))
    inputs = [one.to(cr.get_default_device()) for one in saved["inputs"]]
    close(model(*inputs), saved["eval"], 1e-5)


def test_a_state_dict_that_does_not_fit_is_named():
    state = cr.load(GOLDEN / "tagger.pt")["state_dict"]
    for change, words in (
        (lambda: state.pop("head.bias"), "head.bias"),
        (lambda: state.update({"head.bias": cr.zeros(7)}), r"head\.bias.*\(7,\).*\(5,\)"),
        (lambda: state.update({"tail.bias": state.pop("head.bias")}), r"(?s)head\.bias.*tail\.bias"),
    ):
        change()
        with pytest.raises(RuntimeError, match=words):
            MODELS["tagger"](cr).load_state_dict(state)


# --- beside PyTorch ---


@EVERY
def test_outputs_loss_and_all_gradients_agree(name, pair, torch):
    theirs, ours = pair(name)
    expected, found = learn(torch, theirs, name, 4), learn(cr, ours, name, 4)
    for one, other in zip(found, expected, strict=True):
        close(one, other, 1e-5)
    gradients = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        close(parameter.grad, gradients[key].grad, 1e-5, key)
    same_state(ours, theirs, 1e-5)  # the running statistics
    inputs, _ = tensors(cr, name, 5)
    expected = theirs.eval()(*tensors(torch, name, 5)[0])
    close(ours.eval()(*inputs), expected, 1e-5)


@EVERY
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_twenty_steps_of_adamw_end_alike(name, dtype, tolerance, pair, torch):
    models = pair(name)
    for library, model in zip((torch, cr), models, strict=True):
        model.to(getattr(library, dtype))
        optimizer = library.optim.AdamW(model.parameters(), lr=0.003, weight_decay=0.1)
        for step in range(20):
            optimizer.zero_grad()
            learn(library, model, name, step)
            optimizer.step()
    theirs, ours = models
    if dtype == "float32":
        # Softmax does not see the same number added to all scores: the gradient of a key's bias is 0 up to rounding, and Adam
        # divides the rounding by its own size. In float64 it stays below eps.
        for model in models:
            for key, parameter in model.named_parameters():
                if re.search("in_proj_bias$", key):
                    third = parameter.shape[0] // 3
                    parameter.data[third : 2 * third] = 0
    same_state(ours, theirs, tolerance)


@EVERY
@pytest.mark.parametrize("way", ["safetensors", "arrays"])
def test_a_trained_network_goes_back_to_pytorch(name, way, torch, tmp_path):
    ours, theirs = MODELS[name](cr), MODELS[name](torch)
    optimizer = cr.optim.AdamW(ours.parameters(), lr=0.01)
    for step in range(3):
        optimizer.zero_grad()
        learn(cr, ours, name, step)
        optimizer.step()
    if way == "safetensors":
        files = pytest.importorskip("safetensors.torch")
        cr.save(ours.state_dict(), tmp_path / "model.safetensors")
        state = files.load_file(tmp_path / "model.safetensors")
    else:
        state = {key: torch.tensor(value.numpy()) for key, value in ours.state_dict().items()}
    theirs.load_state_dict(state)
    same_state(ours, theirs, 0)
    expected = theirs.eval()(*tensors(torch, name, 9)[0])
    close(ours.eval()(*tensors(cr, name, 9)[0]), expected, 1e-5)
