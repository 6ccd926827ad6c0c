"""What libraries, other languages, old editors and people of all scripts leave in notebooks."""

from __future__ import annotations

from tests.making_notebooks import (
    Odd,
    code,
    file_of,
    of,
    printed,
    shown,
    text,
)

REALISTIC = (
    Odd(
        "plotly",
        file_of("plotly.json"),
        seen=["Interactive Plotly figure", "nightmill replay RUN --open", "Delays by carrier"],
        never=["cdn.plot", "newPlot"],
    ),
    Odd("bokeh", file_of("bokeh.json"), seen=["Interactive Bokeh figure"], never=["embed_items"]),
    Odd(
        "altair",
        file_of("altair.json"),
        seen=["Interactive Vega-Lite figure", "alt.Chart", "Delays by hour"],
    ),
    Odd(
        "vega-lite without text",
        of(
            code(
                "chart",
                shown(
                    **{
                        "application/vnd.vegalite.v5+json": {
                            "title": "Delays by hour",
                            "mark": {"type": "bar"},
                            "encoding": {"x": {"field": "hour"}, "y": {"field": "delay"}},
                        }
                    }
                ),
            )
        ),
        seen=["Delays by hour", "bar", "hour", "delay"],
    ),
    Odd(
        "pandas styler",
        file_of("styler.json"),
        seen=["Delays, coloured", "12.250000", "UA"],
        has=["background-color:#", "#output-0-0 #u-T_", "linear-gradient(90deg"],
    ),
    Odd(
        "ipywidgets",
        file_of("widgets.json"),
        seen=["top n 7 (0 to 10)", "bold", "sure true", "part 3.0 of 4.0", "carrier AA"],
        never=["<script"],
    ),
    Odd(
        "ipywidgets without their state",
        of(
            code(
                "slider",
                shown(
                    **{"application/vnd.jupyter.widget-view+json": {"model_id": "gone"}},
                    plain="IntSlider(value=7)",
                ),
            )
        ),
        seen=["IntSlider(value=7)", "Interactive widget"],
    ),
    Odd("tqdm", file_of("tqdm.json"), seen=["plain: 100%", "3/3"], never=["plain:   0%"]),
    Odd(
        "matplotlib",
        file_of("matplotlib.json"),
        has=['src="data:image/png;base64,', 'src="data:image/svg+xml;base64,', "Figure size 64x40"],
    ),
    Odd(
        "sympy",
        file_of("sympy.json"),
        has=["<math", "<msup>", "<mtable"],
        never=["displaystyle e"],
    ),
    Odd(
        "a deep traceback",
        file_of("rich_errors.json"),
        seen=["ZeroDivisionError: division by zero", "more lines"],
        has=["t-ink", '<details class="fold">'],
        never=["\x1b"],
    ),
    Odd(
        "R",
        file_of("r_kernel.json"),
        seen=["factor", "Error in log(-1): NaNs produced", "A data.frame: 2 \u00d7 2"],
        has=['<span class="p-'],
    ),
    Odd("Julia", file_of("julia_kernel.json"), seen=["∑", "DomainError"], has=['<span class="p-']),
    Odd("format 3", file_of("format_3.json"), seen=["An old heading", "print 'old'", "old output"]),
    Odd("format 2", file_of("format_2.json"), seen=["print 2", "two", "version 2"]),
    Odd("format 4.0 without ids", of(code("x = 1"), nbformat_minor=0), seen=["x = 1"]),
    Odd(
        "a format of the future",
        of(code("x = 5"), nbformat=9),
        seen=["x = 5", "version 9 of the notebook format"],
    ),
)

PEOPLE = (
    Odd(
        "right to left",
        of(text("# שלום עולם\n\nمرحبا بالعالم"), code("x = 'שלום'", printed("مرحبا"))),  # noqa: RUF001 - Arabic is meant
        seen=["שלום עולם", "مرحبا"],
        has=['dir="auto"'],
    ),
    Odd(
        "emoji",
        of(text("# 🎉 done 👩‍🔬"), code("print('🚀')", printed("🚀"))),
        seen=["🎉 done 👩‍🔬", "🚀"],
    ),
    Odd(
        "code that reads otherwise than it runs",
        of(code("ok = '\u202e' # \u2066 nothing")),
        seen=["U+202E", "U+2066"],
        never=["\u202e", "\u2066"],
    ),
    Odd(
        "headings",
        of(text("# One\n\n###### Six\n\n[to it](#One)")),
        has=['<h2 id="u-One"', "<h3", 'href="#u-One"'],
        never=["<h1 id"],
    ),
    Odd("tables in Markdown", of(text("|a|b|\n|-|-|\n|1|~~2~~|")), has=["<table", "<s>2</s>"]),
)
