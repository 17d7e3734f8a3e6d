"""The pictures of a report: errors to be browsed by class, hits, and where the network looked."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from strided.data.reading.files import as_text
from strided.errors import one_line
from strided.evaluation.examples import Example
from strided.pages.page import heading, photo
from strided.report.contents import Contents
from strided.report.outcome import count_errors
from strided.runs.results import Results, measured

_SIDE = 128  # pixels, at most, of a picture

STYLE = """
.cases { display: grid; gap: 1rem .8rem; margin: 1rem 0; padding: 0; list-style: none;
  max-width: none; grid-template-columns: repeat(auto-fill, minmax(min(13rem, 47%), 1fr)); }
.case > div { display: grid; grid-template-columns: 1fr 1fr; gap: 2px; max-width: 18rem; }
.case img { width: 100%; display: block; border-radius: 3px; }
.case p { margin: .2rem 0 0; line-height: 1.3; } .case .note { font-size: .8rem; }
.case[hidden] { display: none; } .case:target { outline: 3px solid var(--link); }
#browse { display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end; margin: 1rem 0; }
#browse[hidden] { display: none; } #browse label { display: grid; gap: .15rem; }
#browse select, #browse button { font: inherit; max-width: 14rem; padding: .15rem .3rem; }
@media print { #browse { display: none; } }
"""

# Shows the errors of chosen classes only, and lets arrow keys move within the confusion matrix.
# Without it all errors are shown, and a cell of the matrix leads to the first of its kind.
SCRIPT = """
(() => {
  const browse = document.getElementById('browse');
  if (browse) {
    const cases = [...document.querySelectorAll('#errors-shown .case')];
    const told = browse.querySelector('output');
    const show = () => {
      const {t, p} = browse;
      for (const one of cases)
        one.hidden = (t.value && one.dataset.t !== t.value) ||
          (p.value && one.dataset.p !== p.value);
      const left = cases.filter(one => !one.hidden).length;
      told.value = `${left} of ${cases.length} pictures`;
    };
    const choose = (t, p) => { browse.t.value = t; browse.p.value = p; show(); };
    const follow = () => {
      const kind = location.hash.match(/^#error-(\\d+)-(\\d+)$/);
      if (kind) { choose(kind[1], kind[2]); browse.scrollIntoView(); }
    };
    browse.hidden = false;
    browse.addEventListener('input', show);
    browse.querySelector('button').addEventListener('click', () => choose('', ''));
    addEventListener('hashchange', follow);
    for (const link of document.querySelectorAll('a[href^="#error-"]'))
      link.addEventListener('click', () => setTimeout(follow));
    show();
    follow();
  }
  const steps = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
  for (const matrix of document.querySelectorAll('.matrix')) {
    const rows = [...matrix.querySelectorAll('tbody tr')].map(
      row => [...row.querySelectorAll('td')].map(cell => cell.querySelector('a, [tabindex]')));
    const all = rows.flat().filter(Boolean);
    const enter = target => { for (const one of all) one.tabIndex = one === target ? 0 : -1; };
    enter(all[0]);
    matrix.addEventListener('keydown', event => {
      const step = steps[event.key];
      let y = rows.findIndex(row => row.includes(event.target));
      if (!step || y < 0) return;
      let x = rows[y].indexOf(event.target);
      do { y += step[0]; x += step[1]; } while (rows[y] && x in rows[y] && !rows[y][x]);
      const target = rows[y] && rows[y][x];
      event.preventDefault();
      if (target) { enter(target); target.focus(); }
    });
  }
})();
"""


def errors_section(results: Results, contents: Contents) -> str:
    """The errors to browse; nothing if none is shown."""
    found = measured(results)
    if found is None or not contents.kinds:
        return ""
    shown, wrong = len(contents.kinds), count_errors(found.confusion)
    file = "predictions.csv" if found.split == "test" else "val_predictions.csv"
    some = (
        f"{shown:,} of {wrong:,} errors, of each kind in proportion to how often it occurs; "
        f"{file} has all."
        if shown < wrong
        else "All errors."
    )
    classes = results["classes"]
    return "\n".join(
        [
            heading("Errors by class"),
            f"<p>{some} The surest come first. {_beside(contents)}</p>",
            _choices(contents.kinds, classes),
            f'<ul class="cases" id="errors-shown">{_errors(contents, classes)}</ul>',
        ]
    )


def hits_section(contents: Contents) -> str:
    """The right answers that the network was least sure of; nothing if none is shown."""
    if not contents.hits:
        return ""
    shown = "".join(
        f'<li class="case">{_pictures(example, contents.overlays)}'
        f"<p><b>{html.escape(one_line(example.label))}</b>, {example.probability:.0%} sure</p>"
        f'<p class="note">{html.escape(one_line(example.path))}</p></li>'
        for example in contents.hits
    )
    return f'{heading("Right, and least certain")}<ul class="cases">{shown}</ul>'


def _beside(contents: Contents) -> str:
    if not contents.overlays:
        return ""
    return (
        "Beside each picture is the evidence for the predicted class, by Grad-CAM (Selvaraju et "
        "al. 2017), the strongest in red. It shows where the network looked, not that it was right "
        "to look there."
    )


def _choices(errors: Sequence[Example], classes: Sequence[str]) -> str:
    """The form that the script shows: it chooses the true and the predicted class."""
    names = [as_text(name) for name in classes]
    true = sorted({names.index(error.label) for error in errors})
    predicted = sorted({error.class_index for error in errors})
    fields = "".join(
        f'<label>{word} <select name="{name}"><option value="">any class</option>'
        + "".join(f'<option value="{k}">{html.escape(one_line(names[k]))}</option>' for k in found)
        + "</select></label>"
        for word, name, found in (("it is", "t", true), ("it was named", "p", predicted))
    )
    return (
        f'<form id="browse" hidden>{fields}<button type="button">show all</button>'
        "<output></output></form>"
    )


def kind_of(error: Example, classes: Sequence[str]) -> tuple[int, int]:
    """The true and the predicted class of an error, by index."""
    return [as_text(name) for name in classes].index(error.label), error.class_index


def _errors(contents: Contents, classes: Sequence[str]) -> str:
    parts, seen = [], set()
    for error in contents.kinds:
        true, predicted = kind = kind_of(error, classes)
        first = "" if kind in seen else f' id="error-{true}-{predicted}"'
        seen.add(kind)
        parts.append(
            f'<li class="case" data-t="{true}" data-p="{predicted}"{first}>'
            f"{_pictures(error, contents.overlays)}<p><b>{html.escape(one_line(error.label))}</b> "
            f"named <b>{html.escape(one_line(error.predicted))}</b>, {error.probability:.0%} sure"
            f'</p><p class="note">{html.escape(one_line(error.path))}</p></li>'
        )
    return "".join(parts)


def _pictures(example: Example, overlays: Mapping[int, np.ndarray]) -> str:
    shown = photo(example.picture, "", _SIDE, f"{example.label}: {example.path}")
    overlay = overlays.get(example.position)
    if overlay is not None:
        shown += photo(overlay, "", _SIDE, f"Grad-CAM of {example.predicted}")
    return f"<div>{shown}</div>"
