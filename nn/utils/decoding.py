"""Writing a sequence symbol by symbol, each fed back as the next input, until the stop symbol: greedily, or by beam search.

Both take `step(symbols, state) -> (log_probs, state)`: int64 symbols (N), log-probabilities (N, symbols) of what follows. A state is a Tensor
whose first dimension is N, None, or a tuple or list of such.
"""

from chainrule.autograd.functions.creation import tensor
from chainrule.autograd.modes import no_grad
from chainrule.autograd.tensor import Tensor


@no_grad()
def greedy_search(step, state, start, stop, count, max_length, device=None):
    """The most probable next symbol each time: a list of `count` lists of symbols, without start and stop."""
    symbols = tensor([start] * count, device=device)
    found, running = [[] for _ in range(count)], set(range(count))
    for _ in range(max_length):
        log_probs, state = step(symbols, state)
        symbols = log_probs.argmax(1)
        for i, symbol in enumerate(symbols.tolist()):
            if i in running and symbol == stop:
                running.remove(i)
            elif i in running:
                found[i].append(symbol)
        if not running:
            break
    return found


@no_grad()
def beam_search(step, state, start, stop, max_length, width=4, length_penalty=0.0, device=None):
    """The `width` most probable sequences that were found, for the state of one sequence: [(symbols, log-probability)], best first.

    At each step the best `width` continuations of the sequences so far are kept; one that stops is done. Sequences of different
    lengths are compared by log-probability / length^length_penalty, the stop symbol counted. What has not stopped after `max_length` symbols
    comes after what has. Graves (2012); Sutskever et al. (2014).
    """
    if width < 1:
        raise ValueError(f"beam_search: width must be at least 1, got {width}")
    beam, done = [([], 0.0)], []

    def score(one):
        return one[1] / max(len(one[0]) + 1, 1) ** length_penalty

    for _ in range(max_length):
        symbols = tensor([one[-1] if one else start for one, _ in beam], device=device)
        log_probs, state = step(symbols, state)
        total = log_probs + tensor(
            [log_prob for _, log_prob in beam], dtype=log_probs.dtype, device=device
        ).unsqueeze(1)
        values, places = total.flatten().topk(min(width, total.numel()))
        classes, kept, rows = log_probs.shape[1], [], []
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            row, symbol = divmod(place, classes)
            if symbol == stop:
                done.append((beam[row][0], value))
            else:
                kept.append(([*beam[row][0], symbol], value))
                rows.append(row)
        done = sorted(done, key=score, reverse=True)[:width]
        if not kept:
            return done
        beam, state = kept, _rows(state, tensor(rows, device=device))
        if len(done) == width and length_penalty == 0 and done[-1][1] >= beam[0][1]:
            return done  # a sequence only gets less probable as it goes on
    return (done + sorted(beam, key=score, reverse=True))[:width]


def _rows(state, index):
    """The rows `index` of every Tensor in a state."""
    if isinstance(state, Tensor):
        return state.index_select(0, index)
    return None if state is None else type(state)(_rows(one, index) for one in state)
