"""The model file: what is written is what is read, or a ModelFileError. Never anything in between."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from chainrule.errors import DataError, ModelFileError
from chainrule.files import model_file, sealed_file
from chainrule.files.folder import Folder

DESCRIPTION = {
    "n_in": 2, "layers": [{"kind": "dense", "n_out": 2, "activation": "identity"}], "loss": "squared_error",
    "dtype": "float32", "seed": 3, "feature_names": ["a", "ä\n\"'"], "target_name": "", "classes": [],
}  # fmt: skip
TENSORS = {
    "parameters.dense0.W": np.array([[1.0, -2.0], [3.5, 1e-30]], np.float32),
    "parameters.dense0.b": np.array([0.1, -0.0]),
}


@pytest.fixture
def path(tmp_path) -> Path:
    """A small model file."""
    model_file.write(tmp_path / "model.safetensors", DESCRIPTION, TENSORS)
    return tmp_path / "model.safetensors"


def same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return set(a) == set(b) and all(
        (a[n].dtype, a[n].shape, a[n].tobytes()) == (b[n].dtype, b[n].shape, b[n].tobytes()) for n in a
    )


def assert_refused(path: Path, content: bytes, match: str | None = None) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=match) as caught:
        model_file.read(path)
    assert path.name in caught.value.message


def test_model_file_round_trip(path):
    description, tensors = model_file.read(path)
    assert description == DESCRIPTION
    assert same_bits(tensors, TENSORS)
    assert model_file.read(str(path))[0] == DESCRIPTION


def test_model_file_of_arrays_that_are_not_contiguous(tmp_path, rng):
    """safetensors alone writes these wrongly, without a word."""
    base = rng.normal(size=(6, 4))
    views = {"transposed": base.T, "column": base[:, 1], "reversed": base[::-1], "stepped": base[::2, ::3]}
    model_file.write(tmp_path / "m", DESCRIPTION, views)
    _, read = model_file.read(tmp_path / "m")
    for name, view in views.items():
        np.testing.assert_array_equal(read[name], view)


def test_model_file_bytes_are_deterministic(path, tmp_path):
    model_file.write(tmp_path / "again", DESCRIPTION, TENSORS)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


# ---- damage ---------------------------------------------------------------------------------------


def test_checksum_notices_one_wrong_byte_anywhere(path):
    """Every byte of the file, changed in one bit or in all: an error, or (white space) the very same model."""
    content, harmless = path.read_bytes(), 0
    for at in range(len(content)):
        for change in (0x01, 0x20, 0xFF):
            path.write_bytes(content[:at] + bytes([content[at] ^ change]) + content[at + 1 :])
            try:
                description, tensors = model_file.read(path)
            except ModelFileError:
                continue
            harmless += 1
            assert description == DESCRIPTION
            assert same_bits(tensors, TENSORS)
    assert harmless < 8


def test_every_truncation_of_a_model_file_is_refused(path):
    content = path.read_bytes()
    for length in range(len(content)):
        assert_refused(path, content[:length])


def test_random_damage_is_noticed(path):
    """Pieces removed, doubled, overwritten or inserted."""
    content, rng = path.read_bytes(), np.random.default_rng(6)
    for _ in range(400):
        start, length = int(rng.integers(len(content))), int(rng.integers(1, 40))
        stop = min(start + length, len(content))
        noise = rng.bytes(length)
        damaged = [
            content[:start] + content[stop:],
            content[:stop] + content[start:],
            content[:start] + noise + content[stop:],
            content[:start] + noise + content[start:],
        ][int(rng.integers(4))]
        if damaged != content:
            assert_refused(path, damaged)


FOREIGN = {
    "empty": b"",
    "text": b"once upon a time there was a net",
    "zip": b"PK\x03\x04" + bytes(100),
    "a header of 8 EiB": b"\xff" * 8 + b"{}",
    "a header longer than the file": (1000).to_bytes(8, "little") + b"{}",
    "a header over the limit": (2 << 20).to_bytes(8, "little") + b"{" + b" " * (2 << 20),
    "no metadata": (2).to_bytes(8, "little") + b"{}",
    "deeply nested": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "another safetensors file": safetensors.numpy.save({"a": np.zeros(3)}),
    "another format": safetensors.numpy.save({"a": np.zeros(3)}, {"format": "pt", "chainrule": "model"}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_programs_are_refused(tmp_path, name):
    assert_refused(
        tmp_path / "model.safetensors",
        FOREIGN[name],
        "is not a|expected a chainrule model, got (a file of another kind|another safetensors file)",
    )


def rewritten(envelope: dict[str, Any], description: Any = DESCRIPTION) -> bytes:
    """A file that says something else, its checksum right: what only a person could make. ``...`` leaves a key out."""
    version = 2 if isinstance(description, dict) and "columns" in description else 1
    fields = {"version": version, "description": description}
    fields["sha256"] = sealed_file.checksum(description, TENSORS)
    kept = {key: value for key, value in (fields | envelope).items() if value is not ...}
    return safetensors.numpy.save(TENSORS, {model_file.FORMAT.key: json.dumps(kept)})


ENVELOPES = [
    ({"version": 7}, "expected format version 1 to 6, got 7(?s:.*)chainrule that wrote it"),
    ({"version": 0}, "format version 1 to 6, got 0"),
    ({"version": True}, "got True"),
    ({"version": 2}, "expected format version 1 for its layers and columns, got 2"),
    ({"version": 3}, "expected format version 1 for its layers and columns, got 3"),
    ({"version": 1, "description": DESCRIPTION | {"columns": []}}, "damaged"),
    ({"version": "1"}, "format version 1 to 6, got '1'"),
    ({"version": None}, "format version 1 to 6, got None"),
    ({"version": ...}, "not a model file"),
    ({"sha256": "0" * 64}, "damaged: its checksum does not match(?s:.*)use an intact copy"),
    ({"sha256": None}, "damaged"),
    ({"sha256": ...}, "not a model file"),
    ({"description": ...}, "not a model file"),
    ({"description": {}}, "damaged"),
    ({"description": DESCRIPTION | {"seed": 4}}, "damaged"),
]
DESCRIPTIONS = [
    ({"n_in": ...}, "n_in of the description: expected int"),
    ({"n_in": "2"}, "n_in of the description: expected int"),
    ({"n_in": True}, "n_in of the description: expected int"),
    ({"n_in": 2.0}, "n_in of the description: expected int"),
    ({"layers": {}}, "layers of the description: expected list"),
    ({"layers": [3]}, "unknown kind of layer: 3"),
    ({"layers": [{"kind": 3}]}, "unknown kind of layer"),
    ({"layers": [["x" * 10_000]]}, "unknown kind of layer"),
    ({"loss": None}, "loss of the description: expected str or dict"),
    ({"seed": "3"}, "seed of the description"),
    ({"feature_names": [1]}, "feature_names of the description: expected a list of str"),
    ({"classes": ["a", None]}, "classes of the description: expected a list of str"),
    ({"columns": {}}, "columns of the description: expected list"),
    ({"columns": ["x" * 10_000]}, "unknown kind of column"),
    ({"columns": [{"name": "a"}]}, "unknown kind of column"),
]


@pytest.mark.parametrize(("envelope", "message"), ENVELOPES, ids=[str(e)[:40] for e, _ in ENVELOPES])
def test_wrong_version_checksum_or_description_is_refused(tmp_path, envelope, message):
    assert_refused(tmp_path / "m", rewritten(envelope), message)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "{", "", "NaN", "[" * 100_000])
def test_metadata_that_is_no_json_object_is_refused(tmp_path, text):
    assert_refused(tmp_path / "m", safetensors.numpy.save(TENSORS, {model_file.FORMAT.key: text}), "not a model file")


@pytest.mark.parametrize(("description", "message"), DESCRIPTIONS, ids=[str(d)[:40] for d, _ in DESCRIPTIONS])
def test_wrong_types_in_the_description_are_refused(tmp_path, description, message):
    changed = {key: value for key, value in (DESCRIPTION | description).items() if value is not ...}
    assert_refused(tmp_path / "m", rewritten({}, changed), message)
    with pytest.raises(ModelFileError) as caught:
        model_file.read(tmp_path / "m")
    assert len(caught.value.message) < 300, "a message, not a copy of the file"


@pytest.mark.parametrize("description", [[], 3, None, "x", True])
def test_a_description_that_is_no_json_object_is_refused(tmp_path, description):
    assert_refused(tmp_path / "m", rewritten({}, description), "expected the description to be a JSON object")


@pytest.mark.parametrize(
    "values",
    [np.array([np.nan]), np.array([np.inf], np.float32), np.array([1]), np.array([1.0], np.float16), np.array([True])],
    ids=str,
)
def test_arrays_of_wrong_dtype_or_not_finite_are_refused(tmp_path, values):
    model_file.write(tmp_path / "m", DESCRIPTION, {"parameters.dense0.W": values})
    assert_refused(
        tmp_path / "m", (tmp_path / "m").read_bytes(), "dense0.W: expected finite numbers of float32 or float64"
    )


def test_a_model_path_that_is_no_file(tmp_path):
    with pytest.raises(ModelFileError, match="does not exist"):
        model_file.read(tmp_path / "missing")
    with pytest.raises(ModelFileError, match="cannot be read"):
        model_file.read(tmp_path)
    assert issubclass(ModelFileError, DataError)


# ---- whole or not at all --------------------------------------------------------------------------


def fail_with(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_save_leaves_only_the_old_file(path, monkeypatch, call, error):
    before = path.read_bytes()
    monkeypatch.setattr(os, call, fail_with(error))
    with pytest.raises(type(error)):
        model_file.write(path, DESCRIPTION, {"other": np.ones(1000)})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_model_file_is_flushed_before_it_is_renamed(path, monkeypatch):
    """Written and flushed under another name; the old model stands until the very last call."""
    before, seen = path.read_bytes(), []
    replace = os.replace

    def watched(name: str, target: str, **folders: int) -> None:
        seen.append(((path.parent / name).read_bytes() != before, path.read_bytes() == before))
        replace(name, target, **folders)

    monkeypatch.setattr(os, "replace", watched)
    model_file.write(path, DESCRIPTION, {"other": np.ones(3)})
    assert seen == [(True, True)]
    assert set(model_file.read(path)[1]) == {"other"}


def test_a_description_that_is_no_json_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        model_file.write(tmp_path / "m", DESCRIPTION | {"seed": float("nan")}, TENSORS)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="this system has no pwrite")
def test_a_save_is_read_back_and_compared(path, monkeypatch):
    before, fsync = path.read_bytes(), os.fsync

    def spoiling(number: int) -> None:
        fsync(number)
        os.pwrite(number, b"?", 30)

    monkeypatch.setattr(os, "fsync", spoiling)
    with pytest.raises(OSError, match="does not hold what was written"):
        model_file.write(path, DESCRIPTION, {"other": np.ones(1000)})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["plain", 'a "quoted" \\ name', "tab\t\x01\x7f", "größe, 数"])
def test_a_file_has_the_bytes_that_safetensors_writes(name):
    """Order, padding and escapes, of arrays of all dtypes and of none."""
    rng = np.random.default_rng(1)
    arrays = {f"{name}.{dtype}": rng.normal(size=(3, 2)).astype(dtype) for dtype in ("f4", "i8", "f8", "i4", "u1", "?")}
    arrays |= {name: np.ones((), np.float32), "z": np.empty((0, 3)), "a": np.arange(5.0), "B": np.ones(1)}
    for some in (arrays, {}, {"one": np.ones(3, np.float32)}):
        parts = sealed_file.parts_of_safetensors(some, {"format": f'{{"a": "{name}"}}'})
        assert b"".join(parts) == safetensors.numpy.save(some, {"format": f'{{"a": "{name}"}}'})


def test_temporaries_of_killed_saves_are_removed(path):
    leftover = path.with_name(f".{path.name}.123-456.tmp")
    leftover.write_bytes(b"half")
    with Folder(path.parent) as folder:
        folder.remove_temporaries([path.name])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_names_that_are_no_unicode_are_refused(tmp_path):
    """Half a surrogate pair, which Python's text may have and UTF-8 has not."""
    with pytest.raises(DataError, match=r"Unicode characters, got .*ud800"):
        model_file.write(tmp_path / "m.safetensors", DESCRIPTION | {"classes": ["\ud800", "b"]}, TENSORS)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_truncated_while_it_is_read(path, monkeypatch):
    """As a copy in place does; a process that had mapped the file would be killed."""
    model_file.write(path, DESCRIPTION, {"parameters.dense0.W": np.ones(100_000)})
    opened = safetensors.safe_open
    if not hasattr(opened, "offset_keys"):
        pytest.skip("safetensors before 0.6 maps the file")

    def shorten(*args: object, **options: object) -> object:
        found = opened(*args, **options)
        os.truncate(path, 400_000)
        return found

    monkeypatch.setattr(safetensors, "safe_open", shorten)
    with pytest.raises(ModelFileError, match="it was truncated while it was read"):
        model_file.read(path)


def test_a_description_over_the_limit_of_safetensors_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected at most 67,108,864 bytes of names"):
        sealed_file.write(tmp_path / "m", model_file.FORMAT, 1, {"target_name": "a" * 101_000_000}, {"a": np.zeros(1)})
    assert list(tmp_path.iterdir()) == []
