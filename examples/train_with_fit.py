"""Train a classifier of handwritten digits with `cr.fit`, and watch what happens inside it.

    python examples/train_with_fit.py

The data are the 1,797 digits of 8 x 8 pixels that come with scikit-learn. First two checks and a search for the learning
rate; then training with early stopping, a log and checkpoints. Ctrl-C stops; `--resume` goes on where it stopped. The folder --out
then holds log.jsonl, best.safetensors and last.safetensors, and, where Matplotlib is installed, pictures of the curves,
of the search and of the gradients.
"""

import argparse
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn, training
from chainrule.metrics import accuracy
from chainrule.utils.data import DataLoader, TensorDataset


def digits():
    """(train, validation, test) of 1257, 180 and 360 digits, scaled to 0..1; always the same split."""
    data = load_digits()
    images, labels = (data.images[:, None] / 16).astype("float32"), data.target
    images, test_images, labels, test_labels = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=0
    )
    images, val_images, labels, val_labels = train_test_split(
        images, labels, test_size=180, stratify=labels, random_state=0
    )
    pairs = [(images, labels), (val_images, val_labels), (test_images, test_labels)]
    return [TensorDataset(cr.tensor(x), cr.tensor(y)) for x, y in pairs]


def cnn():
    """1 x 8 x 8 -> 16 x 4 x 4 -> 32 x 2 x 2 -> 10 scores."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(128, 10),
    )


def main():
    """Check, search, train, test."""
    parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits with cr.fit.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--device", default="cuda" if cr.cuda.is_available() else "cpu")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/digits-fit"))
    args = parser.parse_args()

    cr.set_num_threads(1)  # for matrices this small several threads spend their time waiting for each other
    cr.manual_seed(0)
    train_set, valid_set, test_set = digits()
    model = cnn().to(args.device)
    optimizer = cr.optim.AdamW(model.parameters(), lr=1e-3)
    train = DataLoader(train_set, batch_size=32, shuffle=True)
    valid = DataLoader(valid_set, batch_size=180)

    few = [one.to(args.device) for one in train_set[:10]]
    print(training.check_initial_loss(model, F.cross_entropy, few, training.expected_loss(10)).message)
    print(training.check_overfit(model, F.cross_entropy, few).message)
    sweep = cr.find_lr(model, F.cross_entropy, optimizer, train, low=1e-5, high=1.0, device=args.device)
    print(sweep)
    optimizer.param_groups[0]["lr"] = sweep.suggestion

    watch = cr.watch(model, every=10, histograms=True).attach(optimizer)
    history = cr.fit(
        model,
        F.cross_entropy,
        optimizer,
        train,
        valid,
        epochs=args.epochs,
        metrics=[accuracy],
        scheduler=cr.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs),
        early_stopping=cr.EarlyStopping(model, patience=8),
        checkpoint=args.out,
        resume=args.resume,
        device=args.device,
        callbacks=[training.Log(args.out / "log.jsonl")],
    )
    watch.close()
    print(watch.table())
    print("problems:", *(watch.problems() or ["none"]), sep="\n  ")
    if history:
        training.plot_history(history, args.out / "curves.png")
    if watch.records:
        for kind in ("gradients", "updates", "dead", "histograms"):
            watch.plot(kind, args.out / f"{kind}.png")
    sweep.plot(args.out / "learning_rate.png")
    test = training.evaluate(
        model, F.cross_entropy, DataLoader(test_set, batch_size=360), [accuracy], args.device
    )
    print(f"test accuracy: {test['accuracy']:.4f}")


if __name__ == "__main__":
    main()
