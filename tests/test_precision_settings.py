"""The switches `cr.backends.cuda.matmul` and `cr.backends.cudnn`."""

import pytest

import chainrule as cr
from chainrule.backends import precision_settings


@pytest.fixture(autouse=True)
def as_before():
    yield
    for one in (precision_settings.matmul, precision_settings.cudnn):
        for name, value in (one._defaults | {"fp32_precision": "none"}).items():
            setattr(one, name, value)
    precision_settings._level["medium"] = False


def test_defaults_and_what_they_can_be_set_to():
    matmul, cudnn = cr.backends.cuda.matmul, cr.backends.cudnn
    assert not matmul.allow_tf32 and matmul.fp32_precision == "none" and not matmul.benchmark
    assert matmul.allow_fp16_reduced_precision_reduction and matmul.allow_bf16_reduced_precision_reduction
    assert cudnn.enabled and cudnn.allow_tf32 and not cudnn.benchmark and not cudnn.deterministic
    for one in (matmul, cudnn):
        one.allow_tf32 = False
        assert one.fp32_precision == "ieee" and not one.allow_tf32
        one.fp32_precision = "tf32"
        assert one.allow_tf32
        one.benchmark = True
        assert one.benchmark
    assert precision_settings.cudnn.benchmark and "benchmark=True" in repr(precision_settings.cudnn)


def test_what_is_no_switch_or_no_value_is_refused():
    matmul, cudnn = cr.backends.cuda.matmul, cr.backends.cudnn
    with pytest.raises(
        AttributeError, match=r"backends\.cuda\.matmul has no switch 'allow_tf23'; there are allow_bf16"
    ):
        matmul.allow_tf23 = True
    with pytest.raises(AttributeError, match=r"backends\.cudnn has no switch 'benchmrk'"):
        cudnn.benchmrk = True
    with pytest.raises(TypeError, match="allow_tf32 must be True or False, got 1"):
        matmul.allow_tf32 = 1
    with pytest.raises(TypeError, match="benchmark must be True or False, got 'yes'"):
        cudnn.benchmark = "yes"
    with pytest.raises(ValueError, match="one of none, ieee, tf32, got 'bf16'"):
        matmul.fp32_precision = "bf16"
    with pytest.raises(ValueError, match="one of highest, high, medium, got 'low'"):
        cr.set_float32_matmul_precision("low")


def test_float32_matmul_precision():
    assert cr.get_float32_matmul_precision() == "highest"
    for name, tf32 in (("high", True), ("medium", True), ("highest", False)):
        cr.set_float32_matmul_precision(name)
        assert cr.get_float32_matmul_precision() == name and cr.backends.cuda.matmul.allow_tf32 is tf32
    cr.backends.cuda.matmul.allow_tf32 = True
    assert cr.get_float32_matmul_precision() == "high"


def test_flags_hold_for_a_block():
    cudnn = cr.backends.cudnn
    cudnn.deterministic = True
    with pytest.raises(KeyError), cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (
            True,
            True,
            False,
            False,
        )
        raise KeyError
    assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.fp32_precision) == (
        True,
        False,
        True,
        "none",
    )


def test_whether_there_is_cudnn():
    assert cr.backends.cudnn.is_available() in (True, False)
    assert cr.backends.cudnn.version() is None or cr.backends.cudnn.version() > 80000


def test_defaults_are_pytorchs():
    theirs = pytest.importorskip("torch").backends
    for name in (
        "allow_tf32",
        "fp32_precision",
        "allow_fp16_reduced_precision_reduction",
        "allow_bf16_reduced_precision_reduction",
    ):
        assert getattr(cr.backends.cuda.matmul, name) == getattr(theirs.cuda.matmul, name), name
    for name in ("allow_tf32", "enabled", "benchmark", "deterministic"):
        assert getattr(cr.backends.cudnn, name) == getattr(theirs.cudnn, name), name
