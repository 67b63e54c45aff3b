"""Puts examples/ into the package as tunesmith.examples; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("src"), "tunesmith.examples"],
    package_dir={"": "src", "tunesmith.examples": "examples"},
)
