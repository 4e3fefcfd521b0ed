"""Thresholds in front of a sign: ReActNet's static one, INSTA-Th and INSTA-Th+."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from larq_insta.layers import statistics
from larq_insta.layers.branch import Branched
from larq_insta.layers.channelwise import (
    ChannelwiseLayer,
    InstanceAware,
    add_saturated,
    check_choice,
    narrow,
)


@tf.keras.utils.register_keras_serializable("larq_insta")
class StaticThreshold(ChannelwiseLayer):
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
        self.beta_regularizer = _regularizer("beta_regularizer", beta_regularizer)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.beta = self.add_vector("beta", self.beta_initializer, self.beta_regularizer)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return add_saturated(inputs, -tf.convert_to_tensor(self.beta))

    def threshold(self, inputs: tf.Tensor) -> tf.Tensor:
        """What a call subtracts from `inputs`, of shape `(1, ..., 1, channels)`."""
        return tf.reshape(self.beta, (*[1] * (inputs.shape.rank - 1), -1))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_initializer": tf.keras.initializers.serialize(self.beta_initializer),
            "beta_regularizer": tf.keras.regularizers.serialize(self.beta_regularizer),
        }


@tf.keras.utils.register_keras_serializable("larq_insta")
class InstaThreshold(Branched, InstanceAware, StaticThreshold):
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
        nothing is regularized; the branch is linear at its end and added. Each is an
        argument. The branch's last dense layer has no bias, as \\(\beta\\) is one.
        Gradient and branch are chosen by our study, table ResNet18 of
        `studies/thresholds/report.md`: without the gradient it is worse, and neither
        form of the branch is shown to be better.

    # Arguments
        statistic: `"cube_mean"` (\\(E[X^3]\\)), `"mean"`, `"variance"` or `"skewness"`.
        normalization: Where batch normalisation (without learned scale and shift) acts:
            `"batch"`, on the input, in front of statistic and sign; `"statistic"`, on the
            statistic, so that \\(\alpha\\) weighs how far the instance lies from its batch,
            which inference can fold into \\(\alpha\\) and \\(\beta\\); `None`, nowhere.
        alpha_initializer: Initializer of \\(\alpha\\).
        alpha_regularizer: Regularizer of \\(\alpha\\).
        stop_gradient: If true no gradient passes through the statistic to the input.
        statistic_bound: The (normalised) statistic is cut off at this absolute value; `None`
            for nowhere. In deep networks a rare picture's cubes can else grow from layer to
            layer until they are not finite.
        reduction_ratio: Channels over hidden units (at least one) of the branch; `None`
            for no branch.
        branch_activation: Activation after the branch's last dense layer, such as
            `"tanh"`; `None` for a linear one.
        branch_combination: `"add"` the branch to \\(\alpha \cdot E[X^3]\\), or
            `"replace"` that by the branch.
        branch_scaling: By what the branch's dense layers divide their sums: `"fan_in"`, their
            numbers of inputs \\(C\\) and \\(H\\) (channels and hidden units), so that an
            optimizer that moves each weight by about its rate, as Adam, moves the branch no
            farther in wide layers; or `None`, by nothing.
        return_statistic: If true a call returns a list, the output and the (normalised)
            statistic `(batch, 1, ..., 1, channels)`, for an `InstaPReLU` to reuse.
        **kwargs: As for `StaticThreshold`, `beta_initializer` among them.

    # Input shape
        `(batch, ..., channels)`, usually `(batch, height, width, channels)`; inputs of
        shape `(batch, channels)` count as maps of one pixel.

    # Output shape
        Same as the input; with `return_statistic` a list of that and the statistic's.

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
        branch_scaling: str | None = None,
        return_statistic: bool = False,
        statistic_bound: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            statistic, normalization, alpha_initializer, stop_gradient, statistic_bound, **kwargs
        )
        check_choice("return_statistic", return_statistic, (False, True))
        self.set_branch(reduction_ratio, branch_activation, branch_combination, branch_scaling)
        self.alpha_regularizer = _regularizer("alpha_regularizer", alpha_regularizer)
        self.return_statistic = return_statistic
        self.has_alpha = reduction_ratio is None or branch_combination == "add"

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if self.has_alpha:
            self.alpha = self.add_vector("alpha", self.alpha_initializer, self.alpha_regularizer)
        if self.reduction_ratio is not None:
            self.build_branch()
        # Last, so that freezing does not change the order of weights in an `.h5` file.
        self.build_batch_norm(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> Any:
        x = self.batch_norm(inputs) if self.normalization == "batch" else inputs
        if training and self.fuses:
            y, statistic = self._call_in_training(x)
        else:
            statistic = self.instance_statistic(x)
            y = add_saturated(x, -self._threshold(statistic))
        y = narrow(y, inputs.dtype)
        return [y, statistic] if self.return_statistic else y

    def _call_in_training(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def input_gradient(gradient: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
            # Of the output, as the sign keeps it anyway, so that the input need not be kept.
            return statistics.plus_squares(gradient, y, threshold, factor)

        x, statistic = self.with_cube_mean(x, input_gradient)
        threshold = self._threshold(statistic)
        y = add_saturated(x, -threshold)
        return y, statistic

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = tf.TensorShape(input_shape)
        if not self.return_statistic:
            return shape
        return [shape, tf.TensorShape([shape[0], *[1] * (shape.rank - 2), shape[-1]])]

    def threshold(self, inputs: tf.Tensor) -> tf.Tensor:
        """What inference subtracts from `inputs`: `TH`, `(batch, 1, ..., 1, channels)`.

        With `normalization="batch"` it is subtracted from the normalised input, and is
        in the units of that.
        """
        x = self.batch_norm(inputs) if self.normalization == "batch" else inputs
        return self._threshold(self.instance_statistic(x))

    def _threshold(self, statistic: tf.Tensor) -> tf.Tensor:
        """`TH` of shape `(batch, 1, ..., 1, channels)`."""
        threshold = tf.cast(self.beta, statistic.dtype)
        if self.has_alpha:
            threshold = threshold + tf.cast(self.alpha, statistic.dtype) * statistic
        if self.reduction_ratio is not None:
            threshold = threshold + self.branch(statistic)
        return threshold

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha_regularizer": tf.keras.regularizers.serialize(self.alpha_regularizer),
            **self.branch_config(),
            "return_statistic": self.return_statistic,
        }


def _regularizer(argument: str, value: Any) -> Any:
    regularizer = tf.keras.regularizers.get(value)
    # Keras takes an unknown name for the regularizer itself.
    if isinstance(regularizer, str):
        raise ValueError(
            f"`{argument}` must be None, a Keras regularizer or its name; got {value!r}."
        )
    return regularizer
