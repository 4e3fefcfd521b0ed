"""The program for devices turns pictures by their EXIF data, as `predict` does."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from test_deploy import CXX, compiled, write_picture

from larq_insta.lite import pictures

TURN = """
#include "preprocessing.h"

int main(int, char* argv[]) {
  const auto picture = larq_insta::Turn(larq_insta::ReadPicture(argv[1]), std::stoi(argv[2]));
  std::ofstream file(argv[3], std::ios::binary);
  file.write(reinterpret_cast<const char*>(picture.values.data()),
             picture.values.size() * sizeof(float));
}
"""

pytestmark = pytest.mark.skipif(shutil.which(CXX[0]) is None, reason=f"needs {CXX[0]}")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turn")
    (folder / "turn.cc").write_text(TURN)
    return compiled(folder / "turn.cc", folder / "turn", "-Wall", "-Wextra", "-Werror")


@pytest.mark.parametrize("orientation", range(10))
def test_devices_turn_pictures_as_python_does(program, tmp_path, rng, orientation):
    image = rng.integers(0, 256, (5, 8, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(tmp_path / "x.png", exif=exif)
    expected = pictures.read(tmp_path / "x.png", 3)
    write_picture(tmp_path / "x.ppm", image)
    result = tmp_path / "turned"
    subprocess.run([program, tmp_path / "x.ppm", str(orientation), result], check=True)
    found = np.fromfile(result, np.float32).reshape(expected.shape)
    np.testing.assert_array_equal(found, expected)
