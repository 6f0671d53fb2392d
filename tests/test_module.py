"""`nn.Module`: its tables, walks, state and hooks."""

import gc

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


class Net(nn.Module):
    """A little of everything: layers, a container, a shared module, buffers of both kinds, a missing part."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.rest = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2, bias=False))
        self.again = self.first
        self.nothing = None
        self.scale = nn.Parameter(cr.ones(2))
        self.register_buffer("seen", cr.zeros(2))
        self.register_buffer("scratch", cr.zeros(5), persistent=False)
        self.register_module("absent", None)

    def forward(self, x):
        return self.rest(self.first(x)) * self.scale


NAMES = ["scale", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias", "rest.2.weight"]


def test_walks_follow_the_order_of_assignment_and_name_shared_parts_once():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert len(list(net.parameters())) == len(NAMES)
    assert [name for name, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert [name for name, _ in net.named_parameters(prefix="net")][0] == "net.scale"
    assert [name for name, _ in net.named_modules()] == ["", "first", "rest", "rest.0", "rest.1", "rest.2"]
    assert [name for name, _ in net.named_modules(remove_duplicate=False)][-1] == "again"
    assert [name for name, _ in net.named_children()] == ["first", "rest"]
    assert list(net.children()) == [net.first, net.rest]
    assert [name for name, _ in net.named_buffers()] == ["seen", "scratch"]
    both = dict(net.named_parameters(remove_duplicate=False))
    assert both["again.weight"] is both["first.weight"]


def test_attributes_go_to_their_tables():
    net = Net()
    assert net.scale is net._parameters["scale"] and "scale" not in net.__dict__
    net.scale = None
    assert net.scale is None and "scale" not in dict(net.named_parameters())
    with pytest.raises(TypeError, match="cannot assign a Tensor as 'scale'"):
        net.scale = cr.ones(2)
    net.seen = cr.ones(2)
    assert net.get_buffer("seen").sum().item() == 2
    with pytest.raises(TypeError, match="as 'first': a Module or None expected"):
        net.first = cr.ones(1)
    net.label = "text"
    net.label = nn.Parameter(cr.ones(1))
    assert "label" in net._parameters and "label" not in net.__dict__
    with pytest.raises(TypeError, match="as 'label': a Parameter or None expected"):
        net.label = nn.Linear(1, 1)
    del net.label
    net.label = nn.Linear(1, 1)
    net.label = nn.Parameter(cr.ones(1))
    assert "label" in net._parameters and "label" not in net._modules
    del net.label, net.seen
    assert not hasattr(net, "label") and "seen" not in dict(net.named_buffers())
    net.mean = nn.Buffer(cr.ones(2))
    net.noise = nn.Buffer(cr.ones(2), persistent=False)
    assert "mean" in net.state_dict() and "noise" not in net.state_dict()
    assert {"first", "scale", "forward"} <= set(dir(net))
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nowhere'"):
        _ = net.nowhere


@pytest.mark.parametrize(
    ("register", "error", "words"),
    [
        (lambda net: net.register_parameter("a.b", None), ValueError, "must not be empty or contain"),
        (lambda net: net.register_parameter("", None), ValueError, "must not be empty"),
        (lambda net: net.register_parameter(3, None), TypeError, "must be a string"),
        (lambda net: net.register_parameter("forward", None), ValueError, "already exists"),
        (lambda net: net.register_parameter("w", cr.ones(1)), TypeError, "expected a Parameter or None"),
        (lambda net: net.register_buffer("first", cr.ones(1)), ValueError, "already exists"),
        (lambda net: net.register_buffer("b", 3), TypeError, "expected a Tensor or None"),
        (lambda net: net.add_module("m", cr.ones(1)), TypeError, "expected a Module or None"),
        (lambda net: net.add_module("self", net), ValueError, "part of itself"),
        (lambda net: net.get_submodule("rest.9"), AttributeError, "no module at 'rest.9'"),
        (lambda net: net.get_parameter("rest.1.weight"), AttributeError, "no parameter at"),
        (lambda net: net.get_buffer("nope"), AttributeError, "no buffer at"),
        (lambda net: net.train("yes"), ValueError, "must be True or False"),
        (lambda net: net.to(cr.int64), TypeError, "only floating point and complex"),
        (lambda net: nn.Parameter(cr.tensor([1, 2])), RuntimeError, "floating point"),
        (lambda net: nn.Parameter([1.0]), TypeError, "must be a Tensor"),
        (lambda net: nn.Module()(1), NotImplementedError, "has no forward"),
    ],
)
def test_bad_registrations_say_what_is_wrong(register, error, words):
    net = Net()
    before = net.state_dict(), dict(net.named_modules())
    with pytest.raises(error, match=words):
        register(net)
    assert list(net.state_dict()) == list(before[0]) and dict(net.named_modules()) == before[1]


def test_init_must_come_first():
    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match="before Module.__init__"):
        Early()


def test_paths():
    net = Net()
    assert net.get_submodule("") is net and net.get_submodule("rest.2") is net.rest[2]
    assert net.get_parameter("rest.0.bias") is net.rest[0].bias


def test_apply_comes_to_children_first():
    seen = []
    assert isinstance(Net().apply(lambda one: seen.append(type(one).__name__)), Net)
    assert seen == ["Linear", "Linear", "Tanh", "Linear", "Sequential", "Net"]


def test_training_mode_and_freezing():
    class Frozen(nn.Linear):
        def train(self, mode=True):
            return super().train(False)

    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Frozen(2, 2), nn.Dropout(0.5)))
    assert net.train() is net and net[0].training and net[1][1].training and not net[1][0].training
    assert not any(one.training for one in net.eval().modules())
    net.requires_grad_(False)
    assert not any(one.requires_grad for one in net.parameters())
    assert net.compile() is net


def test_zero_grad():
    net = Net()
    net(cr.ones(1, 3)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert all((one.grad == 0).all() for one in net.parameters())
    net.zero_grad()
    assert all(one.grad is None for one in net.parameters())


# State


def test_state_dict_holds_what_is_persistent_and_shares_memory():
    net = Net()
    state = net.state_dict()
    assert list(state) == [
        "scale", "seen", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias", "rest.2.weight", "again.weight",
        "again.bias",
    ]  # fmt: skip
    assert not state["scale"].requires_grad and net.state_dict(keep_vars=True)["scale"] is net.scale
    with cr.no_grad():
        net.scale.fill_(7)
    assert state["scale"].tolist() == [7, 7]
    assert list(net.first.state_dict(prefix="a.")) == ["a.weight", "a.bias"]


def test_loading_copies_into_the_memory_that_is_there():
    source, net = Net(), Net()
    source.seen.fill_(3)
    kept = net.first.weight, net.first.weight._array
    result = net.load_state_dict(source.state_dict())
    assert result == ([], []) and "All keys matched" in repr(result)
    assert net.first.weight is kept[0] and net.first.weight._array is kept[1]
    for name, value in source.state_dict().items():
        assert cr.equal(value, net.state_dict()[name])
        assert value._array is not net.state_dict()[name]._array


def test_loading_lists_everything_that_is_wrong_and_changes_nothing():
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = {name: value + 1 for name, value in before.items()}
    del state["first.bias"], state["seen"]
    state["extra"] = state["other.bias"] = cr.ones(1)
    state["scale"] = cr.ones(3)
    state["rest.2.weight"] = cr.ones(2, 5)
    state["rest.0.bias"] = "no numbers"
    with pytest.raises(RuntimeError) as raised:
        net.load_state_dict(state)
    text = str(raised.value)
    for words in (
        "loading state_dict for Net",
        'Missing key(s) in state_dict: "seen", "first.bias"',
        'Unexpected key(s) in state_dict: "extra", "other.bias"',
        "size mismatch for scale: the shape in the state_dict is (3,), the shape in the module is (2,)",
        "size mismatch for rest.2.weight: the shape in the state_dict is (2, 5)",
        "rest.0.bias: cannot be read as a Tensor",
    ):
        assert words in text
    assert all(cr.equal(net.state_dict()[name], value) for name, value in before.items())
    with pytest.raises(RuntimeError, match="size mismatch"):
        net.load_state_dict(state, strict=False)
    with pytest.raises(TypeError, match="expected a dict"):
        net.load_state_dict([1, 2])


def test_loading_not_strictly():
    net = Net()
    state = {"scale": np.array([2.0, 3.0]), "extra": cr.ones(1)}
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert unexpected == ["extra"] and "first.weight" in missing and "scale" not in missing
    assert net.scale.tolist() == [2, 3] and net.scale.dtype is cr.float32


def test_loading_casts_and_moves(device):
    net = nn.Linear(2, 2).to(device)
    state = nn.Linear(2, 2).double().state_dict()
    net.load_state_dict(state)
    assert net.weight.dtype is cr.float32 and net.weight.device.type == device
    assert net.weight.cpu().double().allclose(state["weight"])


def test_loading_by_assignment_keeps_the_given_tensors():
    net = Net()
    net.scale.requires_grad_(False)
    state = {name: value.double() for name, value in Net().state_dict().items()}
    net.load_state_dict(state, assign=True)
    weight = net.rest[0].weight
    assert weight.dtype is cr.float64 and weight._array is state["rest.0.weight"]._array
    assert isinstance(weight, nn.Parameter) and weight.requires_grad
    assert not net.scale.requires_grad


def test_extra_state_and_state_hooks():
    class Counting(nn.Module):
        count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    source = nn.Sequential(Counting(), nn.Linear(1, 1))
    source[0].count = 5
    source.register_state_dict_post_hook(lambda module, state, prefix, _: state.update(note=cr.ones(1)))
    source.register_state_dict_pre_hook(lambda module, prefix, keep_vars: setattr(module[0], "count", 6))
    state = source.state_dict()
    assert list(state) == ["0._extra_state", "1.weight", "1.bias", "note"]

    def rename(module, state, prefix, metadata, strict, missing, unexpected, errors):
        state[prefix + "1.weight"] = state.pop(prefix + "1.old")

    told = []
    net = nn.Sequential(Counting(), nn.Linear(1, 1))
    net.register_load_state_dict_pre_hook(rename)
    net.register_load_state_dict_post_hook(lambda module, keys: told.append(keys))
    state["1.old"] = state.pop("1.weight")
    net.load_state_dict(state, strict=False)
    assert net[0].count == 6 and told[0].unexpected_keys == ["note"] and "1.old" in state
    with pytest.raises(RuntimeError, match="no extra state"):
        nn.Linear(1, 1).get_extra_state()


def test_a_module_inside_itself_has_no_state():
    a, b = nn.Sequential(), nn.Sequential()
    a.append(b)
    b.append(a)
    assert len(list(a.modules())) == 2
    with pytest.raises(RuntimeError, match="part of itself"):
        a.state_dict()


# Dtype and device


def test_casting_keeps_parameters_gradients_and_ties():
    net = Net()
    net(cr.ones(1, 3)).sum().backward()
    net.register_buffer("count", cr.tensor([3]))
    kept = net.first.weight
    assert net.double() is net and net.first.weight is kept and net.again.weight is kept
    assert kept.dtype is cr.float64 and kept.grad.dtype is cr.float64 and net.seen.dtype is cr.float64
    assert net.count.dtype is cr.int64
    assert net.half().scale.dtype is cr.float16 and net.float().scale.dtype is cr.float32
    assert net.bfloat16().scale.dtype is cr.bfloat16
    assert net.to(cr.ones(1, dtype=cr.float64)).scale.dtype is cr.float64
    assert net.to("cpu", cr.float32).scale.dtype is cr.float32
    assert net.type(cr.float64).count.dtype is cr.float64


def test_moving(device):
    net = Net().to(device)
    assert all(one.device.type == device for one in [*net.parameters(), *net.buffers()])
    net(cr.ones(2, 3, device=device)).sum().backward()
    assert net.first.weight.grad.device.type == device
    assert net.cpu().first.weight.grad.device.type == "cpu"


def test_a_move_that_fails_moves_nothing():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    calls = []

    def third_fails(tensor):
        calls.append(tensor)
        if len(calls) == 3:
            raise cr.OutOfMemoryError("full")
        return tensor.double()

    with pytest.raises(cr.OutOfMemoryError):
        net._apply(third_fails)
    assert all(one.dtype is cr.float32 for one in net.parameters())


# Hooks


def test_forward_hooks_may_change_what_goes_in_and_out():
    net, log = nn.Linear(2, 1, bias=False), []
    with cr.no_grad():
        net.weight.fill_(1)
    x = cr.ones(1, 2)
    handles = [
        net.register_forward_pre_hook(lambda module, args: log.append("pre") or (args[0] * 2,)),
        net.register_forward_pre_hook(
            lambda module, args, kwargs: log.append("first"), with_kwargs=True, prepend=True
        ),
        net.register_forward_hook(lambda module, args, out: log.append("post") or out + 1),
        net.register_forward_hook(lambda module, args, kwargs, out: log.append(kwargs), with_kwargs=True),
    ]
    assert net(x).item() == 5 and log == ["first", "pre", "post", {}]
    for one in handles:
        one.remove()
    assert net(x).item() == 2
    net.register_forward_pre_hook(lambda module, args: args[0] * 3)
    assert net(x).item() == 6
    with pytest.raises(TypeError, match="expected a function"):
        net.register_forward_hook(3)
    bad = net.register_forward_pre_hook(lambda module, args, kwargs: args, with_kwargs=True)
    with pytest.raises(RuntimeError, match="returns None or"):
        net(x)
    bad.remove()


def test_hooks_with_always_call_see_failures():
    seen = []
    net = nn.Linear(2, 1)
    net.register_forward_hook(lambda module, args, out: seen.append(out), always_call=True)
    net.register_forward_hook(lambda module, args, out: seen.append("not reached"))
    with pytest.raises(RuntimeError):
        net(cr.ones(1, 3))
    assert seen == [None]


def test_backward_hooks_see_and_replace_gradients():
    class Product(nn.Module):
        def forward(self, a, scale, b):
            return a * b * scale, a + b

    net, seen = Product(), []
    net.register_full_backward_pre_hook(lambda module, gradients: (gradients[0] * 10, gradients[1]))
    handle = net.register_full_backward_hook(lambda module, into, out: seen.append((into, out)))
    a, b = cr.tensor(2.0, requires_grad=True), cr.tensor(3.0, requires_grad=True)
    product, total = net(a, 1.0, b)
    (product + total).backward()
    (into, out) = seen[0]
    assert [one if one is None else one.item() for one in into] == [31, None, 21]
    assert [one.item() for one in out] == [10, 1] and a.grad.item() == 31 and b.grad.item() == 21
    handle.remove()
    net.register_full_backward_hook(lambda module, into, out: (into[0] * 0, None, into[2]))
    a.grad = b.grad = None
    net(a, 1.0, b)[0].backward()
    assert a.grad.item() == 0 and b.grad.item() == 20


def test_backward_hooks_without_a_gradient_for_the_input():
    seen = []
    net = nn.Linear(2, 1)
    net.register_full_backward_hook(lambda module, into, out: seen.append((into, out[0].tolist())))
    net(cr.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0]])] and net.weight.grad is not None
    with cr.no_grad():
        assert not net(cr.ones(1, 2)).requires_grad
    bad = nn.Identity()
    bad.register_full_backward_hook(lambda module, into, out: None)
    with pytest.raises(TypeError, match="need a Tensor or a tuple"):
        bad("text")


def test_backward_hooks_are_right_to_second_order():
    """The second derivative reaches the input without passing the output; as in PyTorch the hook is not called for it."""
    net = nn.Tanh()
    net.register_full_backward_hook(lambda module, into, out: (into[0] * 2,))
    x = cr.tensor(0.3, dtype=cr.float64, requires_grad=True)
    (first,) = cr.autograd.grad(net(x), x, create_graph=True)
    (second,) = cr.autograd.grad(first, x)
    t = np.tanh(0.3)
    np.testing.assert_allclose([first.item(), second.item()], [2 * (1 - t * t), -4 * t * (1 - t * t)])


def test_hooks_leave_no_cycles():
    def use():
        net = nn.Tanh()
        net.register_full_backward_hook(lambda module, into, out: None)
        x = cr.ones(3, requires_grad=True)
        net(x).sum().backward()

    use()  # what is loaded or made for the first time may leave some
    gc.collect()
    gc.disable()
    try:
        use()
        assert gc.collect() == 0
    finally:
        gc.enable()
