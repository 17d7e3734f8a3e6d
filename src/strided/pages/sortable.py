"""A table that a click on a column's name sorts; without scripts it is a plain table."""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = table.tHead.rows[0].cells;
  const key = (row, at) => row.cells[at].dataset.value ?? row.cells[at].textContent.trim();
  [...heads].forEach((head, at) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
      const rows = [...body.rows].sort((one, other) => {
        const a = key(one, at), b = key(other, at);
        if (a === "" || b === "") return (a === "") - (b === "");
        const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
        return down * order;
      });
      body.append(...rows);
    });
  });
}
"""

STYLE = """
th button { font: inherit; color: var(--link); background: none; border: 0; padding: 0;
  cursor: pointer; text-align: inherit; white-space: nowrap; }
th button::after { content: " ↕"; font-weight: 400; }
[aria-sort=ascending] button::after { content: " ↑"; }
[aria-sort=descending] button::after { content: " ↓"; }
@media print { th button::after { content: ""; } }
"""
