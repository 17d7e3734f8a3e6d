"""The model card of a run: what it is for, what it was measured to do, and where it may fail.

It is a function of results.json and config.yaml alone, so that it can be written again at any time.
What a run did not measure is named. The parts follow Mitchell et al. 2019, "Model Cards for Model
Reporting".
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.config.keys import Config
from strided.pages.page import folded, heading
from strided.report.card_decisions import when_unsure
from strided.report.card_figures import (
    MOST_SUBGROUPS,
    by_class,
    of_all,
    of_subgroups,
    operating_point,
    shown_classes,
    stress,
)
from strided.report.card_parts import Part, Section, Table, as_html, as_markdown
from strided.runs.folder import RunFolder
from strided.runs.results import Measured, Results, measured
from strided.system.durable import write_text

NOTE = (
    "Written from results.json and config.yaml of this run, which have every number below. A 95 % "
    "interval says where a figure would be likely to lie if such images were endlessly many."
)


def write_card(folder: Path, config: Config, results: Results) -> None:
    """Write card.md of a run."""
    title = f"Model card: {config['name']}"
    write_text(RunFolder(folder).card, as_markdown(title, NOTE, card(config, results)))


def card_section(config: Config, results: Results) -> str:
    """The card as a section of report.html, to be unfolded."""
    return (
        f'{heading("Model card")}<p class="note">As card.md has it, for whoever decides on the '
        f"use of the model. {NOTE}</p>{folded('Show it', as_html(card(config, results)))}"
    )


def card(config: Config, results: Results) -> list[Section]:
    """Return the sections of the card."""
    found = measured(results)
    sections = [
        Section("Intended use", list(_use(config, results))),
        Section("Data", list(_data(config, results, found))),
    ]
    if found is None:
        return [
            *sections,
            Section("Figures", ["Nothing was measured: this run has no test and no validation."]),
            Section("Software", list(_software(results))),
        ]
    return [
        *sections,
        Section("Figures", list(_figures(results, found))),
        Section("Subgroups", list(_subgroups(results))),
        Section("Can its probabilities be trusted?", list(_calibration(results))),
        Section("When it is unsure", list(when_unsure(results))),
        Section("Shortcuts and stress", list(_shortcuts(results))),
        Section("Limits", [_limits(results, found)]),
        Section("Software", list(_software(results))),
    ]


def _use(config: Config, results: Results) -> Iterator[Part]:
    data: Mapping[str, Any] = config.get("data") or {}
    stated = data.get("intended_use")
    yield (
        str(stated)
        if stated
        else (
            "Not stated. Whoever hands this model on should say what it is for, and what not "
            "(the key data.intended_use)."
        )
    )
    if about := results.get("ensemble"):
        yield (
            f"{len(about['members'])} networks answer as one: the mean of their probabilities. "
            "results.json has each of them alone."
        )
    classes = results.get("classes", [])
    shown = ", ".join(classes) if len(classes) <= _MOST_NAMED else f"{len(classes)} classes"
    yield f"Given an image, it gives a probability for each of: {shown}."


_MOST_NAMED = 20  # classes that are listed


def _data(config: Config, results: Results, found: Measured | None) -> Iterator[Part]:
    data: Mapping[str, Any] = config.get("data") or {}
    splits = results.get("splits", {})
    rows: list[Sequence[str]] = [
        ("data set", str(data.get("_target_", "unknown")).rpartition(".")[2]),
        ("images", ", ".join(f"{name} {count:,}" for name, count in splits.items())),
    ]
    if found:
        none = "the data name none: each image counts as one"
        rows.append(("groups (patients) measured", _count(results.get("groups"), none)))
    if results.get("num_folds"):
        rows.append(("fold", f"{results['fold']} of {results['num_folds']}, counted from 0"))
    if runs := results.get("runs"):
        rows.append(("runs put together", f"{len(runs)}, each tested on its own part"))
    rows += [
        ("fingerprint of the images", str(results.get("data_fingerprint") or "unknown")),
        ("hash of the split", str(results.get("split_hash", "unknown"))),
        ("images unreadable", f"{results.get('skipped', 0):,}"),
        ("same pixels in two splits", _count(results.get("duplicates"), "not looked for")),
        ("measured images seen in training", _seen(found)),
    ]
    yield Table(["", ""], rows)


def _count(value: int | None, unknown: str) -> str:
    return unknown if value is None else f"{value:,}"


def _seen(found: Measured | None) -> str:
    known = found.overlap if found else None
    return _count(known["shared"] if known else None, "unknown")


def _figures(results: Results, found: Measured) -> Iterator[Part]:
    if found.split == "val":
        yield (
            "Measured on validation images, which also chose the weights: these figures flatter. "
            "A test was not measured."
        )
    yield Table(["", "value", "95 % interval", "what it says"], of_all(results, found.split))
    shown = shown_classes(results, found.split)
    if len(shown) < len(results["classes"]):
        yield "The classes that are found least often; report.html has the others:"
    yield Table(*by_class(results, found, shown))
    yield (
        "Sensitivity: of the images of the class, the part that is named so. Specificity: of all "
        "others, the part that is not. PPV and NPV: how often the answer for and against the class "
        "is right, among classes as frequent as in these images. AUROC: how often an image of the "
        "class has the higher probability of two, of which one is of another class."
    )
    yield from operating_point(results, found.split, shown)


def _subgroups(results: Results) -> Iterator[Part]:
    rows = results.get("subgroups")
    if not rows:
        yield "Not measured: no column was named (data.subgroup_columns)."
        return
    heads, cells = of_subgroups(rows)
    yield Table(heads, cells)
    if len(rows) > MOST_SUBGROUPS:
        yield "The subgroups with the lowest accuracy; results.json has the others."
    if any(row["small"] for row in rows):
        yield "* So few images say next to nothing."


def _calibration(results: Results) -> Iterator[Part]:
    about = results.get("calibration")
    if not about or "measured" not in about:
        yield "Not measured: nothing was fitted, and its probabilities are those of the network."
        return
    after, before = about["measured"]["after"], about["measured"].get("before")
    temperature = about.get("temperature")
    how = about["method"] + (f" {temperature:.3f}" if temperature else "")
    fitted = f"{about['images']:,} images" if about.get("images") else "images"
    yield (
        "Not calibrated: its probabilities are those of the network."
        if how == "none"
        else f"Method: {how}, fitted on {fitted} ({about['fitted_on']})."
    )
    rows = [["as given", f"{after['ece']:.3f}", f"{after['nll']:.3f}", f"{after['brier']:.3f}"]]
    if before:
        values = [f"{before[name]:.3f}" for name in ("ece", "nll", "brier")]
        rows.append(["of the network alone", *values])
    floor = about["measured"]["floor"]["ece"]
    rows.append(["of a perfect model, on average", f"{floor['mean']:.3f}", "-", "-"])
    rows.append(["of a perfect model, at most (95 %)", f"{floor['p95']:.3f}", "-", "-"])
    yield Table(["probabilities", "ECE", "NLL", "Brier score"], rows)
    yield (
        "ECE: how far probabilities are from how often they are right, on average. NLL and Brier "
        "score: also how sharp they are. Of all three, less is better."
    )


def _shortcuts(results: Results) -> Iterator[Part]:
    found = results.get("shortcuts")
    if not found:
        yield (
            "Not checked (shortcuts=true): it is not known whether the classes can be told apart "
            "by something beside their subject, nor what changes of the images do."
        )
        return
    verdict = found["verdict"]
    told = verdict["warnings"] or [verdict.get("why_none") or "No shortcut was found."]
    yield [*told, *verdict["evidence"]]
    yield Table(["the same images", "right", "of", "right before"], stress(found))


def _limits(results: Results, found: Measured) -> list[str]:
    """What the figures do not say."""
    told = [
        "The figures are of images of the same source as the training. Images of another hospital, "
        "device or time may give others, and no interval here knows of them.",
        "Only the classes above are known. An image of anything else gets one of them"
        + (", unless the gate refuses it." if results.get("gate") else "."),
    ]
    if results.get("groups") is None:
        told.append("No groups are known: with several images of a patient, intervals are short.")
    if found.overlap is None:
        told.append("It is not known whether measured images were seen in training.")
    elif found.overlap["shared"]:
        told.append("Some of the measured images were seen in training: the figures flatter.")
    if results.get("num_folds"):
        told.append("This is one fold of several; all of them put together say more.")
    if results.get("runs"):
        told.append(
            "Each run tested its own network. Whichever is used, or one that is trained on all "
            "images, is another: these figures say how well this way of training does."
        )
    return told


def _software(results: Results) -> Iterator[Part]:
    versions = ", ".join(f"{k} {v}" for k, v in results.get("versions", {}).items())
    git, hardware = results.get("git") or {}, results.get("hardware", {})
    commit = str(git.get("commit") or "not known")
    commit += " with changes that are not committed" if git.get("dirty") else ""
    machine = hardware.get("accelerator") or hardware.get("cpu") or "not known"
    parameters = results.get("parameters")
    rows: list[Sequence[str]] = [
        ("versions", versions or "not known"),
        ("commit", commit),
        ("machine", str(machine)),
    ]
    if parameters:
        rows.insert(0, ("parameters of the network", f"{parameters['total']:,}"))
    yield Table(["", ""], rows)
