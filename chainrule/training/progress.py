"""What a user sees of a run while it goes on, and how they stop it."""

import contextlib
import importlib
import signal
import threading
import time


class Bar:
    """The progress bar of one epoch, where tqdm is installed and a terminal shows it."""

    def __init__(self, shown, text, loader, done):
        self.bar, self.next = None, 0.0
        if not shown:
            return
        with contextlib.suppress(ImportError):
            total = None
            with contextlib.suppress(TypeError):  # without a length there is no end to show
                total = len(loader)
            tqdm = importlib.import_module("tqdm").tqdm
            self.bar = tqdm(total=total, initial=done, desc=text, leave=False, disable=None)

    def step(self, total, count):
        """One batch more. The mean loss is read, for which a GPU has to be waited for, twice a second at most."""
        if self.bar is None or self.bar.disable:
            return
        self.bar.update()
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + 0.5
            self.bar.set_postfix(loss=f"{float(total) / count:.4f}", refresh=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()


@contextlib.contextmanager
def interruptible():
    """Within a `with` the first Ctrl-C is noted in the list it gives; a second one interrupts as ever."""
    asked = []

    def note(*_):
        asked.append(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield asked  # where the interrupt goes is someone else's business
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def described(row):
    """One row of a history as text."""
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
        if name != "epoch" and not isinstance(value, list)
    )
