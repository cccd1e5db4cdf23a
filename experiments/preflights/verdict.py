"""What a preflight concludes from what it measured; every rule says what it goes by."""

import math
from typing import Any

from experiments.tables import MEASURES, percent

FEWEST_IMAGES = 100
"""With fewer validation images nothing is concluded: one image is a point or more."""
BADLY_CALIBRATED = 0.1
MEMORIZED = 0.1
"""Points, as a fraction, by which a teacher may be better on the student's training labels than on validation."""

Facts = dict[str, Any]
"""What ``preflight.json`` holds."""


def conclude(facts: Facts) -> dict[str, Any]:
    """Return ``answer`` (yes, no or cannot tell), the ``sentence`` that gives the reason, and ``notes``."""
    answer, sentence = judge(facts)
    return {"answer": answer, "sentence": sentence, "notes": notes(facts)}


def judge(facts: Facts) -> tuple[str, str]:
    """Return answer and reason; the first rule that holds decides.

    Too few validation images; a teacher at chance; no short run; an interval of the gain above 0; a teacher that is no
    better than the student alone; an interval of the gain below 0; else the interval holds 0.
    """
    number = facts["validation"]["images"]
    if number < FEWEST_IMAGES:
        pointer = f" The short runs point to {gain_of(facts)}." if facts["gain"] else ""
        return "cannot tell", (
            f"{number} validation images are too few to conclude from, {FEWEST_IMAGES} the fewest; "
            f"{more_images(facts)}.{pointer}"
        )
    if is_at_chance(facts, "teacher"):
        return "no", f"this teacher has nothing to teach: it has {describe(facts, 'teacher')}, which is at chance."
    if facts["gain"] is None:
        return "cannot tell", f"there was no short run: {facts['short_run']['reason']}"
    return judge_runs(facts)


def judge_runs(facts: Facts) -> tuple[str, str]:
    """Return answer and reason where both students were trained."""
    gain, lead = facts["gain"], facts["lead"]
    against = (
        f"the teacher has {describe(facts, 'teacher')}, the student alone {describe(facts, 'student_alone')} after its "
        f"short run (difference {points(lead)})"
    )
    if gain["low"] > 0:
        return "yes", f"expect a gain. After {length(facts)} the student gained {gain_of(facts)} by distillation."
    if lead["high"] <= 0:
        return "no", f"this teacher has nothing to teach: {against}."
    if gain["high"] < 0:
        return "no", f"after {length(facts)} distillation lost: {gain_of(facts)}; {against}."
    number = facts["validation"]["images"]
    reason = f"{number:,} validation images and {length(facts)} do not decide: {gain_of(facts)}, which holds 0."
    if lead["difference"] <= 0:
        reason += f" The teacher is not seen to be better than the student: {against}."
    return "cannot tell", f"{reason} What would tell: {what_would_tell(facts)}."


def what_would_tell(facts: Facts) -> str:
    """Return what to change so that the interval gets narrower or the runs longer."""
    gain, number = facts["gain"], facts["validation"]["images"]
    remedies = []
    if gain["difference"]:
        needed = round(number * ((gain["high"] - gain["low"]) / 2 / gain["difference"]) ** 2)
        remedies.append(f"about {max(needed, number + 1):,} images, if the difference stays ({more_images(facts)})")
    else:
        remedies.append(more_images(facts))
    run = facts["short_run"]
    if run["batches"] < run["of"]:
        remedies.append(f"more batches (--seconds above {facts['budget']:g})")
    return ", or ".join(remedies)


def more_images(facts: Facts) -> str:
    """Return how to have more validation images."""
    validation = facts["validation"]
    if validation["images"] < validation["of"]:
        return f"the time was enough for {validation['images']} of {validation['of']:,}: more --seconds"
    return "more of them: --data.num_validation"


def notes(facts: Facts) -> list[str]:
    """Return what else there is to know, a sentence each."""
    found = [
        seen_note(facts["validation"]["seen"]),
        calibration_note(facts),
        memory_note(facts),
        pool_note(facts),
        capacity_note(facts),
        untrained_note(facts),
    ]
    if facts["gain"] is not None:
        found.append(
            "One seed, one pair of short runs: the interval speaks of other validation images, not of other seeds, and "
            "the gain of a whole run may be another."
        )
    return [note for note in found if note]


def seen_note(seen: str) -> str:
    """Return what to say of validation images that the teacher may know."""
    if seen == "no":
        return ""
    reason = "was trained on another split of the data" if seen == "maybe" else "does not say what it was trained on"
    return f"The teacher {reason}: it may know today's validation images, and then its figures are too good."


def calibration_note(facts: Facts) -> str:
    """Return a hint on the temperature where a teacher's confidence is far from its accuracy."""
    teacher, temperature = facts["networks"]["teacher"], facts["distillation"]["temperature"]
    error = teacher["calibration_error"]
    if error <= BADLY_CALIBRATED:
        return ""
    is_over = teacher["confidence"] > teacher["accuracy"]
    kind, where = ("overconfident", "above") if is_over else ("less sure than it is right", "below")
    hint = (
        f"compare temperatures {where} {temperature:g} (--distillation.temperature)"
        if facts["distillation"]["labels"] != "hard"
        else "hard labels do not show it"
    )
    return (
        f"The teacher is badly calibrated (expected error {percent(error)} %, more than {percent(BADLY_CALIBRATED)} "
        f"%): {kind}; {hint}."
    )


def memory_note(facts: Facts) -> str:
    """Return a note where the teacher knows its training labels by heart."""
    measure = facts["measure"]
    trained, unseen = facts["networks"]["teacher_on_training"][measure], facts["networks"]["teacher"][measure]
    if trained - unseen <= MEMORIZED:
        return ""
    return (
        f"The teacher is {points_of(trained - unseen)} better on the student's labelled images than on validation: "
        "on those it says little beyond the labels; unlabelled images teach more."
    )


def pool_note(facts: Facts) -> str:
    """Return a note where there are no unlabelled images."""
    if facts["pool"]:
        return ""
    return "There are no unlabelled images: the teacher is heard on the labelled images alone."


def capacity_note(facts: Facts) -> str:
    """Return a note where the student is no smaller than its teacher."""
    ratio = facts["capacity_ratio"]
    return "" if ratio > 1 else f"The student is no smaller than its teacher ({ratio:.2f} times its parameters)."


def untrained_note(facts: Facts) -> str:
    """Return a note where neither student left chance."""
    if facts["gain"] is None or not all(is_at_chance(facts, name) for name in ("student_alone", "student_distilled")):
        return ""
    return "Both students are still at chance after their short runs: these were too short to learn anything."


def is_at_chance(facts: Facts, network: str) -> bool:
    """Return whether a network is no more than two standard errors above the most frequent class said of everything."""
    chance, number = facts["chance"], facts["validation"]["images"]
    margin = 2 * math.sqrt(chance * (1 - chance) / number)
    return bool(facts["networks"][network][facts["measure"]] <= chance + margin)


def describe(facts: Facts, network: str) -> str:
    """Return a network's measure on validation in words."""
    measure = facts["measure"]
    return f"{percent(facts['networks'][network][measure])} % {MEASURES[measure][0]}"


def length(facts: Facts) -> str:
    """Return how long the short runs were."""
    run = facts["short_run"]
    share = "as many as distill takes" if run["batches"] == run["of"] else f"of the {run['of']:,} that distill takes"
    return f"{run['batches']:,} batches each ({share})"


def gain_of(facts: Facts) -> str:
    """Return the gain of the short runs with its interval."""
    return f"{points(facts['gain'])} of {MEASURES[facts['measure']][0]}"


def points(comparison: dict[str, float]) -> str:
    """Return a difference of fractions in points, with its interval."""
    low, high = 100 * comparison["low"], 100 * comparison["high"]
    return f"{100 * comparison['difference']:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"


def points_of(difference: float) -> str:
    """Return a difference of fractions in points."""
    return f"{100 * difference:.1f} points"
