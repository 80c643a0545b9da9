"""The style sheet and the script of the page. Nothing is loaded."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1c2128;--dim:#57606a;--line:#d5dae0;--box:#f5f7f9;--bar:#3b7dd8;
--wrong:#c9372c;--look:#b07a00}
@media (prefers-color-scheme:dark){:root{--back:#14181d;--text:#dfe4ea;--dim:#9aa5b1;--line:#333b45;--box:#1c2229;--bar:#5b9cf0;
--wrong:#f0705f;--look:#dba93f}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:1200px;margin:0 auto;padding:16px}
h1{font-size:1.6em;line-height:1.25;margin:.4em 0;overflow-wrap:anywhere}
h2{font-size:1.25em;margin:1.8em 0 .5em}
h3{font-size:1.05em;margin:1.4em 0 .3em}
h4{margin:.2em 0;color:var(--dim)}
p,li,dd{overflow-wrap:anywhere;max-width:80ch}
.lead{font-size:1.1em}
.note{border-left:4px solid var(--look);padding-left:.8em}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;margin:1em 0}
.cards div{background:var(--box);border:1px solid var(--line);border-radius:8px;padding:8px 12px}
.cards dt{color:var(--dim);font-size:.85em}
.cards dd{margin:0;font-size:1.3em;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));gap:16px}
figure{margin:0;background:var(--box);border:1px solid var(--line);border-radius:8px;padding:10px}
figcaption{font-weight:600}
svg{display:block;width:100%;height:auto}
svg rect{fill:var(--bar)}
svg path,svg line{stroke:var(--dim);fill:none}
svg line{stroke:var(--wrong);stroke-dasharray:4 3}
svg text{fill:var(--dim);font:12px system-ui,sans-serif}
table{border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums;max-width:100%}
th,td{border-bottom:1px solid var(--line);padding:4px 12px 4px 0;text-align:right;vertical-align:top}
th{font-weight:600;color:var(--dim);font-size:.9em}
th:first-child,td:first-child{text-align:left}
td.text{overflow-wrap:anywhere;white-space:pre-wrap}
.chosen{font-weight:600}
.tools{display:flex;flex-wrap:wrap;gap:10px 18px;align-items:center;margin:.5em 0}
.tools label{max-width:100%}
.tools select,.tools input{font:inherit;max-width:100%;padding:3px 6px;
color:inherit;background:var(--box);border:1px solid var(--line);border-radius:6px}
#hits,.rows,.where,.count{color:var(--dim)}
.rows,.where{font-size:.9em;overflow-wrap:anywhere;max-width:none}
.finding{border:1px solid var(--line);border-left:5px solid var(--look);border-radius:8px;margin:10px 0;padding:8px 14px}
.finding.wrong{border-left-color:var(--wrong)}
.finding summary{cursor:pointer;overflow-wrap:anywhere}
.finding summary code{color:var(--dim);font-size:.85em}
.sample{border-top:1px solid var(--line);margin-top:10px;padding-top:8px}
.mask{font:13px/1.7 ui-monospace,monospace;text-align:left;min-width:0;unicode-bidi:isolate}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:20px}
@media (max-width:800px){.pair{grid-template-columns:1fr}main{padding:12px}.finding{padding:8px 10px}}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3em 0;font:13px/1.6 ui-monospace,monospace}
code{overflow-wrap:anywhere}
.about{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px}
.about dt{color:var(--dim)}
.about dd{margin:0;max-width:none}
[hidden]{display:none!important}
"""

SCRIPT = """
(function(){
var which=document.getElementById('which'),search=document.getElementById('search'),hits=document.getElementById('hits');
if(!which)return;
function update(){
  var name=which.value,text=search.value.trim().toLowerCase(),count=0;
  document.querySelectorAll('.finding').forEach(function(one){
    var some=0;
    one.querySelectorAll('.sample').forEach(function(sample){
      var hit=!text||sample.textContent.toLowerCase().indexOf(text)>=0;
      sample.hidden=!hit;
      if(hit)some++;
    });
    one.hidden=(name&&one.dataset.name!==name)||(text&&!some);
    if(!one.hidden&&(name||text))one.open=true;
    if(!one.hidden)count+=some;
  });
  hits.textContent=text?count+(count===1?' sample':' samples'):'';
}
var linked=location.hash&&document.getElementById(location.hash.slice(1));
if(linked&&linked.tagName==='DETAILS'){linked.open=true;linked.scrollIntoView();}
which.addEventListener('change',update);
search.addEventListener('input',update);
})();
"""
