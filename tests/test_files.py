"""Reading strictly and writing whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench import files
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.schema.prompts import Prompt, PromptSet


def good() -> PromptSet:
    return PromptSet(prompt=(Prompt(id="a", domain="x", text='日本語 \n "quoted"'),))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"schema_version": 1, "schema_version": 1}', "the key 'schema_version' stands twice"),
        ('{"schema_version": NaN}', "NaN is not a number"),
        ('{"schema_version": -Infinity}', "-Infinity is not a number"),
        ('{"schema_version": 1e999}', "the number 1e999 is out of range"),
        ('{"schema_version": ' + "1" * 5000 + "}", "a number of 5000 characters"),
        ('{"schema_version": 2}', "schema_version: 2 is newer than this zmlx knows (1); update zmlx"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "file: "),
        ("", "Expecting value"),
        ('{"prompt": [], "more": 1}', "(and 1 more)"),
    ],
)
def test_json_that_is_wrong_is_refused_in_one_line_with_its_file(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UnusableInput) as caught:
        files.read_json(path, PromptSet)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b'{"a": "\xe9"}')
    for name, says in (("none", "no such file"), ("latin", "not UTF-8 at byte 7"), (".", "cannot be read: ")):
        with pytest.raises(UnusableInput, match=says):
            files.read_json(tmp_path / name, PromptSet)


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    files.write_atomic(path, b"old")
    files.write_atomic(path, files.dump_json(good()))
    assert files.read_json(path, PromptSet) == good()
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.mkdir()
    (path / "mine").touch()
    with pytest.raises(CannotHere, match=r"x\.json: cannot be written: "):
        files.write_atomic(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_an_artifact_has_one_line_for_each_field() -> None:
    lines = files.dump_json(good()).decode().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("{", "}", 2 + len(PromptSet.model_fields))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + b'[[prompt]]\nid = "a"\ndomain = "x"\ntext = "b"\n')
    assert files.read_toml(tmp_path / "marked.toml", PromptSet).prompt[0].text == "b"
    (tmp_path / "marked.json").write_bytes(b"\xef\xbb\xbf" + files.dump_json(good()))
    assert files.read_json(tmp_path / "marked.json", PromptSet) == good()


def test_a_size_is_of_the_files_that_are_there_and_of_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"0" * 100)
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a" / "elsewhere").symlink_to(Path(__file__).parent)
    link, other = ((tmp_path / "a" / name).lstat().st_size for name in ("gone", "elsewhere"))
    assert files.size(tmp_path / "a") == 100 + link + other
    assert files.size(tmp_path / "a" / "b" / "file") == 100
    assert files.size(tmp_path / "a" / "gone") == link
    assert files.size(tmp_path / "nowhere") == 0
