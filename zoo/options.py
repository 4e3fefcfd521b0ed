"""Arguments of the models, each stated once with its type, its default and its text.

Signatures and documentation of the model functions are made of them, and so are the fields of
the factories, which zookeeper configures.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ParamSpec, TypeVar, cast, get_args, get_type_hints

import tensorflow as tf
import zookeeper

from larq_insta.zoo import pretrained

INSTA_BLOCKS = "all_but_largest_maps"
"""Of the models: a statistic costs as much as its map is large. Chosen by our study, table
ResNet18 of `studies/thresholds/report.md`: it is not shown to be worse than all blocks."""

_SEQUENCES = ("input_shape", "filters", "section_blocks", "insta_blocks")
_OF_LARQ_ZOO = ("num_classes", "include_top", "weights")
"""Fields that its factories have themselves; without `num_classes` a data set gives it."""

P = ParamSpec("P")
T = TypeVar("T", bound=type)


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """What all models take."""

    input_shape: Annotated[
        Sequence[int | None] | None,
        "`(height, width, channels)`, by default `(224, 224, 3)`; at least 32 pixels, or 8 with "
        "the small stem.",
    ] = None
    input_tensor: Annotated[Any, "Keras tensor to use as image input."] = None
    weights: Annotated[
        str | None,
        "`None` (random initialization), the path of a weights file, or the name of a trained "
        'model in the package: `"imagenette"`, an `InstaResNet18` (widths 32, 64, 128, 256, 96 x '
        '96 pixels, 10 classes), or `"fashion_mnist"`, one (16, 32, 64, the small stem, 28 x 28 '
        "grey pixels, 10 classes), whose arguments then are the defaults. If they are of another "
        "number of classes, the classifier is new, and a warning says so.",
    ] = None
    include_top: Annotated[bool, "Whether to end with the classifier."] = True
    num_classes: Annotated[int, "Number of classes of the classifier."] = 1000
    stem: Annotated[
        str,
        '`"imagenet"`, a convolution of stride 2 (in ResNet-18 of 7x7, and max-pooling), or '
        '`"small"`, one of 3x3 and stride 1, for small pictures.',
    ] = "imagenet"
    binary: Annotated[
        str,
        'What binary convolutions have binary: `"both"` activations and weights, only '
        '`"activations"` (ReActNet\'s first training step), or `"neither"` (a float model of the '
        "same layers, such as a teacher).",
    ] = "both"

    def __post_init__(self) -> None:
        for name in _SEQUENCES:
            if hasattr(self, name):
                object.__setattr__(self, name, _as_tuple(name, getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """What models of our own take."""

    float_weights: Annotated[
        str,
        '`"float32"`, or `"int8"` to round the weights of float convolutions and the classifier '
        "as `larq-insta convert --float-weights int8` stores them, so that the smaller file "
        "computes what was trained.",
    ] = "float32"
    pad_values: Annotated[
        float, "What surrounds the signs in front of binary convolutions, 1 or 0."
    ] = 1.0
    half_turn: Annotated[
        bool,
        "Whether pictures are turned by 180 degrees first, as weights from PyTorch need it; see "
        "`HalfTurn` and `larq_insta.weights.load_reactnet`.",
    ] = False


@dataclass(frozen=True, kw_only=True)
class AwareOptions:
    """What instance-aware models take besides."""

    plus: Annotated[bool, "Whether thresholds are INSTA-Th+ instead of INSTA-Th."] = False
    insta_blocks: Annotated[
        str | Sequence[str],
        'Which blocks are instance-aware, the others being ReActNet\'s: `"all"`; '
        '`"all_but_largest_maps"`, those whose input is smaller than the first block\'s; or names '
        'of blocks or their beginnings, such as `["stage3", "stage4_block1"]`, in MobileNetV1 '
        '`["block3", "block4_spatial"]`.',
    ] = INSTA_BLOCKS
    reuse_statistics: Annotated[
        bool,
        "Whether a block's PReLU uses the statistic that its threshold has computed, instead of "
        "its own; not where the block widens, whose PReLU has more channels.",
    ] = True
    threshold: Annotated[
        Mapping[str, Any] | None,
        'Arguments of every `InstaThreshold`, such as `{"normalization": "batch"}`; unlike the '
        "layer's own defaults, the models' normalization is `\"statistic\"`, and `statistic_bound` "
        "8, with other normalizations 512 (8 if slopes are instance-aware).",
    ] = None
    prelu: Annotated[
        Mapping[str, Any] | None,
        'Arguments of every `InstaPReLU`, likewise; `{"instance_aware": ()}` makes it ReActNet\'s '
        "RPReLU. Its statistic can be set only if none is reused.",
    ] = None


@dataclass(frozen=True, kw_only=True)
class InstaOptions(AwareOptions, Options):
    """What instance-aware models of our own take."""


def model_function(
    options: Callable[P, CommonOptions],
) -> Callable[[Callable[[Any], tf.keras.Model]], Callable[P, tf.keras.Model]]:
    """Makes a function of options one of keyword arguments.

    Its documentation gets sections for arguments, result and errors in front of that for
    references. It takes the names of trained models as `weights`.
    """

    def decorate(build: Callable[[Any], tf.keras.Model]) -> Callable[P, tf.keras.Model]:
        def function(*args: P.args, **kwargs: P.kwargs) -> tf.keras.Model:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                raise TypeError(f"{build.__name__}() {error}") from None
            arguments: dict[str, Any] = pretrained.completed(build.__name__, given)
            wanted = cast("Any", options)(**arguments)
            known = pretrained.classes(wanted.weights)
            if wanted.include_top and known not in (None, wanted.num_classes):
                return pretrained.with_new_head(
                    lambda a: build(cast("Any", options)(**a)), arguments, known
                )
            return build(wanted)

        signature = _signature(options)
        head, references, tail = str(inspect.getdoc(build)).partition("# References\n")
        documentation = f"{head}{_sections(options)}{references}{tail}"
        vars(function).update(__signature__=signature)
        for name in ("__module__", "__name__", "__qualname__"):
            setattr(function, name, getattr(build, name))
        function.__doc__ = documentation
        return function

    return decorate


def _signature(options: Callable[..., CommonOptions]) -> inspect.Signature:
    hints = get_type_hints(options)
    signature = inspect.signature(options)
    parameters = [p.replace(annotation=hints[p.name]) for p in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=tf.keras.Model)


def fields_of(*kinds: type) -> Callable[[T], T]:
    """Gives a factory a field for each of the options that these classes of them add."""

    def decorate(factory: T) -> T:
        for options in kinds:
            hints = get_type_hints(options)
            for option in fields(options):
                if option.name not in options.__annotations__ or option.name in _OF_LARQ_ZOO:
                    continue
                factory.__annotations__[option.name] = hints[option.name]
                field = zookeeper.Field(option.default)
                setattr(factory, option.name, field)
                field.__set_name__(factory, option.name)
        return factory

    return decorate


def _sections(options: Callable[..., CommonOptions]) -> str:
    texts = get_type_hints(options, include_extras=True)
    lines = ["# Arguments"]
    for option in fields(cast("type[CommonOptions]", options)):
        text = f"{option.name}: {get_args(texts[option.name])[-1]}"
        lines += textwrap.wrap(
            text, 88, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False
        )
    return "\n".join([*lines, "", _RESULT])


_RESULT = """\
# Returns
    A functional Keras model; its output is `(batch, num_classes)` probabilities, or the last
    map `(batch, height, width, channels)` without top.

# Raises
    ValueError: if an argument is invalid; `weights="imagenet"` too, as none exist.

"""


def _as_tuple(name: str, values: Any) -> Any:
    """A sequence as fields take it; `None` and names stay."""
    if values is None or isinstance(values, str):
        return values
    if not isinstance(values, Iterable):
        raise ValueError(f"`{name}` must be a sequence; got {values!r}: write ({values!r}, ...).")
    return tuple(values)
