"""Binary convolutions that only signs read, with thresholds where Larq Compute Engine errs.

It stores one whole number for such a convolution and its batch normalisation, which sums give +1.
It computes it in float32 from the number of products: next to a sum it is on the wrong side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import larq as lq
import tensorflow as tf

from larq_insta.conversion.shifts import is_channelwise_norm
from larq_insta.layers.ties import Layer, settle, sums_signs
from larq_insta.rewriting.flattening import Call, calls

_KEEPING_ORDER = tf.keras.layers.MaxPooling2D, tf.keras.layers.Reshape, tf.keras.layers.Flatten
_SIGNS = (lq.quantizers.SteSign, lq.quantizers.ApproxSign, lq.quantizers.SwishSign)


@contextmanager
def settled(model: tf.keras.Model) -> Iterator[None]:
    """For a time thresholds lie beside sums, where all signs are those that Keras gives."""
    pairs = list(_thresholds(model))
    before = [norm.moving_mean.numpy() for _, norm in pairs]
    try:
        for convolution, norm in pairs:
            settle(convolution, norm)
        yield
    finally:
        for (_, norm), mean in zip(pairs, before, strict=True):
            norm.moving_mean.assign(mean)


def _thresholds(model: tf.keras.Model) -> Iterator[tuple[Layer, Layer]]:
    """Such convolutions and the batch normalisations behind them."""
    every, readers = calls(model), defaultdict(list)
    for call in every:
        for source in call.sources:
            readers[source].append(call)
    uses = [call.layer for call in every]
    for call in every:
        if sums_signs(call.layer) and len(readers[call]) == 1:
            (norm,) = readers[call]
            once = uses.count(call.layer) == uses.count(norm.layer) == 1
            if once and is_channelwise_norm(norm.layer) and _feeds_signs(norm, readers):
                yield call.layer, norm.layer


def _feeds_signs(call: Call, readers: Mapping[Call, Sequence[Call]]) -> bool:
    return bool(readers[call]) and all(
        isinstance(getattr(reader.layer, "input_quantizer", reader.layer), _SIGNS)
        or (isinstance(reader.layer, _KEEPING_ORDER) and _feeds_signs(reader, readers))
        for reader in readers[call]
    )
