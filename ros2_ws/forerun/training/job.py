"""One training, in a process of its own that steps back behind everything else and may be killed at any moment.

What it is to do stands in a JSON file. It leaves the verdict and, where the candidate passed the gate, the bundle; each appears
whole, the bundle first. A bundle without its verdict is of a training that was killed in between, and does not count.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from forerun.plain import plain
from forerun.training.priority import die_with, step_back
from forerun.training.store import trials_of
from forerun_sim.errors import ForerunError
from forerun_sim.files import write_file


@dataclass(frozen=True)
class Request:
    """What to do.

    Attributes:
        parent, sha256: the bundle to start from.
        store: folder of the pieces.
        pieces: by what they are for (``forerun_models.training.split.Split``), their numbers.
        out, verdict, progress: files to write.
        finetuning: keys of the recipe's section ``finetuning`` that are to be other than there.
        seed: of the batches.
        cores: to run on; all if empty.
        step_back: whether to give way to everything else.
        reason: why it is time.
        starter: process that asks, with which this one ends.
    """

    parent: str
    sha256: str
    store: str
    pieces: dict[str, list[int]]
    out: str
    verdict: str
    progress: str
    finetuning: dict[str, Any]
    seed: int
    cores: list[int]
    step_back: bool
    reason: str
    starter: int

    def write(self, path: Path) -> None:
        """To a file."""
        write_file(path, json.dumps(asdict(self)))


def work(request: Request) -> None:
    """Trains, judges, and writes what came of it.

    Raises:
        ForerunError: the parent cannot be trained on, or there are too few trials.
    """
    import torch

    from forerun.training.control_check import control
    from forerun_models.bundle import load
    from forerun_models.recipe import Recipe
    from forerun_models.training.finetune import finetune, load_parent
    from forerun_models.training.split import Split
    from forerun_models.training.trainer import Epoch
    from forerun_sim.spec import validate

    torch.set_num_threads(1)
    parent = load_parent(load(request.parent, sha256=request.sha256))
    if request.finetuning:
        recipe = parent.recipe.as_data()
        recipe["finetuning"] |= request.finetuning
        parent = replace(parent, recipe=validate(Recipe, recipe, "parameters of the trainer"))
    split = Split(**{name: trials_of(Path(request.store), numbers) for name, numbers in request.pieces.items()})

    def progress(epoch: Epoch, of: int) -> None:
        write_file(request.progress, json.dumps({"phase": "training", "epoch": epoch.number + 1, "of": of}))

    def judging() -> None:
        write_file(request.progress, json.dumps({"phase": "judging"}))

    verdict = finetune(parent, split, Path(request.out), request.seed, progress, judging, control)
    content = {**plain(verdict.as_json()), "cause": request.reason, "started_from": request.parent}
    write_file(request.verdict, json.dumps(content, indent=1))


def main(path: str) -> int:
    """Entry point: ``python -m forerun.training.job FILE``."""
    request = Request(**json.loads(Path(path).read_text()))
    die_with(request.starter)
    for refused in step_back(request.cores) if request.step_back else []:
        print(f"warning: {refused}", flush=True)
    try:
        work(request)
    except ForerunError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
