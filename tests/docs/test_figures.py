"""The pictures of the documentation: of today's numbers, and whole."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from conftest import module
from PIL import Image

from larq_insta.zoo.instance_aware import STATISTIC_BOUND

ROOT = Path(__file__).parents[2]
BLOCK = ROOT / "docs" / "pictures" / "block.svg"


@pytest.fixture(scope="module")
def picture():
    return module("benchmarks/picture.py")


@pytest.fixture(scope="module")
def text(picture):
    return picture.page()


def test_the_committed_picture_is_of_the_committed_table(picture, text):
    with Image.open(picture.TARGET) as image:
        assert image.info[picture.MADE_OF] == picture.digest(picture.table(text))


def test_all_rows_with_an_accuracy_are_drawn_under_their_names(picture):
    rows = [
        picture.Point("ResNet-18", 69.8, 10.16, 11.81),
        picture.Point("InstaResNet18", 68.5, 3.78, 2.31),
        picture.Point("InstaResNet18, plus", 70.0, 3.82, 2.59),
    ]
    table = [
        "| ResNet-18, int8 | 69.8 % (torchvision) | 10.16 | 1.000 (1.000 to 1.000) | 11.81 |",
        "| `InstaResNet18`, int8 layers | 68.5 % (paper) | 3.78 | 0.372 (0.3 to 0.4) | 2.31 |",
        "| the same, everywhere |  | 3.82 | 0.375 (0.373 to 0.379) | 2.32 |",
        "| the same, plus | 70.0 % (nobody) | 3.82 | 0.376 (0.374 to 0.379) | 2.59 |",
    ]
    assert list(picture.points(table)) == rows


def test_labels_do_not_overlap_and_stay_inside(picture, text, tmp_path):
    figure = picture.draw(list(picture.points(picture.table(text))), picture.conditions(text))
    figure.savefig(tmp_path / "x.png", dpi=100)
    for axes in figure.axes:
        frame, boxes = figure.bbox, [text.get_window_extent() for text in axes.texts]
        assert len(boxes) >= 9
        for number, box in enumerate(boxes):
            assert frame.x0 <= box.x0 <= box.x1 <= frame.x1
            assert not any(box.overlaps(other) for other in boxes[:number])
            for line in axes.lines:
                [marker] = axes.transData.transform(line.get_xydata())
                assert not box.contains(*marker)


def test_pages_without_the_table_are_refused(picture, tmp_path):
    (tmp_path / "other.md").write_text("| model |")
    with pytest.raises(ValueError, match="must hold the table"):
        picture.page(tmp_path)
    with pytest.raises(ValueError, match="date and processor in parentheses"):
        picture.conditions("`python benchmarks/twins.py` of some day")


def test_the_command_draws_where_it_is_told(picture, tmp_path):
    answer = CliRunner().invoke(picture.main, ["--output", str(tmp_path / "accuracy.png")])
    assert answer.exit_code == 0, answer.output
    with Image.open(tmp_path / "accuracy.png") as drawn, Image.open(picture.TARGET) as kept:
        assert drawn.info[picture.MADE_OF] == kept.info[picture.MADE_OF]
        assert drawn.size[0] == 1600


def test_the_block_is_a_whole_picture_of_its_own():
    """Nothing that a page which shows it as an image would not load."""
    root = ET.parse(BLOCK).getroot()
    assert {"viewBox", "role"} <= set(root.attrib)
    found = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert {"title", "desc"} <= found
    assert not found & {"script", "image", "foreignObject", "use"}
    assert "http" not in BLOCK.read_text().replace("http://www.w3.org/2000/svg", "")


def test_the_block_tells_the_bound_that_models_have():
    assert f"at \N{MINUS SIGN}{STATISTIC_BOUND:g} and {STATISTIC_BOUND:g}<" in BLOCK.read_text()


@pytest.mark.parametrize("steps", [1, 2])
def test_a_curve_has_all_epochs_of_all_steps(steps, tmp_path):
    curve = module("benchmarks/curve.py")
    (tmp_path / "step1").mkdir()
    for folder in (tmp_path / "step1", tmp_path)[-steps:]:
        (folder / "log.csv").write_text("epoch,accuracy,val_accuracy\n1,0.5,0.25\n2,0.75,0.5\n")
    (axes,) = curve.draw(curve.logs(tmp_path)).axes
    training, validation = axes.lines[:2]
    assert list(training.get_xdata()) == list(range(1, 2 * steps + 1))
    assert list(training.get_ydata()) == [50, 75] * steps
    assert list(validation.get_ydata()) == [25, 50] * steps
    assert [line.get_xdata()[0] for line in axes.lines[2:]] == [2.5][: steps - 1]


def test_a_folder_without_a_log_is_refused(tmp_path):
    curve = module("benchmarks/curve.py")
    answer = CliRunner().invoke(curve.main, [str(tmp_path), str(tmp_path / "x.png")])
    assert answer.exit_code == 1
    assert "must have a log.csv" in answer.output
