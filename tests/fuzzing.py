"""Mutated files in processes that may crash, told one by one.

A mutation is a file's content with a few bytes changed, moved or missing; in an archive,
those of a member, whose checksum is made anew, so that what reads the member sees them.
"""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from larq_insta_runtime.errors import InputError

PATIENCE = 150
"""Seconds after which an attempt hangs; the machine may be busy."""

_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    if content[:4] == b"PK\3\4" and rng.random() < 0.7:
        return _mutated_member(content, rng)
    return _mutated_bytes(content, rng)


def _mutated_member(content: bytes, rng: np.random.Generator) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    victim = str(rng.choice(list(members)))
    members[victim] = _mutated_bytes(members[victim], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return buffer.getvalue()


def _mutated_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        # Half of them at the start, where most formats have their tables.
        reach = len(data) if rng.random() < 0.5 else min(len(data), 1024)
        at = int(rng.integers(reach))
        match int(rng.integers(6)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.integers(256))
            case 2:
                data[at : at + 4] = int(rng.choice(_INTERESTING)).to_bytes(4, "little")
            case 3:
                del data[at : at + int(rng.integers(1, 64))]
            case 4:
                other = int(rng.integers(len(data)))
                data[at : at + 16] = data[other : other + 16]
            case 5 if rng.random() < 0.2:
                del data[at:]
        data = data or bytearray(b"\0")
    return bytes(data)


def attack(
    attempt: Callable[[Path], None], original: Path, folder: Path, count: int
) -> Iterator[str]:
    """Gives `count` mutations of a file to `attempt` and tells what it should not do.

    That is to crash, to hang, or to raise anything but an `InputError`; the mutation stays
    in `folder` then.
    """
    context = get_context("spawn")
    done = 0
    while done < count:
        progress = context.Value("q", done)
        process = context.Process(
            target=_attempts, args=(attempt, original, folder, progress, count)
        )
        process.start()
        hung = _watch(process, progress)
        done = progress.value
        if process.exitcode != 0:
            yield f"mutation {done} {'hung' if hung else f'crashed ({process.exitcode})'}"
            done += 1
    yield from (path.read_text() for path in sorted(folder.glob("*.problem")))


def _watch(process, progress) -> bool:
    last, since = -1, time.monotonic()
    while process.is_alive():
        process.join(0.5)
        if progress.value != last:
            last, since = progress.value, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            process.kill()
            process.join()
            return True
    return False


def _attempts(attempt, original: Path, folder: Path, progress, count: int) -> None:
    os.chdir(folder)
    content = original.read_bytes()
    for number in range(progress.value, count):
        progress.value = number
        path = folder / f"{number}{original.suffix}"
        path.write_bytes(mutated(content, np.random.default_rng(number)))
        try:
            attempt(path)
        except InputError:
            pass
        except BaseException as error:  # noqa: BLE001  (whatever it is, it must be told)
            text = f"mutation {number} raised {type(error).__name__}: {error}"
            path.with_suffix(".problem").write_text(text)
            continue
        path.unlink()
    progress.value = count


# What is attacked is imported by the process that needs it: of pictures none needs TensorFlow.


def read_checkpoint(path: Path) -> None:
    from larq_insta.checkpoints import keras_files

    keras_files.load(path)


def run_lite(path: Path) -> None:
    from larq_insta import runtime

    model = runtime.LiteModel(path, processes=1)
    size, channels = model.card.preprocessing.size, model.card.preprocessing.channels
    model.predict(np.zeros((1, size, size, channels), np.float32))


def read_picture(path: Path) -> None:
    from larq_insta_runtime import pictures

    pictures.read(path, 3)


def read_torch(path: Path) -> None:
    from larq_insta.checkpoints import torch_files

    torch_files.read(path)


def misbehave(path: Path) -> None:
    """What attempts should not do; here, as processes start faster without TensorFlow."""
    match path.stem:
        case "0":
            os._exit(7)
        case "1":
            raise KeyError("surprise")
        case _:
            raise InputError("As it should be.")
