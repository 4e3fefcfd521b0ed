"""Weights of the ReActNets that their authors published, for PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from larq_insta.checkpoints import torch_files, torch_weights
from larq_insta.checkpoints.torch_weights import Target
from larq_insta.layers import HalfTurn, InstaPReLU, InstaThreshold, RPReLU, StaticThreshold
from larq_insta.layers.channelwise import InstanceAware
from larq_insta.lite.errors import InputError

ARGUMENTS: dict[str, Any] = {"stem": "imagenet", "pad_values": 0.0, "half_turn": True}
"""Of models that compute what PyTorch's do."""

_FLAT = ".weights"
"""Binary convolutions of some published files have it for `.weight`, in one column."""

_HEAD_BIAS = "fc.bias"
_HEAD = ("fc.weight", _HEAD_BIAS)

_RESNET, _MOBILENET = "ReActNet18 or InstaResNet18", "ReActNetA or InstaMobileNetV1"
_RESNET_NAMES = {
    "stem_conv": "conv1",
    "stem_batch_norm": "bn1",
    "threshold": "move0",
    "conv": "binary_conv",
    "batch_norm": "bn1",
    "prelu": ("move1", "prelu", "move2"),
    "shortcut_conv": "downsample.1",
    "shortcut_batch_norm": "downsample.2",
    "head_logits": "fc",
}
_MOBILENET_NAMES = {
    "stem_conv": "feature.0.conv1",
    "stem_batch_norm": "feature.0.bn1",
    "spatial_threshold": "move11",
    "spatial_conv": "binary_3x3",
    "spatial_batch_norm": "bn1",
    "spatial_prelu": ("move12", "prelu1", "move13"),
    "pointwise_threshold": "move21",
    "pointwise_conv": "binary_pw",
    "pointwise_batch_norm": "bn2",
    "pointwise_a_conv": "binary_pw_down1",
    "pointwise_a_batch_norm": "bn2_1",
    "pointwise_b_conv": "binary_pw_down2",
    "pointwise_b_batch_norm": "bn2_2",
    "pointwise_prelu": ("move22", "prelu2", "move23"),
    "head_logits": "fc",
}


def classes(path: Path | str) -> int | None:
    """Of a checkpoint's classifier; `None` if it has none."""
    bias = torch_files.read(Path(path)).get(_HEAD_BIAS)
    return None if bias is None else bias.size


def load_reactnet(model: tf.keras.Model, path: Path | str, *, new_head: bool = False) -> int:
    r"""Gives a model the weights of a published ReActNet checkpoint, exactly.

    Convolutions' kernels are turned by 180 degrees, as the model turns its pictures; see
    `HalfTurn`. PyTorch's learned biases are \\(-\beta\\) of thresholds and \\(-\gamma\\) and
    \\(\zeta\\) of PReLUs. The \\(\alpha\\) of instance-aware layers become 0, with which the
    model computes what the ReActNet does; moments of their statistics and the first layers
    of INSTA-Th+'s branches stay as they are.

    # Arguments
        model: `ReActNet18`, `ReActNetA`, `InstaResNet18` or `InstaMobileNetV1` with
            `pad_values=0.0, half_turn=True`; with `binary="activations"` for a checkpoint
            of the first training step.
        path: The file, as `torch.save` has written it: of the first step or the second,
            with or without the prefix `module.` and the key `state_dict`. Nothing in it
            is run, and PyTorch is not needed.
        new_head: If true, the classifier stays as it is, to learn other classes.

    # Returns
        How many binary weights are exactly 0, whose sign is 0 in PyTorch and +1 in Larq.

    # Raises
        InputError: if the file is not such a checkpoint, if it belongs to another backbone,
            number of classes or step, or if it has not exactly the tensors that the model
            needs. Then no weight has changed.

    # References
        - [ReActNet: Towards Precise Binary Neural Network with Generalized Activation
            Functions](https://arxiv.org/abs/2003.03488)
        - [ReActNet's code and checkpoints](https://github.com/liuzechun/ReActNet)
    """
    path = Path(path)
    tensors = torch_files.read(path)
    backbone = _backbone(model)
    _check_backbone(backbone, path, tensors)
    _check_model(model)
    if new_head:
        tensors = {name: x for name, x in tensors.items() if name not in _HEAD}
    else:
        _check_classes(model, path, tensors)
    binary = list(_binary_convolutions(model, backbone))
    tensors = _reshaped(dict(tensors), binary, path)
    layers = [layer for layer in model.layers if not (new_head and layer.name == "head_logits")]
    targets = {name: target for layer in layers for name, target in _targets(layer, backbone)}
    torch_weights.assign(model.name, targets, tensors, f"{path} belongs to another model.")
    for layer in model.layers:
        if isinstance(layer, InstanceAware):
            _make_static(layer)
    return sum(int((layer.kernel.numpy() == 0).sum()) for layer, _ in binary if _is_binary(layer))


def _backbone(model: tf.keras.Model) -> str:
    names = {layer.name for layer in model.layers}
    if "stage1_block1_conv" in names:
        return _RESNET
    if "block1_spatial_conv" in names:
        return _MOBILENET
    raise InputError(
        f"ReActNet's weights go into {_RESNET}, {_MOBILENET}; got {model.name}: build one of these."
    )


def _check_backbone(backbone: str, path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    found = None
    if any(name.startswith("layer1.") for name in tensors):
        found = _RESNET
    elif any(name.startswith("feature.") for name in tensors):
        found = _MOBILENET
    if found is None:
        raise InputError(
            "A ReActNet checkpoint has tensors called layer1.* or feature.*; "
            f"{path} has {', '.join(sorted(tensors)[:3])}...: get the published file."
        )
    if found != backbone:
        raise InputError(
            f"A checkpoint must be of the model's backbone; {path} is for {found}, and the model "
            f"is {backbone}: choose the other."
        )


def _check_model(model: tf.keras.Model) -> None:
    turned = any(isinstance(layer, HalfTurn) for layer in model.layers)
    padded = {getattr(layer, "pad_values", 0.0) for layer in model.layers}
    if not turned or padded != {0.0}:
        raise InputError(
            "A model for PyTorch's weights must pad signs with 0 and turn pictures; got "
            f"{model.name} without: build it with pad_values=0.0, half_turn=True."
        )
    for layer in model.layers:
        if isinstance(layer, InstanceAware) and not _can_be_static(layer):
            raise InputError(
                f"With alpha at 0 every layer must compute what ReActNet's does; {layer.name} "
                "does not: use neither normalization='batch' nor a branch_activation that is not "
                "0 at 0."
            )


def _can_be_static(layer: InstanceAware) -> bool:
    activation = getattr(layer, "branch_activation", tf.identity)
    return layer.normalization != "batch" and float(activation(tf.zeros(()))) == 0


def _check_classes(model: tf.keras.Model, path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    logits = next((layer for layer in model.layers if layer.name == "head_logits"), None)
    if logits is None:
        raise InputError(
            f"A checkpoint's classifier needs a place; {model.name} has none: build the model with "
            "include_top=True."
        )
    classes = tensors[_HEAD_BIAS].size if _HEAD_BIAS in tensors else logits.units
    if classes != logits.units:
        raise InputError(
            f"A checkpoint must have the model's number of classes; {path} has {classes}, "
            f"{model.name} has {logits.units}: build the model with num_classes={classes}, or give "
            "new_head=True to keep its own classifier."
        )


def _binary_convolutions(
    model: tf.keras.Model, backbone: str
) -> Iterator[tuple[lq.layers.QuantConv2D, str]]:
    for layer in model.layers:
        if getattr(layer, "input_quantizer", None) is not None:
            yield layer, _torch_name(layer.name, backbone)


def _is_binary(layer: lq.layers.QuantConv2D) -> bool:
    return layer.kernel_quantizer is not None


def _reshaped(
    tensors: dict[str, np.ndarray], binary: list[tuple[lq.layers.QuantConv2D, str]], path: Path
) -> dict[str, np.ndarray]:
    """With binary convolutions' weights as `.weight`, of four axes."""
    for layer, name in binary:
        flat = tensors.get(f"{name}{_FLAT}")
        if flat is None or f"{name}.weight" in tensors:
            continue
        if not _is_binary(layer):
            raise InputError(
                f"A checkpoint must be of the model's training step; {path} is of the second "
                f"({name}{_FLAT} is in one column), {layer.name} has float weights: build the "
                "model with binary='both'."
            )
        height, width, channels, filters = layer.kernel.shape
        if flat.shape == (height * width * channels * filters, 1):
            del tensors[f"{name}{_FLAT}"]
            tensors[f"{name}.weight"] = flat.reshape(filters, channels, height, width)
    return tensors


def _targets(layer: tf.keras.layers.Layer, backbone: str) -> Iterator[tuple[str, Target]]:
    if not layer.weights:
        return
    name = _torch_name(layer.name, backbone)
    if isinstance(layer, StaticThreshold):
        yield f"{name}.bias", Target(layer.beta, _negative)
    elif isinstance(layer, RPReLU):
        gamma, slope, zeta = name
        yield f"{gamma}.bias", Target(layer.gamma, _negative)
        yield f"{slope}.weight", Target(layer.slope)
        yield f"{zeta}.bias", Target(layer.zeta, _vector)
    elif isinstance(layer, tf.keras.layers.BatchNormalization):
        yield from torch_weights.batch_norm_targets(layer, name).items()
    elif isinstance(layer, tf.keras.layers.Dense):
        yield from torch_weights.dense_targets(layer, name).items()
    else:
        yield f"{name}.weight", Target(layer.kernel, _turned_kernel)


def _torch_name(layer: str, backbone: str) -> Any:
    """Of `stage2_block1_shortcut_conv` it is `layer2.0.downsample.1`; of PReLUs three names."""
    names: dict[str, Any] = _RESNET_NAMES if backbone == _RESNET else _MOBILENET_NAMES
    if layer in names:
        return names[layer]
    if backbone == _RESNET:
        stage, block, part = layer.split("_", 2)
        prefix = f"layer{stage.removeprefix('stage')}.{int(block.removeprefix('block')) - 1}."
    else:
        block, part = layer.split("_", 1)
        prefix = f"feature.{block.removeprefix('block')}."
    name = names[part]
    return prefix + name if isinstance(name, str) else tuple(prefix + n for n in name)


def _vector(tensor: np.ndarray) -> np.ndarray:
    """`(1, channels, 1, 1)`, as PyTorch's learned biases are."""
    return tensor.squeeze((0, 2, 3)) if tensor.ndim == 4 else tensor


def _negative(tensor: np.ndarray) -> np.ndarray:
    return -_vector(tensor)


def _turned_kernel(tensor: np.ndarray) -> np.ndarray:
    return torch_weights.kernel(tensor)[::-1, ::-1]


def _make_static(layer: InstanceAware) -> None:
    """Sets what makes the layer follow instances to 0."""
    vanishing = []
    if isinstance(layer, InstaThreshold):
        vanishing += [layer.alpha] if layer.has_alpha else []
        vanishing += [] if layer.reduction_ratio is None else [layer.branch_expand.kernel]
    if isinstance(layer, InstaPReLU):
        vanishing += [getattr(layer, f"alpha_{name}") for name in layer.instance_aware]
    for weight in vanishing:
        weight.assign(tf.zeros_like(weight))
