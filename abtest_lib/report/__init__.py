"""Tell people what one night of an experiment means.

``view`` words every verdict and formats every number once; ``render`` prints that one view as mail, page, text,
Markdown and Slack messages; ``write`` puts them beside the results. ``docs/report.md`` says what is in them.

contents     the order of the report, subject and preheader
cards        a treatment's verdict: what to do, ``facts``, what changed; ``reasons`` has the sentence of each reason
tables       primary metrics, guardrails, secondary metrics, segments, nights; which of their rows the mail has
rows, bars   one comparison as a row, and the bar beside it
charts       what the charts show; ``drawing`` lays them out, ``canvas`` has the SVG parts, the font and the PNG
background   sample ratio, data, what was left out, plan, method
readable     what may be shown: nothing of an invalid variant, no word of success on an interim night
threads      thread, changed verdict, alarm, and the report that this one replaces
numbers      rounding; ``text`` has names, dates and plurals, ``vocabulary`` signs, words and colours
formats      HTML, text and Markdown by ``templates/``; ``slack`` builds the Slack messages
spreadsheet  ``numbers.csv``
files        writes them all
"""

from abtest_lib.report.contents import preheader, subject, view
from abtest_lib.report.files import write
from abtest_lib.report.formats import Rendered, render

__all__ = ["Rendered", "preheader", "render", "subject", "view", "write"]
