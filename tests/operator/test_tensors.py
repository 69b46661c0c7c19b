"""Tensors that are not memory to read: of torch.func, negated lazily, sparse, fake, of subclasses, without storage."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import return_and_correct_aliasing

from moesort_tune.operator.arguments import ArgumentError
from moesort_tune.operator.torch_operator import SortedTokens, moe_sorting
from tests.operator.torch_cases import check, make_arguments
from tests.sorting import cases

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("checked_tensors")]

CASE = cases.set_tokens(cases.set_mask(cases.make_uniform(6, 2, 8)), 6)
TENSORS = ("topk_ids", "topk_weights", "local_expert_mask", "num_local_tokens")


@pytest.fixture
def arguments(torch_device: torch.device) -> dict[str, Any]:
    """Return a valid call."""
    return make_arguments(CASE, torch_device)


def sort(arguments: dict[str, Any], **changes: Any) -> SortedTokens:
    """Sort, and sort once more as it should be: nothing that was done before may break the process."""
    try:
        return moe_sorting(**(arguments | changes))
    finally:
        check(moe_sorting(**arguments), CASE)


def select_first_two(arguments: dict[str, Any], weights: torch.Tensor) -> torch.Tensor:
    """Return the sorted weights that are defined for each case here."""
    return moe_sorting(**(arguments | {"topk_weights": weights})).sorted_weights[:2]


TRANSFORMS: dict[str, Callable[[Callable[..., Any], torch.Tensor], torch.Tensor]] = {
    "functionalize": lambda sort, weights: torch.func.functionalize(sort)(weights),
    "vmap": lambda sort, weights: torch.func.vmap(sort)(weights[None])[0],
    "vmap of vmap": lambda sort, weights: torch.func.vmap(torch.func.vmap(sort))(weights[None, None])[0, 0],
    "vjp": lambda sort, weights: torch.func.vjp(sort, weights)[0],
    "jvp": lambda sort, weights: torch.func.jvp(sort, (weights,), (weights,))[0],
    "grad": lambda sort, weights: torch.func.grad_and_value(lambda w: sort(w).sum(), has_aux=False)(weights)[1],
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transformed_call_sorts_what_a_plain_one_does(arguments: dict[str, Any], transform: str) -> None:
    """Protects users of torch.func: its tensors have no memory, and a kernel that reads it ends the process's GPU."""
    expected = moe_sorting(**arguments).sorted_weights[:2]
    got = TRANSFORMS[transform](lambda weights: select_first_two(arguments, weights), arguments["topk_weights"])
    assert torch.equal(got, expected.sum() if transform == "grad" else expected)
    check(moe_sorting(**arguments), CASE)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_plain_tensors_inside_of_a_transform_are_sorted(arguments: dict[str, Any], transform: str) -> None:
    """Protects functions that sort something else than what they transform: new tensors, too, are the transform's."""
    seen = []

    def add(weights: torch.Tensor) -> torch.Tensor:
        result = moe_sorting(**arguments, model_dim=8, output_aux=True)
        seen.append(result)
        return weights + result.sorted_weights[:2].sum()

    TRANSFORMS[transform](add, arguments["topk_weights"])
    assert len(seen) == 1
    check(moe_sorting(**arguments, model_dim=8), CASE)


@pytest.mark.parametrize(("ids_dim", "weights_dim"), [(0, 0), (None, 0), (0, None), (2, 1)])
def test_mapped_call_sorts_each_element(torch_device: torch.device, ids_dim: int | None, weights_dim: int) -> None:
    """Protects vmap: each element of a batch is a sort by itself, wherever the batch lies in each argument."""
    batch = [make_arguments(cases.make_uniform(6, 2, 8, seed=seed), torch_device) for seed in range(3)]

    def stack(name: str, dim: int | None) -> torch.Tensor:
        tensors = [one[name] for one in batch]
        return tensors[0] if dim is None else torch.stack(tensors, dim)

    def one(ids: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = moe_sorting(ids, weights, 8)
        return result.num_valid_ids, result.sorted_token_ids, result.sorted_weights

    in_dims = (ids_dim, weights_dim)
    mapped = torch.func.vmap(one, in_dims)(stack("topk_ids", ids_dim), stack("topk_weights", weights_dim))
    for element in range(3):
        ids = batch[0 if ids_dim is None else element]["topk_ids"]
        weights = batch[0 if weights_dim is None else element]["topk_weights"]
        valid, *sorted_tensors = one(ids, weights)
        assert torch.equal(mapped[0][element], valid)
        for tensor, expected in zip(mapped[1:], sorted_tensors, strict=True):
            assert torch.equal(tensor[element][: valid[0]], expected[: valid[0]])


def test_gradient_does_not_flow_through_the_sort(arguments: dict[str, Any]) -> None:
    """Protects training code: what is sorted counts as a constant, the weights themselves do not."""

    def loss(weights: torch.Tensor) -> torch.Tensor:
        return (weights * select_first_two(arguments, weights)[0]).sum()

    gradient = torch.func.grad(loss)(arguments["topk_weights"])
    assert torch.equal(gradient, torch.full_like(gradient, float(moe_sorting(**arguments).sorted_weights[0])))


@pytest.mark.parametrize("name", TENSORS)
def test_lazily_negated_tensors_are_read_with_their_sign(arguments: dict[str, Any], name: str) -> None:
    """Protects against the memory of a tensor that is negated when it is read: its values have the wrong sign."""
    check(sort(arguments, **{name: torch._neg_view(-arguments[name])}), CASE)


def _drop_storage(tensor: torch.Tensor) -> torch.Tensor:
    copy = tensor.clone()
    copy.untyped_storage().resize_(0)
    return copy


UNREADABLE: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "sparse": (lambda t: t.to_sparse(), "got torch.sparse_coo"),
    "nested": (lambda t: torch.nested.nested_tensor([t]), "got a nested one"),
    "jagged": (lambda t: torch.nested.nested_tensor([t], layout=torch.jagged), "got a nested one"),
    "storage gone": (_drop_storage, "elements without any"),
}


@pytest.mark.filterwarnings("ignore:.*nested tensors", "ignore:Sparse")
@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("name", TENSORS)
def test_tensors_without_plain_memory_are_refused_by_name(arguments: dict[str, Any], name: str, kind: str) -> None:
    """Protects the process: a null pointer breaks its GPU for good, and a mask that is one counts as no mask."""
    change, words = UNREADABLE[kind]
    with pytest.raises(ArgumentError) as caught:
        sort(arguments, **{name: change(arguments[name])})
    assert str(caught.value).startswith(f"{name} must ")
    assert words in str(caught.value)


def test_operator_in_the_dispatcher_refuses_lost_storage_too(arguments: dict[str, Any]) -> None:
    """Protects compiled programs, which call the operator itself."""
    weights = _drop_storage(arguments["topk_weights"])
    options = (8, 32, None, torch.bfloat16, None, None, 0, None, False, False, False)
    with pytest.raises(ArgumentError, match="topk_weights must have memory of its own"):
        torch.ops.moesort_tune.moe_sorting.default(arguments["topk_ids"], weights, *options)
    check(moe_sorting(**arguments), CASE)


class Wrapper(torch.Tensor):  # type: ignore[misc]
    """A tensor that holds another one and has no data of its own."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "Wrapper":
        wrapper: Wrapper = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=inner.device)
        wrapper.inner = inner
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        plain = [argument.inner if isinstance(argument, cls) else argument for argument in args]
        return return_and_correct_aliasing(function, args, kwargs or {}, function(*plain, **(kwargs or {})))


@pytest.mark.parametrize("name", TENSORS)
def test_subclasses_decide_what_is_sorted(arguments: dict[str, Any], name: str) -> None:
    """Protects quantised and distributed tensors: whichever argument is one, its class says what stands behind it."""
    check(sort(arguments, **{name: Wrapper(arguments[name])}), CASE)


def test_parameters_are_sorted_like_tensors(arguments: dict[str, Any]) -> None:
    """Protects modules that hold the weights: a subclass with memory of its own is no wrapper."""
    check(sort(arguments, topk_weights=torch.nn.Parameter(arguments["topk_weights"])), CASE)


def test_fake_tensors_outside_of_their_mode_give_fake_outputs(arguments: dict[str, Any]) -> None:
    """Protects planners that keep fake tensors: the shapes come back and nothing is launched."""
    mode = FakeTensorMode()
    fakes = {name: mode.from_tensor(arguments[name]) for name in TENSORS}
    result = sort(arguments, **fakes)
    assert result.sorted_token_ids.shape == moe_sorting(**arguments).sorted_token_ids.shape
    assert type(result.sorted_token_ids).__name__ == "FakeTensor"


def test_empty_tensors_are_sorted(torch_device: torch.device) -> None:
    """Protects batches without a token: they have no memory and need none."""
    ids = torch.empty(0, 2, dtype=torch.int32, device=torch_device)
    result = moe_sorting(ids, torch.empty(0, 2, device=torch_device), 8, model_dim=4)
    assert result.num_valid_ids.tolist() == [0, 0]
