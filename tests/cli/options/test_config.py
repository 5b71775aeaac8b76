"""`config.toml`: what a run writes repeats it, and a file with something wrong is refused by file and key."""

from __future__ import annotations

import argparse
import json
import os
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli.options import train_options
from chainrule.cli.options.config import KINDS, command_from, config_text, read_config
from chainrule.cli.options.parser import Parser
from chainrule.cli.options.toml_text import toml_value
from chainrule.cli.options.train_options import TrainCommand

QUICK = ("--device", "cpu", "--quiet", "--json", "--hidden", 8, "--epochs", 2)


def model(folder: str) -> bytes:
    return Path(folder, "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--optimizer", "sgd", "--momentum", 0.5, "--schedule", "one-cycle", "--ema", 0.9, "--accumulate", 2),
        ("--loss", "focal", "--loss-option", "gamma=1.5", "--class-weight", "balanced", "--valid", 0.25),
        ("--valid", "flowers.csv", "--metrics", "roc_auc", "--monitor", "valid_roc_auc", "--patience", 1),
        ("--drop", "width", "--dropout", 0.1, "--normalization", "layer", "--dtype", "float64", "--seed", 2**63),
        ("--categorical", "height", "--max-categories", 5, "--valid", 0, "--scaling", "robust", "--residual"),
    ],
)
def test_a_run_repeats_itself_from_its_own_config(run, flowers, options):
    argv = ("train", "flowers.csv", "--target", -1, *QUICK, *options, "--run-dir", "one")
    assert run(*argv).code == 0
    again = run("train", "--config", "one/config.toml", "--run-dir", "two", "--quiet")
    assert again.code == 0, again.err
    assert model("one") == model("two")
    one, two = (tomllib.loads(Path(name, "config.toml").read_text()) for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("loss", "option"),
    [("quantile", "levels=0.1,0.9"), ("huber", "reduction=sum"), ("squared_error_sum", None), ("gaussian_nll", None)],
)
def test_loss_and_loss_option_repeat_from_a_config(run, houses, loss, option):
    options = ("--loss", loss, *(("--loss-option", option) if option else ()))
    assert run("train", houses, "--target", "price", *QUICK, *options, "--run-dir", "one").code == 0
    assert run("train", "--config", "one/config.toml", "--run-dir", "two", "--quiet").code == 0
    assert model("one") == model("two")


def test_arrays_and_the_lbfgs_optimizer_repeat_from_a_config(run, rng):
    X = rng.normal(size=(60, 3))
    np.save("a.npy", np.column_stack([X, X[:, 0] > 0]))
    np.savez("a.npz", X=X, y=np.stack([X[:, 0] > 0, X[:, 1] > 0], 1).astype(int))
    for argv in (("a.npy", "--target", -1), ("a.npz",), ("digits",)):
        assert run("train", *argv, *QUICK, "--run-dir", "one", "--overwrite").code == 0
        assert run("train", "--config", "one/config.toml", "--run-dir", "two", "--overwrite", "--quiet").code == 0
        assert model("one") == model("two")
    pytest.importorskip("scipy", reason="SciPy is not installed")
    assert run("train", "digits", *QUICK, "--optimizer", "lbfgs", "--run-dir", "one", "--overwrite").code == 0
    assert run("train", "--config", "one/config.toml", "--run-dir", "two", "--overwrite").code == 0
    assert model("one") == model("two")


def test_config_toml_has_chosen_options_with_a_remark(run, flowers):
    train = ("train", "flowers.csv", "--target", "kind", "--epochs", 1, "--quiet", "--run-dir", "one")
    assert run(*train, "--preset", "none").code == 0
    text = Path("one/config.toml").read_text()
    found = tomllib.loads(text)
    assert found["data"] == str(flowers)
    assert (found["batch-size"], found["lr"], found["weight-decay"]) == (64, 0.002, 1.0)
    assert (found["task"], found["loss"], found["monitor"]) == ("classify", "softmax_cross_entropy", "loss")
    assert (found["schedule"], found["warmup"], found["valid"], found["drop"]) == ("cosine", 0.0, 0.2, [])
    assert found["loss-option"] == {"reduction": "mean", "label_smoothing": 0.0}
    assert found["device"] in {"cpu", "cuda:0"}
    for line in ('loss = "softmax_cross_entropy"  # chosen by the task', "# clip-norm: none", "# data"):
        assert line in text.splitlines()
    assert "batch-size = 64  # chosen for 96 rows" in text
    assert "# auto was asked for" in text
    assert not {"run-dir", "quiet", "overwrite", "json", "config"} & set(found)


def test_config_toml_of_a_preset_has_what_the_preset_chose(run, flowers):
    train = ("train", "flowers.csv", "--target", "kind", "--epochs", 1, "--quiet", "--preset", "fast")
    assert run(*train, "--run-dir", "one").code == 0
    found = tomllib.loads(Path("one/config.toml").read_text())
    assert (found["preset"], found["members"], found["scaling"], found["valid"]) == ("fast", 2, "robust", 0.0)
    assert (found["hidden"], found["activation"], found["ema"]) == ([96, 64], "selu", 1 - 1e-9)
    assert run("train", "--config", "one/config.toml", "--quiet", "--run-dir", "two").code == 0
    W, again = (cr.load(f"{folder}/model.safetensors").parameters()["dense0.W"] for folder in ("one", "two"))
    np.testing.assert_array_equal(W, again)


def test_typed_options_win_over_a_config_and_replace_its_lists(run, flowers):
    Path("more").mkdir()
    Path("more/my.toml").write_text(
        'data = "../flowers.csv"\ntarget = "kind"\ndrop = ["height"]\nhidden = [4]\nepochs = 3\ndevice = "cpu"\n'
        'lr = 1\nvalid = 0\nrun-dir = "../beside"\nquiet = true\nloss-option = { label_smoothing = 0.1 }\n'
    )
    train = ("train", "--config", "more/my.toml", "--trust-config")
    assert run(*train).code == 0
    net = cr.load("beside/model.safetensors", device="cpu")
    assert (net.preparation.feature_names, net.widths) == (("width",), (1, 4, 3))
    assert net.loss.label_smoothing == 0.1
    typed = ("--drop", "width", "--hidden", "5,6", "--loss-option", "reduction=sum", "--run-dir", "typed")
    assert run(*train, *typed).code == 0
    net = cr.load("typed/model.safetensors", device="cpu")
    assert (net.preparation.feature_names, net.widths) == (("height",), (1, 5, 6, 3))
    assert (net.loss.label_smoothing, net.loss.reduction) == (0.0, "sum")
    other = run(*train, "--epochs", 1, "digits", "--target", "digit", "--drop", "pixel0")
    assert "beside: expected a new or an empty folder" in other.error
    twice = ("--drop", "pixel0", "--drop", "pixel1,pixel2", "--run-dir", "d")
    assert run(*train, "--epochs", 1, "digits", "--target", "digit", *twice).code == 0
    assert cr.load("d/model.safetensors", device="cpu").n_in == 61


def test_each_option_of_train_has_a_field_of_its_name():
    parser = Parser()
    train_options.add_arguments(parser)
    command = TrainCommand.of(argparse.Namespace(**vars(parser.parse_args([])), argv=[]))
    fields = {**command.training.values(), **vars(command.output), **vars(command.place)}
    assert set(vars(parser.parse_args([]))) - {"trust_config"} == set(fields) - {"argv"}


def test_the_options_of_a_run_from_its_config(run, flowers):
    argv = ("train", flowers, "--target", "kind", *QUICK, "--loss-option", "label_smoothing=0.25", "--run-dir", "one")
    assert run(*argv).code == 0
    command = command_from(Path("one/config.toml"))
    options = command.training
    assert (options.data.data, options.data.target, options.net.hidden) == (str(flowers), "kind", [8])
    assert (options.fit.batch_size, options.updates.clip_norm, options.data.drop) == (64, None, [])
    assert options.net.loss_option == [("reduction", "mean"), ("label_smoothing", 0.25)]
    assert (command.place.run_dir, command.place.overwrite) == (None, False)
    assert config_text(options, {}).splitlines()[3:] == [
        line.partition("  #")[0] for line in Path("one/config.toml").read_text().splitlines()[3:]
    ]


WRONG = {
    "an unknown key": ("batchsize = 3", "unknown key 'batchsize'", "did you mean 'batch-size'?"),
    "another program's key": ("learning_rate = 0.1", "unknown key 'learning_rate'", "did you mean 'lr'?"),
    "an underscore": ("batch_size = 3", "unknown key 'batch_size'", "did you mean 'batch-size'?"),
    "the config itself": ('config = "x"', "unknown key 'config'", ""),
    "a section": ("[net]\nhidden = [3]", "unknown key 'net'", ""),
    "text for a number": ('lr = "0.1"', "lr: expected a finite number, got '0.1'", ""),
    "a flag for a number": ("epochs = true", "epochs: expected a whole number from 1 up, got True", ""),
    "a fraction for a whole number": ("epochs = 1.5", "epochs: expected a whole number from 1 up, got 1.5", ""),
    "more than is counted": (f"epochs = 1{'0' * 400}", "expected a whole number from 1 to below 2^63, got '1000", ""),
    "more digits than are written": (
        f"lr = 0x{'f' * 5000}",
        "lr: expected a finite number, got <int of too many digits>",
        "",
    ),
    "such a number in a list": (
        f"hidden = [0x{'f' * 5000}]",
        "hidden: expected an array of whole numbers, got <list of too many digits>",
        "",
    ),
    "nothing": ("epochs = 0", "epochs: expected a whole number from 1 up, got '0'", ""),
    "a number for a flag": ("residual = 1", "residual: expected true or false, got 1", ""),
    "a number for text": ("target = -1", "target: expected text, got -1", ""),
    "a text for a list": ('drop = "a,b"', "drop: expected an array of texts, got 'a,b'", ""),
    "an empty net": ("hidden = []", "hidden: expected whole numbers from 1 up", ""),
    "a list with a text in it": ('hidden = [8, "8"]', "hidden: expected an array of whole numbers, got [8, '8']", ""),
    "not finite": ("lr = inf", "lr: expected a finite number, got inf", ""),
    "far too large": ("lr = 1e999", "lr: expected a finite number, got inf", ""),
    "an integer beyond every float": (f"lr = 1{'0' * 400}", "lr: expected a finite number, got", ""),
    "an integer beyond Python": (f"lr = 1{'0' * 5000}", "cannot be read as TOML", ""),
    "a choice": ('activation = "relo"', "activation: expected one of ", "did you mean 'relu'?"),
    "a date": ("seed = 2026-01-01", "seed: expected a whole number from 0 up, got", ""),
    "a negative seed": ("seed = -1", "seed: expected a whole number from 0", ""),
    "options in a text": ('loss-option = "delta=2"', "expected a table of numbers", ""),
    "options in options": ("loss-option = { a = { b = 1 } }", "expected a table of numbers", ""),
    "no TOML": ("epochs: 3", "cannot be read as TOML: ", ""),
    "depth": ("drop = " + "[" * 20_000, "cannot be read as TOML: ", ""),
    "a key twice": ("epochs = 3\nepochs = 4", "cannot be read as TOML: Cannot overwrite a value", ""),
    "size": ("#" * (1 << 20) + "\n", "has more than 1,048,576 bytes", ""),
    "found later": ('data = "digits"\nlr = -1', "lr: expected a finite number above 0, got -1", ""),
    "found in the table": ('data = "flowers.csv"\ntarget = "kin"', "has no column 'kin'", "did you mean 'kind'?"),
    "a null character": ('data = "a\\u0000.csv"', "data: expected a path, got 'a\\x00.csv'", ""),
    "a null character in a URI": ('valid = "file:///a%00.csv"', "valid: expected a path, got ", ""),
    "a null character where to write": ('log-json = "a\\u0000"', "log-json: expected a path, got 'a\\x00'", ""),
    "no table": ("epochs = 1", "expected a table, DATA, got none", "chainrule train FILE.csv"),
}


@pytest.mark.parametrize(("content", "words", "hint"), WRONG.values(), ids=WRONG)
def test_a_config_with_something_wrong_names_file_and_key(run, flowers, content, words, hint):
    Path("my.toml").write_text(content + "\n")
    found = run("train", "--config", "my.toml", "--device", "cpu")
    assert found.code == 2
    assert words in found.error
    assert "my.toml" in found.error
    assert hint in found.err
    assert not Path("runs").exists()


def test_a_config_that_is_missing_or_not_text(run):
    assert run("train", "--config", "missing.toml").err == "error: missing.toml does not exist\n"
    found = run("train", "--config", "missing/my.toml")
    assert (found.code, found.error) == (2, "missing/my.toml does not exist")
    assert "hint: the folder missing does not exist" in found.err
    assert ". cannot be read: expected a file, got a directory" in run("train", "--config", ".").error
    Path("latin.toml").write_bytes('target = "größe"'.encode("latin-1"))
    assert "latin.toml cannot be read as TOML" in run("train", "--config", "latin.toml").error


@pytest.mark.parametrize(
    "value",
    [
        "",
        'a "b" \\ c',
        "\x00\x1b[31m\n\r\t\x7f\u2028\U000e0001",
        "größe 字",
        True,
        False,
        0,
        -(2**62),
        1e-05,
        1e300,
        0.1,
        -0.0,
        "a." * 150,
        [],
        ["a, b", "c"],
        [1, 2],
        {"a b": 1.0, "c": [0.5], "": "x"},
        {},
    ],
)
def test_toml_values_are_read_as_they_were_written(value):
    text = toml_value(value)
    assert text.isprintable()
    assert tomllib.loads(f"x = {text}")["x"] == value


def test_names_from_a_table_cannot_add_lines_to_config_toml(run):
    Path("x.csv").write_text('"a\x1b[31m","y\nseed = 5"\n1,2.5\n2,1\n3,4\n')
    argv = ("train", "x.csv", "--target", "y\nseed = 5", "--drop", "nothing", *QUICK)
    assert run(*argv).code == 2
    assert run("train", "x.csv", "--target", "y\nseed = 5", *QUICK, "--run-dir", "one").code == 0
    found = tomllib.loads(Path("one/config.toml").read_text())
    assert (found["target"], found["seed"]) == ("y\nseed = 5", 0)
    assert "\x1b" not in Path("one/config.toml").read_text()


def test_every_option_can_stand_in_a_file():
    """A new type of argument needs a line in KINDS, and an example here."""
    parser = Parser(add_help=False)
    train_options.add_arguments(parser)
    assert {action.type for action in parser._actions if action.nargs != 0} <= set(KINDS)
    assert {action.default for action in parser._actions if action.nargs == 0} == {False}
    assert argparse.SUPPRESS not in {action.dest for action in parser._actions}


def test_relative_paths_of_a_config_count_from_its_folder(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text('data = "a.csv"\nvalid = "b.csv"\nlog-json = "log"\ntensorboard = "/events"\n')
    found = read_config(path)
    assert found == {
        "data": str(tmp_path / "a.csv"),
        "valid": str(tmp_path / "b.csv"),
        "log_json": tmp_path / "log",
        "tensorboard": Path("/events"),
    }
    path.write_text('data = "digits"\n')
    assert read_config(path) == {"data": "digits"}


def test_the_page_of_the_commands(tmp_path, capsys):
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    (tmp_path / "experiment.toml").write_text(toml)
    net = command_from(tmp_path / "experiment.toml").training.net
    assert (net.hidden, net.loss_option) == ([128, 64], [("levels", (0.05, 0.5, 0.95))])
    (python,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(compile(python, "commands.md", "exec"), {})
    assert float(capsys.readouterr().out.split()[0]) > 0.85


@pytest.mark.parametrize("key", ["a" + ".a" * 200_000, '"a"' + ' . "a"' * 200, "[" + "b-1." * 150 + "c]"])
def test_a_key_of_very_many_words_ends_at_once(tmp_path, key):
    """tomllib takes the square of their number: of these hours, or minutes."""
    path = tmp_path / "config.toml"
    path.write_text(key if key.startswith("[") else f"{key} = 1")
    with pytest.raises(cr.OptionError, match=r"config\.toml: expected keys of one word, got one of very many"):
        read_config(path)


def test_names_with_many_dots_are_no_keys(tmp_path):
    path, folders, name = tmp_path / "config.toml", "v1.2/" * 300, "a.b." * 20
    path.write_text(f'data = "{folders}t.csv"\ndrop = ["{name}", "1.5", "2.5"]\n')
    assert read_config(path)["drop"] == [name, "1.5", "2.5"]


# ---- files of somebody else -----------------------------------------------------------------------

WRITES = {
    "run-dir": 'run-dir = "precious"',
    "overwrite": "overwrite = true",
    "log-json": 'log-json = "precious/log"',
    "tensorboard": 'tensorboard = "precious"',
}


@pytest.mark.parametrize("key", WRITES)
def test_a_config_does_not_say_where_to_write(run, key):
    Path("precious").mkdir()
    Path("precious/model.safetensors").write_text("precious")
    Path("my.toml").write_text(f'data = "digits"\nepochs = 1\nhidden = [4]\ndevice = "cpu"\n{WRITES[key]}\n')
    for typed in ((), ("--run-dir", "out", "--quiet")):
        found = run("train", "--config", "my.toml", *typed)
        assert found.code == 2
        assert found.error == f"my.toml: {key} says where to write, so it is taken from the command line alone"
        assert f"hint: type --{key}, or --trust-config if you know who wrote my.toml" in found.err
    assert [p.name for p in Path("precious").iterdir()] == ["model.safetensors"]
    assert not Path("out").exists()
    assert not Path("runs").exists()


def test_trust_config_takes_where_to_write(run):
    Path("my.toml").write_text(
        'data = "digits"\nepochs = 1\nhidden = [4]\ndevice = "cpu"\n'
        'run-dir = "out"\noverwrite = true\nlog-json = "log"\n'
    )
    Path("out").mkdir()
    Path("out/mine").touch()
    assert run("train", "--trust-config", "--config", "my.toml", "--quiet").code == 0
    assert Path("out/model.safetensors").exists()
    assert Path("log").exists()
    Path("more.toml").write_text(Path("my.toml").read_text() + "trust-config = true\n")
    assert "unknown key 'trust-config'" in run("train", "--config", "more.toml").error


def test_resume_ignores_what_a_config_says_of_writing(run):
    assert run("train", "digits", *QUICK, "--quiet", "--run-dir", "out").code == 0
    record = json.loads(Path("out/run.json").read_text())
    Path("out/run.json").write_text(json.dumps(record | {"status": "running"}))
    Path("precious").mkdir()
    Path("precious/model.safetensors").write_text("precious")
    config = Path("out/config.toml").read_text()
    Path("out/config.toml").write_text(
        f'{config}run-dir = "../precious"\noverwrite = true\nlog-json = "../precious/log"\n'
        'tensorboard = "../precious"\n'
    )
    assert run("resume", "out", "--quiet").code == 0
    assert [p.read_text() for p in Path("precious").iterdir()] == ["precious"]


NAMES = [
    b"d\xff.csv",
    b"d%41\xff\xc3.csv",
    b"new\nline.csv",
    b"q'\"\\.csv",
    "字".encode() * 83 + b".csv",
    b"-d.csv",
    b"a." * 120 + b"csv",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:8]))
def test_a_run_of_a_table_of_any_name_is_resumed_repeated_and_shown(run, flowers, name):
    """Its name may be no UTF-8, which TOML cannot hold."""
    Path(os.fsdecode(name)).write_bytes(flowers.read_bytes())
    table = f"./{os.fsdecode(name)}"
    assert run("train", table, "--target", "kind", *QUICK, "--valid", table, "--run-dir", "out").code == 0
    model = Path("out/model.safetensors").read_bytes()
    found = command_from(Path("out/config.toml")).training.data
    assert found.data == found.valid == str(Path(table).resolve())
    record = json.loads(Path("out/run.json").read_text())
    assert record["data"]["source"] == found.data
    Path("out/run.json").write_text(json.dumps(record | {"status": "running"}))
    assert run("resume", "out", "--quiet").code == 0
    assert run("train", "--config", "out/config.toml", "--run-dir", "again", "--quiet").code == 0
    assert Path("out/model.safetensors").read_bytes() == Path("again/model.safetensors").read_bytes() == model
    assert run("show", "out").code == 0
    assert run("show", "out", "--json").json["run"]["data"]["source"].isprintable() == found.data.isprintable()
    assert run("train", table, "--target", "kind", *QUICK).code == 0


def test_a_config_may_have_file_uris(run, flowers):
    Path("my.toml").write_text(f'data = "{flowers.as_uri()}"\ntarget = "kind"\n')
    assert run("train", "--config", "my.toml", *QUICK, "--run-dir", "out").code == 0
    assert command_from(Path("out/config.toml")).training.data.data == str(flowers)


@pytest.mark.parametrize(
    "options", ["--valid 0.2", "--members 1", "--preset none", "--patience 2 --valid 0.2", "--preset fast"]
)
def test_options_override_those_of_an_ensemble_that_was_judged_by_left_out_rows(run, flowers, options):
    assert run("train", flowers, "--target", "kind", "--epochs", 2, "--run-dir", "one", "--quiet").code == 0
    found = run("train", "--config", "one/config.toml", "--run-dir", "two", "--quiet", *options.split())
    assert (found.code, found.err) == (0, "")


def test_cv_by_the_options_of_an_ensemble_has_folds_in_which_nothing_is_left_out(run):
    """The latest time of the first folds has more rows than members may leave out; that of the whole table has not."""
    times = [0] * 8 + [1] * 8 + [2] * 8 + [3, 4, 5, 6]
    Path("t.csv").write_text("x,day,y\n" + "".join(f"{i % 7},{day},{i % 5 + i}\n" for i, day in enumerate(times)))
    argv = ("--target", "y", "--time", "day", "--epochs", 2, "--quiet")
    assert run("train", "t.csv", *argv, "--run-dir", "one").code == 0
    assert "left_out_loss" in Path("one/history.csv").read_text()
    found = run("cv", "--config", "one/config.toml", "--folds", 3, "--quiet")
    assert (found.code, found.err) == (0, "")
