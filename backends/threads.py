"""How many threads NumPy's matrix products use."""


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
