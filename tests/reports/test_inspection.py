"""What `larq-insta inspect` finds and shows."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize, run

from larq_insta import InstaThreshold, models
from larq_insta.reports import inspection, inspection_page
from larq_insta_runtime.errors import InputError

CHROMIUM = shutil.which("chromium")


def one_threshold(rng, **arguments):
    inputs = tf.keras.Input((5, 6, 4))
    x = InstaThreshold(name="threshold", **arguments)(inputs)
    model = tf.keras.Model(inputs, x)
    randomize(model, rng)
    return model, rng.normal(1, 2, (250, 5, 6, 4)).astype(np.float32)


def test_it_finds_what_numpy_does(rng):
    model, x = one_threshold(rng)
    (layer,) = inspection.inspect(model, x)
    alpha, beta = model.layers[-1].alpha.numpy(), model.layers[-1].beta.numpy()
    thresholds = alpha * (x.astype(np.float64) ** 3).mean((1, 2)) + beta
    static = thresholds.mean(0)
    assert layer.name == "threshold"
    np.testing.assert_allclose(layer.thresholds, thresholds, rtol=1e-4)
    np.testing.assert_allclose(layer.deviations, x.std((0, 1, 2)), rtol=1e-4)
    above = (x >= thresholds[:, None, None]).mean((1, 2, 3))
    np.testing.assert_allclose(layer.positives, above, atol=1e-6)
    np.testing.assert_allclose(layer.static_positives, (x >= static).mean((1, 2, 3)), atol=1e-6)
    np.testing.assert_array_equal(layer.alpha, alpha)
    shifts = (thresholds - static) / x.std((0, 1, 2))
    assert layer.spread == pytest.approx(shifts.std(0).mean(), rel=1e-3)
    lowest, highest = layer.extremes(3)
    order = np.argsort(shifts.mean(1))
    np.testing.assert_array_equal(lowest, order[:3])
    np.testing.assert_array_equal(highest, order[::-1][:3])


def test_what_is_compared_may_be_normalised(rng):
    model, x = one_threshold(rng, normalization="batch")
    (layer,) = inspection.inspect(model, x)
    norm = model.layers[-1].batch_norm
    normal = norm(x).numpy()
    np.testing.assert_allclose(layer.deviations, normal.std((0, 1, 2)), rtol=1e-3)


def test_thresholds_that_stay_have_no_spread(rng):
    model, x = one_threshold(rng)
    model.layers[-1].alpha.assign(np.zeros(4))
    (layer,) = inspection.inspect(model, x)
    assert layer.spread < 1e-6
    np.testing.assert_array_equal(layer.positives, layer.static_positives)


def test_quantizers_and_branches_that_replace_alpha(rng):
    arguments = {"reduction_ratio": 2, "branch_combination": "replace"}
    model = models.InstaResNet18(
        input_shape=(16, 16, 3), stem="small", filters=(4, 8), threshold=arguments
    )
    layers = inspection.inspect(model, rng.normal(size=(3, 16, 16, 3)).astype(np.float32))
    assert [layer.name for layer in layers] == [f"stage2_block{i}_threshold" for i in (2, 3, 4)]
    assert all(layer.alpha is None for layer in layers)


def test_static_and_overflowing_models_are_refused(rng):
    images = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    arguments = {"input_shape": (16, 16, 3), "stem": "small", "filters": (4, 8)}
    with pytest.raises(InputError, match="must have instance-aware thresholds; reactnet18 has"):
        inspection.inspect(models.ReActNet18(**arguments), images)
    model = models.InstaResNet18(**arguments)
    model.get_layer("stage2_block3_threshold").beta.assign(np.full(8, np.inf))
    with pytest.raises(InputError, match="must be finite; some of stage2_block3_threshold are not"):
        inspection.inspect(model, images)


@pytest.fixture(scope="module")
def inspected(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspected") / "page"
    output = run("inspect", trained / "best.keras", folder, "--pictures", 150)
    assert f"2 layers, 150 pictures: {folder / 'index.html'}" in output
    return folder


def test_the_page_needs_no_other_file(inspected):
    page = (inspected / "index.html").read_text()
    sources = re.findall(r'src="([^"]{,22})', page)
    assert len(sources) == 1 + 2 * (1 + 2 * 8)
    assert set(sources) == {"data:image/png;base64,"}
    assert "http" not in re.sub(r'src="[^"]*"', "", page)
    names = ["thresholds", *(f"block1_{part}_threshold" for part in ("spatial", "pointwise"))]
    assert sorted(path.name for path in inspected.glob("*.png")) == [
        f"{i:02d}_{name}.png" for i, name in enumerate(names)
    ]


def test_names_are_escaped(rng, tmp_path):
    model, x = one_threshold(rng)
    pictures = rng.integers(0, 256, (250, 5, 6, 1)).astype(np.uint8)
    layers = inspection.inspect(model, x)
    inspection_page.save(tmp_path / "page", "<a>&b", layers, pictures, ['"<c>"'] * 250)
    page = (tmp_path / "page" / "index.html").read_text()
    assert "<h1>&lt;a&gt;&amp;b</h1>" in page
    assert "<c>" not in page


def test_a_folder_in_use_is_refused(trained, inspected):
    output = run("inspect", trained / "best.keras", inspected, code=2)
    assert "The output folder must be new or empty" in output


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs the Debian package chromium")
def test_a_browser_shows_every_picture_of_the_page(inspected, tmp_path):
    script = """<script>
        const images = [...document.images];
        const wide = document.documentElement;
        document.title = [images.filter(i => i.complete && i.naturalWidth > 0).length,
            images.length, wide.scrollWidth <= wide.clientWidth].join(" ");
    </script>"""
    page = (inspected / "index.html").read_text().replace("</html>", f"{script}</html>")
    (tmp_path / "page.html").write_text(page)
    for width in (1200, 500):
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
        done = subprocess.run(
            [CHROMIUM, *options, "--dump-dom", (tmp_path / "page.html").as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        assert re.search("<title>(.*?)</title>", done.stdout)[1] == "35 35 true"
