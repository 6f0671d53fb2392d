"""Helpers for training: small functions and classes, each usable alone, that leave the loop to its owner.

history = cr.fit(model, loss, optimizer, train, valid, epochs=20, checkpoint="runs/first")
cr.training.plot_history(history, "curves.png")
"""

from chainrule.backends.later import load_later

__all__ = [
    "EMA",
    "Log",
    "Sweep",
    "TensorBoardWriter",
    "Watch",
    "check_initial_loss",
    "check_overfit",
    "descend",
    "evaluate",
    "expected_loss",
    "find_lr",
    "fit",
    "plot_contour",
    "plot_history",
    "watch",
]

_later = {
    "EMA": "chainrule.training.ema:EMA",
    "Log": "chainrule.training.logs:Log",
    "Sweep": "chainrule.training.learning_rate:Sweep",
    "TensorBoardWriter": "chainrule.training.logs:TensorBoardWriter",
    "Watch": "chainrule.training.watching:Watch",
    "check_initial_loss": "chainrule.training.sanity:check_initial_loss",
    "check_overfit": "chainrule.training.sanity:check_overfit",
    "descend": "chainrule.training.plots:descend",
    "evaluate": "chainrule.training.fitting:evaluate",
    "expected_loss": "chainrule.training.sanity:expected_loss",
    "find_lr": "chainrule.training.learning_rate:find_lr",
    "fit": "chainrule.training.fitting:fit",
    "plot_contour": "chainrule.training.plots:plot_contour",
    "plot_history": "chainrule.training.plots:plot_history",
    "watch": "chainrule.training.watching:watch",
}
__getattr__, __dir__ = load_later(globals(), _later)
