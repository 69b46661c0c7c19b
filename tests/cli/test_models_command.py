"""`moesort-tune models`: the presets and their shapes."""

import json

import pytest

from moesort_tune.cli.main import run
from moesort_tune.domain.presets import MODELS


def test_models_lists_every_preset_with_its_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line has what a sweep of the model measures, and the experts of a rank."""
    assert run(["models"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["model", "shape", "shared", "layers", "model_dim", "--ep", "4", "--ep", "8"]
    *models, legend = lines[2:]
    assert [cells[0] for cells in models] == list(MODELS)
    assert legend[0] == "shape:"
    assert ["deepseek-v3", "256/8", "257/9", "58", "7168", "64", "32"] in lines
    assert ["gpt-oss-120b", "128/4", "36", "2880", "32", "16"] in lines


def test_models_as_json_counts_the_experts_of_a_rank(capsys: pytest.CaptureFixture[str]) -> None:
    """257 experts on four ranks are 65 on the first ones, as a masked sweep has them."""
    assert run(["models", "--ep", "4,1,4", "--json"]) == 0
    models = {model["model"]: model for model in json.loads(capsys.readouterr().out)}
    assert models["deepseek-v3-shared"]["experts_of_a_rank"] == {"4": 65, "1": 257}
    assert models["deepseek-v3"]["shared_fused"] == [{"num_experts": 257, "topk": 9}]


@pytest.mark.parametrize("ranks", ["0", "4,1025", "x"])
def test_models_refuses_ranks_that_are_none(ranks: str) -> None:
    """No node has them."""
    assert run(["models", "--ep", ranks]) == 2
