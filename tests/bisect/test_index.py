"""The releases of a package from an index in JSON and in HTML, and from folders of wheels."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.from_index import needs
from tests.wheels import wheel
from zmlx_bench.bisect.ends import Ends, ends_of, range_of
from zmlx_bench.bisect.index import Release, Settings, released, settings
from zmlx_bench.errors import CannotHere, UnusableInput, ZmlxError

FILES = [
    {"filename": "part-1.0-py3-none-any.whl", "requires-python": ">=3.8", "yanked": False},
    {"filename": "part-1.0.tar.gz", "yanked": False},
    {"filename": "part-1.1-py3-none-any.whl", "yanked": "it broke"},
    {"filename": "part-1.1.tar.gz", "yanked": True},
    {"filename": "part-1.2-py3-none-any.whl", "yanked": "only this file"},
    {"filename": "part-1.2-1-py3-none-any.whl", "yanked": False},
    {"filename": "part-1.3.tar.gz", "yanked": False},
    {"filename": "part-1.4-cp27-cp27m-win32.whl", "yanked": False},
    {"filename": "part-1.5-py3-none-any.whl", "requires-python": "<3.5", "yanked": False},
    {"filename": "part-1.10-py3-none-any.whl", "requires-python": "nonsense", "yanked": False},
    {"filename": "part-2.0rc1-py3-none-any.whl", "yanked": False},
    {"filename": "other-1.9-py3-none-any.whl", "yanked": False},
    {"filename": "part-not.a.version.whl", "yanked": False},
]
YANKED, UNFIT = {"1.1"}, {"1.3", "1.4", "1.5"}
ALL = ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.10", "2.0rc1"]


class Index(BaseHTTPRequestHandler):
    speaks_json = True
    seen: list[str | None] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization"))
        if self.path == "/simple/broken/":
            self.answer(200, "application/vnd.pypi.simple.v1+json", b'{"files": [{}]}')
        elif self.path == "/simple/deep/":
            self.answer(200, "application/vnd.pypi.simple.v1+json", b"[" * 100_000)
        elif self.path == "/simple/cut/":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{")
        elif self.path == "/simple/other/":
            self.wfile.write(b"SSH-2.0-another-service\r\n")
        elif self.path == "/simple/closed/":
            self.answer(403, "text/plain", b"")
        elif self.path != "/simple/part/":
            self.answer(404, "text/plain", b"")
        elif self.speaks_json:
            data = json.dumps({"meta": {"api-version": "1.1"}, "name": "part", "files": FILES}).encode()
            self.answer(200, "application/vnd.pypi.simple.v1+json", data)
        else:
            self.answer(200, "text/html", page().encode())

    def answer(self, code: int, kind: str, data: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def page() -> str:
    def anchor(file: dict[str, object]) -> str:
        said = f' data-yanked="{file["yanked"]}"' if file["yanked"] else ""
        if "requires-python" in file:
            said += f' data-requires-python="{str(file["requires-python"]).replace("<", "&lt;").replace(">", "&gt;")}"'
        return f'<a href="../../files/{file["filename"]}#sha256=00"{said}>{file["filename"]}</a><br>'

    return f"<!DOCTYPE html><html><body>{''.join(map(anchor, FILES))}</body></html>"


@pytest.fixture(params=[True, False], ids=["json", "html"])
def index(request: pytest.FixtureRequest) -> Iterator[str]:
    handler = type("Handler", (Index,), {"speaks_json": request.param, "seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join()


def of(*indexes: str, folders: tuple[Path, ...] = ()) -> Settings:
    return Settings(indexes, folders, None)


def told(releases: list[Release]) -> tuple[list[str], set[str], set[str]]:
    names = [str(one.version) for one in releases]
    return names, {str(o.version) for o in releases if o.yanked}, {str(o.version) for o in releases if not o.installs}


def test_an_index_says_what_was_released_yanked_and_fits(index: str) -> None:
    assert told(released("Part", here=of(index))) == (ALL, YANKED, UNFIT)


def test_a_local_index_is_a_folder_of_pages(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "index.html").write_text(page())
    assert told(released("part", here=of(tmp_path.as_uri(), "file:///nowhere"))) == (ALL, YANKED, UNFIT)


def test_a_folder_of_wheels_that_is_named_comes_before_the_index(index: str, tmp_path: Path) -> None:
    mine = wheel(tmp_path, "part", "1.1", {"part.py": "x = 1"})
    wheel(tmp_path, "part", "3.0", {})
    wheel(tmp_path, "another", "4.0", {})
    found = {str(one.version): one for one in released("part", [tmp_path], of(index))}
    assert sorted(found) == sorted([*ALL, "3.0"])
    assert (found["1.1"].wheel, found["1.1"].yanked, found["1.0"].wheel) == (mine.resolve(), False, None)
    # One that pip is configured for is pip's to find.
    assert [one.wheel for one in released("part", here=of(folders=(tmp_path,)))] == [None, None]


# http.client of Python 3.11 leaves the socket of an answer that is a refusal to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_password_goes_to_the_index_and_into_no_message(index: str) -> None:
    secret = index.replace("http://", "http://me:se%40cret@")
    assert released("part", here=of(secret))
    with pytest.raises(CannotHere, match="answers 403") as refused:
        released("closed", here=of(secret))
    assert "cret" not in str(refused.value)


# http.client of Python 3.11 leaves the socket of a connection that is refused to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("package", "at", "says"),
    [
        ("absent", "{index}", "package absent: there is no release of it in http"),
        ("broken", "{index}", "its answer for broken is not understood"),
        ("deep", "{index}", "its answer for deep is not understood"),
        ("cut", "{index}", "cannot be asked: IncompleteRead"),
        ("other", "{index}", "cannot be asked: SSH-2.0-another-service"),
        ("part", "http://127.0.0.1:1/with a space", "cannot be asked: URL can't contain"),
        ("part", "http://127.0.0.1:port/simple", "cannot be asked: nonnumeric port"),
        ("part", "http://127.0.0.1:1/simple", "cannot be asked: "),
        ("part", "gopher://nowhere/simple", "cannot be asked: "),
    ],
)
def test_an_index_that_does_not_tell_is_one_line(index: str, package: str, at: str, says: str) -> None:
    with pytest.raises(ZmlxError, match=says) as refused:
        released(package, here=of(at.format(index=index)))
    assert "\n" not in str(refused.value)


# http.client of Python 3.11 leaves the socket of a connection that is refused to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_test_is_skipped_where_the_index_lacks_its_release_and_says_so(index: str) -> None:
    needs("part", "1.0", of(index))
    for version, at, says in (
        ("1.3", index, "needs a wheel of part 1.3 for this Python and platform"),
        ("9.9", index, "needs a wheel of part 9.9"),
        ("1.0", "http://127.0.0.1:1", "needs a package index with part 1.0: .* cannot be asked"),
    ):
        with pytest.raises(pytest.skip.Exception, match=says):
            needs("part", version, of(at))


@pytest.mark.process
def test_pip_says_where_to_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://one/simple\nextra-index-url =\n  file:///two\n")
    monkeypatch.setenv("PIP_INDEX_URL", "https://three/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    found = settings()
    assert found.indexes[0] == "https://three/simple"
    assert tmp_path in found.folders
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert settings().indexes == ()


@pytest.mark.process
@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "PIP_FIND_LINKS"])
def test_what_is_no_address_is_one_line_without_its_password(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "https://me:secret@[::1/simple")
    with pytest.raises(CannotHere, match="pip's configuration: an index or a link in it is no address: Inv") as refused:
        settings()
    assert "secret" not in str(refused.value)


@pytest.mark.process
def test_where_pip_does_not_say_no_other_index_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("no section = here")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(CannotHere, match="pip does not say which index is yours"):
        settings()


def releases(*versions: str, yanked: str = "", unfit: str = "") -> list[Release]:
    from packaging.version import Version

    return [Release(Version(v), v in yanked.split(), v not in unfit.split()) for v in versions]


def versions_of(good: str, bad: str, found: list[Release]) -> tuple[list[str], dict[str, str]]:
    between = range_of(found, ends_of(f"part=={good}", f"part=={bad}"))
    return [str(one.version) for one in between.releases], dict(between.left_out)


def test_the_range_is_in_the_order_of_versions_from_the_good_end() -> None:
    found = releases("1.0", "1.2", "1.9", "1.10", "2.0")
    assert versions_of("1.2", "2.0", found) == (["1.2", "1.9", "1.10", "2.0"], {})
    assert versions_of("2.0", "1.2", found) == (["2.0", "1.10", "1.9", "1.2"], {})


def test_yanked_early_and_unfit_releases_are_left_out_and_named() -> None:
    found = releases("1.0", "1.1", "1.2rc1", "1.2.dev3", "1.3", "1.4", yanked="1.1 1.4", unfit="1.3")
    kept, left = versions_of("1.0", "1.4", found)
    assert kept == ["1.0", "1.4"]
    assert left == {
        "1.1": "yanked", "1.2rc1": "a prerelease", "1.2.dev3": "a prerelease",
        "1.3": "no wheel for this Python and platform",
    }  # fmt: skip
    assert versions_of("1.0", "1.2rc1", found)[0] == ["1.0", "1.2.dev3", "1.2rc1"]


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        ("part", "part==2", "--good 'part': must be PACKAGE==VERSION"),
        ("part==1", "part>=2", "--bad 'part>=2': must be PACKAGE==VERSION"),
        ("part==1.*", "part==2", "--good 'part==1.*': must be PACKAGE==VERSION"),
        ("part==1;rm -rf x", "part==2", "must be PACKAGE==VERSION"),
        ("part[a]==1", "part==2", "must be PACKAGE==VERSION"),
        ("part==1", "other==2", "is another package"),
        ("Part==1.0", "part==1", "nothing lies between"),
    ],
)
def test_what_are_no_ends_is_one_line(good: str, bad: str, says: str) -> None:
    with pytest.raises(UnusableInput) as refused:
        ends_of(good, bad)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("bad", "says"), [("1.7", "unknown version '1.7'"), ("1.3", "has no wheel for this Python")])
def test_an_end_that_cannot_be_installed_is_refused(bad: str, says: str) -> None:
    with pytest.raises(UnusableInput, match=says):
        range_of(releases("1.0", "1.3", unfit="1.3"), ends_of("part==1.0", f"part=={bad}"))


def test_the_name_is_the_normalised_one() -> None:
    from packaging.version import Version

    assert ends_of("MLX_lm==0.31.1", "mlx-lm==0.32.2") == Ends("mlx-lm", Version("0.31.1"), Version("0.32.2"))
