"""AITER's own two sorting kernels, opened on a device: what its moe_sorting runs under policies 1 and 2."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final, NamedTuple

import torch

from moesort_tune.device import hip, installed, torch_streams
from moesort_tune.domain.candidates import Limits
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.domain.vocabulary import KernelName
from moesort_tune.errors import MoesortTuneError
from moesort_tune.measure.timers import Work
from moesort_tune.providers.facts.aiter import PROVIDER
from moesort_tune.providers.facts.base import map_policies
from moesort_tune.providers.work import aiter_package
from moesort_tune.providers.work.base import Point, limits_of, unavailable
from moesort_tune.providers.work.points import ExpectedOutputs, build_problem, make_variant
from moesort_tune.sorting.check import JUNK
from moesort_tune.sorting.inputs import SortingInputs
from moesort_tune.sorting.reference import SortedOutputs

FACTS: Final = PROVIDER.facts

POLICIES: Final = map_policies(FACTS)

ZEROED_BYTES: Final = 16
"""AITER zeroes moe_buf in pieces of so many bytes and leaves a shorter tail as it is."""

FIRST_POINT: Final = Point(Shape(8, 2), 1, Settings(), variants=1)
"""The sort that has AITER compile its kernels."""


class AiterKernels:
    """The kernels of the installed AITER, called as its moe_sorting calls them. Raise ProviderError without it."""

    name = FACTS.name

    def __init__(self, device: hip.Device) -> None:
        package = aiter_package.find()
        if package is None:
            raise unavailable(self.name, aiter_package.find_obstacle())
        on_host = device.properties.runtime == "host"
        self._device = torch.device("cpu") if on_host else torch.device("cuda", device.ordinal)
        self._limits = device.properties.limits
        self.revision = package.revision
        self.compiler = f"AITER {package.version}"
        with self._name_aiter_in_errors():
            self._aiter = importlib.import_module("aiter")
            self._check_calls()

    def warm_up(self, stream: hip.Stream) -> None:
        """Sort once by each kernel: AITER compiles it at its first call. Raise ProviderError."""
        with self._name_aiter_in_errors(), self.prepare(FIRST_POINT) as prepared:
            for kernel in POLICIES:
                prepared.work(kernel, 0)(stream)
            stream.synchronize()

    def limits(self, shape: Shape) -> Limits:
        """Return the limits of forcing each of AITER's kernels."""
        return limits_of(FACTS, shape, self._limits)

    @contextmanager
    def prepare(self, point: Point) -> Iterator["PreparedAiter"]:
        """Allocate and fill the tensors of every input of the point."""
        inputs = [make_variant(point, variant) for variant in range(point.variants)]
        yield PreparedAiter(self._aiter, self._device, point, inputs)

    def close(self) -> None:
        """Do nothing: AITER and torch keep what they have loaded."""

    def _check_calls(self) -> None:
        """Raise ProviderError where the imported module lacks a function that its sources have."""
        for name in installed.AITER_CALLS:
            if not hasattr(self._aiter, name):
                lacking = f"{self.compiler} was imported without {name}"
                raise unavailable(self.name, f"{lacking}: unset AITER_TRITON_ONLY")

    @contextmanager
    def _name_aiter_in_errors(self) -> Iterator[None]:
        """Raise a ProviderError for every error that is not this package's: AITER fails in ways of its own."""
        try:
            yield
        except MoesortTuneError:
            raise
        except Exception as error:
            what = f"{self.compiler} does not run ({type(error).__name__}: {error})"
            raise unavailable(self.name, f"{what}: see whether `python -c 'import aiter'` does") from error


class _Tensors(NamedTuple):
    """One input and the outputs of one sort, in the order that AITER's call takes them."""

    topk_ids: torch.Tensor
    topk_weights: torch.Tensor
    sorted_token_ids: torch.Tensor
    sorted_weights: torch.Tensor
    sorted_expert_ids: torch.Tensor
    num_valid_ids: torch.Tensor
    moe_buf: torch.Tensor


class PreparedAiter:
    """A point's tensors. Inputs differ; outputs and workspace are allocated once for each input."""

    def __init__(self, package: ModuleType, device: torch.device, point: Point, inputs: list[SortingInputs]) -> None:
        self._aiter: Any = package
        self._device = device
        self._settings = point.settings
        self._expected = ExpectedOutputs(point, inputs)
        self._problem = build_problem(point)
        self._tensors = [self._allocate(one) for one in inputs]
        masks = [one.local_expert_mask for one in inputs]
        self._masks = [None if mask is None else torch.from_numpy(mask).to(device) for mask in masks]
        sizes = (self._problem.rows, self._problem.num_experts, self._problem.topk)
        self._workspaces = {kernel: self._allocate_workspace(*sizes, policy) for kernel, policy in POLICIES.items()}
        self._wait_for_torch()

    def check(self, kernel: KernelName, variant: int, stream: hip.Stream) -> None:
        """Run `kernel` over junk and compare every output exactly, in AITER's meaning. Raise WrongOutputError."""
        tensors = self._tensors[variant]
        for output in tensors[2:]:
            output.view(-1).view(torch.uint8).fill_(JUNK)
        self._wait_for_torch()
        self.work(kernel, variant)(stream)
        stream.synchronize()
        nbytes = self._problem.moe_buf_bytes // ZEROED_BYTES * ZEROED_BYTES
        moe_buf_is_zero = not tensors.moe_buf.view(-1).view(torch.uint8)[:nbytes].any()
        outputs, named = self._read_defined(tensors), f"{FACTS.label} {kernel}"
        self._expected.check(outputs, variant, kernel=named, moe_buf_is_zero=moe_buf_is_zero)

    def work(self, kernel: KernelName, variant: int) -> Work:
        """Return a function that makes AITER's call, which allocates nothing."""
        problem, tensors = self._problem, self._tensors[variant]
        mask, workspace, policy = self._masks[variant], self._workspaces[kernel], POLICIES[kernel]

        def sort(stream: hip.Stream) -> None:
            with torch_streams.use(stream, self._device):
                self._aiter.moe_sorting_opus_fwd(
                    *tensors, problem.num_experts, problem.unit_size, mask, None, workspace, policy
                )

        return sort

    def _allocate(self, inputs: SortingInputs) -> _Tensors:
        problem, settings = self._problem, self._settings
        moe_buf_shape = (problem.rows, settings.model_dim) if settings.moe_buf else (0, 0)  # as with accumulate=False
        ids = torch.from_numpy(inputs.topk_ids).to(self._device)
        weights = torch.from_numpy(inputs.topk_weights).to(self._device)
        return _Tensors(
            topk_ids=ids,
            topk_weights=weights,
            sorted_token_ids=ids.new_empty(problem.max_padded),
            sorted_weights=weights.new_empty(problem.max_padded),
            sorted_expert_ids=ids.new_empty(problem.max_tiles),
            num_valid_ids=ids.new_empty(2),
            moe_buf=ids.new_empty(moe_buf_shape, dtype=getattr(torch, settings.dtype)),
        )

    def _allocate_workspace(self, *sizes_and_policy: int) -> torch.Tensor | None:
        nbytes = self._aiter.moe_sorting_opus_get_workspace_size(*sizes_and_policy)
        return torch.empty(nbytes, dtype=torch.uint8, device=self._device) if nbytes else None

    def _wait_for_torch(self) -> None:
        """Wait for what torch has copied and filled, since another stream uses it next."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _read_defined(self, tensors: _Tensors) -> SortedOutputs:
        valid = tensors.num_valid_ids.cpu().numpy()
        rows = min(max(int(valid[0]), 0), self._problem.max_padded)
        return SortedOutputs(
            sorted_token_ids=tensors.sorted_token_ids[:rows].cpu().numpy(),
            sorted_weights=tensors.sorted_weights[:rows].cpu().numpy(),
            sorted_expert_ids=tensors.sorted_expert_ids[: rows // self._problem.unit_size].cpu().numpy(),
            num_valid_ids=valid,
        )
