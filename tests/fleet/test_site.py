"""The node's side: what a session gets of the environment, and what is said of one whose process is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV
from tests.fleet.scripted import device
from zmlx_bench.fleet import site, survey
from zmlx_bench.fleet.nodes import NodeFails
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import facts, nvidia
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process


def test_no_secret_and_no_stranger_of_the_environment_reaches_a_session() -> None:
    secret = {
        "HF_TOKEN": "hf_abcdef", "AWS_SECRET_ACCESS_KEY": "x" * 20, "GITHUB_TOKEN": "ghp", "MLX_PASSWORD": "hidden",
        "ZMLX_API_KEY": "hidden", "DATABASE_URL": "postgres://me:word@host/db", "SSH_AUTH_SOCK": "/tmp/agent",
        "HF_ENDPOINT": "https://me:word@hub", "RAY_AUTH_TOKEN": "token", "RAY_ADDRESS": "10.0.0.1:6379", "MINE": "1",
        "OMP_NUM_THREADS": "1", "https_proxy": "http://me:word@proxy:3128", "PIP_INDEX_URL": "https://me:word@index",
        "UV_INDEX_MINE_PASSWORD": "hidden", "UV_INDEX_MINE_USERNAME": "hidden", "RSYNC_PROXY": "proxy:1",
        "all_proxy": "me:s3cretpw@proxy:3128", "PIP_PROXY": "me:word@proxy:1", "UV_DEFAULT_INDEX": "https://tok-x@idx",
        "PIP_EXTRA_INDEX_URL": "https://idx/simple https://ghp_x@idx/simple", "UV_INDEX": "ours=https://t@idx",
        "UV_FIND_LINKS": "https://idx/simple?token=abc", "PIP_FIND_LINKS": "/wheels https://idx/simple?abc",
        "http_proxy": "tok@proxy:1",
    }  # fmt: skip
    wanted = {
        "PATH": "/bin", "HOME": "/home/me", "TMPDIR": "/tmp", "XDG_CACHE_HOME": "/cache", "HF_HOME": "/hub",
        "CUDA_VISIBLE_DEVICES": "1", "MLX_MAX_OPS_PER_BUFFER": "7", "LC_ALL": "C.UTF-8",
        "HTTPS_PROXY": "http://proxy:3128", "HTTP_PROXY": "proxy:3128", "ALL_PROXY": "socks5://proxy:1080",
        "no_proxy": "10.0.0.0/8,.local", "PIP_CERT": "/home/me@corp/ours.pem", "UV_INDEX_URL": "https://index/simple",
        "SSL_CERT_FILE": "/etc/ours.pem",
    }  # fmt: skip
    assert site.environment({**secret, **wanted}) == {
        **wanted, "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def test_a_node_says_what_doctor_says(tmp_path: Path) -> None:
    # Whatever its Python prints at its start.
    (tmp_path / "sitecustomize.py").write_text("print('hello')\n")
    there = {survey.HOST: "rack-7", "PYTHONPATH": str(tmp_path)}
    (found, *_) = site.survey(site.environment(QUIET_ENV) | there)
    backend = backends.choose("auto")
    assert found.device == f"rack-7/{backend}-0"
    assert found.host == "rack-7"
    assert found.machine == facts.read(backend)
    assert (found.mlx, found.mlx_lm) == (backends.installed("mlx"), backends.installed("mlx-lm"))
    assert found.code == survey.code()
    assert found.nice == os.nice(0)


def test_a_node_that_cannot_say_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.sys, "executable", "/bin/false")
    with pytest.raises(NodeFails, match="exited with code 1"):
        site.survey({})
    monkeypatch.setattr(site.sys, "executable", "/nowhere/python")
    with pytest.raises(NodeFails, match="No such file"):
        site.survey({})


def test_the_gpus_of_a_host_are_those_that_cuda_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    for shown, found in {"0,2": ["0", "2"], "GPU-a, GPU-b": ["GPU-a", "GPU-b"], "1,-1,2": ["1"], "": []}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        assert nvidia.visible() == found
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(nvidia, "output_of", lambda *_: "GPU-1\nGPU-2\n")
    assert nvidia.visible() == ["GPU-1", "GPU-2"]


def test_a_session_whose_process_is_gone_can_be_resumed_where_it_was_begun(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    nothing = site.standing(place, "20300101T100000Z-qwen3-abcd")
    assert (nothing.begun, nothing.outcome) == (False, "interrupted")
    place.session("20300101T100000Z-qwen3-abcd").mkdir(parents=True)
    (place.session("20300101T100000Z-qwen3-abcd") / "session.json").write_text("{}")
    broken = site.standing(place, "20300101T100000Z-qwen3-abcd")
    assert (broken.begun, broken.outcome) == (True, "changed")


def test_devices_of_another_size_or_version_are_other_groups() -> None:
    groups = {
        one.group for one in (device("a"), device("b"), device("a", kind="Other"), device("a", mlx="9"),
                              device("a", mlx_lm="9"))
    }  # fmt: skip
    assert len(groups) == 4
