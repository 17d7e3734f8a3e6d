// The picture that the network saw, and the heatmap over it.

import { ask } from "./api.js";
import { element } from "./dom.js";

/** A figure of a PNG in base64, with its heatmap under a slider that begins at 0. */
export function pictureOf(png, heatmap) {
  const figure = figureOf(image(png, "What the network saw"));
  if (!heatmap) {
    const text = "There is no heatmap: this network has none, or the picture was refused.";
    figure.append(element("figcaption", { className: "note" }, text));
    return figure;
  }
  const over = image(heatmap.png, "");
  over.className = "heatmap";
  figure.querySelector(".pictures").append(over);
  figure.append(slider(over), element("figcaption", { className: "note" }, meaning(heatmap)));
  return figure;
}

/** A figure of the picture that is kept of a case. Throws Problem. */
export async function keptPicture(id) {
  const response = await ask(`/v1/predictions/${encodeURIComponent(id)}/image`);
  const address = URL.createObjectURL(await response.blob());
  const shown = element("img", { alt: "What the network saw", src: address });
  shown.addEventListener("load", () => URL.revokeObjectURL(address));
  return figureOf(shown);
}

function figureOf(shown) {
  shown.addEventListener("load", () => {
    if (shown.naturalWidth <= 64) shown.parentElement.classList.add("pixelated");
  });
  return element("figure", {}, element("div", { className: "pictures" }, shown));
}

function image(png, alt) {
  return element("img", { alt, src: `data:image/png;base64,${png}` });
}

function slider(over) {
  const value = element("span", { "aria-hidden": "true" });
  const range = element("input", { type: "range", min: 0, max: 100, value: 0 });
  const show = () => {
    over.style.opacity = range.value / 100;
    value.textContent = range.ariaValueText = `${range.value} %`;
  };
  range.addEventListener("input", show);
  show();
  const text = element("span", {}, "Heatmap ", value);
  return element("label", { className: "field" }, text, range);
}

function meaning(heatmap) {
  return (
    `Red speaks for ${heatmap.class}, blue against it. It shows where the model's number comes ` +
    "from, and not where a disease is."
  );
}
