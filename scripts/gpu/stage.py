"""The process of one stage: `python -P scripts/gpu/stage.py FILE.py --part PART.json --seconds N`, or `--probe`.

FILE.py has `items(place, context)`, which gives {name: function}. The process ends when all are over, or N seconds have gone.
"""

import argparse
import importlib.util
import json
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path

SLOWER = 4  # a rehearsal may be, whose kernels are emulated on what a developer's machine has left
STARTED = time.monotonic()
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
for folder in ("benchmarks", "scripts", "tests"):
    # Folders without __init__.py come last in the search: a package of that name installed anywhere would hide this one.
    sys.modules[folder] = types.ModuleType(folder)
    sys.modules[folder].__path__ = [str(ROOT / folder)]


@dataclass(frozen=True)
class Context:
    """What a stage is told: when to be done (`time.monotonic`), where it may write, what the stages before it found; and its `Part`."""

    deadline: float
    folder: Path
    earlier: dict
    part: object

    def value(self, stage, item, key, default=None):
        """What an item of an earlier stage found."""
        return self.earlier.get("stages", {}).get(stage, {}).get("items", {}).get(item, {}).get(key, default)


def probe(rehearse):
    """{"gpu": its name} or {"reason": why none can be used}, as a line of JSON."""
    import chainrule as cr

    if rehearse:
        return {"gpu": "rehearsal"}
    backend = cr.backends.get("cuda")
    if not backend.available():
        return {"reason": backend.why_not()}
    return {"gpu": backend.xp.cuda.runtime.getDeviceProperties(backend.current_device())["name"].decode()}


def main():
    parser = argparse.ArgumentParser(description="One stage of the check on a GPU.")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--part", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--earlier", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    if options.probe:
        print(json.dumps(probe(options.rehearse)))
        return
    from scripts.gpu.items import Part, run
    from scripts.gpu.place import place

    part, where = Part(options.part), place(options.rehearse)
    earlier = json.loads(options.earlier.read_text()) if options.earlier else {}
    context = Context(STARTED + options.seconds, options.part.parent, earlier, part)
    spec = importlib.util.spec_from_file_location(f"scripts.gpu.{options.file.stem}", options.file)
    stage = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = stage
    spec.loader.exec_module(stage)
    slower = SLOWER if options.rehearse else 1
    limit = slower * getattr(stage, "LIMIT", 60.0)
    limits = {name: slower * seconds for name, seconds in getattr(stage, "LIMITS", {}).items()}
    run(stage.items(where, context), part, where, context.deadline, limit, limits)


if __name__ == "__main__":
    main()
