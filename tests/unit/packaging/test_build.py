"""Packages are built once, in one step, to the same bytes, and within Lambda's limit."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.inference.artifact import (
    Artifact,
    InputSpec,
    Manifest,
    Preprocessing,
    Weights,
    file_entry,
)
from tests.unit.packaging.conftest import write_wheel
from visionstack.errors import UsageError
from visionstack.packaging import build, libraries, limits, wheels
from visionstack.packaging.build import FIXED_TIME, check_wheels_fit, ensure, settings_from
from visionstack.packaging.errors import PackagingError
from visionstack.packaging.recipes import Recipe

Plan = Callable[..., Recipe]


def test_a_function_s_package_holds_its_part_of_the_runtime_and_no_other(
    plan: Plan, tmp_path: Path
) -> None:
    folder = ensure(plan("warmer"), build_root=tmp_path / "build").folder

    assert _names(folder) == {
        "runtime/__init__.py",
        "runtime/contract.py",
        "runtime/warmer/__init__.py",
    }


def test_a_second_build_does_nothing(plan: Plan, tmp_path: Path) -> None:
    first = ensure(plan("warmer"), build_root=tmp_path / "build")
    before = first.folder.stat().st_ino

    second = ensure(plan("warmer"), build_root=tmp_path / "build")

    assert (first.built, second.built) == (True, False)
    assert second.folder.stat().st_ino == before
    assert second.bytes == first.bytes


def test_a_changed_source_file_is_built_in(plan: Plan, checkout: Path, tmp_path: Path) -> None:
    ensure(plan("warmer"), build_root=tmp_path / "build")
    (checkout / "runtime" / "warmer" / "new.py").write_text("x = 1\n")

    package = ensure(plan("warmer"), build_root=tmp_path / "build")

    assert package.built
    assert "runtime/warmer/new.py" in _names(package.folder)


def test_another_part_s_change_builds_nothing(plan: Plan, checkout: Path, tmp_path: Path) -> None:
    ensure(plan("warmer"), build_root=tmp_path / "build")
    (checkout / "runtime" / "streaming" / "new.py").write_text("x = 1\n")

    assert not ensure(plan("warmer"), build_root=tmp_path / "build").built


@pytest.mark.parametrize("part", ["folder", "archive"])
def test_a_deleted_package_is_built_again(plan: Plan, tmp_path: Path, part: str) -> None:
    package = ensure(plan("warmer"), build_root=tmp_path / "build")
    getattr(package, part).rename(tmp_path / "gone")

    assert ensure(plan("warmer"), build_root=tmp_path / "build").built


def test_the_same_inputs_give_the_same_bytes_and_times_wherever_they_are_built(
    plan: Plan, checkout: Path, tmp_path: Path
) -> None:
    cache = checkout / "runtime" / "warmer" / "__pycache__"
    first = ensure(plan("warmer"), build_root=tmp_path / "one")
    cache.mkdir()
    (cache / "x.cpython-311.pyc").write_bytes(b"cache")
    time.sleep(0.01)
    second = ensure(plan("warmer"), build_root=tmp_path / "two")

    assert _fingerprint(first.folder) == _fingerprint(second.folder)
    assert {path.stat().st_mtime for path in first.folder.rglob("*")} == {FIXED_TIME}
    assert first.archive.read_bytes() == second.archive.read_bytes()


def test_an_interrupted_build_leaves_the_old_package(
    plan: Plan, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ensure(plan("warmer"), build_root=tmp_path / "build")
    before = _fingerprint(old.folder), old.archive.read_bytes()
    (checkout / "runtime" / "warmer" / "new.py").write_text("x = 1\n")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "_copy_code", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ensure(plan("warmer"), build_root=tmp_path / "build")

    assert (_fingerprint(old.folder), old.archive.read_bytes()) == before
    assert set(old.folder.parent.iterdir()) == {old.folder, old.archive}
    assert ensure(plan("warmer"), build_root=tmp_path / "build").built


def test_a_package_over_the_limit_is_refused_with_its_largest_parts(tmp_path: Path) -> None:
    for name, size in (("torch", 900), ("numpy", 300), ("runtime", 10)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * size)

    with pytest.raises(PackagingError) as caught:
        limits.check_unzipped(tmp_path, name="classifier", limit=1000)

    told = caught.value.message
    assert "classifier" in told
    assert told.index("torch") < told.index("numpy") < told.index("runtime")
    assert "s3-packages" in (caught.value.remedy or "")


def test_a_package_just_within_the_limit_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)

    assert limits.check_unzipped(tmp_path, name="classifier", limit=1000) == 1000


def test_lambda_s_limit_is_250_mib_unzipped() -> None:
    assert limits.UNZIPPED_BYTES == 262_144_000


def small_model(checkout: Path, *, weights: bytes = b"weights") -> Path:
    """A built model: two versions of it, the later one current."""
    home = checkout / ".models" / "small"
    for content in (b"old", weights):
        files = {"model.onnx": content, "labels.txt": b"a\nb\n"}
        half = home / "half"
        half.mkdir(parents=True)
        for name, data in files.items():
            (half / name).write_bytes(data)
        manifest = Manifest(
            name="small",
            task="classify",
            family="classifier",
            input=InputSpec(width=8, height=8, colour="RGB"),
            preprocessing=Preprocessing(kind="crop", resize=8),
            weights=Weights(trained=False, description="none"),
            source="tests",
            licence="none",
            files={name: file_entry(half / name) for name in files},
        )
        (half / "model.json").write_text(manifest.to_json())
        half.rename(home / manifest.version)
        (home / "current").write_text(f"{manifest.version}\n")
    return home


@pytest.mark.parametrize("variant", ["auto", "model-in-package"])
def test_a_model_inside_the_package_is_its_current_version(
    plan: Plan, checkout: Path, tmp_path: Path, variant: str
) -> None:
    version = (small_model(checkout) / "current").read_text()

    folder = ensure(plan("classifier", variant=variant), build_root=tmp_path / "b").folder

    inside = folder / "models" / "small"
    assert (inside / "current").read_text() == version
    assert {path.name for path in inside.iterdir()} == {"current", version.strip()}
    assert Artifact.load(inside / version.strip()).manifest.name == "small"


def test_auto_leaves_a_model_out_that_does_not_fit_and_takes_one_that_just_does(
    plan: Plan, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_model(checkout, weights=bytes(500_000))
    bare = ensure(plan("classifier", variant="package"), build_root=tmp_path / "b").bytes
    for limit, fits in ((bare + 500_000, False), (bare + 600_000, True)):
        monkeypatch.setattr(limits, "UNZIPPED_BYTES", limit)
        built = ensure(plan("classifier", variant="auto"), build_root=tmp_path / str(limit))
        assert (built.folder / "models").exists() is fits
        assert built.bytes <= limit


def test_auto_does_without_a_model_that_is_not_built_and_takes_it_once_it_is(
    plan: Plan, checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what = plan("classifier", variant="auto")
    assert not (ensure(what, build_root=tmp_path / "b").folder / "models").exists()
    assert "visionstack models build small" in " ".join(capsys.readouterr().err.split())
    small_model(checkout)
    assert (ensure(what, build_root=tmp_path / "b").folder / "models" / "small").exists()


def test_a_damaged_model_is_not_packaged(plan: Plan, checkout: Path, tmp_path: Path) -> None:
    home = small_model(checkout)
    version = (home / "current").read_text().strip()
    (home / version / "model.onnx").write_bytes(b"waights")
    with pytest.raises(PackagingError, match="damaged"):
        ensure(plan("classifier", variant="auto"), build_root=tmp_path / "b")


def test_a_model_that_is_not_built_is_named_with_the_command_that_builds_it(
    plan: Plan, tmp_path: Path
) -> None:
    with pytest.raises(PackagingError) as caught:
        ensure(plan("classifier", variant="model-in-package"), build_root=tmp_path)

    assert "small" in caught.value.message
    assert "visionstack models build small" in (caught.value.remedy or "")


def test_an_instance_s_asset_has_its_scripts_its_unit_and_its_lock(
    plan: Plan, tmp_path: Path
) -> None:
    folder = ensure(plan("instance", variant="cpu"), build_root=tmp_path / "build").folder

    names = _names(folder)
    assert {"bin/install.sh", "bin/start.sh", "requirements.lock"} <= names
    assert {"visionstack-stream.service", "runtime/streaming/__init__.py"} <= names
    assert "runtime/classifier/__init__.py" not in names
    assert "TARGET_PYTHON=3.13\n" in (folder / "target.env").read_text()


def test_libraries_for_s3_are_one_archive_that_the_package_names_by_hash(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "wheels", "torch", {"torch/__init__.py": b"x = 1\n"})
    package = tmp_path / "package"
    package.mkdir()

    archive = libraries.write_library_archive([wheel], package, build_root=tmp_path / "build")

    manifest = json.loads((package / "packages.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert manifest["bytes"] == archive.stat().st_size
    assert manifest["key"] == f"packages/{manifest['sha256']}.zip"
    assert "torch/__init__.py" in zipfile.ZipFile(archive).namelist()
    assert libraries.archive_of(package, build_root=tmp_path / "build") == (
        manifest["key"],
        archive,
    )


class FakeBucket:
    """Holds keys, as far as publishing asks."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def list_objects_v2(self, **kwargs: str) -> dict[str, int]:
        return {"KeyCount": sum(key.startswith(kwargs["Prefix"]) for key in self.keys)}

    def upload_file(self, Filename: str, Bucket: str, Key: str) -> None:  # noqa: N803
        assert Path(Filename).is_file()
        self.keys.append(Key)


def test_libraries_are_uploaded_once(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "wheels", "torch", {"torch/__init__.py": b"x = 1\n"})
    package = tmp_path / "package"
    package.mkdir()
    bucket = FakeBucket()

    nothing = libraries.publish_libraries(
        package, client=bucket, bucket="b", build_root=tmp_path / "build"
    )
    libraries.write_library_archive([wheel], package, build_root=tmp_path / "build")
    uploads = [
        libraries.publish_libraries(
            package, client=bucket, bucket="b", build_root=tmp_path / "build"
        )
        for _ in range(2)
    ]

    assert not nothing
    assert uploads == [True, False]
    assert bucket.keys == [json.loads((package / "packages.json").read_text())["key"]]


def test_a_wrong_setting_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="lambda_pyton"):
        settings_from({"lambda_pyton": "3.13"})


@pytest.mark.parametrize("endpoint", [None, "https://lambda.eu-central-1.amazonaws.com"])
def test_libraries_for_another_python_are_for_the_embedded_cloud_alone(
    endpoint: str | None,
) -> None:
    elsewhere = {"AWS_ENDPOINT_URL": endpoint} if endpoint else {}
    other = settings_from({"lambda_python": "3.13", "lambda_wheels_python": "3.11"})

    with pytest.raises(PackagingError, match=r"3\.11 does not fit lambda_python=3\.13"):
        check_wheels_fit(other, environ=elsewhere)
    check_wheels_fit(other, environ={"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"})
    check_wheels_fit(settings_from({"lambda_wheels_python": "3.13"}), environ=elsewhere)


def test_missing_requirements_are_named(plan: Plan, checkout: Path, tmp_path: Path) -> None:
    (checkout / "runtime" / "warmer" / "requirements.txt").unlink()

    with pytest.raises(PackagingError, match=r"runtime/warmer/requirements\.txt is missing"):
        ensure(plan("warmer"), build_root=tmp_path / "build")


def test_wheels_are_unpacked_flat_without_what_no_function_imports(tmp_path: Path) -> None:
    wheel = write_wheel(
        tmp_path / "wheels",
        "numpy",
        {
            "numpy/__init__.py": b"",
            "numpy/tests/test_a.py": b"",
            "numpy/__init__.pyi": b"",
            "numpy-1.0.data/purelib/extra.py": b"",
            "numpy-1.0.data/scripts/f2py": b"",
        },
    )

    wheels.unpack([wheel], tmp_path / "site")

    assert _names(tmp_path / "site") == {
        "numpy/__init__.py",
        "extra.py",
        "numpy-1.0.dist-info/METADATA",
    }


def test_the_lock_pins_version_and_hash_of_each_wheel(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "opencv_python", {"cv2.py": b""}, version="4.14.0")

    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert wheels.lock([wheel]) == f"opencv-python==4.14.0 --hash=sha256:{digest}\n"


def test_platform_tags_go_from_the_system_s_glibc_downwards() -> None:
    tags = wheels.platform_tags("aarch64", glibc=34)

    assert tags[0] == "manylinux_2_34_aarch64"
    assert "manylinux_2_28_aarch64" in tags
    assert "manylinux_2_35_aarch64" not in tags
    assert "manylinux1_aarch64" not in tags


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _fingerprint(folder: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _names(folder)
    }
