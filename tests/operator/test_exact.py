"""The torch operator against the reference, on the CPU by the host runtime and on an attached GPU."""

import threading
from typing import Any

import pytest
import torch

from moesort_tune.device import hip, torch_streams
from moesort_tune.operator.policies import KERNELS, POLICIES
from moesort_tune.operator.torch_operator import SortedTokens, moe_sorting
from moesort_tune.sorting.kernels import SortingKernels
from tests.operator.torch_cases import check, fit, make_arguments, sort_and_check
from tests.opt_in import needs_gpu
from tests.sorting import cases

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("checked_tensors")]

EVERYTHING: dict[str, Any] = {"model_dim": 40, "return_local_topk_ids": True, "output_aux": True}


@pytest.mark.parametrize("policy", POLICIES)
def test_operator_is_exact_with_every_input_and_output(
    torch_device: torch.device, kernels: SortingKernels, policy: int
) -> None:
    """Protects the operator's whole contract, whichever kernel the policy names."""
    case = fit(cases.set_mask(cases.make_bad_ids(cases.make_uniform(70, 4, 33))), policy, kernels)
    case = cases.set_tokens(case, case.problem.rows - 9)
    sort_and_check(case, torch_device, dispatch_policy=policy, **EVERYTHING)


@pytest.mark.parametrize("policy", KERNELS)
@pytest.mark.parametrize("optional", [{}, {"return_local_topk_ids": True}, {"output_aux": True}, {"model_dim": 0}])
def test_operator_returns_what_was_asked_for(torch_device: torch.device, policy: int, optional: dict[str, Any]) -> None:
    """Protects callers that unpack by name: an output that was not asked for is None, the others are in their place."""
    result = sort_and_check(cases.make_uniform(9, 2, 8), torch_device, dispatch_policy=policy, **optional)
    assert (result.local_topk_ids is not None) == ("return_local_topk_ids" in optional)
    assert (result.m_indices is not None) == (result.reverse_sorted is not None) == ("output_aux" in optional)
    assert (result.moe_buf is not None) == ("model_dim" in optional)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
def test_moe_buf_is_zero_in_every_dtype(torch_device: torch.device, dtype: torch.dtype) -> None:
    """Protects the accumulation into moe_buf, whatever its row has of bytes."""
    result = sort_and_check(cases.make_uniform(33, 2, 8), torch_device, model_dim=77, moe_buf_dtype=dtype)
    assert result.moe_buf is not None
    assert result.moe_buf.shape == (33, 77)
    assert result.moe_buf.dtype is dtype


def test_no_rows_give_empty_outputs(torch_device: torch.device) -> None:
    """Protects idle ranks: a call without tokens is a valid one."""
    result = sort_and_check(cases.make_uniform(0, 4, 8), torch_device, **EVERYTHING)
    assert result.num_valid_ids.tolist() == [0, 0]


@pytest.mark.parametrize("policy", KERNELS)
def test_tensors_need_only_their_elements_alignment(
    torch_device: torch.device, kernels: SortingKernels, policy: int
) -> None:
    """Protects callers that pass slices of larger tensors."""
    case = fit(cases.set_mask(cases.make_uniform(50, 3, 16)), policy, kernels)
    arguments = make_arguments(case, torch_device)
    for name in ("topk_ids", "topk_weights", "local_expert_mask"):
        tensor = arguments[name]
        arguments[name] = torch.cat([tensor.new_zeros(1), tensor.reshape(-1)])[1:].view(tensor.shape)
    check(moe_sorting(**arguments, dispatch_policy=policy, **EVERYTHING), case)


def test_threads_sort_different_problems_at_once(torch_device: torch.device) -> None:
    """Protects serving threads: the arguments of one thread's call never reach another's launch."""
    problems = [cases.make_uniform(20 + index, 4, 32, seed=index) for index in range(4)]
    failures: list[BaseException] = []

    def sort_many(case: cases.Case) -> None:
        try:
            for policy in tuple(KERNELS) * 2:
                sort_and_check(case, torch_device, dispatch_policy=policy)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=sort_many, args=(case,)) for case in problems]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("policy", POLICIES)
def test_captured_sort_replays_with_another_token_count(
    device: hip.Device, torch_device: torch.device, kernels: SortingKernels, policy: int
) -> None:
    """Protects serving by graphs: a capture only records, and each replay reads the device's token count anew."""
    case = fit(cases.make_uniform(48, 4, 32), policy, kernels)
    rows = case.problem.rows
    case = cases.set_tokens(case, rows)
    arguments = make_arguments(case, torch_device) | EVERYTHING | {"dispatch_policy": policy}
    moe_sorting(**arguments)
    stream, results = device.create_stream(), []
    with torch_streams.use(stream, torch_device) as kept:
        graph = device.capture(stream, lambda _: results.append(moe_sorting(**arguments)))
    assert len(kept) == (1 if policy == 2 else 0)
    for tokens in (rows, 17, 0, rows - 8):
        arguments["num_local_tokens"].fill_(tokens)
        graph.launch(stream)
        stream.synchronize()
        check(results[0], cases.set_tokens(case, tokens))


def test_torch_graph_replays_the_operator(torch_device: torch.device, kernels: SortingKernels) -> None:
    """Protects torch.cuda.graph, with outputs and workspace in the graph's own memory pool."""
    needs_gpu(torch_device.type != "cpu")
    graphs: list[tuple[torch.cuda.CUDAGraph, SortedTokens, cases.Case, dict[str, Any]]] = []
    for policy in KERNELS:
        case = fit(cases.make_uniform(300, 4, 128), policy, kernels)
        case = cases.set_tokens(case, case.problem.rows)
        arguments = make_arguments(case, torch_device)
        moe_sorting(**arguments, dispatch_policy=policy)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = moe_sorting(**arguments, dispatch_policy=policy, **EVERYTHING)
        graphs.append((graph, result, case, arguments))  # which the graph goes on reading
    for share in (1.0, 0.4):
        for graph, result, case, arguments in graphs:
            tokens = int(share * case.problem.rows)
            arguments["num_local_tokens"].fill_(tokens)
            graph.replay()
            check(result, cases.set_tokens(case, tokens))


def test_defined_output_is_the_same_on_another_stream(device: hip.Device, torch_device: torch.device) -> None:
    """Protects callers with streams of their own: the sort goes to the current one."""
    case = cases.make_uniform(25, 4, 16)
    stream = device.create_stream()
    with torch_streams.use(stream, torch_device):
        result = moe_sorting(**make_arguments(case, torch_device))
        stream.synchronize()
    check(result, case)
