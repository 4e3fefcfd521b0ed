"""What a model file carries beside the network, for whoever has nothing but the file.

`.keras` and our `.tflite` files end with (or are) a zip archive, in which the card is a
JSON member; a `.tflite` has `labels.txt` too, where TFLite's own tools look for it.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.preprocessing import Preprocessing

_MEMBER = "larq_insta.json"
_LABELS = "labels.txt"


@dataclass(frozen=True)
class Card:
    """Where a model comes from and how to feed it."""

    model: str
    model_arguments: dict[str, Any]
    dataset: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    training: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def append_to(self, path: Path) -> None:
        """Adds the card to a `.keras` or `.tflite` file."""
        values = asdict(self)
        lite = path.suffix == ".tflite"
        # TFLite's tools refuse files with compressed members.
        kind = zipfile.ZIP_STORED if lite else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "a", kind) as archive:
            if lite:
                labels = [" ".join(name.splitlines()) for name in self.class_names]
                archive.writestr(_LABELS, "\n".join(labels) + "\n")
                if tuple(labels) == self.class_names:
                    del values["class_names"]
            archive.writestr(_MEMBER, json.dumps(values, indent=2))

    @classmethod
    def read(cls, path: Path) -> Card | None:
        """The card of a file, or `None` for one that was not written by larq_insta.

        # Raises
            InputError: if the card is damaged.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                values = json.loads(archive.read(_MEMBER))
                if "class_names" not in values:
                    values["class_names"] = archive.read(_LABELS).decode().split("\n")[:-1]
        except (zipfile.BadZipFile, KeyError):
            return None
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"The card in {path} is damaged: {first_line(error)}") from error
        try:
            pre: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in values.pop("preprocessing").items()
            }
            names = tuple(values.pop("class_names"))
            card = cls(class_names=names, preprocessing=Preprocessing(**pre), **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"The card in {path} is of another version of larq_insta: {first_line(error)}"
            ) from error
        card.check(path)
        return card

    def check(self, path: Path) -> None:
        """Whether all fields are of their kinds; files come from strangers, too.

        # Raises
            InputError: if not.
        """
        kinds = {
            "model": str,
            "model_arguments": dict,
            "dataset": str,
            "training": dict,
            "versions": dict,
        }
        wrong = [name for name, kind in kinds.items() if not isinstance(getattr(self, name), kind)]
        if not all(isinstance(name, str) for name in self.class_names):
            wrong.append("class_names")
        if wrong:
            raise InputError(
                f"The card in {path} is damaged: {', '.join(wrong)}: use another file."
            )

    def check_network(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...], name: str
    ) -> None:
        """Whether it is the card of a network of these shapes; `name` is for messages.

        # Raises
            InputError: if not.
        """
        size, channels = self.preprocessing.size, self.preprocessing.channels
        given = (*input_shape[1:], output_shape[-1])
        wanted = (size, size, channels, len(self.class_names))
        if given != wanted:
            raise InputError(
                f"A file's card must be that of its network; {name} takes {input_shape} and gives "
                f"{output_shape}, its card says {size} pixels, {channels} channels and "
                f"{len(self.class_names)} classes: train or convert again."
            )
