"""What accuracy costs: against parameters and against latency, with the Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from experiments.intervals import Interval
from experiments.reports.document import Chart, Charts, Paragraph, Section
from experiments.reports.drawing import LONGEST_NAME, as_chart, color_of, marker_of, new_figure, printable
from experiments.reports.gains import accuracy_interval
from experiments.reports.reading import ReportedRun
from experiments.tables import MEASURES

COSTS = {"parameters": "parameters", "latency_ms": "milliseconds an image"}
"""By what records call them."""


@dataclass(frozen=True)
class Network:
    """A network in the plane of cost and measure.

    Attributes:
        name: as the legend has it.
        number: of its stage, by which markers are told apart.
        color: number of its colour.
        costs: by ``COSTS``' names, as far as known.
        value: its measure on test, in 0..1.
        interval: of the value.
    """

    name: str
    number: int
    color: int
    costs: dict[str, float]
    value: float
    interval: Interval | None


def networks_of(runs: Sequence[ReportedRun]) -> list[Network]:
    """Return the tested networks of runs: the colour is the run's, of one run the stage's."""
    return [
        Network(
            stage.title if len(runs) == 1 else f"{run.results['name']}: {stage.title}",
            index,
            index if len(runs) == 1 else place,
            {cost: stage.record[cost] for cost in COSTS if stage.record.get(cost)},
            value,
            accuracy_interval(stage.predictions),
        )
        for place, run in enumerate(runs)
        for index, stage in enumerate(run.stages)
        if (value := stage.metric(f"test/{run.measure}")) is not None
    ]


def tradeoffs_section(runs: Sequence[ReportedRun]) -> Section:
    """Return the drawings; all runs have the same measure."""
    name, networks = MEASURES[runs[0].measure][0], networks_of(runs)
    title = f"{name[0].upper()}{name[1:]} against cost"
    charts = [chart for cost in COSTS if (chart := draw_tradeoff(networks, cost, runs[0].measure)) is not None]
    if not charts:
        return Section(title, [Paragraph("Nothing to weigh: it takes two tested networks.", is_note=True)])
    caption = (
        "Dashed: the networks than which none is both cheaper and better. Bars: 95 % intervals over the test images."
    )
    blocks = [Charts(charts, caption)]
    if "latency_ms" not in {cost for network in networks for cost in network.costs}:
        return Section(title, [*blocks, Paragraph("Latencies were not measured in this run.", is_note=True)])
    return Section(title, blocks)


def draw_tradeoff(networks: Sequence[Network], cost: str, measure: str) -> Chart | None:
    """Draw the measure on test against a cost; ``None`` of fewer than two networks."""
    shown = [network for network in networks if cost in network.costs]
    if len(shown) < 2:
        return None
    num_columns = 2 if max(len(network.name) for network in shown) <= LONGEST_NAME else 1
    figure = new_figure(2.9 + 0.18 * len(shown) / num_columns)
    axis = figure.subplots()
    for network in shown:
        draw_network(axis, network, cost)
    front = pareto_front(shown, cost)
    axis.plot(
        [network.costs[cost] for network in front],
        [100 * network.value for network in front],
        color="black",
        linestyle="--",
        linewidth=0.9,
        alpha=0.6,
        zorder=1,
    )
    put_ticks(axis, [network.costs[cost] for network in shown])
    axis.set_xlabel(COSTS[cost])
    axis.set_title(f"{MEASURES[measure][0]} on test (%)")
    figure.legend(loc="outside lower center", ncols=num_columns)
    text = f"{MEASURES[measure][0]} on test against {COSTS[cost]}; none is both cheaper and better than: " + ", ".join(
        f"{network.name} ({network.costs[cost]:,.4g}; {100 * network.value:.2f} %)" for network in front
    )
    return as_chart(f"against_{cost}", figure, text)


def draw_network(axis: Axes, network: Network, cost: str) -> None:
    """Draw a point with its interval."""
    value = 100 * network.value
    ends = None
    if network.interval is not None:
        ends = [[max(0, value - 100 * network.interval.low)], [max(0, 100 * network.interval.high - value)]]
    axis.errorbar(
        [network.costs[cost]],
        [value],
        yerr=ends,
        fmt=marker_of(network.number),
        color=color_of(network.color),
        markersize=6,
        elinewidth=1,
        capsize=2,
        label=printable(network.name, longest=44),
    )


def put_ticks(axis: Axes, costs: Sequence[float]) -> None:
    """Let costs that differ by much lie on a logarithmic axis, with few numbers."""
    axis.margins(x=0.12)
    if max(costs) < 3 * min(costs):
        axis.xaxis.set_major_locator(MaxNLocator(5))
        return
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(costs) < 100 * min(costs) else (1,)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def pareto_front(networks: Sequence[Network], cost: str) -> list[Network]:
    """Return the networks than which none is both cheaper and better, the cheapest first."""
    front: list[Network] = []
    for network in sorted(networks, key=lambda each: (each.costs[cost], -each.value)):
        if not front or network.value > front[-1].value:
            front.append(network)
    return front
