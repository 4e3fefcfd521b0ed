"""What trainings in PyTorch save beside tensors is read over; all else says what it is."""

import argparse
import collections
import datetime as dt
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from larq_insta.checkpoints import torch_files, torch_pickles
from larq_insta.lite.errors import InputError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install larq-insta[torch]")

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


class Net(torch.nn.Module):
    """A model, which torch.save can save whole."""


OPTIMIZER = {
    "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(3)}},
    "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0]}],
}
RATES = {"milestones": collections.Counter({30: 1}), "base_lrs": [0.1], "last_epoch": 3}

REMARKS = {
    "a numpy scalar": np.float64(0.7),
    "numpy's numbers": {"best": np.float32(1), "epoch": np.int64(3), "done": np.bool_(True)},
    "an array": np.arange(5),
    "options": argparse.Namespace(lr=0.1, data=Path("data"), when=dt.datetime(2026, 1, 1)),
    "counts": collections.Counter({30: 1}),
    "a history": collections.defaultdict(list, loss=[1.0, 0.5]),
    "types": [torch.float16, torch.Size([2]), torch.device("cpu"), {1, 2}],
    "an optimizer": OPTIMIZER,
    "rates": RATES,
}


def saved(tmp_path, content, zipped=True):
    path = tmp_path / "x.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_state(arrays):
    assert arrays.keys() == STATE.keys()
    for name, tensor in STATE.items():
        np.testing.assert_array_equal(arrays[name], tensor.numpy())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("remark", REMARKS.values(), ids=REMARKS)
def test_what_trainings_keep_is_read_over(tmp_path, remark, zipped):
    content = {"epoch": 3, "args": remark, "state_dict": STATE}
    assert_state(torch_files.read(saved(tmp_path, content, zipped)))


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "ema_weights"])
def test_tensors_are_found_under_any_key(tmp_path, key):
    content = {"arch": "resnet18", key: STATE, "optimizer": OPTIMIZER}
    assert_state(torch_files.read(saved(tmp_path, content)))


def test_known_keys_come_before_others(tmp_path):
    other = {name: tensor + 1 for name, tensor in STATE.items()}
    assert_state(torch_files.read(saved(tmp_path, {"ema": other, "model": STATE})))


@pytest.mark.parametrize("zipped", [True, False])
def test_upper_halves_of_numbers_are_numbers(tmp_path, zipped):
    values = torch.tensor([1.0, -0.1, 3e38, 0.0, float("inf")])
    path = saved(tmp_path, {"x": values.to(torch.bfloat16)}, zipped)
    found = torch_files.read(path)["x"]
    np.testing.assert_array_equal(found, values.to(torch.bfloat16).float().numpy(), strict=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Net(), r"names '.*\.Net', as no state dict does, but a whole model"),
        ({"ema": STATE, "raw": STATE}, "tensors under 'ema', 'raw', none of which is known"),
        ({**STATE, "options": argparse.Namespace()}, "entry 'options' is no tensor but Remark"),
        ({"x": torch.ones(2, dtype=torch.complex64)}, "of the kind .torch.ComplexFloatStorage"),
    ],
)
def test_the_reason_is_told(tmp_path, content, words):
    with pytest.raises(InputError, match=words) as caught:
        torch_files.read(saved(tmp_path, content))
    assert "\n" not in str(caught.value)


def write(path, code):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + code + b".")
    return path


@pytest.mark.parametrize(
    "code",
    [
        b"cargparse\nNamespace\n}X\x01\x00\x00\x00aK\x01sb",  # sets what its class says
        b"cargparse\nNamespace\nN}X\x01\x00\x00\x00aK\x01s\x86b",
        b"cargparse\nNamespace\n)\x81K\x01a",  # appends
        b"cnumpy\nload\n(X\x01\x00\x00\x00xtR",
        b"cargparse\nNamespace.__init__.__globals__\n",
    ],
)
def test_remarks_cannot_be_changed_or_used(tmp_path, code):
    before = dict(vars(torch_pickles._Remark))
    with pytest.raises(InputError):
        torch_files.read(write(tmp_path / "x.pth", code))
    assert dict(vars(torch_pickles._Remark)) == before


def test_remarks_are_never_what_they_are_called(tmp_path):
    class Counted:
        def __reduce__(self):
            return collections.Counter, ("abc",)

    content = pickle.dumps(Counted(), protocol=2)
    path = write(tmp_path / "x.pth", content[2:-1])
    with pytest.raises(InputError, match="holds no dictionary of tensors"):
        torch_files.read(path)
