"""The variants of a workspace: read from `variants/<family>.toml`, checked, and resolved against its kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from zmlx_bench import files
from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.identity import Part, identity
from zmlx_bench.catalog.kernels import Kernel
from zmlx_bench.environments.asked import FILE as ENVIRONMENTS
from zmlx_bench.environments.asked import declared as declared_environments
from zmlx_bench.errors import UnusableInput, unknown
from zmlx_bench.measured.conditions.asked import Asked, unserved
from zmlx_bench.measured.variant import KernelUse, Variant
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.kernel import Mode, Site
from zmlx_bench.schema.plan import DEFAULT, Conditions
from zmlx_bench.schema.variant import FidelityRule, ResolvedKernel, ResolvedVariant, VariantFile, VariantSpec
from zmlx_bench.workspace import Workspace

MOST_DEFAULTS = 4
RESERVED = ("baseline", "null", "all", "none", "promoted")


class Catalog:
    """The variants of one family in a workspace, with the kernels they name."""

    def __init__(self, workspace: Workspace, family: str, hashes: dict[str, str] | None = None) -> None:
        """Read the family's variants; `hashes` keeps those of the kernels' sources, for who looks at many variants at
        one moment. Without it they are those of the moment in which a variant is resolved."""
        self.workspace = workspace
        self.family = family
        self._hashes = hashes
        stem = family_catalog.declared_as(family, workspace)
        self.path = workspace.variants / f"{stem}.toml"
        if not self.path.is_file():
            raise UnusableInput(f"{self.path}: no such file; the family {family!r} has no variants in this workspace")
        declared = files.read_toml(self.path, VariantFile)
        if declared.family != stem:
            raise UnusableInput(
                f"{self.path}: family: is {declared.family!r}; must be {stem!r}, as the file's name says"
            )
        self.specs = declared.variant
        self.kernels = kernel_catalog.load(workspace)
        self._check()

    def add(self, name: str, spec: VariantSpec) -> None:
        """Take in a variant that no file declares; UnusableInput where the name is taken."""
        if name in self.specs and self.specs[name] != spec:
            raise UnusableInput(f"{self.path}: variant.{name}: is declared here; give the environment another name")
        self.specs = {**self.specs, name: spec}

    def environment_of(self, name: str) -> str | None:
        """Return the environment that a variant names, itself or by what it extends; None is the one zmlx is in."""
        return next((spec.environment for spec in self._chain(name) if spec.environment is not None), None)

    def fidelity_of(self, name: str) -> FidelityRule:
        """Return what a variant's output is held to, as it says itself or what it extends does."""
        return next((spec.fidelity for spec in self._chain(name) if spec.fidelity is not None), "identical")

    def names(self) -> list[str]:
        """Return all variants in the order of the file."""
        return list(self.specs)

    def strict(self) -> list[str]:
        """Return the variants that are held to every token; the others are taken where they are named, only."""
        return [name for name in self.specs if self.fidelity_of(name) == "identical"]

    def defaults(self) -> list[str]:
        """Return the variants that a run measures without being asked by name."""
        return [name for name, spec in self.specs.items() if spec.default]

    def choose(self, wanted: Sequence[str] | None) -> list[str]:
        """Return the names for `--variants`: the defaults for None, every one held to identity for `all`, else the ones
        named.

        Of an architecture whose sites are found in the model every variant is a default: those that do not serve the
        model are left out before anything is measured.
        """
        if wanted is None:
            return self.strict() if family_catalog.is_structural(self.family, self.workspace) else self.defaults()
        if not wanted:
            raise UnusableInput("--variants: names no variant; give names by comma, or 'all'")
        if list(wanted) == ["all"]:
            return self.strict()
        for name in wanted:
            if name not in self.specs:
                raise unknown(f"{self.family} variant", name, self.specs)
        return list(dict.fromkeys(wanted))

    def resolve(self, name: str) -> ResolvedVariant:
        """Return the variant with `extends` followed and its kernels identified by their source."""
        spec = self.specs[name]
        references, env = self._merged(name)
        fused: dict[str, list[Site]] = {}
        for site, reference in references.items():
            fused.setdefault(reference, []).append(site)
        resolved: list[ResolvedKernel] = []
        for reference, sites in fused.items():
            kernel, mode_name, mode = self._find(name, sites[0], reference)
            covered = kernel.declaration.sites
            if missing := [site for site in covered if site not in sites]:
                raise self._error(
                    name,
                    f"kernels.{missing[0]}",
                    f"{kernel.name} is fused over {', '.join(covered)}: name it at each of them",
                )
            resolved.append(
                ResolvedKernel(
                    kernel=kernel.name,
                    mode=mode_name,
                    sites=covered,
                    numerics=mode.numerics,
                    source_sha256=self._hashed(kernel),
                )
            )
        return ResolvedVariant(
            name=name,
            family=self.family,
            why=spec.why,
            kernels=tuple(resolved),
            env=env,
            fidelity=self.fidelity_of(name),
        )

    def _hashed(self, kernel: Kernel) -> str:
        if self._hashes is None:
            return kernel_catalog.source_hash(self.workspace, kernel)
        if kernel.name not in self._hashes:
            self._hashes[kernel.name] = kernel_catalog.source_hash(self.workspace, kernel)
        return self._hashes[kernel.name]

    def identify(self, variant: ResolvedVariant, backend: Backend, conditions: Conditions = DEFAULT) -> ResolvedVariant:
        """Return a resolved variant with the identity that it has now on `backend` under `conditions`."""
        parts = [Part(k.kernel, k.mode, k.sites, self.kernels[k.kernel].most_tokens) for k in variant.kernels]
        folder = family_catalog.folder(self.family, self.workspace)
        try:
            elsewhere = variant.environment.digest if variant.environment is not None else None
            found = identity(
                parts,
                variant.env,
                self.family,
                backend,
                self.workspace.kernels,
                folder,
                elsewhere,
                conditions=not conditions.default,
                near=variant.fidelity == "near",
            )
        except (SyntaxError, ValueError) as error:
            raise self._error(variant.name, "", f"its sources cannot be read: {error}") from None
        return variant.model_copy(update={"identity": Identity.model_validate(asdict(found))})

    def plain(self, variant: ResolvedVariant) -> Variant:
        """Return what a measured process takes of a variant, with the limits and needs that its kernels declare."""
        told = plain(variant, {use.kernel: self.kernels[use.kernel].most_tokens for use in variant.kernels})
        declared = [(use, self.kernels[use.kernel].declaration) for use in told.kernels]
        limited = (
            replace(use, max_batch=one.serves.most_batch, caches=one.serves.caches, needs=one.needs)
            for use, one in declared
        )
        return replace(told, kernels=tuple(limited))

    def modes(self, variant: ResolvedVariant) -> list[tuple[ResolvedKernel, Mode]]:
        """Return each kernel of a resolved variant with the declaration of its mode."""
        return [(k, self.kernels[k.kernel].declaration.mode[k.mode]) for k in variant.kernels]

    def missing_on(self, variant: ResolvedVariant, backend: Backend) -> str | None:
        """Say which kernel does not run on `backend`, or None when all do."""
        for kernel, mode in self.modes(variant):
            if backend not in mode.backends:
                return f"{kernel.kernel}.{kernel.mode} runs on {', '.join(mode.backends)}, not on {backend}"
        return None

    def not_in_process(self, name: str, backend: Backend) -> str | None:
        """Say why a variant cannot be put into a model of a process of this environment; None where it can."""
        environment = self.environment_of(name)
        if environment is not None:
            return f"it needs the environment {environment}, and this process runs in another"
        return self.missing_on(self.resolve(name), backend)

    def unserved(self, variant: ResolvedVariant, conditions: Conditions) -> str | None:
        """Say which kernel does not serve the conditions, or None when all do."""
        asked = Asked(conditions.batch, conditions.kv_bits, conditions.max_kv_size)
        return unserved(self.plain(variant).kernels, asked)

    def _check(self) -> None:
        if len(self.defaults()) > MOST_DEFAULTS:
            raise self._error(
                self.defaults()[MOST_DEFAULTS], "default", f"at most {MOST_DEFAULTS} variants may be default"
            )
        folded: dict[str, str] = {}
        for name, spec in self.specs.items():
            if name in RESERVED:
                raise self._error(name, "", f"the name {name!r} is reserved")
            if name.lower() in folded:
                raise self._error(
                    name, "", f"differs from {folded[name.lower()]!r} only in case; capsules need distinct names"
                )
            folded[name.lower()] = name
            if spec.extends is not None and spec.extends not in self.specs:
                raise self._error(name, "extends", str(unknown("variant", spec.extends, self.specs)))
            references, _ = self._merged(name)
            environment = self.environment_of(name)
            if environment is not None and environment not in declared_environments(self.workspace):
                raise self._error(name, "environment", f"{environment!r} is not in {ENVIRONMENTS}; declare it there")
            if not references and environment is None:
                raise self._error(
                    name, "kernels", "names no kernel: that is the baseline, which every session measures"
                )
            self._check_fidelity(name, spec)
            for site, reference in references.items():
                self._find(name, site, reference)

    def _check_fidelity(self, name: str, spec: VariantSpec) -> None:
        if self.fidelity_of(name) == "identical":
            return
        if spec.default:
            raise self._error(name, "default", "a variant that is near is measured by its name only; leave it out")
        _, env = self._merged(name)
        if env or self.environment_of(name) is not None:
            # Stock would run under them as well.
            field = "env" if env else "environment"
            raise self._error(name, field, "near is found inside one process, which has stock's; leave it out")

    def _merged(self, name: str) -> tuple[dict[Site, str], dict[str, str]]:
        references: dict[Site, str] = {}
        env: dict[str, str] = {}
        for spec in reversed(self._chain(name)):
            references.update(spec.kernels)
            env.update(spec.env)
        return references, env

    def _chain(self, name: str) -> list[VariantSpec]:
        """Return a variant's declaration, then those that it extends."""
        chain: list[VariantSpec] = []
        seen: list[str] = []
        at: str | None = name
        while at is not None:
            if at in seen:
                raise self._error(name, "extends", f"goes in a circle: {' -> '.join([*seen, at])}")
            seen.append(at)
            chain.append(self.specs[at])
            at = self.specs[at].extends
            if at is not None and at not in self.specs:
                break
        return chain

    def _find(self, name: str, site: Site, reference: str) -> tuple[Kernel, str, Mode]:
        kernel_name, _, mode_name = reference.partition(".")
        field = f"kernels.{site}"
        if kernel_name not in self.kernels:
            raise self._error(name, field, str(unknown("kernel", kernel_name, self.kernels)))
        kernel = self.kernels[kernel_name]
        modes: Mapping[str, Mode] = kernel.declaration.mode
        mode_name = mode_name or "stock"
        if mode_name not in modes:
            raise self._error(name, field, str(unknown(f"mode of {kernel_name}", mode_name, modes)))
        if site not in kernel.declaration.sites:
            raise self._error(
                name, field, f"{kernel_name} is for {', '.join(kernel.declaration.sites)}, not for {site}"
            )
        return kernel, mode_name, modes[mode_name]

    def _error(self, name: str, field: str, message: str) -> UnusableInput:
        return UnusableInput(f"{self.path}: variant.{name}{'.' + field if field else ''}: {message}")


def plain(variant: ResolvedVariant, max_tokens: Mapping[str, int | None]) -> Variant:
    """Return what a measured process takes of a variant; `max_tokens` gives each kernel's limit, None for any."""
    uses = tuple(KernelUse(use.kernel, use.mode, use.sites, max_tokens[use.kernel]) for use in variant.kernels)
    return Variant(variant.name, variant.family, uses)


def families_with_variants(workspace: Workspace) -> list[str]:
    """Return the families that have a variants file in the workspace."""
    reserved = {"policy", "promoted", "identities", "environments"}
    return sorted(path.stem for path in workspace.variants.glob("*.toml") if path.stem not in reserved)
