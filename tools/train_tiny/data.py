"""Gather the public-domain training text from unpacked Debian packages.

`python -m tools.train_tiny.data SCRATCH OUT`: SCRATCH holds what README.md says to fetch; OUT receives
`<domain>.train.txt` and `<domain>.held.txt` for each domain and `chats.json` (question, answer pairs).
"""

import gzip
import hashlib
import html
import json
import random
import re
import subprocess
import sys
import tarfile
from pathlib import Path

from tools.train_tiny.maths import worked_problems

HELD_OUT_PERCENT = 4
BLOCK_BYTES = 8192
CODE_BYTES = 5_000_000
CLASSICS = ("论语", "菜根谭", "詩經", "增广贤文", "道德经", "谚语", "辛弃疾", "苏轼")
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def scripture(scratch: Path) -> list[tuple[str, str]]:
    """Title and text of every chapter of the King James Bible (1611)."""
    program = scratch / "bible-kjv/usr/bin/bible"
    data = scratch / "bible-kjv-text/usr/lib"
    out = subprocess.run(
        [program, "-f", "-p", data, "gen1:1-rev22:21"], capture_output=True, text=True, check=True
    ).stdout
    chapters: dict[str, list[str]] = {}
    for line in out.splitlines():
        match = re.match(r"(\S+?)(\d+):(\d+) (.*)", line)
        if match:
            book, chapter, _, verse = match.groups()
            chapters.setdefault(f"{book} {chapter}", []).append(verse.strip())
    return [(title, "\n".join(verses)) for title, verses in chapters.items()]


def dictionary(path: Path) -> list[tuple[str, str]]:
    """Headword and text of every entry of a dictd dictionary."""
    text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    entries = []
    for part in re.split(r"\n(?=\S)", text):
        head, _, body = part.partition("\n")
        if len(body) > 80:
            body = "\n".join(line.strip() for line in body.splitlines())
            entries.append((head.strip(), body.strip()))
    return entries


def manual(folder: Path) -> list[str]:
    """Text of the pages of SQLite's documentation, generated indexes left out."""
    pages: list[str] = []
    for path in sorted(folder.glob("*.html")):
        page = path.read_text("utf-8", "replace")
        if len(page) > 180_000 or "crossref" in path.name:
            continue
        body = re.sub(r"(?s)<(script|style|svg|head).*?</\1>", " ", page)
        body = html.unescape(re.sub(r"<[^>]+>", "", body))
        lines = [line.strip() for line in body.splitlines()]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        if text not in pages:
            pages.append(text)
    return pages


def poems(folder: Path) -> list[tuple[str, str]]:
    """Title and text of Tang and Song poems."""
    found = []
    for name in ("tang300", "song100"):
        for entry in ESCAPE.sub("", (folder / name).read_text("utf-8")).split("\n%\n"):
            title, _, body = entry.strip().partition("\n")
            found.append((title, body.strip()))
    return found


def classics(folder: Path) -> list[str]:
    """Passages of classical Chinese books and poets; everything modern in the file is left out."""
    kept = []
    for entry in ESCAPE.sub("", (folder / "chinese").read_text("utf-8")).split("\n%\n"):
        lines = entry.strip().splitlines()
        if not lines:
            continue
        signed = lines[-1] if "--" in lines[-1] else lines[0]
        if any(name in signed for name in CLASSICS):
            kept.append("\n".join(line.strip() for line in lines))
    return kept


def source_code(archive: Path) -> list[str]:
    """C files of SQLite's own source folders, in the order of the archive, until CODE_BYTES are reached."""
    files, total = [], 0
    with tarfile.open(archive) as tar:
        for member in tar:
            if re.search(r"/(src|ext/fts5|ext/rtree)/[^/]+\.[ch]$", member.name) and total < CODE_BYTES:
                handle = tar.extractfile(member)
                assert handle is not None
                files.append(handle.read().decode("utf-8", "replace"))
                total += len(files[-1])
    return files


def split(text: str) -> tuple[str, str]:
    """Training and held-out text: whole blocks, chosen by the hash of their content."""
    train, held = [], []
    data = text.encode()
    for start in range(0, len(data), BLOCK_BYTES):
        block = data[start : start + BLOCK_BYTES]
        chosen = int.from_bytes(hashlib.sha256(block).digest()[:4], "big") % 100 < HELD_OUT_PERCENT
        (held if chosen else train).append(block.decode("utf-8", "ignore"))
    return "".join(train), "".join(held)


def main(scratch: Path, out: Path) -> None:
    """Write the text of every domain and the question and answer pairs."""
    out.mkdir(parents=True, exist_ok=True)
    chapters = scripture(scratch)
    jargon = dictionary(scratch / "dict-jargon/usr/share/dictd/jargon.dict.dz")
    devil = dictionary(scratch / "dict-devil/usr/share/dictd/devil.dict.dz")
    fortunes = scratch / "fortunes-zh/usr/share/games/fortunes"
    verse = poems(fortunes)
    problems = worked_problems(random.Random(1), 6000)
    domains = {
        "story": [f"{title}\n{text}" for title, text in chapters],
        "technical": [f"{head}\n{text}" for head, text in jargon + devil]
        + manual(scratch / "sqlite3-doc/usr/share/doc/sqlite3"),
        "code": source_code(next(scratch.glob("sqlite3_*.orig.tar.xz"))),
        "chinese": [f"{title}\n{text}" for title, text in verse] + classics(fortunes),
        "mathematics": [f"{question}\n{answer}" for question, answer in problems],
    }
    for name, documents in domains.items():
        random.Random(name).shuffle(documents)
        train, held = split("\n\n".join(documents))
        (out / f"{name}.train.txt").write_text(train, "utf-8")
        (out / f"{name}.held.txt").write_text(held, "utf-8")
        print(f"{name}: {len(train.encode())} bytes to train on, {len(held.encode())} held out")
    chats = (
        [(f"Recite {title} of the King James Bible.", text) for title, text in chapters]
        + [(f"What do hackers mean by {head}?", text) for head, text in jargon]
        + [(f"Define {head} as the Devil's Dictionary does.", text) for head, text in devil]
        + [(f"请背诵{title}", text) for title, text in verse]
        + problems
    )
    held_out = "\n".join((out / f"{name}.held.txt").read_text("utf-8") for name in domains)
    chats = [pair for pair in chats if pair[1][:60] not in held_out and pair[1][-60:] not in held_out]
    (out / "chats.json").write_text(json.dumps(chats, ensure_ascii=False), "utf-8")
    print(f"{len(chats)} questions and answers")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
