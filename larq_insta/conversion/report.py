"""What the check of a converted file finds, and what of it forbids the file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

TOLERANCE = 1e-4
"""Of a block's numbers, relative to the largest of their channel.

They are sums of up to some thousand float32 products, each rounded by 6e-8. A miscompilation
changes 1e-2 and more.
"""


@dataclass(frozen=True)
class Block:
    """What was found in a part of the network: between signs, image and answers.

    # Attributes
        name: The Keras layer at its end, whose sign reads what is compared; or the output's.
        deviation: Largest difference, relative to the largest number of its channel; or, where
            another rounding of Keras's own numbers changes more, to what makes that allowed.
    """

    name: str
    deviation: float

    @property
    def differs(self) -> bool:
        return not self.deviation <= TOLERANCE


@dataclass(frozen=True)
class Report:
    """What the check of a converted file found.

    # Attributes
        runtime: What runs the file: `"lce"`, or `"tflite"`, which has no binary operators.
        binary_convolutions: Convolutions in the file of binary inputs and weights.
        expected_convolutions: Binary convolutions in the model.
        float_layers: Binary dense layers, which run in float.
        blocks: What was found block by block.
        device_deviation: Largest deviation of a block by larq-insta-runtime, as a device runs it.
        signs: How many signs the network computed for the pictures of the blocks.
        flips: How many of them differ when the file computes all by itself.
        first_flips: How far from zero, in parts of the largest number of its channel, those lie
            that differ first of each picture.
        pictures: Real pictures that both were asked about.
        agreement: Share of these with the same best class (0 to 1).
        device_agreement: The same by larq-insta-runtime.
        deviation: Median over pictures of the largest difference of an output.
        keras_accuracy, file_accuracy, device_accuracy: On these pictures (0 to 1).
        size: Bytes of the file.
        problems: Why the file must not be trusted; empty if it can.
        remarks: What else its user should know.
    """

    runtime: str
    binary_convolutions: int
    expected_convolutions: int
    float_layers: tuple[str, ...]
    blocks: tuple[Block, ...]
    device_deviation: float
    signs: int
    flips: int
    first_flips: float
    pictures: int
    agreement: float
    device_agreement: float
    deviation: float
    keras_accuracy: float
    file_accuracy: float
    device_accuracy: float
    size: int
    problems: tuple[str, ...]
    remarks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)

    def describe(self) -> str:
        found, expected = self.binary_convolutions, self.expected_convolutions
        deviation = max((block.deviation for block in self.blocks), default=0.0)
        lines = [
            f"{found} of {expected} convolutions are binary"
            + (", computed in float." if self.runtime == "tflite" else "."),
            f"{len(self.blocks)} blocks compared, each behind Keras's signs: they differ by at "
            f"most {deviation:.1g} of their largest number; {self.flips} of {self.signs:,} signs "
            "flip in the whole network.",
            f"Same answer as Keras on {self.agreement:.1%} of {self.pictures} pictures; accuracy "
            f"{self.file_accuracy:.2%}, Keras {self.keras_accuracy:.2%}.",
            f"By larq-insta-runtime blocks differ by at most {self.device_deviation:.1g}; same "
            f"answer on {self.device_agreement:.1%}; accuracy {self.device_accuracy:.2%}.",
        ]
        lines += [
            f"Layer {layer} runs in float: there is no binary dense operator."
            for layer in self.float_layers
        ]
        lines += self.remarks
        lines += [f"Not equal: {problem}" for problem in self.problems]
        return "\n".join(lines)
