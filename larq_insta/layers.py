"""Thresholds and activations of binary networks, static and instance-aware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from larq_insta import statistics


class _ChannelwiseLayer(tf.keras.layers.Layer):
    """A layer whose weights are vectors with one entry a channel, kept in wide precision."""

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
        self.input_spec = tf.keras.layers.InputSpec(ndim=shape.rank, axes={-1: shape[-1]})
        super().build(input_shape)

    def _add_vector(
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


def _build_inside(layer: tf.keras.layers.Layer, input_shape: Any) -> None:
    # Weights in an .h5 file are told apart by their scoped names.
    with tf.name_scope(layer.name):
        layer.build(input_shape)


def _add_saturated(x: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """`x + shift` in `x`'s precision, computed in `shift`'s; too large becomes the largest."""
    return _narrow(tf.cast(x, shift.dtype) + shift, x.dtype)


def _narrow(x: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return x if x.dtype == dtype else tf.saturate_cast(x, dtype)


@tf.keras.utils.register_keras_serializable("larq_insta")
class StaticThreshold(_ChannelwiseLayer):
    r"""Subtracts a learned threshold that is the same for every instance.

    In front of a sign it makes ReActNet's RSign.

    \\[y = x - \beta\\]

    with one \\(\beta\\) a channel. Gradient: \\(\partial L / \partial x = g\\) and
    \\(\partial L / \partial \beta = -\sum g\\) over all but the channels, for upstream
    gradient \\(g\\).

    !!! example
        ```python
        x = larq_insta.StaticThreshold()(x)
        x = lq.layers.QuantConv2D(64, 3, input_quantizer="approx_sign", ...)(x)
        ```

    # Arguments
        beta_initializer: Initializer of \\(\beta\\).
        beta_regularizer: Regularizer of \\(\beta\\), none by default.

    # Input shape
        `(batch, ..., channels)`, usually `(batch, height, width, channels)`.

    # Output shape
        Same as the input.

    # Raises
        ValueError: if the data is not channels-last or the number of channels unknown.

    # References
        - [ReActNet: Towards Precise Binary Neural Network with Generalized Activation
            Functions](https://arxiv.org/abs/2003.03488)
    """

    def __init__(
        self, beta_initializer: Any = "zeros", beta_regularizer: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.beta_initializer = tf.keras.initializers.get(beta_initializer)
        self.beta_regularizer = tf.keras.regularizers.get(beta_regularizer)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.beta = self._add_vector("beta", self.beta_initializer, self.beta_regularizer)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return _add_saturated(inputs, -tf.convert_to_tensor(self.beta))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_initializer": tf.keras.initializers.serialize(self.beta_initializer),
            "beta_regularizer": tf.keras.regularizers.serialize(self.beta_regularizer),
        }


class _InstanceAware(_ChannelwiseLayer):
    """A layer with a statistic of its input, for each instance and channel."""

    NORMALIZATIONS: tuple[str | None, ...] = (None, "statistic")

    def __init__(
        self,
        statistic: str = "cube_mean",
        normalization: str | None = None,
        alpha_initializer: Any = "zeros",
        stop_gradient: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_choice("normalization", normalization, self.NORMALIZATIONS)
        self.statistic = statistic
        self.normalization = normalization
        self.alpha_initializer = tf.keras.initializers.get(alpha_initializer)
        self.stop_gradient = stop_gradient
        self._statistic = statistics.get(statistic)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if self.normalization is not None:
            self.batch_norm = tf.keras.layers.BatchNormalization(
                momentum=0.9,
                epsilon=1e-5,
                center=False,
                scale=False,
                dtype=statistics.wide_dtype(self.dtype),
                name="batch_norm",
            )
            _build_inside(self.batch_norm, input_shape)

    def _instance_statistic(self, x: tf.Tensor) -> tf.Tensor:
        """Shape `(batch, 1, ..., 1, channels)`, float32 or float64."""
        statistic = self._statistic(x)
        if self.stop_gradient:
            statistic = tf.stop_gradient(statistic)
        return self.batch_norm(statistic) if self.normalization == "statistic" else statistic

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "statistic": self.statistic,
            "normalization": self.normalization,
            "alpha_initializer": tf.keras.initializers.serialize(self.alpha_initializer),
            "stop_gradient": self.stop_gradient,
        }


@tf.keras.utils.register_keras_serializable("larq_insta")
class InstaThreshold(_InstanceAware, StaticThreshold):
    r"""Subtracts a threshold computed for every instance from its own statistics.

    The paper's INSTA-Th; with `reduction_ratio` its INSTA-Th+. A sign follows it.

    \\[y = x - TH, \qquad TH = \alpha \cdot E[X^3] + \beta\\]

    per instance and channel, the mean \\(E\\) taken over height and width. INSTA-Th+ adds
    to (or puts in place of) \\(\alpha \cdot E[X^3]\\) a squeeze-and-excitation branch
    \\(W_2 \, \mathrm{relu}(W_1 E[X^3] + b_1)\\), with \\(W_2 = 0\\) at first, so that it
    starts as INSTA-Th.

    Gradient, with upstream gradient \\(g\\), \\(G = \sum_j g_j\\) over the instance's
    \\(N\\) positions (for a following sign, \\(g\\) already holds its pseudo-gradient):

    \\[
    \frac{\partial L}{\partial \alpha} = -E[X^3] \, G, \quad
    \frac{\partial L}{\partial \beta} = -G, \quad
    \frac{\partial L}{\partial x_i} = g_i - \frac{3 \alpha x_i^2}{N} G
    \\]

    \\(\alpha\\) and \\(\beta\\) summed over the batch.

    !!! note "Our choices where the paper's text is not at hand"
        \\(\alpha\\) starts at 0, so that the network starts exactly as a ReActNet;
        \\(X\\) is the layer's input itself; the gradient passes through the statistic;
        nothing is regularized; the branch's last dense layer has no bias, as \\(\beta\\)
        is one. Each is an argument.

    # Arguments
        statistic: `"cube_mean"` (\\(E[X^3]\\)), `"mean"`, `"variance"` or `"skewness"`.
        normalization: `"batch"` normalises the input by batch statistics before
            threshold and sign, without learned scale and shift; `None` does not.
        alpha_initializer: Initializer of \\(\alpha\\).
        beta_initializer: Initializer of \\(\beta\\).
        alpha_regularizer: Regularizer of \\(\alpha\\).
        beta_regularizer: Regularizer of \\(\beta\\).
        stop_gradient: If true no gradient passes through the statistic to the input.
        reduction_ratio: Channels over hidden units (at least one) of the branch; `None`
            for no branch.
        branch_activation: Activation after the branch's last dense layer, such as
            `"tanh"`; `None` for a linear one.
        branch_combination: `"add"` the branch to \\(\alpha \cdot E[X^3]\\), or
            `"replace"` that by the branch.
        **kwargs: As for `StaticThreshold`, `beta_initializer` among them.

    # Input shape
        `(batch, ..., channels)`, usually `(batch, height, width, channels)`; inputs of
        shape `(batch, channels)` count as maps of one pixel.

    # Output shape
        Same as the input.

    # Raises
        ValueError: if an argument is unknown, the data not channels-last or the number
            of channels unknown.

    # References
        - [INSTA-BNN: Binary Neural Network with INSTAnce-aware
            Threshold](https://arxiv.org/abs/2204.07439)
    """

    NORMALIZATIONS = (None, "statistic", "batch")

    def __init__(
        self,
        statistic: str = "cube_mean",
        normalization: str | None = None,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        stop_gradient: bool = False,
        reduction_ratio: int | None = None,
        branch_activation: Any = None,
        branch_combination: str = "add",
        **kwargs: Any,
    ) -> None:
        super().__init__(statistic, normalization, alpha_initializer, stop_gradient, **kwargs)
        _check_choice("branch_combination", branch_combination, ("add", "replace"))
        if reduction_ratio is not None and reduction_ratio < 1:
            raise ValueError(
                f"`reduction_ratio` must be None or at least 1; got {reduction_ratio}."
            )
        self.alpha_regularizer = tf.keras.regularizers.get(alpha_regularizer)
        self.reduction_ratio = reduction_ratio
        self.branch_activation = tf.keras.activations.get(branch_activation)
        self.branch_combination = branch_combination
        self._has_alpha = reduction_ratio is None or branch_combination == "add"

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if self._has_alpha:
            self.alpha = self._add_vector("alpha", self.alpha_initializer, self.alpha_regularizer)
        if self.reduction_ratio is not None:
            channels = self.input_spec.axes[-1]
            self._build_branch(channels, hidden=max(1, channels // self.reduction_ratio))

    def _build_branch(self, channels: int, hidden: int) -> None:
        wide = statistics.wide_dtype(self.dtype)
        self.branch_reduce = tf.keras.layers.Dense(
            hidden, "relu", kernel_initializer="he_normal", dtype=wide, name="branch_reduce"
        )
        self.branch_expand = tf.keras.layers.Dense(
            channels,
            self.branch_activation,
            use_bias=False,
            kernel_initializer="zeros",
            dtype=wide,
            name="branch_expand",
        )
        _build_inside(self.branch_reduce, (None, channels))
        _build_inside(self.branch_expand, (None, hidden))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        x = self.batch_norm(inputs) if self.normalization == "batch" else inputs
        threshold = self._threshold(self._instance_statistic(x))
        return _narrow(_add_saturated(x, -threshold), inputs.dtype)

    def _threshold(self, statistic: tf.Tensor) -> tf.Tensor:
        """`TH` of shape `(batch, 1, ..., 1, channels)`."""
        threshold = tf.cast(self.beta, statistic.dtype)
        if self._has_alpha:
            threshold = threshold + tf.cast(self.alpha, statistic.dtype) * statistic
        if self.reduction_ratio is not None:
            threshold = threshold + self._branch(statistic)
        return threshold

    def _branch(self, statistic: tf.Tensor) -> tf.Tensor:
        channels = self.input_spec.axes[-1]
        squeezed = tf.reshape(statistic, (-1, channels))
        excited = self.branch_expand(self.branch_reduce(squeezed))
        return tf.reshape(excited, (-1, *[1] * (statistic.shape.rank - 2), channels))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha_regularizer": tf.keras.regularizers.serialize(self.alpha_regularizer),
            "reduction_ratio": self.reduction_ratio,
            "branch_activation": tf.keras.activations.serialize(self.branch_activation),
            "branch_combination": self.branch_combination,
        }


PARAMETERS = ("gamma", "slope", "zeta")
"""What RPReLU learns for each channel."""


@tf.keras.utils.register_keras_serializable("larq_insta")
class RPReLU(_ChannelwiseLayer):
    r"""PReLU with a learned shift on either side, ReActNet's RPReLU.

    \\[
    y = \begin{cases}
      x - \gamma + \zeta & x > \gamma \\\
      slope \cdot (x - \gamma) + \zeta & x \leq \gamma
    \end{cases}
    \\]

    with one \\(\gamma\\), \\(\zeta\\) and \\(slope\\) a channel. Gradient, with upstream
    gradient \\(g\\) and \\(d = 1\\) where \\(x > \gamma\\), else \\(slope\\):
    \\(\partial L / \partial x = d g\\), \\(\partial L / \partial \gamma = -\sum d g\\),
    \\(\partial L / \partial \zeta = \sum g\\) and \\(\partial L / \partial slope =
    \sum_{x \leq \gamma} (x - \gamma) g\\).

    # Arguments
        slope_initializer: Initializer of the slope, the constant 0.25 by default.
        gamma_initializer: Initializer of \\(\gamma\\).
        zeta_initializer: Initializer of \\(\zeta\\).

    # Input shape
        `(batch, ..., channels)`, usually `(batch, height, width, channels)`.

    # Output shape
        Same as the input.

    # Raises
        ValueError: if the data is not channels-last or the number of channels unknown.

    # References
        - [ReActNet: Towards Precise Binary Neural Network with Generalized Activation
            Functions](https://arxiv.org/abs/2003.03488)
    """

    def __init__(
        self,
        slope_initializer: Any = None,
        gamma_initializer: Any = "zeros",
        zeta_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if slope_initializer is None:
            slope_initializer = tf.keras.initializers.Constant(0.25)
        self.slope_initializer = tf.keras.initializers.get(slope_initializer)
        self.gamma_initializer = tf.keras.initializers.get(gamma_initializer)
        self.zeta_initializer = tf.keras.initializers.get(zeta_initializer)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.gamma = self._add_vector("gamma", self.gamma_initializer)
        self.slope = self._add_vector("slope", self.slope_initializer)
        self.zeta = self._add_vector("zeta", self.zeta_initializer)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        gamma, slope, zeta = self._parameters(inputs)
        shifted = _add_saturated(inputs, -gamma)
        if slope.shape.rank == 1:
            slope = tf.reshape(slope, (*[1] * (inputs.shape.rank - 2), -1))
        # This form, with a slope of one rank less than the input, becomes one TFLite PRELU.
        negative = tf.cast(-slope, inputs.dtype) * tf.nn.relu(-shifted)
        return _add_saturated(tf.nn.relu(shifted) + negative, zeta)

    def _parameters(self, inputs: tf.Tensor) -> list[tf.Tensor]:  # noqa: ARG002
        return [tf.convert_to_tensor(getattr(self, name)) for name in PARAMETERS]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "slope_initializer": tf.keras.initializers.serialize(self.slope_initializer),
            "gamma_initializer": tf.keras.initializers.serialize(self.gamma_initializer),
            "zeta_initializer": tf.keras.initializers.serialize(self.zeta_initializer),
        }


@tf.keras.utils.register_keras_serializable("larq_insta")
class InstaPReLU(_InstanceAware, RPReLU):
    r"""RPReLU whose parameters depend on the instance, the paper's INSTA-PReLU.

    Forward and gradient as for `RPReLU`, but each parameter \\(p\\) named in
    `instance_aware` becomes, per instance and channel,

    \\[p' = \alpha_p \cdot E[X^3] + p\\]

    with the mean over height and width. With upstream gradient \\(h\\) of \\(p'\\)
    (`RPReLU`'s formula, summed over one instance's \\(N\\) positions only):

    \\[
    \frac{\partial L}{\partial \alpha_p} = E[X^3] \, h, \quad
    \frac{\partial L}{\partial p} = h
    \\]

    summed over the batch, and \\(3 \alpha_p x_i^2 h / N\\) is added to
    \\(\partial L / \partial x_i\\).

    !!! note "Our choices where the paper's text is not at hand"
        \\(\gamma\\) alone is instance-aware by default: it is the PReLU's threshold. The
        \\(\alpha_p\\) start at 0, so that the layer starts as ReActNet's RPReLU.

    # Arguments
        instance_aware: Which of `"gamma"`, `"slope"`, `"zeta"` depend on the instance.
        statistic: `"cube_mean"` (\\(E[X^3]\\)), `"mean"`, `"variance"` or `"skewness"`.
        normalization: `"statistic"` for batch normalisation (without learned scale and
            shift) in front of the statistic, `None` for none.
        alpha_initializer: Initializer of every \\(\alpha_p\\).
        stop_gradient: If true no gradient passes through the statistic to the input.
        **kwargs: As for `RPReLU`.

    # Input shape
        `(batch, ..., channels)`, usually `(batch, height, width, channels)`.

    # Output shape
        Same as the input.

    # Raises
        ValueError: if an argument is unknown, the data not channels-last or the number
            of channels unknown.

    # References
        - [INSTA-BNN: Binary Neural Network with INSTAnce-aware
            Threshold](https://arxiv.org/abs/2204.07439)
    """

    def __init__(
        self,
        instance_aware: Sequence[str] = ("gamma",),
        statistic: str = "cube_mean",
        normalization: str | None = None,
        alpha_initializer: Any = "zeros",
        stop_gradient: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(statistic, normalization, alpha_initializer, stop_gradient, **kwargs)
        if isinstance(instance_aware, str):
            instance_aware = (instance_aware,)
        for parameter in instance_aware:
            _check_choice("instance_aware", parameter, PARAMETERS)
        self.instance_aware = tuple(instance_aware)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        for parameter in self.instance_aware:
            vector = self._add_vector(f"alpha_{parameter}", self.alpha_initializer)
            setattr(self, f"alpha_{parameter}", vector)

    def _parameters(self, inputs: tf.Tensor) -> list[tf.Tensor]:
        static = dict(zip(PARAMETERS, super()._parameters(inputs), strict=True))
        if not self.instance_aware:
            return list(static.values())
        statistic = self._instance_statistic(inputs)
        for name in self.instance_aware:
            alpha = tf.cast(getattr(self, f"alpha_{name}"), statistic.dtype)
            static[name] = alpha * statistic + tf.cast(static[name], statistic.dtype)
        return list(static.values())

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "instance_aware": list(self.instance_aware),
        }


def _check_choice(argument: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{argument}` must be one of {known}; got {value!r}.")
