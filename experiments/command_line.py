"""Parses a command line and runs the command; torch is imported only when a command runs."""

import argparse
import difflib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from experiments.commands import (
    DistillCommand,
    EvaluateCommand,
    InspectDataCommand,
    NetworksCommand,
    PseudoLabelCommand,
    SegmentCommand,
    TrainCommand,
)
from experiments.comparisons.settings import CompareCommand
from experiments.exports.settings import ExportCommand
from experiments.interruption import Interrupted, raise_on_signals
from experiments.memory import keep_freed_memory
from experiments.predict_settings import PredictCommand
from experiments.preflights.settings import PreflightCommand
from experiments.reports.settings import ReportCommand
from experiments.self_train_settings import SelfTrainCommand
from experiments.sweeps.settings import SweepCommand

COMMANDS: dict[str, tuple[type, str]] = {
    "train": (TrainCommand, "experiments.train"),
    "segment": (SegmentCommand, "experiments.segment"),
    "distill": (DistillCommand, "experiments.distill"),
    "self-train": (SelfTrainCommand, "experiments.self_train"),
    "pseudo-label": (PseudoLabelCommand, "experiments.pseudo_label"),
    "inspect-data": (InspectDataCommand, "experiments.inspect_data"),
    "evaluate": (EvaluateCommand, "experiments.evaluate"),
    "predict": (PredictCommand, "experiments.predict"),
    "export": (ExportCommand, "experiments.exports.command"),
    "preflight": (PreflightCommand, "experiments.preflights.command"),
    "compare": (CompareCommand, "experiments.comparisons.command"),
    "sweep": (SweepCommand, "experiments.sweeps.command"),
    "report": (ReportCommand, "experiments.reports.command"),
    "networks": (NetworksCommand, "experiments.networks"),
}
"""Each command's settings, and the module whose ``run`` carries it out."""


@dataclass(frozen=True)
class Program:
    """What is typed before a command, and the commands there are."""

    name: str
    commands: dict[str, tuple[type, str]]


EXPERIMENTS = Program("python -m experiments", COMMANDS)

BAD_INPUT = 2


class CommandParser(ArgumentParser):
    """Parses one command's options; a mistake is answered in a few lines."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Name the option and what was expected, and exit with status 2."""
        text = " ".join(message.split())
        print(f"error: {text[:900]}", file=sys.stderr)
        for unknown in unknown_options(text):
            longer = [name for name in self.option_names() if name.startswith(unknown)]
            nearest = longer or difflib.get_close_matches(unknown, self.option_names(), n=1)
            if nearest:
                print(f"  did you mean {nearest[0]}?", file=sys.stderr)
        for group, value in values_of_groups(text):
            first = next((name for name in self.option_names() if name.startswith(f"--{group}.")), None)
            if first:
                print(f"  {group} is a group of options; did you mean {first} {value}?", file=sys.stderr)
        print(f"  all options: {self.prog} --help", file=sys.stderr)
        sys.exit(BAD_INPUT)

    def option_names(self) -> list[str]:
        """Return all options, as they are typed."""
        return [name for action in self._actions for name in action.option_strings]


def unknown_options(message: str) -> list[str]:
    """Return the options, as they are typed, that a parser's message calls unknown."""
    typed = re.findall(r"unrecognized arguments: (--[^\s=]+)", message, flags=re.IGNORECASE)
    in_yaml = re.findall(r"Group '([^']+)' does not accept option '([^']+)'", message)
    at_top = re.findall(r"Option '([^']+)' is not accepted", message)
    return typed + [f"--{group}.{option}" for group, option in in_yaml] + [f"--{option}" for option in at_top]


def values_of_groups(message: str) -> list[tuple[str, str]]:
    """Return the groups of options, and what was given for each, that a parser's message took for files."""
    return re.findall(r"""^Parser key "([\w.]+)": Unable to load config '([^']+)'""", message)


def build_parser(command: str, program: Program = EXPERIMENTS) -> CommandParser:
    """Return the parser of one command, made from its settings class."""
    settings, _ = program.commands[command]
    prog = f"{program.name} {command}"
    parser = CommandParser(
        prog=prog,
        usage=f"{prog} [--config FILE.yaml] [--group.option VALUE ...]",
        description=summary(settings),
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with the same options; later ones win")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_class_arguments(settings)
    return parser


def main(arguments: Sequence[str], program: Program = EXPERIMENTS) -> int:
    """Run a command and return the exit status: 0 done, 1 failed, 2 bad input, 130 or 143 interrupted."""
    command, rest = split_command(arguments, program)
    settings, debug = parse(command, rest, program)
    return carry_out(command, settings, debug, program)


def parse(command: str, arguments: Sequence[str], program: Program = EXPERIMENTS) -> tuple[Any, bool]:
    """Return a command's settings, and whether an error's traceback is to be shown.

    Raises:
        SystemExit: with status 2, when the mistake was named.
    """
    parser = build_parser(command, program)
    namespace = parser.parse_args(list(arguments))
    debug = namespace.pop("debug")
    namespace.pop("config", None)
    try:
        return program.commands[command][0](**vars(parser.instantiate(namespace))), debug
    except ValueError as error:
        parser.error(qualified(str(error), vars(namespace.as_flat())))


def qualified(message: str, options: dict[str, Any]) -> str:
    """Return a message that begins ``option: got value`` with the option's whole name, where only one can be meant."""
    match = re.match(r"([\w.]+): got (.+?), expected", message)
    if match is None:
        return message
    option, given = match.groups()
    meant = [name for name, value in options.items() if f".{name}".endswith(f".{option}") and repr(value) == given]
    return message.replace(option, meant[0], 1) if len(meant) == 1 else message


def carry_out(command: str, settings: Any, debug: bool, program: Program = EXPERIMENTS) -> int:
    """Run a command whose settings are valid; turn what may happen into an exit status."""
    raise_on_signals()
    keep_freed_memory()
    try:
        importlib.import_module(program.commands[command][1]).run(settings)
    except Interrupted as interruption:
        return report(f"interrupted by {interruption}; the same command goes on from here", 128 + interruption.signum)
    except ValueError as error:
        if debug:
            traceback.print_exc()
        return report(str(error), BAD_INPUT)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return report(f"{type(error).__name__}: {error} (--debug shows where)", 1)
    return 0


def report(message: str, status: int) -> int:
    """Print one line to standard error, with the process's rank where there are several; return the status."""
    rank = os.environ.get("LOCAL_RANK", "0")
    prefix = "error" if status in (1, BAD_INPUT) else "stopped"
    where = f" [rank {rank}]" if rank != "0" else ""
    print(f"{prefix}{where}: {message}", file=sys.stderr, flush=True)
    return status


def split_command(arguments: Sequence[str], program: Program) -> tuple[str, Sequence[str]]:
    """Return the command's name and its arguments; answer ``--help`` and unknown names."""
    known = program.commands
    parser = argparse.ArgumentParser(
        prog=program.name,
        usage="%(prog)s COMMAND [--config FILE.yaml] [--group.option VALUE ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Commands:\n" + "\n".join(f"  {name:<12} {summary(known[name][0])}" for name in known),
        epilog=f"{program.name} COMMAND --help lists a command's options.",
        add_help=True,
    )
    if not arguments or arguments[0] in ("-h", "--help"):
        parser.print_help()
        sys.exit(0 if arguments else BAD_INPUT)
    command = arguments[0]
    if command not in known:
        nearest = difflib.get_close_matches(command, known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        print(f"error: unknown command {command!r}, expected one of {', '.join(known)}{hint}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    return command, arguments[1:]


def summary(settings: type) -> str:
    """Return the first line of a settings class's docstring."""
    return (settings.__doc__ or "").splitlines()[0]
