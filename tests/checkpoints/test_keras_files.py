"""Weights that go from one model to another."""

import numpy as np
import pytest
from conftest import tiny

from larq_insta.checkpoints import keras_files
from larq_insta_runtime.errors import InputError


def test_hand_over_is_all_or_nothing():
    source = tiny("ReActNetA", binary="activations")
    target = tiny("ReActNetA")
    keras_files.hand_over(source, target)
    for a, b in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError) as failure:
        keras_files.hand_over(source, tiny(filters=(6, 6)))
    message = str(failure.value)
    assert "block1_pointwise_threshold/alpha:0" in message.split("left over", maxsplit=1)[0]
    assert "left over: none" in message
    assert "head_logits/kernel:0 (4, 10) for (6, 10)" in message
    with pytest.raises(InputError, match=r"missing: none; left over: .*_threshold/alpha:0"):
        keras_files.hand_over(tiny(), target)
