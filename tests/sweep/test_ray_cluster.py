"""The Ray engine, as far as it needs no Ray."""

import pytest

from moesort_tune.sweep.fleet.ray_cluster import summarize

NOT_INSTALLED = """The actor died because of an error raised in its creation task, ray::CardActor.__init__() (pid=7)
RuntimeError: The actor with name CardActor failed to import on the worker. This may be because of the environment:

ray::CardActor.__init__() (pid=7)
                  ^^^^^^^^^^^
ModuleNotFoundError: No module named 'moesort_tune'"""

KILLED = """The actor died unexpectedly before finishing this task.
\tclass_name: CardActor
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (NOT_INSTALLED, "ModuleNotFoundError: No module named 'moesort_tune'"),
        (KILLED, "The actor died unexpectedly before finishing this task."),
        ("", "ValueError"),
    ],
)
def test_error_of_ray_is_cut_to_what_happened(text: str, line: str) -> None:
    """Ray's errors are pages long; a person needs the cause, for example that a node lacks the package."""
    assert summarize(ValueError(text)) == line
