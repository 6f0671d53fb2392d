"""The profiler: counts, bytes and floating point operations by hand, nesting, tables, traces, and that nothing of it is left."""

import importlib
import json

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.autograd import flops, profiler
from chainrule.autograd.modes import local
from chainrule.autograd.node import Node
from chainrule.autograd.op import registry


def rows(prof, kind):
    return {one.key: one for one in prof.key_averages() if one.kind == kind}


def test_calls_bytes_and_operations_of_forward_and_backward():
    a, b = cr.ones(8, 16, requires_grad=True), cr.ones(16, 4, requires_grad=True)
    with profiler.profile() as prof:
        y = (a @ b).tanh()
        y = y.reshape(32)
        y.sum().backward()
    forward, backward = rows(prof, "forward"), rows(prof, "backward")
    product = forward["matmul"]
    assert product.count == 1 and product.cpu_memory_usage == 8 * 4 * 4
    assert product.saved_memory_usage == (8 * 16 + 16 * 4) * 4 and product.flops == 2 * 8 * 16 * 4
    assert forward["tanh"].flops == 32 and forward["tanh"].saved_memory_usage == 32 * 4
    assert forward["reshape"].cpu_memory_usage == 0 and forward["reshape"].flops == 0
    assert backward["MatmulBackward0"].flops == 2 * product.flops
    assert backward["MatmulBackward0"].cpu_memory_usage == (8 * 16 + 16 * 4) * 4
    total = prof.total_average()
    assert total.count == 8 and total.flops == sum(one.flops for one in prof.events())
    assert prof.self_cpu_time_total == pytest.approx(sum(one.self_cpu_time_total for one in prof.events()))
    assert all(one.self_cpu_time_total >= 0 for one in prof.function_events)


def test_only_backward():
    y = cr.ones(3, requires_grad=True).exp().sum()
    with profiler.profile() as prof:
        y.backward()
    assert set(rows(prof, "backward")) == {"ExpBackward0", "SumBackward0"}
    assert not rows(prof, "forward").keys() - {"ones_like"}


def test_a_second_derivative_is_nested_in_the_backward_event():
    x = cr.ones(3, requires_grad=True)
    with profiler.profile() as prof:
        cr.autograd.grad(x.sin().sum(), x, create_graph=True)
    event = next(one for one in prof.events() if one.name == "SinBackward0")
    inside = [
        one for one in prof.events() if one.depth == event.depth + 1 and event.start <= one.start < event.end
    ]
    assert {one.name for one in inside} == {"cos", "multiply"}
    assert event.self_cpu_time_total < event.cpu_time_total


def test_nothing_is_left_of_it():
    state = local.state
    before = state.run, state.on_record, Node.gradients, Node.add_to, nn.Module.__call__
    with pytest.raises(ZeroDivisionError), profiler.profile():
        assert Node.gradients is not before[2] and state.run != before[0]
        with pytest.raises(RuntimeError, match="profiled already"), profiler.profile():
            pass
        raise ZeroDivisionError
    assert (state.run, state.on_record, Node.gradients, Node.add_to, nn.Module.__call__) == before
    with profiler.profile(enabled=False) as prof:
        cr.ones(3).exp()
    assert not prof.events()


def test_spans_shapes_and_source_lines():
    layer = nn.Linear(3, 2)

    @profiler.record_function("forward pass")
    def run(x):
        return layer(x).sum()

    with profiler.profile(record_shapes=True, with_stack=True) as prof, profiler.record_function("step"):
        run(cr.ones(4, 3)).backward()
    run(cr.ones(4, 3))
    spans = rows(prof, "span")
    assert set(spans) == {"step", "forward pass"}
    assert spans["step"].cpu_time_total >= spans["forward pass"].cpu_time_total
    linear = next(one for one in prof.events() if one.name == "linear")
    assert linear.input_shapes == [(4, 3), (2, 3), (2,)]
    assert "test_profiler.py" in linear.stack[0] and linear.stack[0].endswith(": run")
    back = next(one for one in prof.events() if one.name == "LinearBackward0")
    assert back.stack == linear.stack and back.flops == linear.flops
    by_shape = prof.key_averages(group_by_input_shape=True, group_by_stack_n=1)
    assert next(one for one in by_shape if one.key == "linear").input_shapes == linear.input_shapes


@pytest.mark.cpu_only
def test_tables():
    with profiler.profile(record_shapes=True) as prof:
        for _ in range(3):
            cr.ones(100, 100).exp()
        cr.ones(5).log()
    text = prof.key_averages().table(sort_by="flops", row_limit=1)
    assert "exp" in text and "log" not in text and "30.00 K" in text and "117.19 KB" in text
    counts = [one.count for one in sorted(prof.key_averages(), key=lambda one: one.key)]
    assert counts == [3, 1]
    assert str(prof.events()).count("\n") == 4 + 4 + 1 and "(100, 100)" in str(prof.events())
    assert prof.table(row_limit=2, header="Title").startswith("Title")
    with pytest.raises(ValueError, match="sort_by must be one of .*got 'speed'"):
        prof.key_averages().table(sort_by="speed")
    assert "0.000us" in profiler.profile().key_averages().table()


def test_the_trace_is_what_browsers_read(tmp_path):
    layer = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    with profiler.profile(record_shapes=True, with_stack=True) as prof, profiler.record_function("step"):
        layer(cr.ones(4, 3)).sum().backward()
    path = tmp_path / "trace.json"
    prof.export_chrome_trace(path)
    events = json.loads(path.read_text())["traceEvents"]
    complete = [one for one in events if one["ph"] == "X"]
    rows = {one["tid"]: one["args"]["name"] for one in events if one["ph"] == "M"}
    assert rows == {0: "modules and spans", 1: "forward", 2: "backward"}
    assert len(complete) == len(prof.events()) and all(one["dur"] >= 0 and one["ts"] > 0 for one in complete)
    names = {name: {one["name"] for one in complete if rows[one["tid"]] == name} for name in rows.values()}
    assert names["modules and spans"] == {"step", "Sequential", "Linear", "Tanh"}
    assert {"linear", "tanh", "sum"} <= names["forward"] and "LinearBackward0" in names["backward"]
    step = next(one for one in complete if one["name"] == "step")
    assert all(
        step["ts"] <= one["ts"] and one["ts"] + one["dur"] <= step["ts"] + step["dur"] + 1e-3
        for one in complete
    )


def test_a_user_function_has_its_row():
    class Twice(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    with profiler.profile() as prof:
        Twice.apply(cr.ones(3, requires_grad=True)).sum().backward()
    assert rows(prof, "backward")["TwiceBackward"].count == 1


def test_convolution_and_recurrence_by_formula():
    x, w = cr.ones(2, 4, 9, 9), cr.ones(6, 2, 3, 3)
    with profiler.profile() as prof:
        cr.nn.functional.conv2d(x, w, groups=2)
        cr.einsum("ij,jk->ik", cr.ones(3, 5), cr.ones(5, 7))
        nn.LSTM(4, 8)(cr.ones(5, 3, 4))
        cr.linalg.solve(cr.eye(3), cr.ones(3, 2))
    found = rows(prof, "forward")
    assert found["conv"].flops == 2 * (2 * 6 * 7 * 7) * (2 * 3 * 3)
    assert found["lstm"].flops == 2 * 15 * 32 * 8 + 5 * 15 * 32
    assert found["solve"].flops == 18 + 2 * 3 * 6
    assert {"matmul", "einsum"} & set(found)


def test_the_table_of_formulas_names_operations():
    for module in ("fft", "linalg", "nn"):
        importlib.import_module(f"chainrule.{module}")
    assert not [name for name in flops.FORMULAS if name not in registry]


def test_it_works_on_a_device():
    x = cr.ones(3, device="fake", requires_grad=True)
    with profiler.profile() as prof:
        x.exp().sum().backward()
    assert rows(prof, "forward")["exp"].cpu_memory_usage == 12


def test_marks_for_nvidia_need_a_card():
    if cr.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(RuntimeError, match="needs a CUDA card"), profiler.emit_nvtx():
        pass
    with profiler.emit_nvtx(enabled=False):
        cr.ones(2).exp()


def test_both_names():
    assert cr.profiler.profile is cr.autograd.profiler.profile
    with cr.profiler.profile(activities=None, on_trace_ready=lambda p: p.done.append(1)) as prof:
        prof.done = []
        prof.step()
    assert prof.done == [1]
