"""What the page looks like, on paper too, and the few lines of script that sort its tables."""

STYLE = """
:root{color-scheme:light dark;--paper:#fcfbf8;--card:#f4f1ea;--ink:#1d2321;--soft:#565f5a;--rule:#d9d5ca;
--accent:#14544f;--used:#1f6b64;--used-line:#1f6b64;--idle:#edc77a;--idle-line:#7d5607;--unmeasured:#dcd9d2;
--unmeasured-line:#66635b;--free:#c3d6e6;--free-line:#3f6687;--saved:#fcfbf8;--saved-line:#4d8f5f;
--asleep:#fcfbf8;--asleep-line:#7a6a9c;
--h0:#f1efe8;--h1:#dcebe6;--h2:#b5d5cc;--h3:#86bbb0;--h4:#1f6b64;--h5:#0e4440;--on-dark:#fff}
@media (prefers-color-scheme:dark){:root{--paper:#14191a;--card:#1d2425;--ink:#e9e6de;--soft:#a9b0ab;
--rule:#364041;--accent:#8fd0c4;--used:#57aca0;--used-line:#57aca0;--idle:#5a4312;--idle-line:#e3b85f;
--unmeasured:#3a3e3c;--unmeasured-line:#b3b6b0;--free:#26394a;--free-line:#8db8dc;--saved:#14191a;
--saved-line:#7fc492;--asleep:#14191a;--asleep-line:#b3a4d6;--h0:#1f2728;--h1:#203635;--h2:#244a47;--h3:#2a5f5a;--h4:#7cc4b8;--h5:#b5e6dc;
--on-dark:#0c1413}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 "Helvetica Neue","Segoe UI",Roboto,
"Liberation Sans",Arial,sans-serif;font-variant-numeric:tabular-nums}
h1,h2,.hero-figure{font-family:"Iowan Old Style","Palatino Linotype",Palatino,"Book Antiqua",Georgia,
"Liberation Serif",serif;font-weight:400;text-wrap:balance}
.page{max-width:78rem;margin:0 auto;padding:0 2rem}
a{color:var(--accent);text-underline-offset:.15em}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:2px}
.skip{position:absolute;left:-100vw}.skip:focus{left:1rem;top:1rem;background:var(--paper);padding:.5rem}
.patterns{position:absolute}
header.page{padding-top:3.5rem}
.kicker,.within,.note,figcaption,.fine{color:var(--soft);font-size:.875rem}
.kicker{margin:0 0 .25rem;letter-spacing:.02em}
h1{font-size:2rem;line-height:1.2;margin:0 0 2.5rem;overflow-wrap:anywhere}
.hero{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:2rem 4rem;align-items:end;
border-top:2px solid var(--ink);padding-top:1.5rem}
.hero-label{margin:0;font-size:1rem}
.hero-figure{margin:.1rem 0 .4rem;font-size:clamp(2.75rem,9vw,5.25rem);line-height:1.05;color:var(--accent);
letter-spacing:-.015em}
.hero-figure .figure{text-decoration-thickness:2px;text-underline-offset:.17em}
.meaning{font-size:1.125rem;max-width:36rem;margin:.75rem 0 0}
.facts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1.25rem 2rem;margin:0}
.facts div{border-top:1px solid var(--rule);padding-top:.5rem}
.facts dt{color:var(--soft);font-size:.875rem}
.facts dd{margin:0;font-size:1.375rem;line-height:1.3}
nav{margin-top:2.5rem;border-top:1px solid var(--rule);border-bottom:1px solid var(--rule);padding:.6rem 0}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.15rem;margin:0;padding:0;font-size:.9375rem}
nav a{display:inline-block;padding:.15rem 0;color:var(--ink);text-decoration-color:var(--rule)}
main>section{display:grid;grid-template-columns:minmax(0,14rem) minmax(0,1fr);gap:1rem 2.5rem;
padding:3rem 0;border-bottom:1px solid var(--rule)}
main>section:last-child{border-bottom:0}
h2{font-size:1.625rem;line-height:1.2;margin:0 0 .6rem}
h3{color:var(--ink);font-size:1rem;line-height:1.35;margin:0 0 .25rem;overflow-wrap:anywhere}
.lede{margin:0 0 .6rem;color:var(--soft);font-size:.9375rem}
.body>*:first-child{margin-top:0}.body>*+*{margin-top:1.5rem}
p{margin:0 0 .6rem}
figure{margin:0}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;list-style:none;
margin:0 0 1rem;padding:0;font-size:.9375rem}
.legend li{display:flex;gap:.5rem;align-items:center}.legend .number{color:var(--soft)}
.swatch{flex:none}
.chart{display:block;width:100%;height:auto;overflow:visible}.chart.narrow{display:none}
.chart text{font-size:12px;fill:var(--soft)}
.at-end{text-anchor:end}.at-middle{text-anchor:middle}
.chart .panel-title{font-size:12px;fill:var(--ink);font-weight:600}
.grid{stroke:var(--rule);stroke-width:1;fill:none}.axis{stroke:var(--soft);stroke-width:1;fill:none}
.line{fill:none;stroke:var(--ink);stroke-width:2}
.mark{stroke:var(--ink);stroke-width:1;stroke-dasharray:3 3;fill:none}
.mark-ground{fill:var(--paper);stroke:var(--ink);stroke-width:1}
.chart .mark-number{fill:var(--ink);font-size:11px}
.fill{stroke-width:.75}.hatch{fill:none;stroke-width:.9;opacity:.6}
.fill.used{fill:var(--used);stroke:var(--used-line)}
.fill.idle{fill:url(#hatch-idle);stroke:var(--idle-line)}
.fill.unmeasured{fill:url(#hatch-unmeasured);stroke:var(--unmeasured-line)}
.fill.free{fill:url(#hatch-free);stroke:var(--free-line)}
.fill.saved{fill:url(#hatch-saved);stroke:var(--saved-line);stroke-dasharray:3 2}
.fill.asleep{fill:url(#hatch-asleep);stroke:var(--asleep-line);stroke-dasharray:3 2}
.fill.dense{stroke:none}.fill.plain{fill:var(--soft);stroke:var(--soft)}
.ground.idle{fill:var(--idle)}.hatch.idle{stroke:var(--idle-line)}
.ground.unmeasured{fill:var(--unmeasured)}.hatch.unmeasured{stroke:var(--unmeasured-line)}
.ground.free{fill:var(--free)}.hatch.free{stroke:var(--free-line)}
.ground.saved{fill:var(--saved)}.hatch.saved{stroke:var(--saved-line)}
.ground.asleep{fill:var(--asleep)}.hatch.asleep{stroke:var(--asleep-line)}
.bars{margin:0;display:grid;gap:1.1rem}
.bars div{display:grid;grid-template-columns:minmax(0,1fr) auto;column-gap:1rem}
.bars dd{margin:0;display:contents}.bars svg{grid-column:1/-1;display:block}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:2rem}
.panels figcaption{margin:0}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;width:100%;font-size:.9375rem;line-height:1.4}
caption{text-align:left;color:var(--soft);font-size:.875rem;padding:0 0 .4rem}
th,td{padding:.45rem .5rem;text-align:left;
vertical-align:top;border-bottom:1px solid var(--rule);font-weight:400}
th:first-child,td:first-child{padding-left:0}th:last-child,td:last-child{padding-right:0}
thead th{vertical-align:bottom;border-bottom:1px solid var(--ink);font-size:.875rem}
tbody th{min-width:8rem;max-width:20rem;overflow-wrap:anywhere}time{white-space:nowrap}
td:not(.number){overflow-wrap:anywhere;min-width:8rem}.values{white-space:nowrap}
tfoot th,tfoot td{border-bottom:0;border-top:1px solid var(--rule)}
tfoot tr:last-child>*{border-top:1px solid var(--ink);font-weight:600}
td.number{white-space:nowrap}.number{text-align:right}
.text{min-width:10rem;overflow-wrap:anywhere}
.within{display:block;line-height:1.3}.name{display:block}
.figure{all:unset;cursor:help;text-decoration:underline dotted 1px;text-underline-offset:.25em}
.figure:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
.figure.plain{cursor:default;text-decoration:none}
.js .sorts thead .figure{cursor:pointer}.sorts thead .figure{white-space:nowrap}
.arrow{display:inline-block;width:1em;text-align:center}
.arrow::before{content:"\\2195";opacity:.55}
html:not(.js) .arrow{display:none}
[aria-sort=ascending] .arrow::before{content:"\\2191";opacity:1}
[aria-sort=descending] .arrow::before{content:"\\2193";opacity:1}
.formula{display:none;position:fixed;z-index:2;left:50%;bottom:1rem;transform:translateX(-50%);
width:min(46rem,100vw - 2rem);background:var(--ink);color:var(--paper);padding:.75rem 1rem;
border-radius:.25rem;
font:400 .9375rem/1.45 "Helvetica Neue","Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif;
letter-spacing:0;text-align:left;white-space:normal}
.figure:focus+.formula,.figure:hover+.formula,.formula:hover,.formula.shown{display:block}
.formula.shown,.figure:hover+.formula{z-index:3}
.quiet .figure+.formula{display:none}
.week{border-collapse:separate;border-spacing:2px;min-width:50rem;table-layout:fixed}
.week th,.week td{padding:.2rem 0;border:0;text-align:center;font-size:.75rem;line-height:1.25;min-width:0;
white-space:nowrap}
.week tbody th{text-align:left;font-size:.875rem;vertical-align:middle;width:3rem}
.week col:first-child{width:3.25rem}
.week td{border-radius:2px;padding:.3rem 0;vertical-align:middle}
.week b{display:block;font-weight:600;font-size:.8125rem}
.h0{background:var(--h0)}.h1{background:var(--h1)}.h2{background:var(--h2)}.h3{background:var(--h3)}
.h4{background:var(--h4);color:var(--on-dark)}.h5{background:var(--h5);color:var(--on-dark)}
.h3{color:var(--ink)}
.none{border:1px dashed var(--rule)!important;color:var(--soft)}
.sum{font-size:1.0625rem}
.holds::before{content:"\\2713\\00a0"}.holds{color:var(--accent)}
.differs{font-weight:600}.differs::before{content:"\\2260\\00a0"}
details{font-size:.9375rem}summary{cursor:pointer;color:var(--soft);padding:.3rem 0}
details .scroll{max-height:24rem;overflow:auto}
ul.checks{list-style:none;margin:0;padding:0}.checks li+li{margin-top:.25rem}
ul.notes{margin:0;padding-left:1.1rem}.notes li+li{margin-top:.4rem}
.terms{margin:0;display:grid;grid-template-columns:minmax(0,9rem) minmax(0,1fr);
gap:.5rem 1.5rem;font-size:.9375rem}
.terms dt{font-weight:600}.terms dd{margin:0}
footer p{border-top:2px solid var(--ink);margin:1rem 0 0;padding:1rem 0 5rem}
@media (max-width:60rem){main>section{grid-template-columns:minmax(0,1fr);padding:2.25rem 0}
.hero{grid-template-columns:minmax(0,1fr)}}
@media (max-width:40rem){.page{padding:0 1rem}
header.page{padding-top:1.75rem}h1{font-size:1.5rem;margin-bottom:1.5rem}
.chart.wide{display:none}.chart.narrow{display:block}.chart.narrow text{font-size:11.5px}
.panels .chart text{font-size:15px}
.sorts tr>:first-child{position:sticky;left:0;background:var(--paper);min-width:9.5rem;max-width:10rem}
.facts{gap:1rem}.facts dd{font-size:1.125rem}.terms{grid-template-columns:minmax(0,1fr);gap:0}
.terms dd{margin-bottom:.6rem}tbody th{min-width:8rem}}
@media print{:root{color-scheme:light;--paper:#fff;--card:#f4f1ea;--ink:#111;--soft:#4a4f4c;--rule:#cfcbc0;
--accent:#14544f;--used:#1f6b64;--used-line:#1f6b64;--idle:#edc77a;--idle-line:#7d5607;--unmeasured:#dcd9d2;
--unmeasured-line:#66635b;--free:#c3d6e6;--free-line:#3f6687;--saved:#fff;--saved-line:#4d8f5f;
--asleep:#fff;--asleep-line:#7a6a9c;
--h0:#f1efe8;--h1:#dcebe6;--h2:#b5d5cc;--h3:#86bbb0;--h4:#1f6b64;--h5:#0e4440;--on-dark:#fff}
@page{margin:16mm 14mm}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
html{font-size:12px}.page{max-width:none;padding:0}nav,.skip,details,.formula,.arrow{display:none!important}
main>section{display:block;padding:1.25rem 0}header.page{padding-top:0}h2{break-after:avoid}
h1{margin-bottom:1.25rem}.hero{gap:1.5rem}.hero-figure{font-size:4.5rem}
.facts{grid-template-columns:repeat(4,minmax(0,1fr))}.lede{break-after:avoid}
figure,tr,.bars div,.facts div,.terms dd,#clusters,#aws,#nights{break-inside:avoid}
thead{display:table-header-group}
tfoot{display:table-row-group}
.scroll{overflow:visible}table{font-size:.9rem}th,td{padding:.25rem .4rem}tbody th{min-width:0}
.week{min-width:0}td:not(.number){min-width:0}.week th,.week td{font-size:.68rem}.week b{font-size:.75rem}
.figure{text-decoration:none}.chart.wide{display:block}.chart.narrow{display:none}footer p{padding-bottom:0}}
"""

# Sorting needs it, and that a cell shows the formula of its column; Escape puts a formula away.
SCRIPT = """
const root = document.documentElement;
root.classList.add("js");
const value = (row, i) => {
  const cell = row.cells[i];
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
};
const compare = (a, b) => (typeof a === "number" && typeof b === "number")
  ? a - b : String(a).localeCompare(String(b), "en", {numeric: true});
for (const table of document.querySelectorAll("table.sorts")) {
  table.tHead.addEventListener("click", event => {
    const head = event.target.closest("button") && event.target.closest("th");
    if (!head) return;
    const now = head.getAttribute("aria-sort");
    const order = now ? (now === "ascending" ? "descending" : "ascending") : head.dataset.first;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => sign * compare(value(a, head.cellIndex), value(b, head.cellIndex)));
    table.tBodies[0].append(...rows);
  });
}
let shown = null;
addEventListener("pointerover", event => {
  const cell = event.target.closest(".sorts td.number");
  shown?.classList.remove("shown");
  shown = cell?.closest("table").tHead.rows[0].cells[cell.cellIndex].querySelector(".formula");
  shown?.classList.add("shown");
});
addEventListener("keydown", event => { if (event.key === "Escape") root.classList.add("quiet"); });
for (const kind of ["focusin", "pointerover"])
  addEventListener(kind, event => {
    if (event.target.closest(".figure, .sorts td.number")) root.classList.remove("quiet");
  });
"""
