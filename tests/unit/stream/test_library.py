"""What the client package offers, and that asking for a command does not load it."""

from __future__ import annotations

from importlib.resources import files

import pytest

import visionstack.stream


@pytest.mark.parametrize("name", visionstack.stream.__all__)
def test_every_name_the_package_lists_is_there(name: str) -> None:
    assert getattr(visionstack.stream, name).__name__ == name


def test_type_checkers_are_told_that_the_packages_are_typed() -> None:
    assert files("visionstack").joinpath("py.typed").is_file()
    assert files("runtime").joinpath("py.typed").is_file()


def test_a_name_it_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = visionstack.stream.Nothing
