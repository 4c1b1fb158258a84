// Tables sort when a column's title is pressed; without this the page is the same page.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      const up = title.getAttribute("aria-sort") === "descending";
      const numeric = title.classList.contains("number");
      titles.forEach((other) => other.removeAttribute("aria-sort"));
      title.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => {
        const text = row.cells[column].textContent.trim();
        return numeric ? parseFloat(text.replace(/,/g, "").replace("\u2212", "-")) : text;
      };
      const order = (one, two) => {
        const [first, second] = [key(one), key(two)];
        if (!numeric) return first.localeCompare(second, "en", { numeric: true });
        return (isNaN(first) ? -Infinity : first) - (isNaN(second) ? -Infinity : second);
      };
      body.append(...[...body.rows].sort((one, two) => (up ? order(one, two) : order(two, one))));
    });
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
