"""How ``report.html`` looks: by day, by night, on narrow screens and on paper. No font or file is loaded."""

STYLESHEET = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #17202a; --soft: #586472; --line: #d8dee5; --wash: #f3f6f9; --accent: #0068a5;
  --blue: #0072b2;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #13181d; --ink: #e7ecf1; --soft: #a5b1bd; --line: #313b46; --wash: #1c242c; --accent: #72bdf0;
    --blue: #3d9bd8;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 70rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere;
}
h1, h2, h3, h4 { line-height: 1.25; margin: 1.6em 0 0.5em; }
h1 { font-size: 1.9rem; margin-top: 0; margin-bottom: 0; }
h2 { font-size: 1.35rem; border-top: 1px solid var(--line); padding-top: 1.1em; }
h3 { font-size: 1.08rem; }
h4 { font-size: 1rem; }
p, ul { max-width: 48rem; margin: 0.6em 0; }
ul { padding-left: 1.2em; }
.subtitle { color: var(--soft); margin: 0.2em 0 1.2em; }
.note, caption, figcaption { color: var(--soft); font-size: 0.875rem; }
.headline { max-width: none; margin: 1.2em 0; line-height: 1.35; }
.headline strong {
  display: block; font-size: clamp(2.2rem, 6vw, 3.4rem); line-height: 1.1; color: var(--accent);
  font-variant-numeric: tabular-nums;
}
.scroll { overflow-x: auto; margin: 0.8em 0; }
table { border-collapse: collapse; font-size: 0.9rem; overflow-wrap: normal; }
caption { text-align: left; padding-bottom: 0.4em; }
th, td { padding: 0.35em 0.8em; border-bottom: 1px solid var(--line); text-align: left; vertical-align: baseline; }
th:first-child, td:first-child { padding-left: 0.4em; }
td:first-child, td:nth-child(2):not(.number) { min-width: 8.5rem; }
thead th { font-weight: 600; color: var(--soft); vertical-align: bottom; min-width: 4.5rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
tr.strong td { font-weight: 700; background: var(--wash); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1.5rem; }
figure { margin: 0.8em 0; }
.charts figure { margin: 0; min-width: 0; }
.wide { grid-column: 1 / -1; overflow-x: auto; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; fill: currentColor; }
svg text { font-family: inherit !important; }
.wide svg { max-width: none; min-width: 42rem; }
figure > img { max-width: 100%; height: auto; background: #ffffff; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.2rem, 1fr)); gap: 1rem; }
.gallery figure { margin: 0; }
.gallery img { width: 100%; max-width: 8rem; background: none; }
.pixelated { image-rendering: pixelated; }
.gallery figcaption span { display: block; }
pre { background: var(--wash); padding: 0.8em 1em; overflow-x: auto; font-size: 0.85rem; overflow-wrap: normal; }
details { margin: 1em 0; border: 1px solid var(--line); border-radius: 0.4rem; padding: 0 1rem; }
details[open] { padding-bottom: 1rem; }
summary { cursor: pointer; padding: 0.6em 0; font-weight: 600; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  details { border: 0; padding: 0; }
  .scroll, .wide, pre { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: 0.3em 0.5em; }
  thead th { min-width: 0; }
  td.number { white-space: normal; }
  pre { white-space: pre-wrap; font-size: 7.5pt; }
  .wide svg { min-width: 0; }
  .charts { grid-template-columns: 1fr 1fr; }
  .gallery { grid-template-columns: repeat(8, 1fr); }
  figure, tr, .headline { break-inside: avoid; }
  h1, h2, h3, h4, summary { break-after: avoid; }
}
"""
