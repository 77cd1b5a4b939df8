"""The four rooms at the top of the repository are installed as one package, mmtuna; the rest is in pyproject.toml."""

from setuptools import find_packages, setup

ROOMS = ("spaces", "objectives", "studies", "search")

setup(
    packages=["mmtuna", *(f"mmtuna.{name}" for name in find_packages(include=[f"{room}*" for room in ROOMS]))],
    package_dir={"mmtuna": "mmtuna", **{f"mmtuna.{room}": room for room in ROOMS}},
)
