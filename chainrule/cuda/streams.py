"""Streams and events: queues of work on a card, and marks in them, over CuPy's.

Operations run on their thread's current stream of the current card. As in PyTorch's, a stream made here does not wait for the
default stream: `wait_stream`, `wait_event` and `synchronize` say what comes after what.
"""

from chainrule.backends import devices

from .cards import card, needed


class Stream:
    """A queue of work on a card. Of two priorities the lower number goes first.

    An array's memory goes back to the stream on which it was allocated as soon as no one holds it: keep what another
    stream still reads until that stream is done.
    """

    def __init__(self, device=None, priority=0):
        with card("Stream", device) as on:
            made = needed("Stream").xp.cuda.Stream(non_blocking=True, priority=priority)
        self._hold(made, on.id)

    @classmethod
    def _of(cls, stream, index):
        """The Stream over one of CuPy's."""
        self = cls.__new__(cls)
        self._hold(stream, index)
        return self

    def _hold(self, stream, index):
        self._stream = stream
        self.device = devices.device("cuda", index)

    @property
    def cuda_stream(self):
        """The address of the CUDA stream; 0 is the default stream."""
        return self._stream.ptr

    @property
    def device_index(self):
        """The number of its card."""
        return self.device.index

    @property
    def priority(self):
        """Its priority; the lower number goes first."""
        return self._stream.priority

    def __cuda_stream__(self):
        return 0, self.cuda_stream

    def __eq__(self, other):
        if not isinstance(other, Stream):
            return NotImplemented
        return self.cuda_stream == other.cuda_stream and self.device == other.device

    def __hash__(self):
        return hash((self.cuda_stream, self.device))

    def __repr__(self):
        return f"<chainrule.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"

    def query(self):
        """Whether all work queued so far is done."""
        return bool(self._stream.done)

    def synchronize(self):
        """Let the host wait until all work queued so far is done."""
        self._stream.synchronize()

    def record_event(self, event=None):
        """Mark the end of the work queued so far with `event`, or a new one. Returns it."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        """Let work queued from now on wait for what came before `event`."""
        event.wait(self)

    def wait_stream(self, stream):
        """Let work queued from now on wait for what is queued on `stream` now."""
        self.wait_event(stream.record_event())


class Event:
    """A mark in a stream, to wait for or (`enable_timing`) to measure time between. `blocking`: the waiting host sleeps.

    The CUDA event is made when it is first recorded, on the card of that stream. One that was never recorded counts as
    reached. Events cannot be shared with other processes, nor stand outside a captured graph.
    """

    def __init__(self, enable_timing=False, blocking=False, interprocess=False, external=False):
        needed("Event")
        if interprocess or external:
            which = "interprocess" if interprocess else "external"
            raise NotImplementedError(f"cuda.Event: {which}=True is not supported; leave it out")
        self._timing = enable_timing
        self._blocking = blocking
        self._event = None
        self.device = None

    def record(self, stream=None):
        """Mark the end of the work queued so far on `stream` (the current one)."""
        stream = current_stream() if stream is None else stream
        if self.device is not None and self.device != stream.device:
            raise RuntimeError(
                f"cuda.Event.record: the event belongs to {self.device} and the stream to {stream.device}; "
                f"record each event on streams of one card"
            )
        if self._event is None:
            with card("Event", stream.device):
                make = needed("Event").xp.cuda.Event
                self._event = make(block=self._blocking, disable_timing=not self._timing)
            self.device = stream.device
        self._event.record(stream._stream)

    def wait(self, stream=None):
        """Let work queued from now on on `stream` (the current one) wait for this event."""
        if self._event is not None:
            (current_stream() if stream is None else stream)._stream.wait_event(self._event)

    def query(self):
        """Whether the work before the event is done."""
        return self._event is None or bool(self._event.done)

    def synchronize(self):
        """Let the host wait until the work before the event is done."""
        if self._event is not None:
            self._event.synchronize()

    def elapsed_time(self, end_event):
        """Milliseconds from this event to `end_event`; both must be made with enable_timing, recorded and reached."""
        for which, one in (("the first", self), ("end_event", end_event)):
            if not one._timing:
                raise ValueError(f"cuda.Event.elapsed_time: {which} was not made with enable_timing=True")
            if one._event is None:
                raise ValueError(f"cuda.Event.elapsed_time: {which} was not recorded; call record() before")
        return needed("Event").xp.cuda.get_elapsed_time(self._event, end_event._event)

    def __repr__(self):
        return f"<chainrule.cuda.Event {'not recorded' if self._event is None else f'on {self.device}'}>"


class StreamContext:
    """What `stream` returns: inside its `with` a stream, and the stream's card, are this thread's current ones."""

    def __init__(self, stream):
        if stream is not None and not isinstance(stream, Stream):
            raise TypeError(
                f"cuda.stream: expected a chainrule.cuda.Stream or None, got {type(stream).__name__}"
            )
        self.stream = stream
        self._entered = []

    def __enter__(self):
        if self.stream is not None:
            on = card("stream", self.stream.device)
            on.__enter__()
            try:
                self.stream._stream.__enter__()
            except BaseException:
                on.__exit__(None, None, None)
                raise
            self._entered.append(on)

    def __exit__(self, *error):
        if self.stream is not None:
            try:
                self.stream._stream.__exit__(*error)
            finally:
                self._entered.pop().__exit__(*error)


def stream(stream):
    """A context in which operations run on `stream`, and on its card; None changes nothing."""
    return StreamContext(stream)


def set_stream(stream):
    """Make `stream`, and its card, current for this thread; None changes nothing."""
    if stream is not None:
        StreamContext(stream)  # checks
        card("set_stream", stream.device).use()
        stream._stream.use()


def current_stream(device=None):
    """The stream on which this thread's operations on a card run."""
    on = card("current_stream", device)
    return Stream._of(needed("current_stream").xp.cuda.get_current_stream(on.id), on.id)


def default_stream(device=None):
    """The stream of a card that is current unless another was made so."""
    on = card("default_stream", device)
    return Stream._of(needed("default_stream").xp.cuda.Stream.null, on.id)
