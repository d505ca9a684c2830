"""Environments: what `variants/environments.toml` asks for, and what one is found to be."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from zmlx_bench.schema.base import Name, NonEmpty, Sha256, StrictModel, UtcTime, content_hash


class EnvironmentSpec(StrictModel):
    """One `[environment.NAME]` table: requirements that zmlx installs, or the Python of one that its owner made."""

    why: str = ""
    """What it is for, in one line."""
    requirements: tuple[NonEmpty, ...] = ()
    """`mlx==0.32.3`, or the path of a wheel. Of mlx and mlx-lm, the one that is not named is the version here."""
    python: NonEmpty | None = None
    """Path of an interpreter; relative to the workspace, or with `~`."""

    @model_validator(mode="after")
    def _one_of_both(self) -> EnvironmentSpec:
        if bool(self.requirements) == (self.python is not None):
            raise ValueError("needs either requirements or python, and not both")
        return self


class EnvironmentFile(StrictModel):
    """The file `variants/environments.toml`."""

    schema_version: Literal[1] = 1
    environment: dict[Name, EnvironmentSpec] = Field(default={})


class Distribution(StrictModel):
    """One installed distribution."""

    name: NonEmpty
    version: NonEmpty
    wheel_sha256: tuple[Sha256, ...] = ()
    """Of the wheel that it was installed from: one, or those of several that fit and say the same version; empty where
    somebody else installed it."""
    record_sha256: Sha256 | None = None
    """Over the hashes that its RECORD gives of its files; null where it has none, as one in a checkout."""


class Package(StrictModel):
    """What of MLX or mlx-lm runs: the files themselves."""

    version: str | None
    """Null where its distribution says none."""
    sha256: Sha256
    """Over the hashes of its Python files and libraries."""
    commit: str | None = None
    """Git commit of the checkout that it lies in; null elsewhere."""
    dirty: bool | None = None
    """Whether tracked files of the checkout differ from that commit; null elsewhere."""


class Environment(StrictModel):
    """What an environment was found to be, by a process of its own."""

    asked: NonEmpty
    """By what it was asked for: a name of `variants/environments.toml`, requirements, or an interpreter's path as it
    was typed."""
    requirements: tuple[str, ...] = ()
    """With what was added so that nothing but what was asked about differs; empty for an interpreter's path."""
    python: NonEmpty
    """Its version."""
    implementation: NonEmpty
    platform: NonEmpty
    """As sysconfig calls it."""
    distributions: tuple[Distribution, ...]
    """Sorted by name."""
    packages: dict[Name, Package]
    """`mlx` and `mlx_lm`, as far as they are there."""
    lacks: str | None = None
    """Why no measured process can run in it, as far as that can be told without a model; null where one can."""
    digest: Sha256
    """Over what is installed and on what, however it was asked for and wherever it lies."""

    def digest_of(self) -> str:
        """Return the digest of the other fields."""
        what = {"python", "implementation", "platform", "packages"}
        installed = [(one.name, one.version, one.record_sha256) for one in self.distributions]
        return content_hash({**self.model_dump(mode="json", include=what), "installed": installed})

    def version(self, package: str) -> str | None:
        """Return the version of `mlx` or `mlx_lm`; None where it is not there."""
        return self.packages[package].version if package in self.packages else None


class MadeEnvironment(StrictModel):
    """`environment.json` in the folder of an environment that was made: written last, so that it is whole."""

    schema_version: Literal[1] = 1
    environment: Environment
    made: UtcTime
    maker: NonEmpty
    """What installed it, with its version."""
