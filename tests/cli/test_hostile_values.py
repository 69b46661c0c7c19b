"""Every option of every command against values that nobody means: bad usage in one sentence, never a fault."""

import math
from collections.abc import Iterator

import click
import pytest

from moesort_tune.cli.main import COMMANDS, cli, run
from moesort_tune.cli.parameters import FilePath, FloatRange, IntRange, Parameter
from moesort_tune.domain.settings import Settings
from moesort_tune.measure.stopping import StoppingRule
from moesort_tune.sweep.job import SweepJob

NOT_FINITE = ("nan", "-nan", "inf", "-inf", "Infinity", "1e309", "-1e309")
NOT_DECIMAL = ("", " ", "x", "1_0", "0x10", "\uff11\uff12", "٣", "1,5", "9" * 5000, "\x00", "1\n2")
OUT_OF_RANGE = ("-1", "1" + "0" * 30, "-1" + "0" * 30)


def list_options() -> Iterator[tuple[str, click.Parameter]]:
    """Yield every option and argument that takes a value, with its command."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield from ((name, one) for one in command.params if not isinstance(one.type, click.types.BoolParamType))


OPTIONS = {f"{command} {one.name}": (command, one) for command, one in list_options()}
NUMBERS = {name: option for name, option in OPTIONS.items() if isinstance(option[1].type, IntRange | FloatRange)}
PATHS = {name: option for name, option in OPTIONS.items() if isinstance(option[1].type, FilePath)}


@pytest.mark.parametrize("name", OPTIONS)
def test_option_has_a_type_that_refuses_hostile_values(name: str) -> None:
    """Protects options to come: click's own number and path types let NaN, other scripts' digits and '' through."""
    kind = OPTIONS[name][1].type
    assert isinstance(kind, IntRange | FloatRange | FilePath | Parameter | click.Choice)


@pytest.mark.parametrize("name", NUMBERS)
def test_number_option_refuses_what_is_no_finite_decimal_number(name: str) -> None:
    """Protects gates and tables: NaN compares false with everything, and infinity waits for ever."""
    _, option = NUMBERS[name]
    context = click.Context(cli)
    for value in (*NOT_FINITE, *NOT_DECIMAL):
        with pytest.raises(click.BadParameter, match=r"in the range .*[<>]=?") as refusal:
            option.type.convert(value, option, context)
        assert len(refusal.value.message) < 200


@pytest.mark.parametrize("name", NUMBERS)
def test_number_option_has_the_bounds_that_its_errors_tell(name: str) -> None:
    """Protects what lies behind: a negative or an astronomic number is refused here, not by whatever meets it first."""
    _, option = NUMBERS[name]
    kind = option.type
    assert isinstance(kind, IntRange | FloatRange)
    unbounded = kind.max is None  # a factor or a time budget may be as large as finite numbers are
    assert not (unbounded and isinstance(kind, IntRange))
    for value in OUT_OF_RANGE:
        if unbounded and not value.startswith("-"):
            continue
        with pytest.raises(click.BadParameter, match="is not in the range"):
            kind.convert(value, option, click.Context(cli))


@pytest.mark.parametrize("name", PATHS)
def test_path_option_refuses_an_empty_path(name: str) -> None:
    """Protects the current folder, which is what Path('') means."""
    _, option = PATHS[name]
    with pytest.raises(click.BadParameter, match="a path must not be empty"):
        option.type.convert("", option, click.Context(cli))


def test_negative_zero_is_zero() -> None:
    """Protects what prints a margin from a minus sign that means nothing."""
    assert str(FloatRange(0, 1).convert("-0.0", None, None)) == "0.0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "t.yaml", "--fail-above", "nan"], "'nan' is not a finite number"),
        (["verify", "t.yaml", "--fail-above", "1e309"], "'1e309' is not a finite number"),
        (["sweep", "--margin", "nan"], "'nan' is not a finite number in the range 0<=x<=1"),
        (["sweep", "--point-limit", "inf"], "'inf' is not a finite number in the range 0<x<=1000000"),
        (["sweep", "--point-limit", "1e7"], "10000000.0 is not in the range 0<x<=1000000"),
        (["sweep", "--time-budget", "-0.0"], "0.0 is not in the range x>0"),
        (["sweep", "--seed", "-1"], "-1 is not in the range 0<=x<=2147483648"),
        (["sweep", "--model-dim", "1" + "0" * 30], "is not in the range 1<=x<=1048576"),
        (["sweep", "--tokens", "0:0"], "expected 1 <= FIRST <= LAST <= 16777215, got '0:0'"),
        (["sweep", "--tokens", "1:\uff11\uff12"], "expected FIRST:LAST, like 1:16384, got '1:\uff11"),
        (["sweep", "--tokens", "9" * 5000], "expected FIRST:LAST, like 1:16384, got '999"),
        (["sweep", "--experts", "٨", "--topk", "2"], "expected integers with commas between them, got '٨'"),
        (["sweep", "--routing", "zipf:nan"], "with an exponent above 0 and below 10, got 'zipf:nan'"),
        (["sweep", "--routing", "zipf:inf"], "with an exponent above 0 and below 10, got 'zipf:inf'"),
        (["sweep", "--routing", "zipf:-1"], "with an exponent above 0 and below 10, got 'zipf:-1'"),
        (["sweep", "--routing", "zipf:9.9999999"], "with an exponent above 0 and below 10, got 'zipf:9.9999999'"),
        (["show", "t.yaml", "--lookup", "1,1" + "0" * 30 + ",1"], "of at most 2147483647"),
        (["ab", "--model", "gpt-oss-120b", "--concurrency", "1" + "0" * 30], "expected integers from 1 to 8192"),
        (["ab", "--model", "gpt-oss-120b", "--repeats", "1001"], "1001 is not in the range 1<=x<=1000"),
        (["export", "t.yaml", "--format", "cpp", "--revision", ""], "expected a value, got an empty one"),
        (["build", "--arch", "gfx942", "--compiler", " "], "expected a value, got an empty one"),
    ],
)
def test_hostile_value_is_bad_usage_in_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects scripts: exit status 2, the value shown and cut, and no word of a fault of the program."""
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    *usage, sentence = err.strip().splitlines()
    assert out == ""
    assert words in sentence
    assert len(sentence) < 250
    assert "fault" not in err
    assert all("Error" not in line for line in usage)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 0.0])
def test_jobs_refuse_seconds_that_are_none(seconds: float) -> None:
    """Protects callers from Python, whose numbers no option has seen."""
    options = {"arch": "host", "providers": ("builtin",), "shapes": None, "tokens": None, "table": None}
    for name in ("point_limit_s", "time_budget_s"):
        with pytest.raises(ValueError, match=f"{name} must be a finite number above 0, got {seconds}"):
            SweepJob(**options, settings=Settings(), rule=StoppingRule(), **{name: seconds})  # type: ignore[arg-type]
