"""What a Keras checkpoint may hold: layers that compute on arrays, and no code.

Keras's safe mode refuses pickled functions in `.keras` files, and nothing in `.h5` files. But
a configuration can also name any class of any module, which Keras then imports, TensorFlow
functions that write files, and layers that read other files. So a configuration is read
before Keras sees it, and only what is known here passes.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py

from larq_insta.compat import CONFIG, WEIGHTS, with_common_names
from larq_insta_runtime.errors import InputError, first_line

MEMBERS = {"metadata.json", CONFIG, WEIGHTS, "larq_insta.json"}
"""Of a `.keras` archive; Keras unpacks others to disk."""

PATIENCE = 60
"""Seconds that reading a checkpoint may take."""

_REFUSED = 3

LARGEST = 4 << 30
"""Bytes of a checkpoint's arrays, unpacked."""

_OUR_MODULES = ("activations", "int8_weights", "quantizers", "thresholds", "turning")
"""With classes of layers and quantizers, in `larq_insta` itself up to 0.1.0."""

_MODULES = {
    "keras",
    "keras.activations",
    "keras.constraints",
    "keras.initializers",
    "keras.layers",
    "keras.losses",
    "keras.metrics",
    "keras.mixed_precision",
    "keras.optimizers",
    "keras.optimizers.schedules",
    "keras.regularizers",
    "keras.src.applications.convnext",
    "keras.src.applications.inception_resnet_v2",
    "keras.src.engine.functional",
    "keras.src.layers.core.tf_op_layer",
    "larq.activations",
    "larq.constraints",
    "larq.layers",
    "larq.quantizers",
    *(f"larq_insta.{place}{module}" for place in ("", "layers.") for module in _OUR_MODULES),
    "tensorflow.python.ops.init_ops_v2",
}
_MODELS = ("Functional", "Sequential", "Model", "BinaryDenseNet")
_CLASSES = {("larq_zoo.literature.densenet", "BinaryDenseNet")}
"""Of modules that hold else than layers."""

_FUNCTION_MODULES = {"builtins", "keras.activations", "larq.activations", "larq.quantizers"}
_FORBIDDEN = {
    "__lambda__": "code",
    "__typespec__": "a type of TensorFlow",
    "Lambda": "code",
    "TFSMLayer": "a SavedModel",
    "Hashing": "another file",
    "IndexLookup": "another file",
    "IntegerLookup": "another file",
    "StringLookup": "another file",
    "TextVectorization": "another file",
    "ClassMethod": "a function of TensorFlow",
    "InstanceMethod": "a function of TensorFlow",
    "InstanceProperty": "a function of TensorFlow",
}
_OP_NAMESPACES = {"__operators__", "linalg", "math", "nn"}
_OPS = {
    *("abs", "argsort", "boolean_mask", "broadcast_to", "cast", "clip_by_norm", "clip_by_value"),
    *("concat", "einsum", "ensure_shape", "expand_dims", "eye", "fill", "gather", "gather_nd"),
    *("identity", "maximum", "minimum", "norm", "one_hot", "ones", "ones_like", "pad", "range"),
    *("rank", "repeat", "reshape", "reverse", "roll", "round", "shape", "sign", "size", "slice"),
    *("sort", "split", "sqrt", "square", "squeeze", "stack", "stop_gradient", "strided_slice"),
    *("tensordot", "tile", "transpose", "unstack", "where", "zeros", "zeros_like"),
}
_PICTURE_OPS = {
    *("adjust_brightness", "adjust_contrast", "adjust_gamma", "adjust_hue", "adjust_saturation"),
    *("central_crop", "convert_image_dtype", "crop_and_resize", "crop_to_bounding_box"),
    *("extract_patches", "flip_left_right", "flip_up_down", "grayscale_to_rgb", "hsv_to_rgb"),
    *("image_gradients", "pad_to_bounding_box", "per_image_standardization", "resize"),
    *("random_brightness", "random_contrast", "random_crop", "random_flip_left_right"),
    *("random_flip_up_down", "random_hue", "random_saturation", "resize_with_crop_or_pad"),
    *("resize_with_pad", "rgb_to_grayscale", "rgb_to_hsv", "rgb_to_yiq", "rgb_to_yuv", "rot90"),
    *("sobel_edges", "total_variation", "transpose", "yiq_to_rgb", "yuv_to_rgb"),
}
"""Of `tf.image`, but what reads and writes files' contents."""


def check(path: Path) -> None:
    """Whether Keras may load a `.keras` or `.h5` file.

    The file is read in a process of its own, as there are damages that crash HDF5.

    # Raises
        InputError: if it is damaged, too large, or holds more than layers and arrays.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; import {__name__} as k; k.main()"
    command = [sys.executable, "-I", "-c", code, os.fspath(path)]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise _damaged(path, f"reading it takes longer than {PATIENCE} seconds") from None
    if done.returncode == _REFUSED:
        raise InputError(os.fsdecode(done.stdout))
    if done.returncode:
        raise _damaged(path, f"reading it ends with code {done.returncode}")


def main() -> None:
    """What `check` runs in a process of its own."""
    try:
        check_here(Path(sys.argv[1]))
    except InputError as error:
        os.write(1, os.fsencode(str(error)))
        sys.exit(_REFUSED)


def check_here(path: Path) -> None:
    """The same as `check` in this process.

    # Raises
        InputError: as there.
    """
    try:
        config = _archived(path) if path.suffix == ".keras" else _of_h5(path)
        problem = next(_problems(config), None)
    except InputError:
        raise
    except Exception as error:  # whatever the libraries say of what they cannot read
        raise _damaged(path, first_line(error)) from error
    if problem:
        raise InputError(
            f"A checkpoint must hold known layers and arrays alone; {path} holds {problem}: "
            "rebuild the model without it, from a source that you trust."
        )


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"A checkpoint must be whole; {path} is damaged ({why}): copy it again or use another."
    )


def _archived(path: Path) -> Any:
    with ZipFile(path) as archive:
        names = archive.namelist()
        foreign = sorted(set(names) - MEMBERS)
        if foreign or len(set(names)) < len(names):
            raise InputError(
                f"A .keras file must have the members {', '.join(sorted(MEMBERS))} alone, each "
                f"once; {path} has {', '.join(foreign or sorted(names))}: use another."
            )
        _check_size(sum(member.file_size for member in archive.infolist()), path)
        with h5py.File(io.BytesIO(archive.read(WEIGHTS))) as file:
            _check_arrays(file, path)
        return configuration(archive)


def _of_h5(path: Path) -> Any:
    with h5py.File(path) as file:
        config = file.attrs.get("model_config")
        _check_arrays(file, path)
    if config is None:
        raise InputError(
            f"A checkpoint must have the model's configuration; {path} has weights alone: save "
            "the whole model."
        )
    return json.loads(with_common_names(config.decode() if isinstance(config, bytes) else config))


def configuration(archive: ZipFile) -> Any:
    """What is checked of a `.keras` file's configuration, and may then be built."""
    return _without_compilation(json.loads(with_common_names(archive.read(CONFIG).decode())))


def _check_arrays(file: h5py.File, path: Path) -> None:
    """Whether all arrays lie in the file itself, and fit into memory."""
    size, groups, seen = 0, [file], set()
    while groups:
        group = groups.pop()
        address = h5py.h5o.get_info(group.id).addr
        # Groups may hold each other.
        names = [] if address in seen else list(group)
        seen.add(address)
        for name in names:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InputError(
                    f"A checkpoint must hold its arrays itself; {path} has a link at "
                    f"{group.name}/{name}: save the model again."
                )
            part = group[name]
            if isinstance(part, h5py.Group):
                groups.append(part)
            elif part.external:
                raise InputError(
                    f"A checkpoint must hold its arrays itself; {path} has those of {part.name} "
                    "in another file: save the model again."
                )
            else:
                size += part.size * part.dtype.itemsize
                _check_size(size, path)
                part[()]  # which Keras will read, too
            dict(part.attrs)


def _check_size(size: int, path: Path) -> None:
    if size > LARGEST:
        raise InputError(
            f"A checkpoint must unpack to at most {LARGEST:,} bytes; {path} says {size:,}: use "
            "another."
        )


def _without_compilation(config: Any) -> Any:
    """A configuration without how it, or models that are its layers, were compiled.

    `keras_files` does not let Keras read that, and it may hold anything. Elsewhere the same
    key may mean something else.
    """
    if not isinstance(config, dict) or config.get("class_name") not in _MODELS:
        return config
    inner = config.get("config")
    if not isinstance(inner, dict):
        return config
    config = {key: value for key, value in config.items() if key != "compile_config"}
    if isinstance(inner.get("layers"), list):
        layers = [_without_compilation(layer) for layer in inner["layers"]]
        config["config"] = {**inner, "layers": layers}
    return config


def _problems(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if "class_name" in config:
            yield from _class_problems(config)
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _problems(part)


def _class_problems(config: dict[str, Any]) -> Iterator[str]:
    name, module = config["class_name"], config.get("module")
    known = _FUNCTION_MODULES if name == "function" else _MODULES
    if not isinstance(name, str) or not isinstance(module, str | None) or "." in name:
        yield f"the class name {name!r} of module {module!r}"
    elif name in _FORBIDDEN:
        yield f"{_FORBIDDEN[name]} ({name})"
    elif module is not None and module not in known and (module, name) not in _CLASSES:
        yield f"{name} of the module {module}"
    elif name in ("TFOpLambda", "SlicingOpLambda"):
        inner = config.get("config")
        function = inner.get("function") if isinstance(inner, dict) else None
        if not isinstance(function, str) or not _is_harmless(function):
            yield f"the TensorFlow function {function}"


def _is_harmless(function: str) -> bool:
    function = function.removeprefix("compat.v1.")
    namespace, _, name = function.partition(".")
    return (
        function in _OPS
        or namespace in _OP_NAMESPACES
        or (namespace == "image" and name in _PICTURE_OPS)
    )
