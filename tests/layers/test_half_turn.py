"""Maps that are turned."""

import pytest

from larq_insta.layers import HalfTurn


def test_only_maps_are_turned():
    with pytest.raises(ValueError, match=r"\(batch, height, width, channels\); got \(None, 6\)"):
        HalfTurn().build((None, 6))
