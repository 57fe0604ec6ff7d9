// Heads of columns sort their table, names of codecs pick them out in all charts. The page works
// without: heads and names are plain text then.
(() => {
  "use strict";

  const button = (cell, action) => {
    const made = document.createElement("button");
    made.type = "button";
    made.append(...cell.childNodes);
    made.addEventListener("click", () => action(made));
    cell.append(made);
  };

  // Cells without a number have no data-value and stay last, whichever way the others go.
  const compare = (index, sign) => (one, other) => {
    const [a, b] = [one, other].map((row) => row.cells[index].dataset.value);
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    const [x, y] = [Number(a), Number(b)];
    return sign * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, index) => {
      if (!head.hasAttribute("aria-sort")) head.setAttribute("aria-sort", "none");
      button(head, () => {
        const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        for (const each of heads) each.setAttribute("aria-sort", each === head ? order : "none");
        const rows = [...table.tBodies[0].rows];
        table.tBodies[0].append(...rows.sort(compare(index, order === "ascending" ? 1 : -1)));
      });
    });
  }

  const picked = new Set();
  const names = document.querySelectorAll("tbody th[data-codec]");
  const show = () => {
    document.body.classList.toggle("picked", picked.size > 0);
    for (const name of names) name.firstChild.setAttribute("aria-pressed", picked.has(name.dataset.codec));
    for (const part of document.querySelectorAll(".panel svg [class^=codec]"))
      part.classList.toggle("lit", picked.has(part.classList[0]));
  };
  for (const name of names)
    button(name, () => {
      if (!picked.delete(name.dataset.codec)) picked.add(name.dataset.codec);
      show();
    });
  if (names.length) show();
  for (const hint of document.querySelectorAll("[data-hint]")) hint.hidden = false;
})();
