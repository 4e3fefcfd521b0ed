"""The folder of a training: what is in it, and whether it may go on there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from larq_insta.checkpoints import networks
from larq_insta.data.dataset import ImageDataset
from larq_insta.data.identity import changes, identity
from larq_insta.training.configuration import Configuration
from larq_insta.version import installed_versions
from larq_insta.zoo import pretrained
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.writing import PARTIAL, check_writable, locked, written_whole

BEST, LAST = "best.keras", "last.keras"
_NOT_KEPT = (
    "This training began before lists of pictures were kept (0.1.0), when others may have been "
    "held out: some that choose its best checkpoint from now on may have been trained on. To begin "
    "anew, choose another output folder."
)


@dataclass(frozen=True)
class Result:
    """Test accuracy (0 to 1) of the best checkpoint, chosen by validation accuracy.

    `epoch` is counted in the last step; `seconds` are those of all steps and sessions.
    """

    checkpoint: str
    test_accuracy: float
    validation_accuracy: float | None
    epoch: int
    seconds: float


def check_output(output: Path) -> None:
    """Whether results can be written to a folder, which is not made yet.

    # Raises
        InputError: if not.
    """
    if output.exists() and (not output.is_dir() or _holds_more_than_partial(output)):
        raise InputError(
            f"The output folder must be new or empty; {output} is not: choose another."
        )
    check_writable(output / LAST)


@contextmanager
def opened(
    configuration: Configuration, output: Path, say: Callable[[str], None], chief: bool
) -> Iterator[Result | None]:
    """See `open_output`; while it lasts, no other process trains there."""
    if not chief:
        yield finished(output)
        return
    with locked(output) as holds:
        if not holds:
            say(f"{output} is on a file system without locks: begin no other training in it.")
        yield open_output(configuration, output, say)


def open_output(
    configuration: Configuration, output: Path, say: Callable[[str], None]
) -> Result | None:
    """The result if this training has been finished before; else makes ready to begin or go on.

    # Raises
        InputError: if the folder holds anything else.
    """
    if not (output / "config.json").is_file():
        check_output(output)
        _clear_partial(output)
        return None
    check_writable(output / LAST)
    kept = read_json(output / "config.json")
    wanted = configuration.identity()
    different = sorted(name for name in wanted if kept.get(name) != wanted[name])
    if different:
        changes = ", ".join(f"{n} was {kept.get(n)!r}, is {wanted[n]!r}" for n in different)
        raise InputError(
            f"A training goes on with the values it began with; in {output} {changes}: give the "
            "same, or choose another output folder."
        )
    if kept["versions"] != installed_versions():
        say(f"This training began with other versions: {kept['versions']}.")
    _clear_partial(output)
    result = finished(output)
    if result:
        say(f"{output} holds the finished training.")
    return result


def inputs(configuration: Configuration, dataset: ImageDataset) -> dict[str, Any]:
    """What a training learns from: its pictures, and the files beside them."""
    model = configuration.model if configuration.model.endswith(networks.SUFFIXES) else None
    given = (configuration.teacher, configuration.initial_weights, model)
    files = {name: pretrained.find(Path(name)) for name in given if name}
    sums = {
        name: hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        for name, file in files.items()
        if file.is_file()
    }
    return {"data": identity(dataset), "files": sums}


def check_inputs(now: dict[str, Any], output: Path, say: Callable[[str], None]) -> None:
    """Whether a training that goes on would learn from what it began with.

    # Raises
        InputError: if not.
    """
    if not (output / "config.json").is_file():
        return
    kept = read_json(output / "config.json")
    if "data" not in kept:
        say(_NOT_KEPT)
        return
    files = [name for name, value in now["files"].items() if kept["files"].get(name) != value]
    different = [*changes(kept["data"], now["data"]), *(f"{name} is another" for name in files)]
    if different:
        raise InputError(
            f"A training goes on with the pictures and files it began with; those of {output} have "
            f"changed, {'; '.join(different)}: restore them, or choose another output folder."
        )


def keep(configuration: Configuration, now: dict[str, Any], output: Path) -> None:
    versions = {"versions": installed_versions()}
    write_json(output / "config.json", asdict(configuration) | now | versions)


def finished(output: Path) -> Result | None:
    """What came of the training in a folder, if it has ended."""
    if not (output / "result.json").is_file():
        return None
    result = read_json(output / "result.json")
    return Result(**result | {"checkpoint": str(output / result["checkpoint"])})


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged ({first_line(error)}): choose another output folder."
        ) from error


def write_json(path: Path, values: dict[str, Any]) -> None:
    with written_whole(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n")


def _holds_more_than_partial(folder: Path) -> bool:
    return any(not path.name.startswith(PARTIAL) for path in folder.iterdir())


def _clear_partial(output: Path) -> None:
    """Removes what a killed process left half-written, in the folders of all steps."""
    for path in (*output.rglob(f"{PARTIAL}*"), *output.rglob("state/*_temp")):
        shutil.rmtree(path, ignore_errors=True)
