"""Classification sets of TensorFlow Datasets."""

from __future__ import annotations

import difflib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta.data import records, splits
from larq_insta.data.augmentation import CROPS, CROPS_AND_MIRROR, of_photographs, shifts
from larq_insta.data.dataset import ImageDataset, Split
from larq_insta.data.preprocessing import decode, photo_view
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.preprocessing import Preprocessing

_READ_THROUGH_BYTES = 2 << 30
"""Of pictures that are kept in memory, and of files that are read through for their labels."""
_FIRST_LABELS = 100

_THINGS = {
    "beans", "caltech101", "caltech_birds2010", "caltech_birds2011", "cars196", "cassava",
    "cats_vs_dogs", "cifar10", "cifar100", "citrus_leaves", "deep_weeds", "fashion_mnist",
    "food101", "horses_or_humans", "i_naturalist2017", "i_naturalist2018", "i_naturalist2021",
    "imagenet2012", "imagenet2012_subset", "imagenet_a", "imagenet_r", "imagenet_resized",
    "imagenet_v2", "imagenette", "imagewang", "oxford_flowers102", "oxford_iiit_pet",
    "places365_small", "plant_leaves", "plant_village", "stanford_dogs", "stl10", "sun397",
    "tf_flowers",
}  # fmt: skip
"""Sets of clothes, animals and things, which are the same in a mirror; characters are not."""


def load(
    builder: Any,
    name: str,
    manual_dir: str | None,
    image_size: int | None,
    prepared: Preprocessing | None,
    augmentation: str | None,
    validation_share: float,
) -> ImageDataset:
    """See `data.load`. Small pictures are kept in memory, photographs read from their files."""
    features = builder.info.features
    keys = _keys(builder.info)
    _check_features(name, features, keys)
    _prepare(builder, name, manual_dir)
    used, notes = _parts(builder, keys, validation_share)
    *sides, channels = features[keys[0]].shape
    kind = augmentation or (CROPS_AND_MIRROR if builder.name in _THINGS else CROPS)
    sizes = [builder.info.splits[split].num_examples for split in used.values()]
    pixels = sum(sizes) * channels * np.prod([side or np.inf for side in sides])
    if pixels < _READ_THROUGH_BYTES:
        parts, source = _in_memory(builder, keys, used, validation_share)
        pre = prepared or Preprocessing(image_size or min(sides), channels)
        decoder, augmented = tf.identity, shifts(pre, kind)
    else:
        parts, source = _in_files(builder, keys, used, validation_share)
        pre = prepared or photo_view(image_size or 224, channels, "bicubic")
        decoder, augmented = partial(decode, pre), of_photographs(pre, kind)
    return ImageDataset(
        name,
        tuple(features[keys[1]].names),
        pre,
        augmented,
        decoder,
        *parts,
        source=f"{builder.info.full_name} {source}",
        notes=tuple(notes),
    )


def find(name: str, data_dir: str | None) -> Any | None:
    """TensorFlow Datasets' builder of a data set, which need not be here, or none.

    # Raises
        InputError: if it has no such configuration or version.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError):
        return None
    except Exception as error:
        raise InputError(f"The data set {name!r} cannot be read: {first_line(error)}") from error


def unknown(name: str) -> InputError:
    """What to raise where nothing has that name."""
    import tensorflow_datasets as tfds

    known = ["digits", *tfds.list_builders(with_community_datasets=False)]
    nearest = difflib.get_close_matches(name.partition("/")[0], known, n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    return InputError(
        "A data set is 'digits', a name known to TensorFlow Datasets, or a folder; "
        f"got {name!r}.{hint}"
    )


def class_names(name: str) -> tuple[str, ...]:
    """Of a data set that need not be here."""
    found = find(name, None)
    if found is None:
        raise unknown(name)
    return tuple(found.info.features["label"].names)


def _keys(info: Any) -> tuple[str, str]:
    """The features that are picture and label."""
    given = info.supervised_keys
    names_two = isinstance(given, tuple) and len(given) == 2
    return given if names_two and all(isinstance(key, str) for key in given) else ("image", "label")


def _check_features(name: str, features: Any, keys: tuple[str, str] = ("image", "label")) -> None:
    from tensorflow_datasets.core.features import ClassLabel

    if not set(keys) <= set(features):
        raise InputError(
            f"A data set must have images with one label each; {name} has "
            f"{', '.join(sorted(features))}: choose another."
        )
    dtype, shape = features[keys[0]].dtype, features[keys[0]].shape
    if dtype != np.uint8 or len(shape) != 3 or shape[-1] not in {1, 3}:
        raise InputError(
            f"Images must be uint8 with 1 or 3 channels; those of {name} are {dtype} with "
            f"{shape[-1] if shape else 'no'}: choose another data set."
        )
    label = features[keys[1]]
    if not isinstance(label, ClassLabel) or not label.names:
        raise InputError(
            f"Labels must be of named classes; those of {name} are {label}: choose another data "
            "set."
        )


def _prepare(builder: Any, name: str, manual_dir: str | None) -> None:
    import tensorflow_datasets as tfds

    try:
        config = tfds.download.DownloadConfig(manual_dir=manual_dir)
        builder.download_and_prepare(download_config=config)
    except Exception as error:
        folder = f", or write ./{name} for the folder of this name" if Path(name).is_dir() else ""
        raise InputError(
            f"The data set {builder.name} could not be prepared ({first_line(error)}): check the "
            f"network, or give its files with --manual-dir or a prepared copy with --data-dir"
            f"{folder}."
        ) from error


def _parts(
    builder: Any, keys: tuple[str, str], validation_share: float
) -> tuple[dict[str, str], list[str]]:
    """Splits by what they are used for, and what to say of that."""
    name = builder.info.name
    filled = [split for split, info in builder.info.splits.items() if info.num_examples]
    known = [part for part in splits.PARTS if part in filled]
    found = {part: part for part in known if _is_labelled(builder, keys, part)}
    reasons = dict.fromkeys(known, ", as it has no labels here")
    left = [split for split in filled if split not in found]
    notes = [f"Left out of {name}: its {x} split{reasons.get(x, '')}." for x in left]
    if not found:
        raise InputError(
            "A data set must have labelled pictures in a train, validation or test split; "
            f"{name} has {', '.join(filled) or 'none'}: choose another."
        )
    used, more = splits.by_use(found, lambda split: f"{name}'s {split} split", validation_share)
    if "test" not in used:
        share = f"{splits.TEST_SHARE:.0%} of {name}'s train split"
        more.append(f"Tested on {share}, as nothing else is for it.")
    return used, notes + more


def _is_labelled(builder: Any, keys: tuple[str, str], split: str) -> bool:
    """By its first examples; where labels are kept back, all are -1, or the files are not here."""
    import tensorflow_datasets as tfds

    label_alone = tfds.decode.PartialDecoding({keys[1]: True})
    first = builder.as_dataset(split=split, decoders=label_alone).take(_FIRST_LABELS)
    try:
        labels = np.array([example[keys[1]] for example in first.as_numpy_iterator()])
    except tf.errors.NotFoundError:
        return False
    if labels.max() < 0:
        return False
    _check_labels(builder, labels)
    return True


def _check_labels(builder: Any, labels: np.ndarray) -> None:
    if labels.min(initial=0) < 0:
        raise InputError(
            f"Every picture must have the label of a class; some of {builder.info.name} have "
            f"{labels.min()}: choose another data set."
        )


def _in_memory(
    builder: Any, keys: tuple[str, str], used: dict[str, str], validation_share: float
) -> tuple[tuple[Split, Split, Split], str]:
    """Parts of decoded pictures, and what identifies them."""
    import tensorflow_datasets as tfds

    picture, label = keys
    needed = tfds.decode.PartialDecoding({picture: True, label: True})
    arrays = {}
    for part, split in used.items():
        whole = builder.as_dataset(split=split, batch_size=-1, decoders=needed)
        arrays[part] = whole[picture].numpy(), whole[label].numpy()
        _check_labels(builder, arrays[part][1])
    names = builder.info.features[label].names
    parts = train, validation, test = splits.of_arrays(arrays, names, validation_share)
    identity = splits.digest([labels.tobytes()] for _, labels in parts)
    make = Split.of_arrays
    return (make(*train), make(*validation), make(*test)), identity


def _in_files(
    builder: Any, keys: tuple[str, str], used: dict[str, str], validation_share: float
) -> tuple[tuple[Split, Split, Split], str]:
    """Parts of undecoded pictures, and what identifies them."""
    share = 0.0 if "validation" in used else validation_share
    places: dict[str, records.Place] = {**used}
    if "train" in used and (share or "test" not in used):
        del places["train"]
        places = {**_held_out(builder, keys, share, tested="test" in used), **places}
    train, validation, test = (places.get(part) for part in splits.PARTS)
    words = [
        [place.tobytes() if isinstance(place, np.ndarray) else str(place).encode()]
        for place in (train, validation, test)
    ]
    make = partial(records.split_of, builder, keys)
    return (make(train), make(validation), make(test)), splits.digest(words)


def _held_out(
    builder: Any, keys: tuple[str, str], validation_share: float, tested: bool
) -> dict[str, records.Place]:
    """Parts of the train split: of small ones some of every class, of large ones the last.

    These are as random, as TensorFlow Datasets shuffles pictures when it prepares them.
    """
    train = builder.info.splits["train"]
    if train.num_bytes < _READ_THROUGH_BYTES:
        labels = records.labels(builder, keys, "train")
        _check_labels(builder, labels)
        names = builder.info.features[keys[1]].names
        places = splits.in_three(labels, names, validation_share, tested)
        return dict(zip(splits.PARTS, places, strict=True))
    total = train.num_examples
    kept = total if tested else total - round(total * splits.TEST_SHARE)
    trained = kept - round(kept * validation_share)
    return {
        "train": f"train[:{trained}]",
        "validation": f"train[{trained}:{kept}]",
        "test": f"train[{kept}:]",
    }
