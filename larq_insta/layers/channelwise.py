"""What our layers share: vectors with one entry a channel, and a statistic of the input."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import tensorflow as tf

from larq_insta.layers import statistics


class ChannelwiseLayer(tf.keras.layers.Layer):
    """A layer whose weights are vectors with one entry a channel, kept in wide precision."""

    FLOATS_ONLY = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._check_float(self.compute_dtype)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Keras does not cast integers to the layer's dtype, so that a result would be cut off.
        self._check_float(getattr(inputs, "dtype", tf.float32))
        return super().__call__(inputs, *args, **kwargs)

    def _check_float(self, dtype: Any) -> None:
        if self.FLOATS_ONLY and not tf.as_dtype(dtype).is_floating:
            raise ValueError(
                f"{type(self).__name__} computes with floating-point numbers; got "
                f"{tf.as_dtype(dtype).name}: cast the input."
            )

    def build(self, input_shape: Any) -> None:
        shape = tf.TensorShape(input_shape)
        if tf.keras.backend.image_data_format() != "channels_last":
            raise ValueError(
                f"{type(self).__name__} needs channels-last data; got the Keras setting "
                "'channels_first': call tf.keras.backend.set_image_data_format('channels_last')."
            )
        if shape.rank is None or shape.rank < 2 or shape[-1] is None:
            raise ValueError(
                f"{type(self).__name__} needs inputs of shape (batch, ..., channels) with a "
                f"known number of channels; got {shape}: give the channels in the input's shape."
            )
        if 0 in shape[1:]:
            raise ValueError(
                f"{type(self).__name__} needs maps of at least one pixel and channel; got {shape}."
            )
        self.input_spec = tf.keras.layers.InputSpec(ndim=shape.rank, axes={-1: shape[-1]})
        super().build(input_shape)

    def add_vector(
        self, name: str, initializer: Any = "zeros", regularizer: Any = None
    ) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=(self.input_spec.axes[-1],),
            initializer=initializer,
            regularizer=regularizer,
            # Mixed precision must not cast it: thresholds are computed in float32.
            experimental_autocast=False,
        )

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)


class InstanceAware(ChannelwiseLayer):
    """A layer with a statistic of its input, for each instance and channel."""

    NORMALIZATIONS: tuple[str | None, ...] = (None, "statistic")
    TAKES_STATISTIC = False  # from outside, with `statistic=None`

    def __init__(
        self,
        statistic: str | None = "cube_mean",
        normalization: str | None = None,
        alpha_initializer: Any = "zeros",
        stop_gradient: bool = False,
        statistic_bound: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("normalization", normalization, self.NORMALIZATIONS)
        check_choice("stop_gradient", stop_gradient, (False, True))
        if statistic_bound is not None and not _is_positive(statistic_bound):
            raise ValueError(
                f"`statistic_bound` must be None or positive; got {statistic_bound!r}."
            )
        self.statistic = statistic
        self.normalization = normalization
        self.alpha_initializer = tf.keras.initializers.get(alpha_initializer)
        self.stop_gradient = stop_gradient
        self.statistic_bound = statistic_bound
        given = statistic is None and self.TAKES_STATISTIC
        self._statistic = _no_statistic if given else statistics.get(statistic)

    def build_batch_norm(self, input_shape: Any) -> None:
        if self.normalization is not None:
            self.batch_norm = tf.keras.layers.BatchNormalization(
                momentum=0.9,
                epsilon=1e-5,
                center=False,
                scale=False,
                dtype=statistics.wide_dtype(self.dtype),
                name="batch_norm",
            )
            build_inside(self.batch_norm, input_shape)

    def instance_statistic(self, x: tf.Tensor) -> tf.Tensor:
        """Shape `(batch, 1, ..., 1, channels)`, float32 or float64."""
        return self._normalized(self._statistic(x))

    @property
    def fuses(self) -> bool:
        """Whether training may use `with_cube_mean`."""
        return self._statistic is statistics.cube_mean

    def with_cube_mean(
        self, x: tf.Tensor, input_gradient: statistics.InputGradient
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`x`, to be used in its stead, and its `instance_statistic`.

        For `input_gradient` see `statistics.cube_mean_in_training`.
        """
        statistic, x = statistics.cube_mean_in_training(x, input_gradient)
        return x, self._normalized(statistic)

    def _normalized(self, statistic: tf.Tensor) -> tf.Tensor:
        if self.stop_gradient:
            statistic = tf.stop_gradient(statistic)
        if self.normalization == "statistic":
            statistic = self.batch_norm(statistic)
        bound = self.statistic_bound
        return statistic if bound is None else tf.clip_by_value(statistic, -bound, bound)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "statistic": self.statistic,
            "normalization": self.normalization,
            "alpha_initializer": tf.keras.initializers.serialize(self.alpha_initializer),
            "stop_gradient": self.stop_gradient,
            "statistic_bound": self.statistic_bound,
        }


def _no_statistic(_x: tf.Tensor) -> tf.Tensor:
    raise AssertionError("The statistic comes from outside.")


def _is_positive(value: Any) -> bool:
    return isinstance(value, Real) and float(value) > 0


def build_inside(layer: tf.keras.layers.Layer, input_shape: Any) -> None:
    # Weights in an .h5 file are told apart by their scoped names.
    with tf.name_scope(layer.name):
        layer.build(input_shape)


def add_saturated(x: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """`x + shift` in `x`'s precision, computed in `shift`'s; too large becomes the largest."""
    return narrow(tf.cast(x, shift.dtype) + shift, x.dtype)


def narrow(x: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return x if x.dtype == dtype else tf.saturate_cast(x, dtype)


def check_choice(argument: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{argument}` must be one of {known}; got {value!r}.")
