"""The pictures in training.md: `python docs/make_training_images.py`."""

import pathlib

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn, training
from chainrule.metrics import accuracy

folder = pathlib.Path(__file__).parent / "images"
folder.mkdir(exist_ok=True)


def spirals(n):
    """Points on three arms of a spiral, and the arm: (n, 2) and (n,)."""
    arm, turn = cr.arange(n) % 3, cr.rand(n)
    angle = 2 * cr.pi * (arm / 3 + turn) + 0.2 * cr.randn(n)
    return 2 * turn[:, None] * cr.stack([angle.cos(), angle.sin()], 1), arm


def deep(activation, layers=10, width=32):
    """A net of ten hidden layers of one width."""
    modules = []
    for i in range(layers):
        modules += [nn.Linear(2 if i == 0 else width, width), activation()]
    return nn.Sequential(*modules, nn.Linear(width, 3))


def batches(data, size=50):
    x, y = data
    return cr.utils.data.DataLoader(cr.utils.data.TensorDataset(x, y), size, shuffle=True)


def curves():
    """A run of `fit`, and the search for its learning rate."""
    cr.manual_seed(0)
    model = deep(nn.ReLU, layers=3)
    optimizer = cr.optim.Adam(model.parameters())
    train, valid = batches(spirals(1500)), batches(spirals(600))
    cr.find_lr(model, F.cross_entropy, optimizer, train, low=1e-5).plot(folder / "training_find_lr.png")
    schedule = cr.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    history = cr.fit(
        model, F.cross_entropy, optimizer, train, valid, epochs=20, metrics=[accuracy], scheduler=schedule, progress=False
    )  # fmt: skip
    training.plot_history(history, folder / "training_history.png")


def flow():
    """Gradients of two nets of ten layers: they vanish through sigmoids, not through ReLUs."""
    for name, activation, gain in (("sigmoid", nn.Sigmoid, "sigmoid"), ("relu", nn.ReLU, "relu")):
        cr.manual_seed(0)
        model = deep(activation)
        for module in model[::2]:
            nn.init.xavier_normal_(module.weight, nn.init.calculate_gain(gain))
        optimizer = cr.optim.SGD(model.parameters(), lr=0.02)
        watch = cr.watch(model, every=5).attach(optimizer)
        cr.fit(model, F.cross_entropy, optimizer, batches(spirals(1500)), epochs=10, progress=False)
        watch.plot("gradients", folder / f"training_gradients_{name}.png")
        print(name, *watch.problems(), sep="\n  ")


def dead():
    """A rate far too large kills units; the gradients' sizes over the steps."""
    cr.manual_seed(0)
    model = deep(nn.ReLU, layers=4)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.9)
    watch = cr.watch(model, every=2, histograms=True).attach(optimizer)
    cr.fit(model, F.cross_entropy, optimizer, batches(spirals(1500)), epochs=6, progress=False)
    watch.plot("dead", folder / "training_dead.png")
    watch.plot("histograms", folder / "training_histograms.png")
    print("dead", *watch.problems(), sep="\n  ")


def paths():
    """Optimizers in a ravine and at a saddle."""

    def ravine(x, y):
        return 0.5 * (x**2 + 20 * y**2)

    def saddle(x, y):
        return x**2 - y**2 + 0.25 * y**4

    methods = {
        "gradient descent": lambda p: cr.optim.SGD(p, lr=0.092),
        "momentum 0.9": lambda p: cr.optim.SGD(p, lr=0.02, momentum=0.9),
        "Adam": lambda p: cr.optim.Adam(p, lr=0.2),
    }
    found = {name: training.descend(ravine, (-3.6, 0.9), make, 40) for name, make in methods.items()}
    training.plot_contour(
        ravine, folder / "training_ravine.png", paths=found, x=(-4, 2), y=(-1.5, 1.5), levels=20
    )
    methods["gradient descent"] = lambda p: cr.optim.SGD(p, lr=0.1)
    found = {name: training.descend(saddle, (1.6, 0.001), make, 40) for name, make in methods.items()}
    training.plot_contour(
        saddle, folder / "training_saddle.png", paths=found, x=(-2, 2), y=(-2, 2), levels=30
    )


if __name__ == "__main__":
    cr.set_num_threads(1)
    curves()
    flow()
    dead()
    paths()
