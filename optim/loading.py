"""Reading an optimizer's state dict: what fits is copied, what does not is an error that says why."""

import copy
from collections import defaultdict

import numpy

from chainrule.autograd.tensor import Tensor
from chainrule.backends import backend_of, get_default_dtype, namespaces


def host_number(name, value):
    """A 0-d Tensor in host memory, which no step has to fetch; a step count in PyTorch's dtype, float32."""
    narrow = name == "step" and get_default_dtype().name != "float64"
    return Tensor._wrap(numpy.array(value, dtype="float32" if narrow else "float64"))


def as_number(entry):
    """A number of the state: what a 0-d Tensor holds, or a Python number as it is."""
    return entry._array.item() if isinstance(entry, Tensor) else entry


def loaded_groups(name, state_dict, groups, defaults):
    """The groups of a state dict with this optimizer's parameters, and {index in the state dict: parameter}.

    An option the state dict lacks is taken from `defaults` if it is a switch that is off there: it is newer than the
    file.
    """
    if not isinstance(state_dict, dict):
        raise TypeError(f"{name}: expected a state dict, got {type(state_dict).__name__}")
    for key, kind in (("state", dict), ("param_groups", list)):
        if not isinstance(state_dict.get(key, kind()), kind):
            raise TypeError(
                f"{name}: {key!r} of a state dict is a {kind.__name__}, got {type(state_dict[key]).__name__}"
            )
        if key not in state_dict:
            raise ValueError(
                f"{name}: a state dict has the keys 'state' and 'param_groups', got {sorted(map(str, state_dict))}"
            )
    saved = state_dict["param_groups"]
    if len(saved) != len(groups):
        raise ValueError(
            f"{name}: the state dict has {len(saved)} parameter groups, the optimizer has {len(groups)}"
        )
    loaded, params = [], {}
    for i, (old, new) in enumerate(zip(groups, saved, strict=True)):
        if len(old["params"]) != len(new["params"]):
            raise ValueError(
                f"{name}: parameter group {i} has {len(new['params'])} parameters in the state dict, {len(old['params'])} in the optimizer"
            )
        params.update(zip(new["params"], old["params"], strict=True))
        group = {key: _plain(copy.deepcopy(value)) for key, value in new.items() if key != "params"}
        for key, default in defaults.items():
            if key not in group:
                if default:
                    raise ValueError(
                        f"{name}: parameter group {i} of the state dict has no {key!r}; was it saved by another kind of optimizer?"
                    )
                group[key] = default
        if "param_names" in old:
            group.setdefault("param_names", old["param_names"])
        loaded.append({"params": old["params"], **group})
    return loaded, params


def loaded_state(optimizer, state_dict, params, groups):
    """The state of a state dict by parameter, copied to where the parameters are."""
    name = type(optimizer).__name__
    group_of = {id(param): group for group in groups for param in group["params"]}
    state = defaultdict(dict)
    for index, entries in state_dict["state"].items():
        param = params.get(index)
        if param is None:
            raise ValueError(
                f"{name}: the state dict has state for parameter {index!r}, which is in none of its groups"
            )
        entries = {key: entry for key, entry in entries.items() if entry is not None}
        if entries:
            _check_names(optimizer, index, entries, param, group_of[id(param)])
            state[param] = {
                key: _loaded(optimizer, f"{name}: {key!r} of parameter {index}", key, entry, param)
                for key, entry in entries.items()
            }
    return state


def _check_names(optimizer, index, entries, param, group):
    """ValueError if the names are not those that the optimizer remembers. One with a step of its own has any."""
    expected = optimizer.init_state(param._array, group).keys()
    if not optimizer.arrays and not expected:
        return
    missing, unknown = (
        expected - entries.keys(),
        entries.keys() - {*optimizer.scalars, *optimizer.arrays, *expected},
    )
    if missing or unknown:
        raise ValueError(
            f"{type(optimizer).__name__}: the state of parameter {index} has {sorted(entries)}; "
            f"missing {sorted(missing)}, unknown {sorted(unknown)}"
        )


def _loaded(optimizer, what, key, entry, param):
    """A copy of one entry of the state, in the dtype and on the device of its parameter."""
    if key in optimizer.scalars:
        return host_number(key, entry.item() if hasattr(entry, "item") else entry)
    if isinstance(entry, list):
        return [_loaded(optimizer, what, key, one, param) for one in entry]
    if isinstance(entry, Tensor):
        array = entry._array
    elif hasattr(entry, "__array__") or entry.__class__ in namespaces:
        array = entry if entry.__class__ in namespaces else numpy.asarray(entry)
    else:
        return copy.deepcopy(entry)
    if optimizer.elementwise and array.shape != param._array.shape:
        raise ValueError(
            f"{what} has shape {tuple(array.shape)} in the state dict, the parameter has {tuple(param.shape)}"
        )
    target, source = backend_of(param._array), backend_of(array)
    if source is not target:
        array = target.from_host(source.to_host(array), param.device.index)
    return Tensor._wrap(array.astype(param._array.dtype))  # astype copies


def _plain(option):
    """An option of a state dict of PyTorch's that is a Tensor of theirs, as a number."""
    return option.item() if hasattr(option, "item") and not isinstance(option, Tensor) else option
