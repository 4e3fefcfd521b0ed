"""Activations behind a block: ReActNet's RPReLU and INSTA-PReLU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from larq_insta.layers.channelwise import ChannelwiseLayer, InstanceAware, check_choice
from larq_insta.layers.rprelu import input_gradient_with_squares, rprelu, rprelu_in_training

PARAMETERS = ("gamma", "slope", "zeta")
"""What RPReLU learns for each channel."""


@tf.keras.utils.register_keras_serializable("larq_insta")
class RPReLU(ChannelwiseLayer):
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
        self.gamma = self.add_vector("gamma", self.gamma_initializer)
        self.slope = self.add_vector("slope", self.slope_initializer)
        self.zeta = self.add_vector("zeta", self.zeta_initializer)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return rprelu(inputs, self._vectors(), training)

    def _vectors(self) -> list[tf.Tensor]:
        return [tf.convert_to_tensor(getattr(self, name)) for name in PARAMETERS]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "slope_initializer": tf.keras.initializers.serialize(self.slope_initializer),
            "gamma_initializer": tf.keras.initializers.serialize(self.gamma_initializer),
            "zeta_initializer": tf.keras.initializers.serialize(self.zeta_initializer),
        }


@tf.keras.utils.register_keras_serializable("larq_insta")
class InstaPReLU(InstanceAware, RPReLU):
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
        \\(\alpha_p\\) start at 0, so that the layer starts as ReActNet's RPReLU. That more
        parameters help is not shown by our study, table ResNet18 of
        `studies/thresholds/report.md`.

    # Arguments
        instance_aware: Which of `"gamma"`, `"slope"`, `"zeta"` depend on the instance.
        statistic: `"cube_mean"` (\\(E[X^3]\\)), `"mean"`, `"variance"` or `"skewness"`, of
            the input; or `None`: a call is given it, `prelu(x, statistic=s)` with `s` of
            shape `(batch, 1, ..., 1, channels)`, usually what an
            `InstaThreshold(return_statistic=True)` has computed.
        normalization: `"statistic"` for batch normalisation (without learned scale and
            shift) of the statistic, which keeps deep networks from diverging, as large
            cubes make larger activations and these larger cubes; `None` for none.
        alpha_initializer: Initializer of every \\(\alpha_p\\).
        stop_gradient: If true no gradient passes through the statistic to the input.
        statistic_bound: The (normalised) statistic is cut off at this absolute value; `None`
            for nowhere. In deep networks a rare picture's cubes can else grow from layer to
            layer until they are not finite.
        **kwargs: As for `RPReLU`.

    # Input shape
        `(batch, ..., channels)`, usually `(batch, height, width, channels)`.

    # Output shape
        Same as the input.

    # Raises
        ValueError: if an argument is unknown, the data not channels-last, the number of
            channels unknown, or a statistic is missing, superfluous or of another width.

    # References
        - [INSTA-BNN: Binary Neural Network with INSTAnce-aware
            Threshold](https://arxiv.org/abs/2204.07439)
    """

    TAKES_STATISTIC = True

    def __init__(
        self,
        instance_aware: Sequence[str] = ("gamma",),
        statistic: str | None = "cube_mean",
        normalization: str | None = None,
        alpha_initializer: Any = "zeros",
        stop_gradient: bool = False,
        statistic_bound: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            statistic, normalization, alpha_initializer, stop_gradient, statistic_bound, **kwargs
        )
        for name in ("normalization", "statistic_bound"):
            if statistic is None and getattr(self, name) is not None:
                raise ValueError(
                    f"`{name}` must be None where the statistic is given in calls "
                    f"(`statistic=None`); got {getattr(self, name)!r}: set it where the statistic "
                    "is computed."
                )
        self.instance_aware = _parameters(instance_aware)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        for parameter in self.instance_aware:
            vector = self.add_vector(f"alpha_{parameter}", self.alpha_initializer)
            setattr(self, f"alpha_{parameter}", vector)
        self.build_batch_norm(input_shape)

    def call(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,
        statistic: tf.Tensor | None = None,
    ) -> tf.Tensor:
        self._check_given(inputs, statistic)
        if not self.instance_aware:
            return super().call(inputs, training)
        if training and self.fuses:
            return self._call_in_training(inputs)
        if statistic is None:
            statistic = self.instance_statistic(inputs)
        elif self.stop_gradient:
            statistic = tf.stop_gradient(statistic)
        return rprelu(inputs, self._adjusted(statistic), training)

    def _check_given(self, inputs: tf.Tensor, statistic: tf.Tensor | None) -> None:
        if (statistic is None) != (self.statistic is not None):
            raise ValueError(
                f"InstaPReLU(statistic={self.statistic!r}) must be called "
                f"{'with' if self.statistic is None else 'without'} a statistic; got "
                f"{'none' if statistic is None else 'one'}: change the argument or the call."
            )
        if statistic is None:
            return
        batch, *positions, channels = inputs.shape
        wanted = tf.TensorShape([batch, *[1] * len(positions), channels])
        if not wanted.is_compatible_with(statistic.shape):
            raise ValueError(
                f"The statistic must be of shape {wanted}, one for each of the input's instances "
                f"and {channels} channels; got shape {statistic.shape}: let the layer compute its "
                "own where widths differ."
            )

    def _call_in_training(self, inputs: tf.Tensor) -> tf.Tensor:
        def input_gradient(upstream: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
            return input_gradient_with_squares(inputs, upstream, gamma, slope, factor)

        x, statistic = self.with_cube_mean(inputs, input_gradient)
        gamma, slope, zeta = self._adjusted(statistic)
        return rprelu_in_training(x, gamma, slope, zeta, passes_gradient=True)

    def _adjusted(self, statistic: tf.Tensor) -> list[tf.Tensor]:
        parameters = {name: tf.cast(getattr(self, name), statistic.dtype) for name in PARAMETERS}
        for name in self.instance_aware:
            alpha = tf.cast(getattr(self, f"alpha_{name}"), statistic.dtype)
            parameters[name] = alpha * statistic + parameters[name]
        return list(parameters.values())

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "instance_aware": list(self.instance_aware),
        }


def _parameters(names: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, Sequence) or len(set(names)) < len(names):
        raise ValueError(
            f"`instance_aware` must be some of {', '.join(PARAMETERS)}, each once; got {names!r}."
        )
    for name in names:
        check_choice("instance_aware", name, PARAMETERS)
    return tuple(names)
