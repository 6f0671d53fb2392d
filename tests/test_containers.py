"""Modules that hold modules or parameters; copies of modules, and how they are printed."""

import copy
import pickle
from collections import OrderedDict

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


# Copies


def copies(net):
    yield copy.deepcopy(net)
    yield pickle.loads(pickle.dumps(net))


def test_copies_are_whole_and_apart():
    net = Net()
    net.extra = {"inside": net.first}
    for other in copies(net):
        assert type(other) is Net and other.again is other.first and other.extra["inside"] is other.first
        assert list(other.state_dict()) == list(net.state_dict())
        for name, value in net.state_dict().items():
            assert cr.equal(value, other.state_dict()[name])
        assert isinstance(other.scale, nn.Parameter) and other.scale.requires_grad
        with cr.no_grad():
            other.scale.fill_(9)
        assert net.scale.tolist() == [1, 1]
        assert "scratch" not in other.state_dict()
        assert [name for name, _ in other.named_parameters()] == [name for name, _ in net.named_parameters()]


def test_copies_honour_what_a_class_says_of_itself():
    class Lean(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.cache = object()

        def __getstate__(self):
            return {name: value for name, value in self.__dict__.items() if name != "cache"}

    other = copy.deepcopy(nn.Sequential(Lean()))[0]
    assert not hasattr(other, "cache") and isinstance(other.layer, nn.Linear)


def test_deep_nesting_needs_no_recursion():
    net = nn.Linear(1, 1)
    for _ in range(400):
        net = nn.ModuleList([net])
    name = ".".join("0" * 400)
    for other in copies(net):
        assert [path for path, _ in other.named_modules()][-1] == name
    assert list(net.double().state_dict()) == [f"{name}.weight", f"{name}.bias"]
    assert repr(net.eval()).count("ModuleList") == 400
    net.load_state_dict(net.state_dict())


# Printing and containers


@pytest.mark.cpu_only
def test_repr():
    net = nn.Sequential(nn.Linear(2, 3), nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()]))
    net.register_module("none", None)
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (1): ModuleList(\n"
        "    (0-1): 2 x ReLU()\n"
        "    (2): Tanh()\n"
        "  )\n"
        "  (none): None\n"
        ")"
    )

    class Odd(nn.Module):
        def __repr__(self):
            return "odd one"

    assert repr(nn.Sequential(Odd())) == "Sequential(\n  (0): odd one\n)" and repr(Odd()) == "odd one"
    assert repr(nn.ModuleList()) == "ModuleList()"
    assert "(a): Parameter containing: [chainrule.float32 of size 2x3]" in repr(
        nn.ParameterDict({"a": cr.ones(2, 3)})
    )
    assert repr(nn.Parameter(cr.ones(1))).startswith("Parameter containing:\ntensor(")


def test_sequential():
    net = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.ReLU(), c=nn.Linear(3, 1)))
    assert net.a is net[0] and net[-1] is net.c and len(net) == 3
    assert list(net[1:]._modules) == ["b", "c"] and isinstance(net[1:], nn.Sequential)
    assert net(cr.ones(4, 2)).shape == (4, 1)
    del net[1]
    assert len(net) == 2 and [type(one).__name__ for one in net] == ["Linear", "Linear"]
    net = nn.Sequential(nn.ReLU())
    net.append(nn.Tanh()).extend([nn.Sigmoid()]).insert(0, nn.Linear(1, 1))
    assert [type(one).__name__ for one in net] == ["Linear", "ReLU", "Tanh", "Sigmoid"]
    assert isinstance(net.pop(1), nn.ReLU) and list(net._modules) == ["0", "1", "2"]
    net[0] = nn.Identity()
    assert isinstance(net[0], nn.Identity)
    assert len(net + nn.Sequential(nn.ReLU())) == 4 and len(net * 2) == 6
    with pytest.raises(IndexError, match="out of range"):
        net[9]
    with pytest.raises(TypeError, match="must be an int or a slice"):
        net["0"]
    with pytest.raises(TypeError, match="expected a Module"):
        net.insert(0, 3)
    with pytest.raises(ValueError, match="repeated"):
        net * 0


def test_module_list():
    layers = nn.ModuleList(nn.Linear(i + 1, i + 2) for i in range(3))
    assert [name for name, _ in layers.named_parameters()][:2] == ["0.weight", "0.bias"]
    layers += [nn.ReLU()]
    layers.insert(0, nn.Tanh())
    assert len(layers) == 5 and isinstance(layers[0], nn.Tanh) and isinstance(layers[1:3], nn.ModuleList)
    del layers[1:3]
    assert list(layers._modules) == ["0", "1", "2"]
    layers[0] = nn.Linear(7, 7)
    assert layers[0].in_features == 7
    assert len(layers + layers) == 6
    with pytest.raises(NotImplementedError):
        layers(cr.ones(1))


def test_module_dict():
    parts = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Linear(1, 1)})
    parts["c"] = nn.Tanh()
    parts.update([("d", nn.Sigmoid())])
    assert list(parts) == ["a", "b", "c", "d"] and "a" in parts and len(parts) == 4
    assert isinstance(parts.pop("a"), nn.ReLU) and [name for name, _ in parts.items()] == ["b", "c", "d"]
    assert isinstance(list(parts.values())[0], nn.Linear) and parts == parts and hash(parts)
    with pytest.raises(TypeError, match="expected a Module"):
        parts["x"] = 1
    with pytest.raises(ValueError, match="already exists"):
        parts["keys"] = nn.ReLU()
    parts.clear()
    assert not list(parts.children())


def test_parameter_containers():
    listed = nn.ParameterList([cr.ones(2), nn.Parameter(cr.zeros(3))])
    listed.append(cr.ones(1))
    listed[0] = cr.zeros(4)
    assert [tuple(one.shape) for one in listed] == [(4,), (3,), (1,)] and len(listed) == 3
    assert [name for name, _ in listed.named_parameters()] == ["0", "1", "2"]
    assert len(listed[1:]) == 2 and listed[1:][0] is listed[1]
    with pytest.raises(TypeError, match="expected a Parameter or a Tensor"):
        listed.append("x")
    named = nn.ParameterDict({"a": cr.ones(2)}) | {"b": cr.ones(1)}
    named.setdefault("c", cr.zeros(1))
    assert list(named.keys()) == ["a", "b", "c"] and isinstance(named["c"], nn.Parameter)
    assert named.get("z") is None and list(named.copy()) == list(named) and named.copy()["a"] is named["a"]
    assert list(nn.ParameterDict.fromkeys(["x", "y"])) == ["x", "y"]
    del named["a"]
    assert list(named.state_dict()) == ["b", "c"]
