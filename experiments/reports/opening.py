"""The first screen: what was trained, on what, what it gained and how sure that is."""

from collections.abc import Mapping
from typing import Any

from experiments.reports.document import Block, Bullets, Headline, Paragraph
from experiments.reports.gains import Gain, accuracy_interval, gain
from experiments.reports.reading import ReportedRun, ReportedStage
from experiments.reports.stages import ends, number, points, points_interval
from experiments.tables import MEASURES, percent

BASELINES = {
    "student_alone": "the same network, labels and number of steps, without the teacher",
    "supervised": "the last round's network and number of steps, on the same labels alone",
    "supervised_noised": "the last round's network and number of steps, on the same labels alone, with noised views",
    "round_0": "the network that began, which has seen the labels alone and may be another one",
}
"""What final networks are compared with."""
UNSAID_VALIDATION = "the source's own, or a tenth of the training images"


def opening(run: ReportedRun) -> list[Block]:
    """Return the blocks of the first screen."""
    final, baseline = run.final, run.baseline
    blocks: list[Block] = [Paragraph(what_was_trained(run)), Paragraph(on_what(run))]
    gained = gain(run, final, baseline) if final and baseline else None
    if gained is not None:
        return [*blocks, headline_of_gain(run, gained), Bullets([*certainty(run, gained), *same_for_all(run)])]
    if final is not None:
        blocks.append(headline_of_network(run, final))
    return [*blocks, Bullets([*one_network_alone(run), *same_for_all(run)])]


def what_was_trained(run: ReportedRun) -> str:
    """Return sentences on the networks and how they learned."""
    sentences = {"self-train": of_self_training, "distill": of_distillation}
    return sentences.get(run.results["command"], of_one_network)(run)


def of_self_training(run: ReportedRun) -> str:
    """Return the sentences of a self-training loop."""
    final, num_rounds = run.final, len(run.audits)
    first = sentence_of(run.stage("round_0"), "A first teacher", "learned from the labelled images alone")
    rounds = (
        f"{first} In {num_rounds} {'round' if num_rounds == 1 else 'rounds'} a teacher then labelled the images that "
        "have no labels, and a noised student learned from those and from the labelled ones; a student that is no "
        "worse than its teacher on validation teaches next."
    )
    if final is None:
        return rounds
    return f"{rounds} The run ends with the {final.title}: {described(final)}{after_steps(final)}."


def of_distillation(run: ReportedRun) -> str:
    """Return the sentences of a distillation."""
    student = run.stage("student_distilled")
    teacher = "A table of pseudo-labels took the teacher's place."
    if run.stage("teacher"):
        teacher = sentence_of(run.stage("teacher"), "A teacher", "learned from all labels")
    if student is None:
        return teacher
    return (
        f"{teacher} The student, {described(student)}, learned twice{after_steps(student, ' for ')}: alone, from its "
        "labelled images, and distilled, from the same labels and from what the teacher says of the images."
    )


def of_one_network(run: ReportedRun) -> str:
    """Return the sentence of a run with one network."""
    final = run.final
    if final is None:
        return "No network was trained."
    if "evaluated" in final.record:
        return f"A checkpoint was tested as it is: {final.record['evaluated']}, {described(final)}."
    table = f" and from the pseudo-labels of {run.config['table']}" if run.config.get("table") else ""
    return f"One network, {described(final)}, learned from labelled images{table}{after_steps(final, ' for ')}."


def sentence_of(stage: ReportedStage | None, who: str, trained: str) -> str:
    """Return who was trained how, or that it came trained."""
    if stage is None:
        return ""
    how = "was taken as it comes" if stage.record.get("steps") is None else trained
    return f"{who}, {described(stage)}, {how}{after_steps(stage, ' for ')}."


def described(stage: ReportedStage) -> str:
    """Return a stage's network and its size."""
    size = f"{number(stage.record.get('parameters'))} parameters"
    return f"{stage.network} with {size}" if stage.network else f"a network of {size}"


def after_steps(stage: ReportedStage, word: str = ", after ") -> str:
    """Return how long a stage was trained, nothing where it was not."""
    steps = stage.record.get("steps")
    return "" if steps is None else f"{word}{steps:,} steps"


def on_what(run: ReportedRun) -> str:
    """Return a sentence on the images, as far as the run's files tell."""
    data = run.config.get("data", {})
    confusion = next((stage.confusion for stage in run.stages if stage.confusion), None)
    source = str(data.get("source", "of an unknown source"))
    parts = [f"{source}, {len(confusion[0])} classes" if confusion else source]
    counts = image_counts(run)
    subset = labelled_subset(data)
    parts.append(f"labelled: {counts.get('labeled') or subset or 'all training images'}")
    if subset and "labeled" in counts:
        parts[-1] += f" ({subset})"
    if "unlabeled" in counts:
        parts.append(f"unlabelled: {counts['unlabeled']}")
    elif subset and run.results["command"] == "distill":
        parts.append("unlabelled: the other training images")
    validation = counts.get("validation") or data.get("num_validation") or UNSAID_VALIDATION
    parts.append(f"validation, to choose the epoch: {validation}")
    if "test" in counts:
        parts.append(f"test: {counts['test']}")
    return f"Images: {'; '.join(parts)}."


def image_counts(run: ReportedRun) -> dict[str, str]:
    """Return how many images there are of each kind, as far as the run's files tell."""
    final = run.final
    counts: dict[str, int] = {}
    if final is not None:
        counts |= final.record.get("num_images") or {}
        if final.predictions is not None:
            counts["test"] = len(final.predictions.ids)
    if run.audits:
        counts["unlabeled"] = run.audits[-1]["pool"]
    return {name: f"{number:,}" for name, number in counts.items()}


def labelled_subset(data: Mapping[str, Any]) -> str:
    """Return which training images have labels, as the settings say it, nothing where all have."""
    if data.get("labels_per_class"):
        return f"{data['labels_per_class']} of each class"
    if data.get("num_labeled"):
        return f"{data['num_labeled']:,} of the training images"
    share = data.get("labeled_fraction")
    return f"{100 * share:g} % of the training images" if share else ""


def headline_of_gain(run: ReportedRun, gained: Gain) -> Headline:
    """Return what the run was made for: a gain with its interval."""
    before, after = (percent(stage.metric(f"test/{run.measure}")) for stage in (gained.baseline, gained.stage))
    name = MEASURES[run.measure][0]
    text = f"of {name} on test, from {before} % (“{gained.baseline.title}”) to {after} % (“{gained.stage.title}”)"
    if gained.interval is None:
        return Headline(f"{points(gained.difference)} points", f"{text}; no interval")
    return Headline(f"{points(gained.difference)} points", f"{text}; 95 % interval {points_interval(gained.interval)}")


def headline_of_network(run: ReportedRun, final: ReportedStage) -> Headline:
    """Return how good a single network is."""
    interval = accuracy_interval(final.predictions)
    known = f"; 95 % interval {ends(interval)} %" if interval else "; no interval"
    text = f"{MEASURES[run.measure][0]} of “{final.title}” on test{known}"
    return Headline(f"{percent(final.metric(f'test/{run.measure}'))} %", text)


def certainty(run: ReportedRun, gained: Gain) -> list[str]:
    """Return how sure a gain is."""
    said = [f"Compared with “{gained.baseline.title}”: {BASELINES.get(gained.baseline.name, 'another stage')}."]
    seen = [stage.record.get("images") for stage in (gained.stage, gained.baseline)]
    if None not in seen and seen[0] != seen[1]:
        said.append(f"It saw {seen[0]:,} images in training, labelled or not, its baseline {seen[1]:,}.")
    verdicts = {
        "better": "The interval excludes 0: the gain is more than the choice of the test images explains.",
        "worse": "The interval lies below 0: the network is worse than its baseline.",
        "not distinguishable": "The interval holds 0: on these test images the two networks are not distinguishable.",
        "no interval": "There is no interval: the predictions of both networks, image by image, are not there.",
    }
    said.append(verdicts[gained.verdict])
    seeds = f"One run, of seed {run.results['seed']} (n = 1)"
    if gained.interval is None:
        return [*said, f"{seeds}: how much another seed would change the gain is not known."]
    other = "It says how other test images, not how another seed, would change the gain"
    return [*said, f"{seeds}. The interval is over the test images. {other}."]


def one_network_alone(run: ReportedRun) -> list[str]:
    """Return how sure the figure of a single network is."""
    return [
        f"One run, of seed {run.results['seed']} (n = 1), and no baseline: it does not say what another seed or "
        "another recipe would reach."
    ]


def same_for_all(run: ReportedRun) -> list[str]:
    """Return what holds for every figure of the run."""
    trained = any(stage.record.get("steps") is not None for stage in run.stages)
    once = "Each network was tested once, after its epoch had been chosen on validation."
    said = [once] if trained else []
    if run.results.get("summary", {}).get("baseline"):
        said.append("The baseline is the better of two on validation.")
    if run.results.get("skipped_images"):
        said.append(f"{run.results['skipped_images']:,} images could not be read and were skipped.")
    return said
