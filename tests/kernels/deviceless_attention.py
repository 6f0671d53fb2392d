"""Real cuDNN plans of attention without a card: `python -m tests.kernels.deviceless_attention`, in the environment of `environment`.

As `deviceless.py` for convolution. cuDNN's attention is compiled when a plan is made, and loads what it compiled: the stub of the driver
says yes to that, so that plans come about; none could run. Prints what has no plan, and how many there are.
"""

import functools
import json

from tests.kernels.deviceless import Described, Nowhere

# The functions that succeed, with what they give; all others fail.
_GIVE_HANDLE = "cuModuleGetFunction cuModuleLoadData cuLibraryLoadData cuLibraryLoadFromFile cuLibraryGetKernel cuKernelGetFunction"
_SUCCEED = """
    cuModuleUnload cuTensorMapEncodeIm2col cuTensorMapEncodeTiled cuCtxPopCurrent cuCtxPushCurrent cuLibraryUnload cuKernelSetAttribute
    cuFuncSetAttribute
    """
_GIVE_ZERO = "cuKernelGetAttribute cuFuncGetAttribute cuDeviceGetAttribute cuDeviceGet"
_FAIL = """
    cuInit cuDeviceGetCount cuLinkCreate cuLinkAddData cuLinkComplete cuLinkDestroy cuLaunchKernel cuLaunchCooperativeKernel
    cuLaunchKernelEx
    """
DRIVER = "\n".join([
    *(f"int {name}(void** made) {{ *made = (void*)8; return 0; }}" for name in _GIVE_HANDLE.split()),
    *(f"int {name}() {{ return 0; }}" for name in _SUCCEED.split()),
    *(f"int {name}(int* value) {{ *value = 0; return 0; }}" for name in _GIVE_ZERO.split()),
    *(f"int {name}() {{ return 100; }}" for name in _FAIL.split()),
    """
    int cuGetErrorString(int error, const char** text) { *text = "no driver"; return 0; }
    int cuGetErrorName(int error, const char** text) { *text = "no driver"; return 0; }
    int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
    int cuCtxGetCurrent(void** context) { *context = 0; return 0; }
    int cuStreamGetCtx(void* stream, void** context) { *context = 0; return 0; }
    int cuCtxGetLimit(unsigned long* limit) { *limit = 1024; return 0; }
    int cuOccupancyMaxPotentialClusterSize(int* count) { *count = 8; return 0; }
    """,
])  # fmt: skip

# B, H, h, L, S, features of a query and of a value
FORMS = [
    (8, 16, 16, 4096, 4096, 64, 64),
    (16, 12, 12, 1024, 1024, 64, 64),
    (2, 6, 2, 100, 77, 128, 128),
    (2, 4, 1, 128, 128, 32, 32),
    (1, 4, 4, 1, 128, 64, 64),
    (3, 2, 2, 33, 65, 8, 16),
    (1, 1, 1, 7, 5, 40, 40),
    (2, 4, 4, 128, 256, 256, 256),
    (2, 4, 4, 256, 128, 192, 128),
]


def keys():
    """What the graphs are described by, forward and backward, their dtype, and whether the gradients are to be deterministic."""
    from chainrule.backends.cudnn.attention import _dense

    for number, (b, heads, shared, length, source, features, out) in enumerate(FORMS):
        sizes = (heads, length, features), (shared, source, features), (shared, source, out)
        shapes, y = [(b, *one) for one in sizes], (b, heads, length, out)
        row_major = [_dense(one) for one in (*shapes, y)]
        sliced = [(h * n * 2, n * 2, b * h * n * 2, 1) for h, _, n in (*sizes, y[1:])]  # slices of features
        variants = (
            (row_major, False, None),
            (sliced, True, None),
            (sliced, False, (1, 1, length, source)),
            (row_major, False, (b, heads, length, source)),
        )
        for variant, ((*inputs, of_y), causal, bias) in enumerate(variants):
            given = (*shapes, bias), (*inputs, bias and _dense(bias))
            dtype = ("float16", "bfloat16")[(number + variant) % 2]
            pair = (
                (*given, of_y, 0.125, causal),
                (*given, (of_y, _dense(y)), tuple(inputs), 0.125, causal),
            )
            yield *pair, dtype, variant == number % 4


def check():
    """The graphs for which there is no plan, as texts, and how many plans were made."""
    from chainrule.backends import precision_settings
    from chainrule.backends.cudnn import attention, plans

    cudnn = Described()
    made = plans.Plans(Nowhere(), lambda: cudnn)
    assert made.usable(), made.why_not()
    wrong, count = [], 0
    for forward, backward, dtype, fixed in keys():
        for describe, key in ((attention._describe, forward), (attention._describe_backward, backward)):
            with precision_settings.cudnn.flags(enabled=True, deterministic=fixed):
                plan = made.find("attention", key, functools.partial(describe, *key, dtype), dtype)
            count += plan is not None
            if plan is None:
                reason = list(made.refused.values())[-1][:200]
                wrong.append(f"{describe.__name__} {key} {dtype} {fixed}: {reason}")
    return wrong, count


if __name__ == "__main__":
    wrong, count = check()
    print(json.dumps({"plans": count, "wrong": wrong}))
