"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const drawn = new Set();

  // Theme: what the system says until the button is pressed; paper is light.
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  const setTheme = (name) => {
    root.dataset.theme = name;
    for (const id of drawn) Plotly.relayout(id, themed(figures[id].layout));
  };
  const followSystem = () => setTheme(chosen ?? (system.matches ? "dark" : "light"));
  system.addEventListener("change", followSystem);
  document.getElementById("theme").addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    followSystem();
  });

  // Charts are drawn when they come into sight, so that a page with many opens at once.
  function themed(layout) {
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false };
    return {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--text"), size: 12, family: "system-ui, sans-serif" },
      margin: { l: 56, r: 12, t: 34, b: 48 },
      showlegend: true,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
      hovermode: "closest",
      hoverlabel: { bgcolor: colour("--panel"), font: { color: colour("--text") } },
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
    };
  }
  // plotly.js takes a browser a second to read: tables sort and filter before that.
  function readPlotly() {
    const source = document.getElementById("plotly");
    const script = document.createElement("script");
    script.textContent = source.textContent;
    source.replaceWith(script);
  }
  function draw(element) {
    if (drawn.has(element.id)) return;
    drawn.add(element.id);
    if (!window.Plotly) readPlotly();
    const figure = figures[element.id];
    Plotly.newPlot(element, figure.data, themed(figure.layout), { displayModeBar: false, responsive: true });
  }
  const charts = [...document.querySelectorAll(".chart")];
  const watch = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "400px" },
  );
  root.dataset.theme = system.matches ? "dark" : "light";
  charts.forEach((element) => watch.observe(element));
  // Charts keep the width that they were drawn at: A4 and Letter have room for this many pixels between their margins.
  const paper = 660;
  addEventListener("beforeprint", () => {
    charts.filter((element) => element.checkVisibility()).forEach(draw);
    setTheme("light");
    for (const id of drawn) Plotly.relayout(id, { width: paper });
  });
  addEventListener("afterprint", () => {
    for (const id of drawn) Plotly.relayout(id, { width: null, autosize: true });
    followSystem();
  });

  // A link to a variant opens it.
  const openTarget = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", openTarget);
  openTarget();

  // Sorting: numbers by size, text by the alphabet, what was not measured last in either direction.
  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    const found = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
    return sign * found;
  };
  document.querySelectorAll("table.ranked").forEach((table) => {
    table.querySelectorAll("thead button").forEach((button) => {
      const head = button.parentElement;
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[head.cellIndex].dataset.sort;
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b), up ? 1 : -1)));
      });
    });
  });

  // Filtering
  const form = document.getElementById("filter");
  if (!form) return;
  const [find, verdict, count] = ["find", "verdict", "count"].map((id) => document.getElementById(id));
  const filter = () => {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (item) =>
      (!verdict.value || item.dataset.verdict === verdict.value) &&
      wanted.every((word) => item.dataset.text.toLowerCase().includes(word));
    document.querySelectorAll(".item").forEach((item) => { item.hidden = !fits(item); });
    document.querySelectorAll(".group").forEach((group) => { group.hidden = !group.querySelector(".ranked tr.item:not([hidden])"); });
    const rows = document.querySelectorAll(".ranked tr.item");
    const shown = [...rows].filter((row) => !row.hidden).length;
    count.textContent = `${shown} of ${rows.length} variants`;
    document.getElementById("nothing").hidden = shown > 0;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
