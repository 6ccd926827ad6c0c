"""How the charts of the flight notebooks look, and the few that more than one notebook draws."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import roc_curve

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
BLUE, ORANGE, GREEN = "#2563a8", "#d9730d", "#2f8f6b"
ORIGIN_COLORS = {"EWR": BLUE, "JFK": ORANGE, "LGA": GREEN}


def use_style() -> None:
    """Set the look of all charts: quiet axes, one ink, sharp on any screen."""
    plt.rcParams.update(
        {
            "figure.figsize": (9, 3.6),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": MUTED,
            "axes.titlelocation": "left",
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlepad": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, MUTED]),
            "grid.color": GRID,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "date.converter": "concise",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
        }
    )


def percent(axis: object, decimals: int = 0) -> None:
    """Label an axis (`ax.xaxis` or `ax.yaxis`) of shares in percent."""
    axis.set_major_formatter(PercentFormatter(1, decimals=decimals))


def legend_above(ax: Axes) -> None:
    """Put the legend beside the title, where it hides nothing."""
    handles, labels = ax.get_legend_handles_labels()
    place = {"loc": "lower right", "bbox_to_anchor": (1, 0.99), "ncols": len(labels)}
    ax.legend(handles, labels, title=None, borderpad=0, columnspacing=1.2, **place)


def draw_reliability(ax: Axes, table: pd.DataFrame) -> None:
    """Draw a calibration table: on the diagonal, what was promised is what came."""
    top = 1.08 * table[["predicted", "observed"]].to_numpy().max()
    ax.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle="--", label="perfect")
    ax.plot(table["predicted"], table["observed"], marker="o", markersize=5, label="scores")
    ax.set(xlabel="predicted share late", ylabel="observed share late", title="Calibration")
    ax.set(xlim=(0, top), ylim=(0, top))
    percent(ax.xaxis)
    percent(ax.yaxis)
    ax.legend(loc="upper left")


def draw_roc(ax: Axes, late: pd.Series, curves: dict[str, pd.Series]) -> None:
    """Draw ROC curves of several probabilities for the same outcomes."""
    known = late.notna()
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="coin")
    for (name, p), color in zip(curves.items(), [BLUE, ORANGE], strict=False):
        alarms, hits, _ = roc_curve(late[known], p[known])
        ax.plot(alarms, hits, color=color, label=name)
    ax.set(xlabel="share of punctual flights flagged", ylabel="share of late flights found")
    ax.set_title("ROC")
    percent(ax.xaxis)
    percent(ax.yaxis)
    ax.legend(loc="lower right")


def draw_bars(ax: Axes, values: pd.Series, color: str = BLUE) -> None:
    """Draw horizontal bars, the largest on top."""
    ordered = values.sort_values()
    ax.barh(ordered.index, ordered, color=color, height=0.7)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
