"""What ``chainrule train`` says of its data and of the result, on stderr, in run.json and with ``--json``."""

from __future__ import annotations

from typing import Any

from chainrule.cli.console.output import Say
from chainrule.cli.options.train_options import TrainingOptions
from chainrule.cli.training.data import TrainingData
from chainrule.nn.layers.embedding import Embedding
from chainrule.nn.metric_names import LEFT_OUT
from chainrule.nn.network import Network
from chainrule.nn.scores import score
from chainrule.plain_text import show
from chainrule.tables.targets import TEXT_TARGET, TargetPlan
from chainrule.train.ensemble_fit import LeftOutOutcome
from chainrule.train.recipe import Settings
from chainrule.train.records.run import Run
from chainrule.train.shrinkage.outcome import MEANING, Shrinkage

UNJUDGED = "(--valid 0.2 holds rows out, chainrule cv scores all rows)"


def say_plan(
    say: Say, options: TrainingOptions, settings: Settings, data: TrainingData, net: Network, *, leaves_out: bool
) -> None:
    """What is about to be trained, on what; ``leaves_out`` is whether members of an ensemble leave out rows."""
    say("data", describe_data(data))
    say("task", describe_task(options, data.plan, data.target_name))
    if data.columns:
        say("columns", data.columns)
    if isinstance(net.layers[0], Embedding):
        say("vectors", describe_embedding(net.layers[0], data))
    for note in data.notes:
        say("note", note)
    if settings.table is not None and data.valid is None and not leaves_out:
        say(
            "note", f"{_why_none_is_left_out(settings, data)}: the last epoch is kept, and there is no score {UNJUDGED}"
        )
    say("model", describe_net(options, settings, net))


def _why_none_is_left_out(settings: Settings, data: TrainingData) -> str:
    if settings.members == 1:
        return "one net leaves out no row"
    if data.times is not None:
        return "too many rows have the latest time for members to leave them out"
    return "there are too few rows for members to leave any out"


def describe_task(options: TrainingOptions, plan: TargetPlan, target: str) -> str:
    """Whether classes or numbers are predicted, why, and with which option it is otherwise."""
    if not plan.why or options.data.task != "auto":
        return f"{plan.task}, as {'--loss' if options.data.task == 'auto' else '--task'} says"
    said = f"{plan.task}: {plan.why} in {show(target) if target else 'the target'}"
    if plan.y.ndim == 2 or plan.why == TEXT_TARGET:  # no other task takes it
        return said
    return f"{said}; --task {'classify for classes' if plan.task == 'regress' else 'regress for numbers'}"


def describe_data(data: TrainingData) -> str:
    """Source, rows and features, classes, and how many rows are for what."""
    what = f", {len(data.plan.classes)} classes" if data.plan.classes else ""
    rows = f"{len(data.y):,} train" + (f", {len(data.valid[1]):,} valid" if data.valid is not None else "")
    built_in = " (built in)" if data.source == "digits" else ""
    return f"{data.source}{built_in}: {data.rows:,} rows x {data.X.shape[1]} features{what}; {rows}"


def describe_embedding(embedding: Embedding, data: TrainingData) -> str:
    """Which columns have vectors, how many, and how long."""
    sizes = zip(embedding.columns, embedding.counts, embedding.widths or (), strict=True)
    return ", ".join(f"{data.feature_names[column]} ({count:,} x {width})" for column, count, width in sizes)


def shape_of(net: Network) -> str:
    """The widths of its layers, and how many members it has if it is an ensemble."""
    sizes = " -> ".join(map(str, net.widths))
    return sizes if net.members == 1 else f"{net.members} x ({sizes})"


def describe_net(options: TrainingOptions, settings: Settings, net: Network) -> str:
    """Widths, what the hidden layers do, parameters and dtype, on one line."""
    asked = options.net
    words = [
        asked.activation or settings.activation,
        *([f"{asked.normalization} norm"] if asked.normalization else []),
    ]
    words += [f"dropout {settings.dropout:g}"] if settings.dropout else []
    words += ["residual"] if asked.residual else []
    return f"{shape_of(net)}, {', '.join(words)}, {net.parameter_count:,} parameters, {net.dtype}"


def summary_of(net: Network, data: TrainingData, outcome: Run, judged: LeftOutOutcome | None = None) -> dict[str, Any]:
    """What ``--json`` prints and run.json keeps."""
    history, epoch = outcome.history, outcome.best_epoch or outcome.history.epochs
    parts: dict[str, dict[str, float]] = {"train": {}, "valid": {}}
    if epoch:
        for name, values in history.items():
            if name not in {"lr", "seconds", LEFT_OUT}:
                part = "valid" if name.startswith("valid_") else "train"
                parts[part][name.removeprefix("valid_")] = values[epoch - 1]
        if data.valid is not None:
            if (shrinkage := outcome.shrinkage) is not None and shrinkage.changed:
                parts["valid"] = {"loss": shrinkage.valid_loss}  # that of the epoch is of the net before
            parts["valid"] |= score(net, *data.valid)
    return {
        "device": net.backend.device,
        "backend": net.backend.name,
        "task": data.plan.task,
        "rows": len(data.y),
        "parameters": net.parameter_count,
        "epochs": history.epochs,
        "best_epoch": outcome.best_epoch or None,
        "kept": str(outcome.kept),
        "shrinkage": None if outcome.shrinkage is None else outcome.shrinkage.factor,
        "stopped": outcome.stopped,
        "steps": outcome.steps,
        **parts,
        **({} if judged is None or judged.score is None else {"left_out": _left_out_facts(judged)}),
        "seconds": round(outcome.seconds, 4),
        **({"notes": outcome.notes} if outcome.notes else {}),
        **findings_of(outcome),
    }


def findings_of(outcome: Run) -> dict[str, list[str]]:
    """The findings of a diagnosis, if there was one."""
    return {} if outcome.diagnosis is None else {"findings": [str(f) for f in outcome.diagnosis.findings]}


def say_outcome(
    say: Say, data: TrainingData, outcome: Run, summary: dict[str, Any], judged: LeftOutOutcome | None = None
) -> None:
    """Which weights the model has, how good it is, and what a diagnosis found."""
    say("kept", str(outcome.kept))
    if judged is not None and judged.score is not None:
        if judged.factor not in {None, 1.0}:
            say("shrunk" if judged.factor < 1 else "surer", _rescaled(judged.factor))
        say("score", str(judged.score))
    elif outcome.best_epoch:
        part = "train" if data.valid is None else "valid"
        if (shrinkage := outcome.shrinkage) is not None and shrinkage.changed:
            say("shrunk", _shrunk(shrinkage))
        say(part, ", ".join(f"{name} {value:.4g}" for name, value in summary[part].items()))
    say_findings(say, outcome)


def _left_out_facts(judged: LeftOutOutcome) -> dict[str, Any]:
    """The score of the rows that members left out, with the standard error of each metric."""
    score = judged.score
    assert score is not None
    errors = {f"{name}_error": value for name, value in score.standard_errors.items()}
    return {"rows": score.rows, "factor": judged.factor, **score.metrics, **errors}


def _shrunk(shrinkage: Shrinkage) -> str:
    """What the validation rows decided."""
    chosen = f"{shrinkage.factors}, chosen on the validation rows {MEANING}"
    if shrinkage.factor > 0:
        return chosen
    spread = shrinkage.spread_factor
    what = "the same answer" if spread is None or spread == 0 else "the same answer, but for how far values spread"
    return f"{_one_answer('validation rows', what)}; {chosen}"


def _rescaled(factor: float) -> str:
    """What the rows that members left out decided."""
    judges = "rows that members left out"
    if factor == 0:
        return _one_answer(judges, "the same answer")
    how = "made surer" if factor > 1 else "shrunk towards the best constant prediction"
    return f"predictions {how} by a factor of {factor:.3g}, by the {judges}"


def _one_answer(judges: str, what: str) -> str:
    """Shrunk to the constant: nothing was learnt that holds for other rows."""
    why = f"for the {judges} nothing else was clearly better"
    return f"the model gives every row {what}: {why}; more rows, or other columns, may help"


def say_findings(say: Say, outcome: Run) -> None:
    if outcome.diagnosis is not None:
        for line in str(outcome.diagnosis).splitlines():
            say("finding", line)
