"""Tell people what one night of an experiment means.

``view`` words every verdict and formats every number once; ``render`` prints that one view as HTML, text, Markdown and
Slack; ``write`` puts them beside the results. Where to look:

contents     the order of the report, subject and preheader
cards        a treatment's verdict: what to do, why, what changed; ``reasons`` has the sentence of each reason
tables       primary metrics, guardrails, secondary metrics, segments, earlier nights
rows, bars   one comparison as a row, and the bar beside it
background   sample ratio, data, plan, method
readable     what may be shown: nothing of an invalid variant, no word of success on an interim night
numbers      rounding; ``text`` has names, dates and plurals, ``vocabulary`` signs, words and colours
formats      HTML, text and Markdown by ``templates/``; ``slack`` builds the Slack message
files        writes ``report.html``, ``report.txt``, ``report.md``, ``slack.json`` and ``mail.json``
"""

from abtest_lib.report.contents import preheader, subject, view
from abtest_lib.report.files import write
from abtest_lib.report.formats import Rendered, render

__all__ = ["Rendered", "preheader", "render", "subject", "view", "write"]
