"""Train a classifier of handwritten digits, watch it learn, and look at the graph it learned through.

    python examples/train_digits.py --model cnn

The data are the 1,797 digits of 8 x 8 pixels that come with scikit-learn. Three models read them: `mlp` takes all pixels at
once, `cnn` looks for patterns in space (convolution and pooling, twice), `lstm` reads the image row by row, through time.

The folder --out then holds best.safetensors (the weights with the best validation accuracy), loss.png (the learning curves)
and graph.svg (the forward and backward graph of the loss of four images). Ctrl-C stops early and keeps the best weights.
"""

import argparse
import time
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn
from chainrule.utils.data import DataLoader, TensorDataset

try:
    from tqdm import tqdm
except ImportError:

    def tqdm(batches, **_):
        """Without tqdm: no bar, only the line after each epoch."""
        return batches


def mlp():
    """64 pixels -> 256 -> 128 -> 10 scores."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(64, 256),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(128, 10),
    )


def cnn():
    """1 x 8 x 8 -> 25 x 8 x 8 -> pool 25 x 4 x 4 -> 50 x 4 x 4 -> pool 50 x 2 x 2 -> 10 scores."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Conv2d(1, 25, kernel_size=3, padding=1),
        nn.BatchNorm2d(25),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(25, 50, kernel_size=3, padding=1),
        nn.BatchNorm2d(50),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(200, 10),
    )


class RowReader(nn.Module):
    """Reads the 8 rows of an image as 8 time steps, downwards and upwards, and decides from the two last states."""

    def __init__(self, hidden=64):
        super().__init__()
        self.lstm = nn.LSTM(8, hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.4)
        self.scores = nn.Linear(2 * hidden, 10)

    def forward(self, images):
        _, (h, _) = self.lstm(images)
        both = cr.cat([h[0], h[1]], dim=1)
        return self.scores(self.dropout(both))


# model: (how to make it, epochs, learning rate)
MODELS = {"mlp": (mlp, 40, 2e-3), "cnn": (cnn, 20, 3e-3), "lstm": (RowReader, 30, 5e-3)}


def load(device):
    """Images scaled to 0..1 and their labels, as (train, validation, test) of 1257, 180 and 360; always the same split."""
    digits = load_digits()
    images, labels = (digits.images / 16).astype("float32"), digits.target
    images, test_images, labels, test_labels = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )
    images, val_images, labels, val_labels = train_test_split(
        images, labels, test_size=180, stratify=labels, random_state=0
    )
    pairs = [(images, labels), (val_images, val_labels), (test_images, test_labels)]
    return [TensorDataset(cr.tensor(x, device=device), cr.tensor(y, device=device)) for x, y in pairs]


def train_epoch(model, batches, optimizer, name):
    """One pass over the training set; returns the mean loss, which is read once: a card need not be waited for at every step."""
    model.train()
    total = count = 0
    for images, labels in tqdm(batches, desc=name, leave=False):
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(labels)
        count += len(labels)
    return total.item() / count


@cr.no_grad()
def evaluate(model, dataset):
    """Mean loss and accuracy on a whole dataset."""
    model.eval()
    images, labels = dataset.tensors
    scores = model(images)
    accuracy = (scores.argmax(dim=1) == labels).float().mean()
    return F.cross_entropy(scores, labels).item(), accuracy.item()


def train(model, train_set, val_set, epochs, lr, checkpoint):
    """Train, keeping the weights with the best validation accuracy in `checkpoint`; returns the history of each epoch."""
    optimizer = cr.optim.AdamW(model.parameters(), lr=lr)
    scheduler = cr.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    batches = DataLoader(train_set, batch_size=32, shuffle=True)
    history, best = [], 0.0
    try:
        for epoch in range(1, epochs + 1):
            train_loss = train_epoch(model, batches, optimizer, f"epoch {epoch}/{epochs}")
            scheduler.step()
            val_loss, accuracy = evaluate(model, val_set)
            if accuracy >= best:
                best = accuracy
                cr.save(model.state_dict(), checkpoint)
            history.append((train_loss, val_loss, accuracy))
            print(
                f"epoch {epoch:2}/{epochs}  train loss {train_loss:.4f}  "
                f"validation loss {val_loss:.4f}  accuracy {accuracy:.4f}{'  *' if accuracy == best else ''}"
            )
    except KeyboardInterrupt:
        print("\nstopped; the best weights so far are kept")
    return history


def plot(history, path):
    """The learning curves."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    train_loss, val_loss, accuracy = zip(*history, strict=True)
    epochs = range(1, len(history) + 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(epochs, train_loss, label="training, with dropout and smoothed labels")
    left.plot(epochs, val_loss, label="validation")
    left.set(xlabel="epoch", ylabel="cross-entropy", title="loss", ylim=(0, None))
    left.legend(frameon=False)
    right.plot(epochs, accuracy, color="tab:orange")
    right.set(xlabel="epoch", title="validation accuracy")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw(model, dataset, path):
    """The forward and backward graph of the loss of four images; returns the file it went to."""

    def loss(images, labels):
        return F.cross_entropy(model(images), labels)

    model.train()
    picture = cr.draw(loss, *dataset[:4])
    try:
        return picture.save(path)
    except RuntimeError as error:  # no Graphviz on this machine
        print(error)
        return picture.save(path.with_suffix(".dot"))


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits.")
    parser.add_argument("--model", choices=MODELS, default="mlp")
    parser.add_argument("--epochs", type=int, help="default: 40 for mlp, 20 for cnn, 30 for lstm")
    parser.add_argument("--device", default="cuda" if cr.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the results; default: runs/digits-MODEL")
    args = parser.parse_args()
    if args.epochs is not None and args.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {args.epochs}")
    return args


def main():
    """Train, then test the best weights on digits that played no part in choosing them."""
    args = arguments()
    make, epochs, lr = MODELS[args.model]
    out = args.out or Path("runs") / f"digits-{args.model}"
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "best.safetensors"

    cr.set_num_threads(1)  # for matrices this small several threads spend their time waiting for each other
    cr.manual_seed(args.seed)
    train_set, val_set, test_set = load(args.device)
    model = make().to(args.device)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{args.model} with {size:,} parameters on {args.device}, {len(train_set)} digits to learn from")

    started = time.perf_counter()
    history = train(model, train_set, val_set, args.epochs or epochs, lr, checkpoint)
    if not history:
        print("no epoch was finished, so there is nothing to test")
        return
    print(f"{len(history)} epochs in {time.perf_counter() - started:.1f} s")

    model.load_state_dict(cr.load(checkpoint))
    plot(history, out / "loss.png")
    graph = draw(model, train_set, out / "graph.svg")
    print(f"written: {checkpoint}, {out / 'loss.png'}, {graph}")
    _, accuracy = evaluate(model, test_set)
    print(f"test accuracy: {accuracy:.4f}")


if __name__ == "__main__":
    main()
