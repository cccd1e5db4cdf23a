"""How to do a run again."""

import shlex

import yaml

from experiments.reports.document import Block, Code, Paragraph, Section
from experiments.reports.reading import ReportedRun


def again_section(run: ReportedRun) -> Section:
    """Return the command, where it ran, and its whole configuration."""
    results = run.results
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    commits = dict.fromkeys(stage.record["commit"] for stage in run.stages if stage.record.get("commit"))
    code = f" Code: commit {', '.join(commits)} (+: with changes)." if commits else ""
    where = Paragraph(f"Seed {results['seed']}; device: {results['device']}; {versions}.{code}")
    if not run.config:
        return Section("Do it again", [where, Paragraph("The run has no config.yaml.", is_note=True)])
    config = run.directory / "config.yaml"
    words = ["python", "-m", "experiments", results["command"], "--config", str(config)]
    name = f"{results['name']}-again"
    blocks: list[Block] = [
        Code(shlex.join([*words, "--name", name])),
        where,
        Section("The whole configuration", [Code(yaml.safe_dump(run.config, sort_keys=False))], is_folded=True),
    ]
    return Section("Do it again", blocks)
