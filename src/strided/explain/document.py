"""explain.html: every picture of a run, and how to read it."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from strided.config.keys import Config
from strided.data.reading.files import as_text
from strided.explain.heatmaps import METHODS
from strided.explain.sanity import DEPENDS
from strided.pages.page import page, picture
from strided.runs.results import Results

STYLE = """
body { max-width: 75rem; }
.warning { border-left: 4px solid #c0392b; padding-left: .8rem; }
.pair { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: flex-start; }
.pair figure { flex: 1 1 30rem; max-width: 45rem; }
dt { font-weight: 600; } dd { margin: 0 0 .8rem 0; } dd, p { max-width: 50rem; }
"""
READING = {
    "grad_cam": (
        "Selvaraju et al. 2017. The maps of one layer, each weighed by how much the class's logit "
        "rises with it, added up; only what is positive is shown. It says where in the image this "
        "layer finds what speaks for the class, as coarsely as its maps are: a map of 7x7 cannot "
        "outline anything. The largest value of each picture is 1, so that colours cannot be "
        "compared between pictures."
    ),
    "grad_cam_pp": (
        "Chattopadhay et al. 2018. As Grad-CAM, but with a weight for each place of a map, so "
        "that several small objects of a class count as much as a large one. Where both differ, "
        "neither is right by itself."
    ),
    "integrated_gradients": (
        "Sundararajan et al. 2017. What each pixel adds to the class's logit on the way from an "
        "image of mean colour to this one; red adds, blue takes away. All pixels together "
        "give the logit's rise over that baseline, except for the error of completeness below. "
        "A region of the baseline's own colour gets nothing, however important it is. "
        "The colour of a pixel is full from the 99.5th percentile on."
    ),
    "occlusion": (
        "Zeiler and Fergus 2014. A square of mean colour covers one part of the image after the "
        "other; red is where the class's probability falls, blue where it rises. It asks "
        "the network itself and needs no gradients, but a covered image is unlike any that it was "
        "trained on, and where one of two similar parts is enough, neither shows."
    ),
}
UNCHECKED = """<h2>Sanity check</h2>
<p>Not made. With <code>sanity=true</code> each heatmap is compared with the one of random weights
(Adebayo et al. 2018): one that stays the same does not show what was learnt. It doubles the
time.</p>"""


def render(config: Config, results: Results, folder: Path) -> str:
    """Return the page; `results` name the figures relative to the run folder."""
    figures = results["figures"]
    command = html.escape(as_text(" ".join(["python src/explain.py", *results["command"]])))
    used = results["methods"]
    body = f"""<p class="headline">{headline(results)}</p>
<p><code>{command}</code></p>
{
        "".join(
            f'<p class="warning">{METHODS[m]}: {html.escape(why)}</p>'
            for m, why in results["refused"].items()
        )
    }
{picture(folder / figures["sheet"])}
{sanity_part(results, used)}
<h2>How to read it</h2><dl>{
        "".join(f"<dt>{METHODS[method]}</dt><dd>{READING[method]}</dd>" for method in used)
    }</dl>
<p>A heatmap shows what this network's answer rests on, for this image, by one definition. It does
not show that the answer is right, or that a person would look there.</p>
<h2>Images</h2>{"".join(image_part(entry, folder) for entry in results["images"])}
<h2>First convolution</h2>{filters_part(figures, folder)}
<details><summary>Facts</summary><pre>{_yaml(_facts(results))}</pre></details>
<details><summary>Config</summary><pre>{_yaml(config)}</pre></details>
"""
    return page(f"What {config['name']} looks at", body, STYLE)


def headline(results: Results) -> str:
    """The number of images, and the layers that the methods look at."""
    count = sum("error" not in entry for entry in results["images"])
    layers = results["layers"]
    parts = [f"{count} image{'s' if count != 1 else ''}"]
    parts += [f"CAMs of <code>{html.escape(layers['cam'])}</code>"] if layers["cam"] else []
    parts += [f"maps of <code>{html.escape(layers['maps'])}</code>"] if layers["maps"] else []
    return "; ".join(parts)


def sanity_part(results: Results, methods: Sequence[str]) -> str:
    """The rank correlations with heatmaps of randomised weights; without the check, how to."""
    if not results["parameters_used"]["sanity"]:
        return UNCHECKED
    heads = "".join(f"<th>{METHODS[method]}</th>" for method in methods)
    rows, warnings = [], []
    for entry in results["images"]:
        for found in entry.get("explanations", ()):
            name = html.escape(as_text(f"{entry['path']}, {found['target']}"))
            values = [found["heatmaps"][method]["rank_correlation"] for method in methods]
            cells = "".join(
                f'<td class="number">{"-" if v is None else f"{v:.2f}"}</td>' for v in values
            )
            rows.append(f"<tr><td>{name}</td>{cells}</tr>")
            hardly = [METHODS[m] for m in methods if found["heatmaps"][m]["hardly_depends"]]
            warnings += [f"{name}: {', '.join(hardly)}"] if hardly else []
    warned = (
        f'<div class="warning"><p>These heatmaps hardly depend on what was learnt (above {DEPENDS} '
        f"in absolute value):</p><ul>{''.join(f'<li>{w}</li>' for w in warnings)}</ul></div>"
    )
    return f"""<h2>Sanity check</h2>
<p>Rank correlation (Spearman) of each heatmap with the one that the same network gives with all
its weights replaced by random ones (Adebayo et al. 2018). Near 0 the heatmap depends on what was
learnt; near 1 (or near -1, in reverse) it would be there without any learning: it shows the image's
own edges, or the method. One draw of weights is compared. A dash: one of the two is constant, and
says nothing.</p>
{warned if warnings else ""}
<div class="scroll"><table><tr><th>image, class</th>{heads}</tr>{"".join(rows)}</table></div>"""


def image_part(entry: dict[str, Any], folder: Path) -> str:
    """An image's predictions, heatmaps and feature maps."""
    path = html.escape(as_text(entry["path"]))
    if "error" in entry:
        return f'<h3>{path}</h3><p class="warning">{html.escape(entry["error"])}</p>'
    best = ", ".join(f"{html.escape(as_text(n))} {p:.3f}" for n, p in entry["top5"].items())
    shown = [
        picture(folder / heat["figure"])
        for found in entry["explanations"]
        for heat in found["heatmaps"].values()
    ]
    errors = [
        f"{html.escape(as_text(found['target']))} {heat['completeness_error']:.1%}"
        for found in entry["explanations"]
        for heat in found["heatmaps"].values()
        if heat["completeness_error"] is not None
    ]
    complete = f"<p>Error of completeness of integrated gradients: {', '.join(errors)}.</p>"
    maps = picture(folder / entry["maps"]) if entry["maps"] else ""
    return f"""<h3>{path}</h3><p>Predicted: {best}</p>
<div class="pair">{"".join(shown)}</div>{complete if errors else ""}{maps}"""


def filters_part(figures: dict[str, Any], folder: Path) -> str:
    """Both pictures of the filters, or a line that there are none."""
    if not figures["filters"]:
        return "<p>This network has none, and so no filters to show.</p>"
    shown = "".join(picture(folder / file) for file in figures["filters"])
    return f"""<p>The weights as pictures; middle grey is 0. Filters that were learnt well
are smooth: edges, colours, blobs. Noise means that they were hardly trained, or that they are not
needed.</p><div class="pair">{shown}</div>"""


def _facts(results: Results) -> dict[str, object]:
    left_out = ("images", "figures", "classes")
    return {key: value for key, value in results.items() if key not in left_out}


def _yaml(values: Mapping[str, object]) -> str:
    return html.escape(as_text(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)))
