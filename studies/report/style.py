"""Look and behaviour of the report's page: one style sheet, one script, both inline."""

INK, MUTED, RULE = "#1b1f24", "#57606a", "#d8dee4"

# Okabe and Ito's palette: told apart with every common colour blindness. Marks differ in form as well.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --muted: #57606a; --rule: #d8dee4; --tint: #f6f8fa; --blue: #0072B2; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
main, header, footer { max-width: 1040px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 21px; line-height: 1.3; margin: 0 0 10px; }
h3 { font-size: 16px; margin: 22px 0 6px; }
p { margin: 0 0 12px; max-width: 76ch; }
a { color: var(--blue); text-underline-offset: 2px; }
a:focus-visible, .scroll:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
code { font: 0.92em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.subtitle { color: var(--muted); margin: 6px 0 20px; }
nav { border-block: 1px solid var(--rule); padding: 10px 0; display: flex; flex-wrap: wrap; gap: 4px 18px;
  font-size: 14px; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
section { padding: 30px 0 22px; border-bottom: 1px solid var(--rule); }
section:last-of-type { border-bottom: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 12px; margin: 0 0 14px; }
.card { border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px 12px; }
.card.main { border-color: var(--blue); border-width: 2px; padding: 13px 15px 11px; }
.card .name { color: var(--muted); font-size: 13px; }
.card .figure { font-size: 26px; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card .more { color: var(--muted); font-size: 13px; line-height: 1.4; }
.scroll { overflow-x: auto; margin: 0 0 14px; }
table { overflow-wrap: normal; border-collapse: collapse; width: 100%; font-size: 14px; line-height: 1.4; }
caption { text-align: left; color: var(--muted); font-size: 13px; padding-bottom: 6px; }
th { text-align: left; font-weight: 600; border-bottom: 1.5px solid var(--ink); vertical-align: bottom; }
td { border-bottom: 1px solid var(--rule); vertical-align: top; }
td code { white-space: nowrap; }
th, td { padding: 6px 14px 6px 0; }
th:last-child, td:last-child { padding-right: 2px; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.published { color: var(--muted); }
tr.first td { border-bottom: 0; padding-bottom: 2px; }
tr.second td { padding-top: 0; }
tr.best td { background: #eef6fb; }
td pre, table.pairs td:last-child { overflow-wrap: anywhere; }
table.pairs td:first-child { width: 30%; color: var(--muted); }
caption div, td .chips { position: sticky; left: 0; max-width: min(100%, calc(100vw - 34px)); }
.chips { display: flex; flex-wrap: wrap; gap: 4px 6px; }
.chip { background: var(--tint); border: 1px solid var(--rule); border-radius: 6px; padding: 0 7px; font-size: 12.5px;
  white-space: normal; }
.chip b { font-weight: 600; }
tr.best .chip { background: #fff; }
.note { color: var(--muted); font-size: 13.5px; }
.missing { background: var(--tint); border-left: 3px solid #8c959f; padding: 10px 14px; border-radius: 0 6px 6px 0; }
.methods { border: 1px solid var(--rule); border-left: 4px solid var(--blue); border-radius: 0 8px 8px 0;
  padding: 16px 20px; max-width: 84ch; user-select: all; line-height: 1.65; }
ul.notes { margin: 0 0 12px; padding-left: 20px; font-size: 14px; max-width: 84ch; }
ul.notes li { margin-bottom: 4px; }
figure { margin: 0; min-width: 0; }
figure.wide { margin-bottom: 6px; }
.slices { display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: 8px 20px; }
.chart { width: 100%; }
.overlays { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 20px; }
.overlays img { width: 100%; height: auto; display: block; border-radius: 6px; border: 1px solid var(--rule); }
.overlays figcaption { font-size: 13.5px; color: var(--muted); margin-top: 6px; }
.overlays figcaption b { color: var(--ink); display: block; }
.bar { display: flex; height: 26px; border-radius: 5px; overflow: hidden; margin: 4px 0 8px; gap: 2px; }
.bar span { min-width: 3px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.key { display: inline-block; width: 14px; height: 14px; border-radius: 3px; vertical-align: -2px; margin-right: 8px;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.is-complete { background: #0072B2; }
.is-pruned { background: repeating-linear-gradient(45deg, #D55E00 0 5px, #f2b48c 5px 9px); }
.is-diverged { background: repeating-linear-gradient(0deg, #E69F00 0 4px, #f7dca6 4px 7px); }
.is-failed { background: repeating-linear-gradient(90deg, #CC79A7 0 3px, #f0d5e4 3px 7px); }
.is-saved { background: #fff; border: 1.5px dashed #57606a; border-radius: 4px; }
pre { white-space: pre-wrap; font: 12.5px/1.45 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  background: var(--tint); border-radius: 6px; padding: 6px 9px; margin: 0 0 6px; }
footer { color: var(--muted); font-size: 13px; padding-bottom: 36px; }
@media (max-width: 600px) {
  body { font-size: 15.5px; }
  main, header, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 24px; }
  h1 { font-size: 24px; }
  .cards { grid-template-columns: 1fr 1fr; gap: 10px; }
  .card { padding: 11px 12px; } .card.main { grid-column: 1 / -1; padding: 10px 11px; }
  .card:last-child { grid-column: 1 / -1; }
  .card .figure { font-size: 22px; }
  table { font-size: 13px; }
  th, td { padding-right: 10px; }
  .methods { padding: 12px 14px; }
}
@page { size: A4; margin: 14mm 15mm; }
@media print {
  body { font-size: 10.5pt; line-height: 1.45; }
  main, header, footer { max-width: none; padding-left: 0; padding-right: 0; }
  header { padding-top: 0; }
  nav { display: none; }
  h1 { font-size: 20pt; } h2 { font-size: 14pt; }
  h2, h3, caption { break-after: avoid; }
  section { padding: 14px 0 10px; border-bottom: 0; }
  .cards { grid-template-columns: repeat(3, 1fr); }
  .slices { grid-template-columns: 1fr 1fr; }
  .overlays { grid-template-columns: 1fr 1fr; }
  table { font-size: 8.5pt; } .scroll { overflow: visible; }
  th, td { padding-right: 8px; }
  figure, .card, tr, .missing { break-inside: avoid; }
  tr.first, .bar { break-after: avoid; }
  .bar { break-inside: avoid; }
  p { orphans: 3; widows: 3; }
  a { color: inherit; text-decoration: none; }
}
"""

# Charts are drawn for the width they have; on paper that is the page's, which only the print events announce.
SCRIPT = """
(function () {
  var places = [];
  document.querySelectorAll("script[data-chart]").forEach(function (source) {
    var place = document.getElementById("chart-" + source.dataset.chart);
    var figure = JSON.parse(source.textContent);
    Plotly.newPlot(place, figure.data, figure.layout, {
      displayModeBar: false, displaylogo: false, responsive: true, showTips: false, doubleClick: false
    });
    places.push(place);
  });
  function onPaper() {
    places.forEach(function (place) {
      var small = place.parentNode.className === "small";
      Plotly.relayout(place, { width: small ? 320 : 670, autosize: false });
    });
  }
  function onScreen() {
    places.forEach(function (place) {
      Plotly.relayout(place, { width: null, autosize: true });
    });
  }
  window.addEventListener("beforeprint", onPaper);
  window.addEventListener("afterprint", onScreen);
})();
"""
