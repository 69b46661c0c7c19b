"""What the tests run in processes of their own, each with the real AITER. All answers are JSON."""

import importlib
import inspect
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moesort_tune.integrations import aiter as integration
from moesort_tune.operator.sorting_device import get_sorting_device
from moesort_tune.providers.work import aiter_package
from moesort_tune.tables import store
from moesort_tune.tables.schema import Kernels
from tests.integrations.conftest import STAND_IN
from tests.integrations.real import experts
from tests.integrations.real.bare_packages import add_bare_package
from tests.integrations.real.call_forms import format_operator, format_signature, take_functions
from tests.integrations.real.cpu_machine import Machine
from tests.tables import examples

EXPERTS, TOPK, SWITCH = 128, 4, 21
"""The shape of the layers, and the first token count of the second kernel in the table."""

FUNCTIONS = ("moe_sorting", "_moe_sorting_impl")
"""Functions of aiter.fused_moe on the way of a call."""

OPERATORS = ("moe_sorting_opus_fwd", "moe_sorting_opus_get_workspace_size")
"""Operators that they call."""

ROWS, FEW_EXPERTS, COLUMNS = 10, 16, 8
"""Tokens, experts and model_dim of the calls whose results' shapes are compared."""

OPTIONS: Mapping[str, Mapping[str, bool]] = {
    "none": {},
    "accumulate off": {"accumulate": False},
    "local ids": {"return_local_topk_ids": True},
    "aux": {"output_aux": True},
    "flat": {"flat": True},
}


@dataclass(frozen=True)
class RealAiter:
    """The imported AITER, and the machine that it believes in."""

    machine: Machine
    package: Any
    fused_moe: Any

    def run_layer(self, tokens: int, policy: int = 0) -> None:
        """Call fused_moe as serving does."""
        layer = experts.make_layer(tokens, EXPERTS, TOPK)
        self.fused_moe.fused_moe(*layer, moe_sorting_dispatch_policy=policy)


def import_aiter(machine: Machine, multiply: Callable[..., torch.Tensor] = experts.skip) -> RealAiter:
    """Import AITER, with `multiply` instead of its compiled matrix products."""
    package: Any = importlib.import_module("aiter")
    fused_moe: Any = importlib.import_module("aiter.fused_moe")
    fused_moe.fused_moe_2stages = multiply
    package.mxfp4_moe_sort = lambda **_: None  # a compiled sort of its own, behind output_aux
    return RealAiter(machine, package, fused_moe)


def write_table(folder: Path, *, checkout: str | None, provider: Any) -> str:
    """Write a table for kernels on this machine, of the revision of that AITER or of the builtin ones."""
    prepare_aiter(checkout, folder)
    kernels, package = get_sorting_device(torch.device("cpu")).kernels, aiter_package.find()
    assert package is not None
    limits = kernels.limits
    entry = examples.entry(
        [examples.row(EXPERTS, TOPK, switch=SWITCH)],
        device=examples.device(compute_units=limits.compute_units, lds_bytes=limits.lds_bytes),
        kernels=Kernels(provider=provider, revision=package.revision if provider == "aiter" else kernels.revision),
    )
    path = folder / f"{limits.arch}.yaml"
    store.save(path, examples.table(entry, arch=limits.arch))
    return str(path)


def describe(folder: Path, *, checkout: str) -> dict[str, Any]:
    """Return signatures, and the shapes that moe_sorting returns with each option."""
    real = import_aiter(Machine(Path(checkout), folder))
    return {
        "functions": {name: format_signature(getattr(real.fused_moe, name)) for name in FUNCTIONS},
        "kernel": format_signature(real.package.moe_sorting_opus_fwd),
        "operators": {name: format_operator(name) for name in OPERATORS},
        "shapes": {name: list_shapes(sort(real.fused_moe, options)) for name, options in OPTIONS.items()},
        "adaptive": len(sort(real.fused_moe, OPTIONS["aux"], backend="auto")),
        "outputs": _describe_outputs(real.fused_moe),
    }


def sort(
    fused_moe: Any, options: Mapping[str, Any], *, backend: str = "opus", device: str = "cpu"
) -> tuple[torch.Tensor, ...]:
    """Return one call's results. backend: AITER's choice of the sort behind output_aux."""
    fused_moe._MOE_SORT_BACKEND = backend
    layer = experts.make_layer(ROWS, FEW_EXPERTS, 2)
    arguments = (layer.topk_ids.to(device), layer.topk_weight.to(device), FEW_EXPERTS, COLUMNS, torch.bfloat16)
    result: tuple[torch.Tensor, ...] = fused_moe.moe_sorting(*arguments, **options)
    return result


def list_shapes(tensors: tuple[torch.Tensor, ...]) -> list[list[int]]:
    """Return the tensors' shapes as JSON has them."""
    return [list(tensor.shape) for tensor in tensors]


def _describe_outputs(fused_moe: Any) -> dict[str, str]:
    """Return for each option which moe_buf a call with the caller's `output` returns; {} where AITER has none."""
    if "output" not in inspect.signature(fused_moe.moe_sorting).parameters:
        return {}
    output = torch.ones(ROWS, COLUMNS, dtype=torch.bfloat16)
    results = {name: sort(fused_moe, {**options, "output": output})[4] for name, options in OPTIONS.items()}
    return {name: "output" if moe_buf is output else str(list(moe_buf.shape)) for name, moe_buf in results.items()}


def steer(folder: Path, *, checkout: str, table: str, tokens: list[int]) -> dict[str, Any]:
    """Return the policies and workspaces that reach AITER's compiled sort from fused_moe, and our counts.

    Return further whether the module that keeps moe_sorting under its own name had our wrap, and has AITER's again.
    """
    machine = Machine(Path(checkout), folder)
    integration.install(table)
    real = import_aiter(machine)
    shared: Any = importlib.import_module("aiter.fused_moe_dp_shared_expert")
    original = inspect.unwrap(real.fused_moe.moe_sorting)
    wrapped = shared.moe_sorting is real.fused_moe.moe_sorting is not original
    for count in tokens:
        real.run_layer(count)
    counts = dict(integration.counts())
    steered = [(sort.tokens, sort.policy, sort.workspace_bytes) for sort in machine.sorts]
    integration.uninstall()
    real.run_layer(tokens[-1])
    restored = shared.moe_sorting is real.fused_moe.moe_sorting is original
    after = machine.sorts[-1].policy
    return {"steered": steered, "counts": counts, "after": after, "wrapped": wrapped, "restored": restored}


def sort_by_builtin(
    folder: Path, *, checkout: str, table: str, tokens: list[int], masks: list[list[int] | None]
) -> dict[str, Any]:
    """Return how far fused_moe's results are from AITER's own reference, and how often AITER itself sorted.

    masks: None, or 1 for each expert that is on this rank; an entry past the experts stands for none.
    """
    machine = Machine(Path(checkout), folder)
    integration.install(table, kernels="builtin")
    real = import_aiter(machine, experts.multiply)
    differences = [_compare(real, count, mask) for mask in masks for count in tokens]
    return {"differences": differences, "sorts": len(machine.sorts), "counts": dict(integration.counts())}


def _compare(real: RealAiter, tokens: int, mask: list[int] | None) -> float:
    """Return the largest difference of a layer's result, as a share of the largest element."""
    expert_mask = None if mask is None else torch.tensor(mask, dtype=torch.int32)
    layer = experts.make_layer(tokens, EXPERTS, TOPK, local_experts=None if mask is None else sum(mask))
    result = real.fused_moe.fused_moe(*layer, expert_mask=expert_mask)
    exact = real.fused_moe.torch_moe(*layer, expert_mask=expert_mask)
    return float((result.float() - exact.float()).abs().max() / exact.float().abs().max())


def call_as_vllm(folder: Path, *, checkout: str, table: str, vllm: str, tokens: list[int]) -> list[tuple[int, int]]:
    """Return tokens and policy of each sort that vLLM's own two callers of AITER bring about."""
    machine = Machine(Path(checkout), folder)
    integration.install(table)
    real = import_aiter(machine)
    fused_moe = take_functions(
        Path(vllm) / "vllm/_aiter_ops.py",
        ("_validate_rocm_aiter_fused_moe_shared_expert_args", "_rocm_aiter_fused_moe_impl"),
    )["_rocm_aiter_fused_moe_impl"]
    file = Path(vllm) / "vllm/model_executor/layers/fused_moe/fused_flydsl_moe.py"
    moe_sorting = take_functions(file, ("moe_sorting",), torch=torch)["moe_sorting"]
    for count in tokens:
        layer = experts.make_layer(count, EXPERTS, TOPK)
        fused_moe(*layer, activation_method=real.package.ActivationType.Silu, quant_method=real.package.QuantType.No)
        moe_sorting(layer.topk_ids, layer.topk_weight, num_experts=EXPERTS, model_dim=64, block_m=32)
    return [(sort.tokens, sort.policy) for sort in machine.sorts]


def serve(folder: Path, *, framework: str, method: str, variables: dict[str, str], **options: Any) -> dict[str, Any]:
    """Return what a worker process of a framework sorts, started as the framework starts it, and our counts there.

    method: how the framework starts it. variables: of the server's environment. options: of `work`.
    """
    os.environ.update(VLLM_WORKER_MULTIPROC_METHOD=method, **variables)
    prepare_aiter(options["checkout"], folder)
    load, context = prepare_framework(framework, options["sources"])
    load()  # both frameworks load plugins in the process that starts the workers, too
    reader, writer = context.Pipe(duplex=False)
    worker = context.Process(
        target=work, args=(writer, folder), kwargs={"framework": framework, **options}, daemon=True
    )
    worker.start()
    writer.close()
    answer: dict[str, Any] = reader.recv()
    worker.join()
    return {**answer, "method": context.get_start_method()}


def work(writer: Any, folder: Path, *, framework: str, checkout: str | None, sources: str) -> None:
    """Load plugins in a worker as the framework does, then sort. Nobody here names our package."""
    serving = prepare_aiter(checkout, folder)
    load, _ = prepare_framework(framework, sources)
    load()
    load()  # a framework may do so again
    before = "aiter" in sys.modules
    steered = serving(read_policy(framework))
    writer.send({"steered": steered, "counts": dict(integration.counts()), "imported by plugins": before})


def prepare_aiter(checkout: str | None, folder: Path) -> Callable[[int], list[tuple[int, int]]]:
    """Make AITER importable, the stand-in where there is no checkout.

    Return a function that imports it, runs a layer of few and one of more tokens under a caller's policy, and returns
    tokens and policy of each sort.
    """
    if checkout is None:
        sys.path.insert(0, str(STAND_IN))
        return sort_by_stand_in
    machine = Machine(Path(checkout), folder)

    def sort_by_aiter(policy: int) -> list[tuple[int, int]]:
        real = import_aiter(machine)
        for count in (SWITCH - 1, SWITCH):
            real.run_layer(count, policy)
        return [(sort.tokens, sort.policy) for sort in machine.sorts]

    return sort_by_aiter


def sort_by_stand_in(policy: int) -> list[tuple[int, int]]:
    """Run two layers of the stand-in, and return tokens and policy of each sort."""
    fused_moe: Any = importlib.import_module("aiter.fused_moe")
    for count in (SWITCH - 1, SWITCH):
        layer = experts.make_layer(count, EXPERTS, TOPK)
        fused_moe.fused_moe(layer.topk_ids, layer.topk_weight, EXPERTS, moe_sorting_dispatch_policy=policy)
    return [(run.tokens, run.policy) for run in sys.modules["aiter.ops.moe_sorting_opus"].runs]


def read_policy(framework: str) -> int:
    """Return the policy that the framework passes with each call, from its own module of environment variables."""
    if framework == "vllm":
        policy: int = importlib.import_module("vllm.envs").VLLM_ROCM_AITER_MOE_DISPATCH_POLICY
        return policy
    envs = importlib.import_module("sglang.srt.environ").envs
    return int(envs.SGLANG_AITER_MOE_SORTING_DISPATCH_POLICY.get())


def prepare_framework(framework: str, sources: str) -> tuple[Callable[[], None], Any]:
    """Return the framework's own loader of plugins, and the context from which it starts its workers."""
    sys.path.insert(0, sources)
    if framework == "vllm":
        return (
            importlib.import_module("vllm.plugins").load_general_plugins,
            importlib.import_module("vllm.utils.system_utils").get_mp_context(),
        )
    add_bare_package("sglang", f"{sources}/sglang")
    return importlib.import_module("sglang.srt.plugins").load_plugins, multiprocessing.get_context("spawn")


def sort_below_sglang(folder: Path, *, checkout: str, table: str, sglang: str, tokens: list[int]) -> dict[str, Any]:
    """Return what AITER's compiled sort still gets where SGLang has put a sort of its own into AITER, on gfx950.

    SGLang's sort is one of Triton's kernels, which Triton's interpreter runs.
    """
    os.environ["TRITON_INTERPRET"] = "1"
    machine = Machine(Path(checkout), folder)
    integration.install(table)
    real = import_aiter(machine, experts.multiply)
    add_bare_package("sglang", f"{sglang}/sglang")
    add_bare_package("sglang.srt.utils", is_gfx95_supported=lambda: True)
    importlib.import_module("sglang.kernels.ops.moe.moe_sorting_small").apply_aiter_small_moe_sort_patch()
    differences = [_compare(real, count, mask=None) for count in tokens]
    real.fused_moe.fused_moe_2stages = experts.skip
    for count in tokens:
        real.run_layer(256 // TOPK + count)
    steered = [(sort.tokens, sort.policy) for sort in machine.sorts]
    return {"differences": differences, "steered": steered, "counts": dict(integration.counts())}
