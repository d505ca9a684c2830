"""The artifacts by the name that `zmlx schema` knows them under."""

from __future__ import annotations

from zmlx_bench.bench.schema import BenchReport
from zmlx_bench.legacy.schema import LegacyImport
from zmlx_bench.schema.base import StrictModel
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.entry import Entry
from zmlx_bench.schema.environment import EnvironmentFile
from zmlx_bench.schema.kernel import KernelDeclaration
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.promotion import Promotions
from zmlx_bench.schema.prompts import PromptSet
from zmlx_bench.schema.session import Session
from zmlx_bench.schema.variant import VariantFile
from zmlx_bench.schema.verification import Verification
from zmlx_bench.screen.schema import Screening

KINDS: dict[str, type[StrictModel]] = {
    "capsule": Capsule,
    "session": Session,
    "matrix": MatrixRow,
    "entry": Entry,
    "variant": VariantFile,
    "kernel": KernelDeclaration,
    "prompts": PromptSet,
    "environments": EnvironmentFile,
    "policy": Policy,
    "promotion": Promotions,
    "legacy": LegacyImport,
    "bench": BenchReport,
    "verification": Verification,
    "screen": Screening,
}
