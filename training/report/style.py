"""The page's style sheet: one column of text, light or dark as the reader's system, and fit for print."""

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2429;--soft:#5f6a75;--line:#dde2e8;--wash:#f5f7f9;--accent:#2a6fbb;
--second:#c8620b;--good:#1c7c3c;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e6e9ec;--soft:#9aa5b1;--line:#333a41;--wash:#1d2125;
--accent:#6aa9ec;--second:#f09a4b;--good:#5cc27f;--bad:#f2837b}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2.5rem 1.5rem 4rem;max-width:60rem;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:1.9rem;line-height:1.2;margin:0}
h2{font-size:1.2rem;margin:2.6rem 0 .6rem;padding-top:1rem;border-top:1px solid var(--line)}
h3{font-size:.95rem;margin:1.4rem 0 .4rem}
p{margin:.5rem 0;max-width:46rem}
.soft,figcaption{color:var(--soft)}
.summary{margin:1.4rem 0;padding:.9rem 1.3rem;background:var(--wash);border-left:4px solid var(--good);border-radius:0 8px 8px 0}
.summary.missed{border-color:var(--bad)}
.summary p{font-size:1.03rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.4rem,1fr));gap:.8rem;margin:1.2rem 0}
.tile{padding:.7rem .9rem;border:1px solid var(--line);border-radius:8px}
.tile b{display:block;font-size:1.4rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tile span{font-size:.82rem;color:var(--soft)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:.5rem 0}
th{font-weight:600;color:var(--soft);font-size:.82rem}
th,td{text-align:left;padding:.28rem 1.6rem .28rem 0;border-bottom:1px solid var(--line);vertical-align:middle}
thead th{white-space:nowrap}
.n{text-align:right;white-space:nowrap}
.w{overflow-wrap:anywhere}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}
figure{margin:.8rem 0}
figcaption{font-size:.85rem;max-width:46rem}
svg.plot{width:100%;height:auto;display:block}
svg.plot text{font-family:inherit!important}
svg.net{width:100%;height:auto;display:block;font-size:12.5px}
svg.net{margin-top:.9rem}
.net .box{fill:var(--wash);stroke:var(--line)}
.net .held{stroke:var(--accent)}
.net text{fill:var(--ink)}
.net .soft{fill:var(--soft)}
.net .kind{font-weight:600}
.net .end{text-anchor:end}
.net .edge{fill:none;stroke:var(--soft);stroke-width:1.2}
.net .tip{fill:var(--soft)}
.spark{display:block;width:150px;height:26px}
.spark rect{fill:var(--accent)}
.confusion td,.confusion th{padding:.3rem .5rem;min-width:2.6rem;text-align:center;border:1px solid var(--paper)}
.confusion th[scope=row]{text-align:right}
.confusion .none{color:var(--line)}
.pictures{display:flex;gap:1.5rem;flex-wrap:wrap}
.pictures figure{margin:.4rem 0}
.pictures img{width:150px;image-rendering:pixelated;border:1px solid var(--line);border-radius:4px}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,monospace;font-size:.85em}
pre{padding:.9rem 1.1rem;background:var(--wash);border-radius:8px;overflow-x:auto;line-height:1.5}
pre.command{white-space:pre-wrap;overflow-wrap:anywhere}
@media print{body{padding:0;max-width:none}section{break-inside:avoid}}
""".strip()
