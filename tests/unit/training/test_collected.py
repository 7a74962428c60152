"""From use to data: what the function keeps is fetched, corrected, trained on, and deleted."""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runtime.classifier.s3 import S3Error
from runtime.classifier.storage import S3PictureStore, Told
from tests.unit.training.conftest import picture
from visionstack.errors import VisionstackError
from visionstack.training.collected import TABLE, collected, delete, pull
from visionstack.training.products import list_products


class Bucket:
    """Both ends of S3: the function's small client writes, boto3's interface reads."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.down = False

    def put(
        self, bucket: str, key: str, body: bytes, *, content_type: str,
        metadata: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        if self.down:
            raise S3Error("S3 is away")
        told = metadata or {}
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
        assert sum(len(name) + len(value) for name, value in told.items()) <= 2048
        assert all(value.isascii() and "  " not in value for value in told.values())
        self.objects[key] = (body, told)

    def list_objects_v2(self, **kwargs: Any) -> Any:
        """Two a page."""
        keys = sorted(key for key in self.objects if key.startswith(kwargs["Prefix"]))
        start = int(kwargs.get("ContinuationToken", 0))
        when = datetime(2026, 11, 25, tzinfo=UTC)
        page = [{"Key": key, "LastModified": when} for key in keys[start : start + 2]]
        more = start + 2 < len(keys)
        return {"Contents": page, "IsTruncated": more, "NextContinuationToken": str(start + 2)}

    def head_object(self, **kwargs: Any) -> Any:
        return {"Metadata": self.objects[kwargs["Key"]][1]}

    def get_object(self, **kwargs: Any) -> Any:
        data = self.objects[kwargs["Key"]][0]

        class Body:
            def read(self) -> bytes:
                return data

        return {"Body": Body()}

    def delete_object(self, **kwargs: Any) -> None:
        self.objects.pop(kwargs["Key"], None)


def keep(bucket: Bucket, data: bytes, *top: tuple[str, float], path: str = "20261125/a.png") -> str:
    store = S3PictureStore(
        bucket,  # type: ignore[arg-type]
        pictures_bucket="b", artifacts_bucket="a", upload_expires_seconds=60,
    )  # fmt: skip
    store.keep(path, data, content_type="image/png")
    store.keep_for_training(path, data, Told(top=top, model="mine", version="v1"))
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def test_the_most_doubtful_come_first_in_a_tree_that_can_be_trained_on(
    bucket: Bucket, tmp_path: Path
) -> None:
    sure = keep(bucket, picture(1), ("P-1", 0.99), ("P-2", 0.01))
    torn = keep(bucket, picture(2), ("P-2", 0.40), ("P-1", 0.39))
    fair = keep(bucket, picture(3), ("P-1", 0.60), ("P-2", 0.20))
    assert [one.sha256 for one in collected(bucket, "b")] == [torn, fair, sure]

    pull(bucket, "b", tmp_path, limit=2)
    assert {path.stem for path in tmp_path.rglob("*.png")} == {torn, fair}
    # Corrected by hand; what was moved is neither fetched again nor put back.
    (tmp_path / "P-2" / f"{torn}.png").rename(tmp_path / "P-1" / f"{torn}.png")
    assert [one.sha256 for one in pull(bucket, "b", tmp_path)] == [sure]
    assert pull(bucket, "b", tmp_path) == []

    assert sorted(path.name for path in (tmp_path / "P-1").iterdir()) == sorted(
        f"{one}.png" for one in (sure, torn, fair)
    )
    rows = list(csv.DictReader((tmp_path / TABLE).open()))
    assert [row["sha256"] for row in rows] == [torn, fair, sure]
    assert (rows[0]["id"], rows[0]["second"], rows[0]["margin"]) == ("P-2", "P-1", "0.0100")
    assert (rows[0]["model"], rows[0]["version"]) == ("mine", "v1")


def test_what_was_pulled_is_listed_as_products(bucket: Bucket, tmp_path: Path) -> None:
    for seed in range(8):
        keep(bucket, picture(seed), (f"P-{seed % 2}", 0.5))
    pull(bucket, "b", tmp_path)
    listing = list_products(tmp_path)
    assert listing.ids == ("P-0", "P-1")
    assert len(listing.pictures) == 8
    assert listing.skipped == ()


@pytest.mark.parametrize("name", ["../../etc", ".hidden", "a/b", "", "x" * 300, "Größe  zwölf"])
def test_an_id_leads_nowhere_else_and_is_kept_in_ascii(
    bucket: Bucket, tmp_path: Path, name: str
) -> None:
    sha256 = keep(bucket, picture(1), (name, 0.5))
    (one,) = pull(bucket, "b", tmp_path / "into")
    (path,) = tmp_path.rglob("*.png")
    assert path == tmp_path / "into" / one.folder / f"{sha256}.png"
    assert one.folder == (name if name == "Größe  zwölf" else "unsorted")
    assert one.top == ((name, 0.5),)


def test_five_long_ids_are_cut_to_the_best(bucket: Bucket) -> None:
    keep(bucket, picture(1), *((str(number) * 700, 0.2) for number in range(5)))
    (one,) = collected(bucket, "b")
    assert [name[0] for name, _ in one.top] == ["0"]


def test_a_picture_is_deleted_by_its_hash_with_its_upload(bucket: Bucket) -> None:
    gone = keep(bucket, picture(1), ("P-1", 0.5), path="20261125/gone.png")
    keep(bucket, picture(2), ("P-1", 0.5), path="20261125/stays.png")
    assert set(delete(bucket, "b", [gone])) == {
        f"training/{gone}.png",
        "pictures/20261125/gone.png",
    }
    assert not [key for key in bucket.objects if "gone" in key or gone in key]
    assert len(bucket.objects) == 2
    assert delete(bucket, "b", [gone]) == []
    for wrong in ("", "abc", "training/", gone.upper()):
        with pytest.raises(VisionstackError, match="no SHA-256"):
            delete(bucket, "b", [wrong])
    assert len(bucket.objects) == 2


def test_a_picture_whose_bytes_changed_is_not_trained_on(bucket: Bucket, tmp_path: Path) -> None:
    sha256 = keep(bucket, picture(1), ("P-1", 0.5))
    key = f"training/{sha256}.png"
    bucket.objects[key] = (b"other", bucket.objects[key][1])
    with pytest.raises(VisionstackError, match="hash differs"):
        pull(bucket, "b", tmp_path)
    assert list(tmp_path.rglob("*.png")) == []


def test_what_the_function_did_not_write_is_passed_over(bucket: Bucket, tmp_path: Path) -> None:
    bucket.objects["training/readme.txt"] = (b"", {})
    bucket.objects[f"training/{'0' * 64}.png"] = (b"", {"visionstack": "no json"})
    bucket.objects[f"training/{'1' * 64}.png"] = (b"", {"visionstack": json.dumps({"top": 7})})
    assert pull(bucket, "b", tmp_path) == []
