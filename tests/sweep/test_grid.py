"""What the command line may ask for."""

from pathlib import Path

import pytest

from moesort_tune.domain.presets import HOST_SHAPES, MODELS, list_default_shapes
from moesort_tune.domain.settings import Settings
from moesort_tune.domain.shape import Shape
from moesort_tune.errors import MoesortTuneError
from moesort_tune.sweep.grid import (
    check_size,
    get_model_shape,
    pair_shapes,
    parse_integers,
    parse_tokens,
    read_misses,
)
from moesort_tune.sweep.search import TokenRange


def test_lists_of_equal_length_pair_up() -> None:
    """The first experts go with the first topk."""
    assert pair_shapes([8, 64], [2, 6]) == [Shape(8, 2), Shape(64, 6)]


@pytest.mark.parametrize(("experts", "topk"), [([8, 64], [2]), ([8], [2, 6])])
def test_single_value_goes_with_every_value_of_the_other_list(experts: list[int], topk: list[int]) -> None:
    """One topk for many expert counts needs no repetition."""
    assert len(pair_shapes(experts, topk)) == 2


@pytest.mark.parametrize(
    ("experts", "topk", "message"),
    [
        ([8, 64, 128], [2, 6], "got 3 and 2 values"),
        ([0], [1], "expected 1 to 1024 experts, got 0"),
        ([1025], [1], "expected 1 to 1024 experts, got 1025"),
        ([512], [300], "expected topk from 1 to 255, got 300"),
        ([512], [0], "expected topk from 1 to 255, got 0"),
        ([4], [8], "topk must not exceed the number of experts, got topk 8 with 4 experts"),
    ],
)
def test_impossible_shapes_are_refused_with_their_values(experts: list[int], topk: list[int], message: str) -> None:
    """Bad values are quoted, so that the reader sees which one was meant."""
    with pytest.raises(ValueError, match=message):
        pair_shapes(experts, topk)


@pytest.mark.parametrize(
    ("text", "first", "last"), [("1:16384", 1, 16384), ("64", 64, 64), (" 5:5 ", 5, 5), ("1:16777215", 1, 2**24 - 1)]
)
def test_token_ranges_are_read(text: str, first: int, last: int) -> None:
    """A range or a single count."""
    assert parse_tokens(text) == TokenRange(first, last)


@pytest.mark.parametrize("text", ["5:1", "0:4", "1:16777216", "1-5", "", ":", "1:", "a:b", "-1:5", "1:2:3"])
def test_impossible_token_ranges_are_refused_with_their_text(text: str) -> None:
    """Empty, reversed and oversized ranges never start a sweep."""
    with pytest.raises(ValueError, match="expected"):
        parse_tokens(text)


def test_integers_that_are_none_are_quoted() -> None:
    """The offending text is in the message."""
    assert parse_integers("8, 64") == [8, 64]
    with pytest.raises(ValueError, match="got '8,x'"):
        parse_integers("8,x")


def test_models_name_their_shapes() -> None:
    """Presets are found in any case, and an unknown one is answered with the list."""
    assert get_model_shape("GPT-OSS-120b") == Shape(128, 4)
    with pytest.raises(ValueError, match="there are mixtral-8x7b, "):
        get_model_shape("gpt-5")


def test_default_shapes_are_the_presets_once() -> None:
    """DeepSeek-V3 and MiniMax-M2.5 share a row; the host sweeps a few."""
    assert len(list_default_shapes("gfx942")) == len(MODELS) - 1
    assert list_default_shapes("host") == list(HOST_SHAPES)


def test_misses_give_their_shapes_once(tmp_path: Path) -> None:
    """What a deployment asked for in vain is the next sweep's grid."""
    path = tmp_path / "misses.csv"
    path.write_text("num_experts,topk,tokens\n96,4,7\n96,4,8\n40,6,1\n")
    assert read_misses(path) == [Shape(96, 4), Shape(40, 6)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_experts,topk\n", "holds no misses"),
        ("num_experts,topk\n8,\u0662\n", r"misses\.csv, line 2, is not a miss: '\u0662' is not an integer"),
        ("num_experts,topk\n1_6,2\n", r"misses\.csv, line 2, is not a miss: '1_6' is not an integer"),
        ("num_experts,topk\n96,x\n", r"misses\.csv, line 2, is not a miss: 'x' is not an integer"),
        ("num_experts,topk\n8,2\n4,8\n", r"misses\.csv, line 3, is not a miss: topk must not exceed"),
        ("a,b\n1,2\n", r"misses\.csv, line 2, is not a miss: no column 'num_experts'"),
    ],
)
def test_misses_that_are_none_are_refused_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    """A wrong file is reported with its line."""
    (tmp_path / "misses.csv").write_text(text)
    with pytest.raises(MoesortTuneError, match=message):
        read_misses(tmp_path / "misses.csv")


def test_missing_misses_are_one_sentence(tmp_path: Path) -> None:
    """The file's name is in the message."""
    with pytest.raises(MoesortTuneError, match="cannot read misses from"):
        read_misses(tmp_path / "none.csv")


def test_outputs_beyond_31_bits_are_refused() -> None:
    """A grid that no kernel can run is refused before anything is measured."""
    check_size(Shape(256, 8), TokenRange(1, 16384), 32)
    with pytest.raises(ValueError, match=r"must be below 2\^31"):
        check_size(Shape(512, 255), TokenRange(1, 2**24 - 1), 32)
    full = TokenRange(1, (2**31 - 1) // 255 - 2)  # outputs of 255 a token leave room for little padding
    check_size(Shape(256, 255), full, 1)
    with pytest.raises(ValueError, match=r"must be below 2\^31"):
        check_size(Shape(256, 255), full, 64)


def test_settings_tell_samples_apart() -> None:
    """Every setting but the timing mode, which has a column, is in the signature."""
    assert Settings().format_signature() != Settings(unit_size=64).format_signature()
    assert "routing=zipf:1.2" in Settings(routing="zipf:1.2").format_signature()


def test_cold_cache_needs_eager_timing() -> None:
    """Nothing can flush a cache between the launches of one graph replay."""
    with pytest.raises(ValueError, match="use eager timing"):
        Settings(cold=True)
