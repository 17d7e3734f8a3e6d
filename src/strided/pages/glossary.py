"""What the names of metrics mean: where they stand, and in a list that they lead to."""

import html
from collections.abc import Iterable

from strided.pages.page import Markup, anchor, heading

MEANINGS = {
    "acc": "Accuracy: the share of images that are named rightly.",
    "acc_top5": "The share of images whose class is among the five most probable ones.",
    "acc_at_80": "Accuracy of the 80 % of images that the network is surest of.",
    "auprc": "Average precision, the area under the precision-recall curve. Guessing gives the "
    "share of the class, a perfect ranking 1.",
    "aurc": "Area under the risk-coverage curve: the share of errors among the surest images, "
    "averaged over how many of them are decided. Less is better.",
    "auroc": "How often an image of the class has the higher probability of two, of which one is "
    "of another class. Guessing gives 0.5, a perfect ranking 1.",
    "balanced_acc": "The mean recall of the classes: each class counts the same, however few its "
    "images.",
    "brier": "Brier score: half the squared distance between the probabilities and the truth. "
    "Less is better.",
    "ece": "Expected calibration error: how far a stated probability is from how often it is "
    "right, on average. 0.05 means five points. Less is better.",
    "entropy": "How spread the probabilities are, in nats: 0 if one class has all.",
    "f1": "The harmonic mean of precision and recall.",
    "images_per_second": "Training images a second, without the first epoch.",
    "loss": "What training makes small (the criterion), measured without augmentation.",
    "macs": "Multiply-adds of a forward pass of one image.",
    "mutual_information": "How much the networks of an ensemble disagree, in nats.",
    "nll": "Negative log-likelihood: the mean of minus the log of the probability of the right "
    "class. It punishes what is wrong and sure. Less is better.",
    "npv": "Negative predictive value: of the images not named so, the share that is not of the "
    "class.",
    "ppv": "Positive predictive value, as precision.",
    "precision": "Of the images named so, the share that is of the class (PPV).",
    "recall": "Of the images of the class, the share that is named so (sensitivity).",
    "set_coverage": "The share of prediction sets that hold the right class.",
    "set_size": "Classes in a prediction set, on average.",
    "specificity": "Of the images of other classes, the share that is not named so.",
    "train_seconds": "Seconds of training, over all its sessions.",
}
_RAW = "_raw"  # after the name of an error of the probabilities: before calibration


def meaning(name: str) -> str:
    """What a metric means; `name` may have its split, as `test/acc`. Empty if it is not known."""
    bare = name.rpartition("/")[2]
    if bare.endswith(_RAW):
        told = MEANINGS.get(bare.removesuffix(_RAW))
        return f"{told} Before calibration." if told else ""
    return MEANINGS.get(bare, "")


def term(name: str) -> Markup:
    """Return a metric's name with its meaning as a title; it leads to its place in `glossary`."""
    shown, told = html.escape(name), html.escape(meaning(name))
    if not told:
        return Markup(shown)
    return Markup(f'<a class="term" href="#{_place(name)}" title="{told}">{shown}</a>')


def glossary(names: Iterable[str]) -> str:
    """Return the part of a page that explains its metrics: those of `names` that are known."""
    known = sorted({name.rpartition("/")[2] for name in names if meaning(name)})
    if not known:
        return ""
    entries = "".join(
        f'<dt id="{_place(name)}">{html.escape(name)}</dt><dd>{html.escape(meaning(name))}</dd>'
        for name in known
    )
    return f"{heading('What the figures mean')}<dl>{entries}</dl>"


def _place(name: str) -> str:
    return f"means-{anchor(name.rpartition('/')[2])}"
