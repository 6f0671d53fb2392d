"""What the machine under NumPy does: threads of matrix products, and memory of freed arrays."""


def _controller():
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        raise RuntimeError(
            "set_num_threads: needs threadpoolctl (pip install threadpoolctl); or set OPENBLAS_NUM_THREADS, "
            "MKL_NUM_THREADS or OMP_NUM_THREADS before Python starts"
        ) from None
    return ThreadpoolController()


def get_num_threads():
    """The number of threads of the BLAS library under NumPy."""
    return max((one["num_threads"] for one in _controller().info() if one["user_api"] == "blas"), default=1)


def set_num_threads(count):
    """Let the BLAS library under NumPy use `count` threads. For small matrices, or beside other work, 1 is often fastest."""
    if not isinstance(count, int) or count < 1:
        raise RuntimeError(f"set_num_threads: expected a positive int, got {count!r}")
    _controller().limit(limits=count, user_api="blas")


def reuse_memory():
    """Let the C library keep freed memory for the next arrays instead of giving it back to the system.

    Large fresh arrays otherwise cost a page fault for every 4 KiB; a convolutional net trains about a fifth faster without.
    The process then holds on to the most it ever used. Works with glibc (Linux); returns whether it took effect.
    """
    import ctypes
    import sys

    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # from malloc.h
    settings = ((mmap_threshold, 1 << 30), (trim_threshold, 2**31 - 1), (top_pad, 64 << 20))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
