"""Worker processes for `DataLoader`: what runs in them, and the pool that the main process keeps.

Each worker has a connection of its own and answers in the order it was asked, so batches come back in order without
sorting. Workers are spawned: a forked copy of a process with threads (BLAS, CUDA) may hang. Nobody is left waiting: the
main process notices at once when a worker dies, and a worker ends itself when the main process is gone.
"""

import os
import queue
import random
import threading
import time
import traceback
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.backends.random import manual_seed

from .fetch import make_fetcher

_PATIENCE = 2.0  # seconds that workers have to end by themselves

# The first entry of a worker's answer.
_BATCH, _END, _ERROR = "batch", "end", "error"


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker knows of itself: `id` of `num_workers`, the `seed` it began with, its copy of the `dataset`."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_worker_info = None


def get_worker_info():
    """The `WorkerInfo` of this process if it is a worker of a `DataLoader`, else None."""
    return _worker_info


# --- in the worker ---


def run(connection, ident, num_workers, dataset, collate, batched, drop_last, init):
    """The life of a worker: wait for the start of an epoch or for indices, answer, until the other end closes."""
    global _worker_info
    import signal

    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for the main process, which then closes the connection
    limits = _one_thread()  # noqa: F841 - holds as long as the object lives
    requests = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, requests), daemon=True).start()
    fetch, fault = None, None
    while (request := requests.get()) is not None:
        kind, *details = request
        if kind == "start":
            (seed,) = details
            _seed_all(seed + ident)
            try:
                if _worker_info is None:
                    _worker_info = WorkerInfo(ident, num_workers, seed + ident, dataset)
                    if init is not None:
                        _initialise(init, ident)
                fetch, fault = make_fetcher(dataset, collate, batched, drop_last, seed, ident), None
            except Exception as error:
                fault = _describe(error, ident)
        elif not _answer(connection, fetch, fault, details, ident):
            return


def _initialise(init, ident):
    global _worker_info
    try:
        init(ident)
    except Exception:
        _worker_info = None  # the next epoch tries again
        raise


def _answer(connection, fetch, fault, details, ident):
    """Send what was asked for; False if nobody is there to take it."""
    try:
        answer = fault or (_BATCH, fetch(*details))
    except StopIteration:
        answer = (_END,)
    except Exception as error:
        answer = _describe(error, ident)
    try:
        try:
            connection.send(answer)
        except OSError:
            raise
        except Exception as error:  # the batch cannot be pickled; nothing has been sent yet
            connection.send(_describe(error, ident))
    except OSError:
        return False
    return True


def _listen(connection, requests):
    """Take requests as they come, so that the main process never waits to send one; end with it.

    An end of the connection is noticed by itself, except by a forked worker, whose siblings hold copies of it: its
    parent's id changes.
    """
    parent = os.getppid()
    try:
        while os.getppid() == parent:
            if connection.poll(1.0):
                requests.put(connection.recv())
    except (EOFError, OSError):
        pass
    requests.put(None)
    time.sleep(_PATIENCE / 2)
    os._exit(1)  # still busy with a batch that nobody waits for


def _seed_all(seed):
    """Streams of their own for this worker, in the three places where numbers are drawn from."""
    manual_seed(seed % 2**64)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _one_thread():
    """Keep BLAS to one thread where threadpoolctl is there to do it: the other workers need their cores."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return None
    return threadpool_limits(1)


def _describe(error, ident):
    text = "".join(traceback.format_exception(error)).rstrip()
    return _ERROR, type(error), f"in DataLoader worker {ident}: {error}\n\nThe traceback there:\n{text}"


# --- in the main process ---


class Pool:
    """The workers of a DataLoader. `submit` asks for a batch, `receive` gives the answers in the order of the questions."""

    def __init__(self, count, context, timeout, *details):
        self._timeout = timeout
        self._connections, self._processes = [], []
        # Runs when the pool is no longer used, and at the end of the program.
        self._close = weakref.finalize(self, _shut_down, self._connections, self._processes)
        self._outstanding = deque()  # the workers that owe an answer, in the order of the questions
        try:
            for ident in range(count):
                here, there = context.Pipe()
                self._connections.append(here)
                process = context.Process(target=run, args=(there, ident, count, *details), daemon=True)
                process.start()
                self._processes.append(process)
                there.close()
        except (OSError, RuntimeError):
            self.close()
            raise
        except Exception as error:
            self.close()
            raise TypeError(
                f"DataLoader: dataset, collate_fn and worker_init_fn go to the worker processes and cannot be pickled "
                f"({error}); define them at the top of a module, or use num_workers=0"
            ) from error

    def start(self, seed):
        """Begin an epoch. Answers still due from the last one are waited for and dropped."""
        while self._outstanding:
            self.receive()
        self._alive, self._next = list(range(len(self._processes))), -1
        for ident in self._alive:
            self._send(ident, ("start", seed))

    def submit(self, number, indices):
        """Ask the worker whose turn it is for a batch; False if all have come to the end of their data."""
        if not self._alive:
            return False
        self._next = (self._next + 1) % len(self._alive)
        ident = self._alive[self._next]
        self._outstanding.append(ident)
        self._send(ident, ("batch", number, indices))
        return True

    @property
    def closed(self):
        """Whether the workers have been ended."""
        return not self._close.alive

    @property
    def outstanding(self):
        """How many questions have not been answered."""
        return len(self._outstanding)

    @property
    def ready(self):
        """Whether the next answer is there already."""
        return bool(self._outstanding) and self._connections[self._outstanding[0]].poll()

    def receive(self):
        """The next answer: (kind, ...), see the top of the module. RuntimeError if it cannot come any more."""
        ident = self._outstanding.popleft()
        try:
            answer = self._wait(ident)
        except BaseException:
            self.close()  # half an answer may be left in a connection
            raise
        if answer[0] == _END and ident in self._alive:
            self._alive.remove(ident)
        return answer

    def close(self):
        """End the workers."""
        self._outstanding.clear()
        self._close()

    def _send(self, ident, request):
        try:
            self._connections[ident].send(request)
        except OSError:
            self._raise_dead(ident)

    def _wait(self, ident):
        from multiprocessing import connection

        source = self._connections[ident]
        sentinels = {process.sentinel: place for place, process in enumerate(self._processes)}
        ready = connection.wait([source, *sentinels], self._timeout or None)
        if source in ready:
            try:
                return source.recv()
            except (EOFError, OSError):
                self._raise_dead(ident)
        if not ready:
            raise RuntimeError(
                f"DataLoader: worker {ident} sent no batch within timeout={self._timeout} seconds"
            )
        self._raise_dead(sentinels[ready[0]])

    def _raise_dead(self, ident):
        process = self._processes[ident]
        process.join(_PATIENCE)
        code = process.exitcode
        self.close()
        raise RuntimeError(
            f"DataLoader: worker {ident} (process {process.pid}) ended unexpectedly, "
            + (f"killed by signal {-code}" if code is not None and code < 0 else f"with exit code {code}")
            + ". If that was at the start: a script that uses workers keeps its own work under "
            'if __name__ == "__main__":, and classes defined in a notebook cannot be loaded by workers; '
            "num_workers=0 works everywhere"
        ) from None


def _shut_down(connections, processes):
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()


class _Text(str):
    """Text that a KeyError shows as it is: it would show other text with its line ends escaped."""

    __repr__ = str.__str__


def unpack(answer):
    """The batch in an answer; raises what was raised in the worker."""
    if answer[0] == _BATCH:
        return answer[1]
    if answer[0] == _END:
        raise StopIteration
    _, kind, message = answer
    try:
        error = kind(_Text(message) if issubclass(kind, KeyError) else message)
    except Exception:  # an exception that takes other arguments
        error = RuntimeError(f"{kind.__name__} {message}")
    try:
        raise error
    finally:
        del error  # a frame that holds the exception that holds the frame would keep the workers alive
