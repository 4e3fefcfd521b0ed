"""Makes any Larq model instance-aware: `larq_insta.instance_aware`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import Any

import tensorflow as tf

from larq_insta.layers import InstaPReLU, InstaSign, InstaThreshold, LeanApproxSign, RPReLU
from larq_insta.layers.activations import PARAMETERS
from larq_insta.rewriting.rebuilding import Layer, Rebuilding, as_operations, check_functional
from larq_insta.zoo import signs
from larq_insta.zoo.instance_aware import (
    NORMALIZATION,
    REDUCTION_RATIO,
    configured,
    with_steady_statistic,
)
from larq_insta.zoo.options import INSTA_BLOCKS
from larq_insta.zoo.selecting import Blocks, one_or_several, select
from larq_insta.zoo.signs import Activation, Sign


def instance_aware(
    model: tf.keras.Model,
    *,
    blocks: Blocks = INSTA_BLOCKS,
    statistic: str = "cube_mean",
    normalization: str | None = NORMALIZATION,
    reduction_ratio: int | None = None,
    prelu: str | Sequence[str] | None = "gamma",
    reuse_statistics: bool = True,
    threshold: Mapping[str, Any] | None = None,
    extra_quantizers: Any = (),
) -> tf.keras.Model:
    r"""A copy of any Larq model with thresholds that follow the picture, an INSTA-BNN.

    Each layer that takes the sign of a map gets an `InstaThreshold` in front (a
    `StaticThreshold` there becomes one and keeps its beta), and each PReLU becomes an
    `InstaPReLU`. All alphas are zero at first, so that the copy computes what the model
    does, bit for bit, until it is trained. Layers that read the same map share a threshold.

    !!! example
        ```python
        model = lz.sota.QuickNet(weights="imagenet")
        model = larq_insta.instance_aware(model)
        ```

    # Arguments
        model: A functional or sequential model, with models as layers or not, of Larq's,
            Keras's, ours or others' layers; it is not changed. The copy has its names,
            weights, regularizers, pseudo-gradients, precision, distribution strategy, and
            what is trainable; it is not compiled.
        blocks: Which of these layers and PReLUs: `"all"`; `"all_but_largest_maps"`, those
            that read smaller maps than the largest that is quantized, and the PReLUs behind
            them; names of layers or their beginnings (`"stage3"` for all `"stage3_..."`); or
            a function that tells of a layer whether it is one.
        statistic: See `InstaThreshold`; PReLUs have the same.
        normalization: Likewise. `"batch"` normalises what signs read, too, so that answers
            may change where there is a static threshold, and in training.
        reduction_ratio: Of INSTA-Th+; `None` for INSTA-Th. The models have 32.
        prelu: Which parameters of an `RPReLU` or a PReLU (with one slope a channel) become
            instance-aware: `"gamma"`, `"slope"`, `"zeta"`, or some of them; `None` leaves
            them as they are.
        reuse_statistics: Whether a PReLU uses the statistic of the threshold behind which
            it stands, if there is one, of as many channels.
        threshold: Further arguments of each `InstaThreshold`, such as
            `{"stop_gradient": True}`; `statistic_bound` is 8 if not given, with other
            normalizations 512 (8 if slopes are instance-aware).
        extra_quantizers: Classes, functions or names of quantizers of your own that take
            signs, in layers or as layers in front of them; or one of these.

    # Returns
        A functional model. New layers are called `..._threshold`, after the first layer that
        they serve.

    # Raises
        ValueError: if a part of the model cannot be copied (subclassed models, `Lambda`
            layers), has channels first, or its quantizers are unknown; if there are no
            signs, or `blocks` selects none; or if an argument is invalid.

    # References
        - [INSTA-BNN: Binary Neural Network with INSTAnce-aware
            Threshold](https://arxiv.org/abs/2204.07439)
    """
    check_functional(model)
    _check_kinds(prelu, threshold)
    extra_quantizers = one_or_several(extra_quantizers)
    found, activations = signs.find(model, extra_quantizers)
    if not found:
        raise ValueError(
            f"A model must take signs of maps; no layer of {model.name} without an instance-aware "
            "threshold does: give layers of Larq's an input_quantizer of 1 bit."
        )
    wanted = (prelu,) if isinstance(prelu, str) else tuple(prelu or ())
    chosen, behind = select(blocks, found, activations if wanted else ())
    own = {"statistic": statistic, "normalization": normalization}
    options = {"reduction_ratio": reduction_ratio, **own, **(threshold or {})}
    if normalization not in InstaPReLU.NORMALIZATIONS:
        own["normalization"] = NORMALIZATION
    options = with_steady_statistic(options, wanted)
    of_prelus = {**with_steady_statistic(own, wanted), "instance_aware": wanted}
    names = {layer.name for layer in model._flatten_layers()}
    inserting = _Inserting(names, chosen, behind, options, of_prelus, reuse_statistics)
    return Rebuilding(inserting.call, inserting.change, extra_quantizers).model(model)


def _check_kinds(prelu: Any, threshold: Any) -> None:
    if prelu is not None and not isinstance(prelu, Sequence):
        raise ValueError(f"`prelu` must be None, a parameter's name or several; got {prelu!r}.")
    if not isinstance(threshold, Mapping | None) or "return_statistic" in (threshold or {}):
        raise ValueError(
            "`threshold` must be None or a dict of InstaThreshold's arguments without "
            f"return_statistic, which reuse_statistics decides; got {threshold!r}."
        )


def by_options(
    model: tf.keras.Model,
    *,
    plus: bool = False,
    insta_blocks: Blocks = INSTA_BLOCKS,
    reuse_statistics: bool = True,
    threshold: Mapping[str, Any] | None = None,
    prelu: Mapping[str, Any] | None = None,
) -> tf.keras.Model:
    """`instance_aware` by arguments as our models have them, see `options.AwareOptions`.

    # Raises
        ValueError: as there, and if `prelu` says more than what is instance-aware.
    """
    return instance_aware(
        model,
        blocks=insta_blocks,
        reduction_ratio=REDUCTION_RATIO if plus else None,
        prelu=parameters_of(prelu),
        reuse_statistics=reuse_statistics,
        threshold=threshold,
    )


def parameters_of(prelu: Mapping[str, Any] | None) -> Any:
    """Which parameters a model's argument `prelu` makes instance-aware.

    # Raises
        ValueError: if it says anything else.
    """
    foreign = sorted(set(prelu or {}) - {"instance_aware"})
    if foreign:
        raise ValueError(
            "`prelu` of a network that was made instance-aware must say what is instance_aware; "
            f"got {', '.join(foreign)}: leave it out, as PReLUs have the thresholds' settings."
        )
    return (prelu or {}).get("instance_aware", "gamma")


class _Inserting:
    """Puts thresholds in front of signs and replaces PReLUs, call by call."""

    def __init__(
        self,
        names: set[str],
        chosen: Sequence[Sign],
        activations: Sequence[Activation],
        options: Mapping[str, Any],
        of_prelus: Mapping[str, Any],
        reuse: bool,
    ) -> None:
        self._names = names
        self._options = options
        self._of_prelus = of_prelus
        self._signs = {layer: sign for sign in chosen for layer in sign.layers}
        self._replaced = {sign.static: sign for sign in chosen if sign.static and not sign.inside}
        self._prelus = {x.layer: x for x in activations}
        reusing = [x for x in activations if reuse and x.sign in chosen and _can_reuse(x)]
        self._reusing = {x.layer for x in reusing}
        self._lending = {x.sign for x in reusing}
        self._thresholds: dict[Sign, InstaThreshold] = {}
        self._shifted: dict[tuple[Sign, int], tuple[Any, Any]] = {}
        self._statistics: dict[Sign, Any] = {}
        self._made: dict[Layer, InstaPReLU] = {}
        self._plain_signs: dict[Layer, LeanApproxSign] = {}

    def change(self, layer: Layer, config: dict[str, Any]) -> None:
        """Of a copy's configuration: a threshold inside of a quantizer goes in front."""
        if layer in self._signs and self._signs[layer].inside:
            config["input_quantizer"] = _plain_sign(layer.input_quantizer)

    def call(self, rebuilding: Rebuilding, node: Any, *args: Any, **kwargs: Any) -> Any:
        layer = node.layer
        if isinstance(layer, tf.keras.layers.Lambda):
            return as_operations(layer, *args)
        if layer in self._replaced:
            return self._shift(self._replaced[layer], args[0])
        if layer in self._prelus:
            return self._prelu(self._prelus[layer], args[0])
        sign = self._signs.get(layer)
        if sign is not None and sign.static not in self._replaced:
            args = (self._shift(sign, args[0]), *args[1:])
        if sign is not None and isinstance(layer, InstaSign):
            return self._plain(layer)(args[0])
        return rebuilding.copy(layer)(*args, **kwargs)

    def _shift(self, sign: Sign, x: Any) -> Any:
        if (sign, id(x)) not in self._shifted:
            made = self._threshold(sign)(x)
            if sign in self._lending:
                made, self._statistics[sign] = made
            if sign.static is not None:
                self._thresholds[sign].beta.assign(sign.static.beta)
            self._shifted[sign, id(x)] = made, x  # kept, so that no other gets its number
        return self._shifted[sign, id(x)][0]

    def _threshold(self, sign: Sign) -> InstaThreshold:
        if sign not in self._thresholds:
            like, options = sign.layers[0], dict(self._options)
            if sign in self._lending:
                options["return_statistic"] = True
            if sign.static is not None:
                like = sign.static
                options["beta_initializer"] = like.beta_initializer
                options["beta_regularizer"] = like.beta_regularizer
                options["trainable"] = like.trainable
            name = like.name if like in self._replaced else self._free(sign.layers[0].name)
            options["dtype"] = like.dtype_policy
            self._thresholds[sign] = configured(InstaThreshold, options, name)
        return self._thresholds[sign]

    def _plain(self, layer: InstaSign) -> LeanApproxSign:
        if layer not in self._plain_signs:
            options = {"name": layer.name, "dtype": layer.dtype_policy}
            self._plain_signs[layer] = _plain_sign(layer, **options)
        return self._plain_signs[layer]

    def _free(self, name: str) -> str:
        base = f"{re.sub('_conv(2d)?$', '', name)}_threshold"
        numbered = (f"{base}_{number}" for number in count(1))
        free = next(x for x in chain([base], numbered) if x not in self._names)
        self._names.add(free)
        return free

    def _prelu(self, activation: Activation, x: Any) -> Any:
        layer, given = activation.layer, {}
        if layer in self._made:
            return self._made[layer](x)
        if layer in self._reusing and activation.sign is not None:
            given["statistic"] = self._statistics[activation.sign]
        initializers, values = _of_prelu(layer)
        options = {**self._of_prelus, **initializers}
        options |= {"trainable": layer.trainable, "dtype": layer.dtype_policy}
        if given:
            options |= {"statistic": None, "normalization": None, "statistic_bound": None}
        self._made[layer] = made = configured(InstaPReLU, options, layer.name)
        y = made(x, **given)
        for name, value in values.items():
            getattr(made, name).assign(value)
        return y


def _plain_sign(quantizer: InstaSign, **kwargs: Any) -> LeanApproxSign:
    """What is left of a quantizer whose threshold goes in front."""
    return LeanApproxSign(metrics=quantizer.sign._custom_metrics, **kwargs)


def _can_reuse(activation: Activation) -> bool:
    """Whether a PReLU's map has the channels of what the threshold reads, which is called once."""
    maps = activation.sign.maps if activation.sign else []
    shapes = {(x.shape.rank, x.shape[-1]) for x in (*maps, activation.map)}
    return len(maps) == 1 and len(shapes) == 1


def _of_prelu(layer: Layer) -> tuple[dict[str, Any], dict[str, tf.Variable]]:
    """Initializers and values of what RPReLU learns."""
    if isinstance(layer, RPReLU):
        initializers = {f"{x}_initializer": getattr(layer, f"{x}_initializer") for x in PARAMETERS}
        return initializers, {x: getattr(layer, x) for x in PARAMETERS}
    if layer.alpha.shape != (1,) * (layer.alpha.shape.rank - 1) + layer.alpha.shape[-1:]:
        raise ValueError(
            f"A PReLU must have one slope a channel; {layer.name} has slopes of shape "
            f"{tuple(layer.alpha.shape)}: build it with shared_axes=[1, 2], or give prelu=None."
        )
    if layer.alpha_regularizer is not None or layer.alpha_constraint is not None:
        raise ValueError(
            f"A PReLU to become instance-aware must have neither regularizer nor constraint; "
            f"{layer.name} has: build it without, or give prelu=None."
        )
    values = {"slope": tf.reshape(layer.alpha, (-1,))}
    return {"slope_initializer": layer.alpha_initializer}, values
