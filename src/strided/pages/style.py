"""The style sheet of all pages: light, dark, narrow and printed."""

STYLE = """
:root { color-scheme: light dark;
  --ink: #1b1f24; --quiet: #525a63; --paper: #fff; --soft: #f3f5f8; --line: #cdd3da;
  --grid: #e1e5ea; --link: #0b57a4; --good: #17693c; --bad: #a8201a; --warn: #7a4d00;
  --hit: #8dbbea; --miss: #f2a65e;
  --c0: #1f6fb4; --c1: #c2410c; --c2: #1a7f4b; --c3: #9d2f7f; --c4: #6d4fb8;
  --c5: #7d6608; --c6: #0e7490; --c7: #b0233a; --c8: #4d5b6a; --c9: #5d7a12;
  --c10: #183000; --c11: #30006c; --c12: #600030; --c13: #003c9c; --c14: #603c00;
  --c15: #6c0084; --c16: #906c84; --c17: #003c54; --c18: #0c5400; --c19: #840c00; }
@media screen and (prefers-color-scheme: dark) { :root {
  --ink: #e7eaee; --quiet: #aeb6c0; --paper: #14171b; --soft: #1f242a; --line: #3d4550;
  --grid: #2c333b; --link: #8ec1f7; --good: #6fd39b; --bad: #ff9a91; --warn: #f0c26b;
  --hit: #26578a; --miss: #8a4b12;
  --c0: #6cb2f2; --c1: #f79256; --c2: #5fc98f; --c3: #e58bcb; --c4: #b39cf0;
  --c5: #d9bd4f; --c6: #56c4dd; --c7: #f58ba0; --c8: #a9b6c4; --c9: #b2cf5f;
  --c10: #908400; --c11: #fce4fc; --c12: #907890; --c13: #5478f0; --c14: #fcf090;
  --c15: #c054c0; --c16: #d8546c; --c17: #009ca8; --c18: #6cfcd8; --c19: #fcc0a8; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; margin: 0; color: var(--ink);
  background: var(--paper); }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { margin: 0 0 .3rem; overflow-wrap: anywhere; font-size: clamp(1.4rem, 6vw, 2rem);
  line-height: 1.2; }
h2 { margin: 2.6rem 0 .6rem; padding-top: .5rem; border-top: 1px solid var(--line);
  font-size: 1.35rem; line-height: 1.3; }
h3 { margin: 1.6rem 0 .4rem; font-size: 1.08rem; }
p, ul, ol, dl { max-width: 46rem; } li, p, dd { overflow-wrap: anywhere; }
a { color: var(--link); } .term { color: inherit; text-decoration: underline dotted;
  text-underline-offset: 3px; }
a:focus-visible, [tabindex]:focus-visible, summary:focus-visible,
select:focus-visible { outline: 3px solid var(--link); outline-offset: 1px; }
.headline { font-size: 1.25rem; margin: .2rem 0 1rem; }
.note, figcaption { color: var(--quiet); font-size: .9rem; }
.warning, .error { border-left: 4px solid var(--bad); padding: .1rem 0 .1rem .8rem; }
.error, .error td { color: var(--bad); }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; padding: 0; margin: .6rem 0;
  list-style: none; max-width: none; }
.tiles { display: grid; gap: .8rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(13rem, 100%), 1fr)); }
.tile { background: var(--soft); border-radius: 8px; padding: .7rem .8rem; }
.tile p { margin: 0; } .tile .name { font-weight: 600; }
.tile .value { font-size: 1.4rem; line-height: 1.35; font-weight: 650; overflow-wrap: anywhere; }
.tile .digits { font-size: 2rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile.good { border-top: 4px solid var(--good); } .tile.warn { border-top: 4px solid var(--warn); }
.tile.bad { border-top: 4px solid var(--bad); } .tile.plain { border-top: 4px solid var(--line); }
.good .value { color: var(--good); } .warn .value { color: var(--warn); }
.bad .value { color: var(--bad); }
figure { margin: 0; } figcaption { line-height: 1.35; overflow-wrap: anywhere; }
figure img { max-width: 100%; background: white; border-radius: 4px; }
figure svg { display: block; width: 100%; height: auto; font-family: system-ui, sans-serif; }
.figures { display: grid; gap: 1.2rem; align-items: start; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); }
.figures figure { max-width: 36rem; } .figures img { width: 100%; }
.gallery { display: grid; gap: 1rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.gallery img { width: 100%; display: block; margin-bottom: .25rem; }
.pixelated { image-rendering: pixelated; }
table { border-collapse: collapse; margin-bottom: 1rem; }
td, th { padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top; }
tbody th { font-weight: 400; } thead th, thead td { border-bottom: 1px solid var(--quiet);
  font-weight: 600; vertical-align: bottom; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } .best td, .best th { font-weight: 700; }
pre { overflow-x: auto; font-size: .85rem; padding: .7rem .9rem; background: var(--soft);
  border-radius: 6px; margin: .6rem 0; } code { overflow-wrap: anywhere; }
summary { cursor: pointer; margin: .5rem 0; color: var(--link); }
dt { font-weight: 600; margin-top: .7rem; } dd { margin: 0; }
@page { margin: 14mm; }
@media print {
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; } nav { display: none; }
  figure, .tile, tr, li { break-inside: avoid; } h2, h3 { break-after: avoid; }
  pre { white-space: pre-wrap; } .scroll { overflow: visible; }
  .figures { grid-template-columns: 1fr 1fr; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
