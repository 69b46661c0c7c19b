"""Which device is the one that Ray assigned, whatever variables hide devices."""

import pytest

from moesort_tune.sweep.fleet.visibility import Assignment, AssignmentError, find_assigned

HIP, CUDA, ROCR = "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("assigned", "environment", "assignment"),
    [
        # Ray has set the variable of the vendor to the one device.
        ("3", {CUDA: "3"}, Assignment(0)),
        ("3", {HIP: "3"}, Assignment(0)),
        ("GPU-5f3c", {CUDA: "GPU-5f3c"}, Assignment(0)),
        # Ray before 2.54 sets ROCR's, beneath which numbers of a list that the node has already mean others.
        ("3", {ROCR: "3"}, Assignment(0)),
        ("3", {ROCR: "3", HIP: "0,1,2,3"}, Assignment(0, (HIP,))),
        ("3", {ROCR: "3", HIP: "3", CUDA: "3"}, Assignment(0, (HIP, CUDA))),
        # Ray found no AMD library on the node and took CUDA's variable, which AMD's runtime reads after HIP's.
        ("2", {CUDA: "2", HIP: "0,1,2,3"}, Assignment(0, (HIP,))),
        # The node's own list of ROCR's is beneath what Ray has set.
        ("1", {ROCR: "4,5,6,7", HIP: "1"}, Assignment(0)),
        # RAY_EXPERIMENTAL_NOSET_*: the list is the node's, or there is none.
        ("6", {HIP: "4,6"}, Assignment(1)),
        ("6", {CUDA: "4,6"}, Assignment(1)),
        ("6", {ROCR: "4,6"}, Assignment(1)),
        ("5", {}, Assignment(5)),
        ("5", {HIP: ""}, Assignment(5)),
    ],
)
def test_assigned_device_is_found(assigned: str, environment: dict[str, str], assignment: Assignment) -> None:
    """Protects against all workers on one card, and against a card that is hidden twice."""
    assert find_assigned([assigned], environment) == assignment


@pytest.mark.parametrize(
    ("assigned", "environment", "words"),
    [
        (["2"], {HIP: "0,1"}, "Ray assigned the GPU 2, but HIP_VISIBLE_DEVICES=0,1 hides it"),
        (["GPU-5f3c"], {}, "GPU-5f3c, which is no number, and set no variable for it"),
        (["0", "1"], {CUDA: "0,1"}, "Ray assigned 2 GPUs to a worker that needs one: 0, 1"),
        ([], {}, "Ray assigned 0 GPUs"),
    ],
)
def test_device_that_cannot_be_found_is_an_error(assigned: list[str], environment: dict[str, str], words: str) -> None:
    """Protects against measuring whatever device comes first."""
    with pytest.raises(AssignmentError, match=words):
        find_assigned(assigned, environment)
